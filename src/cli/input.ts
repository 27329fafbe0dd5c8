// What was typed, as typed values: argv went through the parser once, and no command reads a raw flag after that.
// Every mistake here is a `usage` error (exit 2) that says what is allowed.
import { nearestSpelling } from '../catalog/nearest.ts';
import { SallyportError } from '../errors.ts';
import { ATTRIBUTES, type Attribute, type Identity } from '../policy/record.ts';
import type { Selector } from '../policy/selector.ts';
import { asProven, attributeOf, partsOf } from '../report/asker.ts';
import { parseMoment, spanMs } from '../report/moment.ts';
import type { CommandName } from './args.ts';

export type OptionValue = string | boolean | readonly string[];

/** The arguments and options of one command. */
export class Input {
  readonly command: CommandName;
  readonly #arguments: readonly (string | undefined)[];
  readonly #options: ReadonlyMap<string, OptionValue>;

  constructor(command: CommandName, args: readonly (string | undefined)[], options: ReadonlyMap<string, OptionValue>) {
    this.command = command;
    this.#arguments = args;
    this.#options = options;
  }

  argument(index: number): string | null {
    return this.#arguments[index] ?? null;
  }

  /** The argument that may stand several times, and what follows it. */
  arguments(from: number): readonly string[] {
    return this.#arguments.slice(from).filter((value) => value !== undefined);
  }

  text(option: string): string | null {
    const value = this.#options.get(option);
    return typeof value === 'string' ? value : null;
  }

  /** The value of an option that this command cannot do without. */
  need(option: string, placeholder: string): string {
    const value = this.text(option);
    if (value === null || value === '') {
      throw usage(
        `--${option} ${placeholder} is missing`,
        `Add --${option} ${placeholder}: \`sallyport help ${this.command}\` shows an example.`,
      );
    }
    return value;
  }

  flag(option: string): boolean {
    return this.#options.get(option) === true;
  }

  list(option: string): readonly string[] {
    const value = this.#options.get(option);
    return Array.isArray(value) ? value : [];
  }
}

export function usage(message: string, hint?: string): SallyportError {
  return new SallyportError('usage', message, hint === undefined ? {} : { hint });
}

/** The identity that `--as key=value[,key=value]` describes, taken as proven; null where none was given. */
export function identityOf(input: Input): Identity | null {
  const given = input.list('as').flatMap(partsOf);
  if (given.length === 0) return null;
  const attributes: Partial<Record<Attribute, string>> = {};
  for (const text of given) {
    const { key, value } = attributeTyped('as', text);
    attributes[key] = value;
  }
  return asProven(attributes);
}

/** The selector that `--for key=value[,key=value]` describes; a key that comes again has one more value. */
export function selectorOf(texts: readonly string[]): Selector {
  const selector: Partial<Record<Attribute, string[]>> = {};
  for (const text of texts.flatMap(partsOf)) {
    const { key, value } = attributeTyped('for', text);
    selector[key] = [...(selector[key] ?? []), value];
  }
  return selector;
}

function attributeTyped(option: string, text: string): { readonly key: Attribute; readonly value: string } {
  const attribute = attributeOf(text);
  if (attribute !== null) return attribute;
  const key = text.split('=', 1)[0] ?? '';
  const near = nearestSpelling(key, ATTRIBUTES);
  throw usage(
    `--${option} ${JSON.stringify(text)} is not KEY=VALUE with KEY one of ${ATTRIBUTES.join(', ')}`,
    near === null || near === key ? `For example: --${option} pipeline=web,queue=default` : `Did you mean ${near}?`,
  );
}

/**
 * A moment as typed: a span back from `now` (90m, 24h, 7d, 4w), or an ISO 8601 date or time, UTC unless it says otherwise.
 * @returns milliseconds since the epoch
 */
export function moment(text: string, option: string, now: number): number {
  const at = parseMoment(text, now);
  if (at !== null) return at;
  throw usage(
    `--${option} ${JSON.stringify(text)} is no moment`,
    'Write a span back from now (90m, 24h, 7d, 4w), or a date or time such as 2026-11-24 or 2026-11-24T09:30Z.',
  );
}

/**
 * A moment to come: a span from `now` (90m, 24h, 7d, 4w), or an ISO 8601 date or time, UTC unless it says otherwise.
 * @returns milliseconds since the epoch
 */
export function momentToCome(text: string, option: string, now: number): number {
  const span = spanMs(text);
  const at = span === null ? parseMoment(text, now) : now + span;
  if (at !== null && at > now) return at;
  throw usage(
    `--${option} ${JSON.stringify(text)} is no moment to come`,
    'Write a span from now (90m, 24h, 7d), or a date or time such as 2026-11-24T09:30Z.',
  );
}
