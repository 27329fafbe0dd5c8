// The only place that writes to the terminal for commands. Its rules: results to standard output, errors and progress to
// standard error; `sallyport: error:` in lower case, then the place, then `hint:`; colour and progress only on a terminal;
// nothing untrusted without `inert`; a reader who went away (EPIPE) ends the writing, not the program.
import type { Readable, Writable } from 'node:stream';
import { type Problem, SallyportError } from '../errors.ts';
import { inert } from '../report/inert.ts';

/** One output stream, as far as the ui needs it: process.stdout fits, and so does a list in a test. */
export interface Sink {
  write(text: string): void;
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  /** Settles when what was written has been taken, so that a long answer does not pile up; false where the reader has gone. */
  taken?(): Promise<boolean>;
  /** Settles when all of it is out of this process, or the reader has gone. */
  flushed?(): Promise<void>;
}

/** Standard input and output as bytes, for a command that carries them (`connect`). */
export interface Pipes {
  readonly input: Readable;
  readonly output: Writable;
}

/** What a command may know of the world around it; tests hand in their own. */
export interface World {
  readonly stdout: Sink;
  readonly stderr: Sink;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Name of the operating-system user, for records of the operator's own acts. */
  readonly user: string;
  /** Taken by the one command that carries bytes; nothing else may then write to standard output. */
  readonly pipes: () => Pipes;
  readonly stdin: { readonly isTTY: boolean };
  /** A line that is not shown while it is typed; null where none came. */
  secret(prompt: string): Promise<string | null>;
}

export type Style = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'alarm';
const STYLES: Readonly<Record<Style, string>> = {
  bold: '1',
  dim: '2',
  red: '31',
  green: '32',
  yellow: '33',
  alarm: '1;37;41',
};

export interface Ui {
  readonly json: boolean;
  readonly color: boolean;
  /** Columns of the terminal; Infinity where there is none: what goes into a pipe is not cut. */
  readonly width: number;
  /** A line of results. The caller has made untrusted parts `inert`. */
  line(text?: string): void;
  /** Text that carries its own line ends (a finished report, a file). */
  raw(text: string): void;
  /** Waits until the results so far have been taken; false where their reader has gone. */
  taken(): Promise<boolean>;
  object(value: unknown): void;
  /** A line for the person, not for a pipe. */
  note(text: string): void;
  problem(problem: Problem): void;
  failure(error: unknown): void;
  progress(text: string): void;
  /** Wipes the progress line; harmless where there is none. */
  settle(): void;
  paint(style: Style, text: string): string;
}

/** The place of a problem as an editor understands it: file:line:column. */
export function placeText(at: Problem['at']): string {
  return at === null ? '' : `${inert(at.file)}:${at.line}:${at.column}`;
}

const WIDTH_DEFAULT = 100;
const WIDTH_MIN = 40;

export function createUi(world: World, options: { readonly json: boolean; readonly color: boolean }): Ui {
  const wanted = options.color && !world.env['NO_COLOR'] && world.env['TERM'] !== 'dumb';
  const color = wanted && !options.json && world.stdout.isTTY === true;
  const errorColor = wanted && world.stderr.isTTY === true;
  let progressing = false;
  const paintFor = (on: boolean) => (style: Style, text: string) =>
    on ? `\u001b[${STYLES[style]}m${text}\u001b[0m` : text;
  const paintError = paintFor(errorColor);
  const settle = (): void => {
    if (progressing) world.stderr.write('\r\u001b[K');
    progressing = false;
  };
  const error = (text: string): void => {
    settle();
    world.stderr.write(`${text}\n`);
  };
  const problem = (found: Problem, severity = found.severity): void => {
    const label = paintError(severity === 'error' ? 'red' : 'yellow', `${severity}:`);
    error(`sallyport: ${label} ${inert(found.message)}`);
    error(`  ${found.code} ${placeText(found.at)}`.trimEnd());
    if (found.hint !== '') error(`  hint: ${inert(found.hint)}`);
  };
  const object = (value: unknown): void => {
    settle();
    world.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
  };
  return {
    json: options.json,
    color,
    width:
      world.stdout.isTTY === true
        ? Math.max(WIDTH_MIN, world.stdout.columns ?? WIDTH_DEFAULT)
        : Number.POSITIVE_INFINITY,
    line: (text = '') => {
      settle();
      world.stdout.write(`${text}\n`);
    },
    raw: (text) => {
      settle();
      world.stdout.write(text);
    },
    taken: async () => (await world.stdout.taken?.()) ?? true,
    object,
    note: error,
    problem,
    failure: (caught) => {
      const shown = failureOf(caught);
      if (options.json) {
        object({ error: { code: shown.code, message: shown.message, hint: shown.hint, problems: shown.problems } });
        return;
      }
      if (shown.problems.length === 0) problem({ ...shown, severity: 'error', at: null } as Problem);
      for (const each of shown.problems) problem(each);
    },
    progress: (text) => {
      if (world.stderr.isTTY !== true || options.json) return;
      progressing = true;
      world.stderr.write(
        `\r\u001b[K${inert(text).slice(0, Math.max(WIDTH_MIN, (world.stderr.columns ?? WIDTH_DEFAULT) - 1))}`,
      );
    },
    settle,
    paint: paintFor(color),
  };
}

/** Code, message and hint of anything thrown; a programmer error shows its message and never its stack. */
function failureOf(caught: unknown): { code: string; message: string; hint: string; problems: readonly Problem[] } {
  if (caught instanceof SallyportError) {
    return { code: caught.code, message: caught.message, hint: caught.hint, problems: caught.problems };
  }
  const message = caught instanceof Error ? caught.message : String(caught);
  return {
    code: 'internal',
    message: `sallyport failed: ${message}`,
    hint: 'This is a fault of sallyport; report it with the command that you typed.',
    problems: [],
  };
}
