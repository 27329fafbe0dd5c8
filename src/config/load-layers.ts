// The layers of a policy: which files there are, and for each what is in force of it. A file that is broken stops nobody else: the version
// of it that was last in force stays, cut to the ceiling of today; where there is none, those whom it is for have the base alone.
// It never says that a broken layer is fine: each has its problems, and whoever loads must tell them.
import { readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Catalog } from '../catalog/catalog.ts';
import type { FileRead } from '../catalog/load-signature.ts';
import { OPERATOR_ERRORS, type Problem, SallyportError } from '../errors.ts';
import type { Limits } from '../limits.ts';
import type { Policy } from '../policy/decide.ts';
import { globMatches, type Selector } from '../policy/selector.ts';
import { Ceiling } from './ceiling.ts';
import type { SourceDocument } from './document.ts';
import { problemAt } from './findings.ts';
import { error, type PathProblem } from './issues.ts';
import { type BuiltLayer, buildLayer, type LayerPlace } from './layers.ts';
import { NAME } from './layers-schema.ts';
import { parseText, readTextFile } from './load-text.ts';
import type { Placed } from './parse.ts';
import type { PlacedRule } from './rules.ts';
import type { Raw, TestItem } from './schema.ts';
import { failedTests } from './trial.ts';

/** `base-only`: nothing of the file is in force. */
export type LayerState = 'current' | 'last-good' | 'base-only';

/** A layer, what is in force of it, and why that is not what its file says. */
export interface LayerStatus {
  readonly file: string;
  readonly role: 'ceiling' | 'pipeline';
  readonly for: Selector | null;
  readonly state: LayerState;
  readonly rules: number;
  /** Empty where the state is `current`. */
  readonly problems: readonly Problem[];
  /** What is in force; null where nothing is. */
  readonly text: string | null;
}

/** By file: the text that was last in force. */
export type LastGood = Readonly<Record<string, string>>;

export interface LayersInput {
  /** The base file. */
  readonly file: string;
  readonly layers: NonNullable<Raw['layers']>;
  readonly catalog: Catalog;
  readonly lastGood: LastGood;
  readonly limits: Pick<Limits, 'layer_files_max' | 'layer_bytes'>;
  /** Whether there is a CA that signs for inspected hosts. */
  readonly inspects: boolean;
  /** Takes what was read. */
  readonly files: FileRead[];
}

/** What there may be in force of a file, the best first. */
interface Attempt {
  readonly state: LayerState;
  readonly text: string | null;
  readonly cut: boolean;
}

class Layer {
  readonly place: LayerPlace;
  readonly problems: Problem[];
  readonly #catalog: Catalog;
  readonly #inspects: boolean;
  readonly #attempts: Attempt[];
  built: BuiltLayer | null = null;
  document: SourceDocument | null = null;

  constructor(place: LayerPlace, input: LayersInput, problems: readonly Problem[] = []) {
    this.place = place;
    this.problems = [...problems];
    this.#catalog = input.catalog;
    this.#inspects = input.inspects;
    const current = this.problems.length > 0 ? null : this.#read(input);
    // Whom a file is for must be known before anything of it is in force.
    const last = problems.length > 0 ? undefined : input.lastGood[place.file];
    this.#attempts = [
      ...(current === null ? [] : [{ state: 'current', text: current, cut: false } as const]),
      ...(last === undefined || last === current ? [] : [{ state: 'last-good', text: last, cut: false } as const]),
      ...(last === undefined ? [] : [{ state: 'last-good', text: last, cut: true } as const]),
      { state: 'base-only', text: null, cut: false },
    ];
  }

  get attempt(): Attempt {
    return this.#attempts[0] ?? { state: 'base-only', text: null, cut: false };
  }

  /** Puts in force the best of what is left. */
  settle(ceiling: Ceiling | null): void {
    while (!this.#build(ceiling)) this.#attempts.shift();
  }

  /** What was put in force proved bad: it is told, and the next best comes. */
  fail(problems: readonly PathProblem[], ceiling: Ceiling | null): void {
    const { document } = this;
    if (document !== null) this.#tell(problems, document);
    this.#attempts.shift();
    this.settle(ceiling);
  }

  status(): LayerStatus {
    const { place, problems, attempt, built } = this;
    const { file, role, scope } = place;
    return {
      file,
      role,
      for: scope,
      state: attempt.state,
      rules: built?.rules.length ?? 0,
      problems,
      text: attempt.text,
    };
  }

  #read({ files, limits }: LayersInput): string | null {
    // The ceiling is the base's own. Who writes the file of a pipeline must not make it so large that no policy can be loaded any more.
    const bytesMax = this.place.role === 'pipeline' ? limits.layer_bytes : undefined;
    try {
      const { text, read } = readTextFile(this.place.file, undefined, bytesMax);
      files.push(read);
      return text;
    } catch (cause) {
      if (!(cause instanceof SallyportError)) throw cause;
      this.problems.push(...cause.problems);
      return null;
    }
  }

  #build(ceiling: Ceiling | null): boolean {
    const { place } = this;
    const { text, cut } = this.attempt;
    this.built = null;
    this.document = null;
    if (text === null) return true;
    try {
      const document = parseText(place.file, text);
      const origin = (path: readonly PropertyKey[]): string => `${place.file}:${document.place(path).line}`;
      const [catalog, inspects] = [this.#catalog, this.#inspects];
      const built = buildLayer({ place, value: document.value, catalog, origin, ceiling, cut, inspects });
      if (place.role === 'pipeline' && ceiling === null) {
        const message = 'there is no valid ceiling, so nothing of this file is granted';
        this.#tell([error('config-ceiling', [], message, 'Mend the ceiling: it has its own message.')], document);
        return false;
      }
      this.#tell(
        built.problems.filter(({ severity }) => severity === 'error' || cut),
        document,
      );
      if (built.problems.some(({ severity }) => severity === 'error')) return false;
      this.built = built;
      this.document = document;
      return true;
    } catch (cause) {
      if (!(cause instanceof SallyportError)) throw cause;
      if (this.attempt.state === 'current') this.problems.push(...cause.problems);
      return false;
    }
  }

  /** Only what is wrong with the file as it stands, or what was cut off the version before, is worth telling. */
  #tell(problems: readonly PathProblem[], document: SourceDocument): void {
    if (this.attempt.state !== 'current' && !this.attempt.cut) return;
    for (const { code, path, key, message, hint } of problems) {
      const told = problemAt(code, document.place(path, key ? 'key' : 'value'), message, hint);
      if (!this.problems.some((one) => one.message === told.message)) this.problems.push(told);
    }
  }
}

export class Layers {
  readonly #layers: readonly Layer[];
  readonly #ceiling: Layer | null;

  /** Reads every file and puts in force what is good of it. */
  constructor(input: LayersInput) {
    const found = placesOf(input);
    this.#layers = found.map(({ place, problems }) => new Layer(place, input, problems));
    this.#ceiling = this.#layers.find(({ place }) => place.role === 'ceiling') ?? null;
    this.#ceiling?.settle(null);
    const bound = this.#bound();
    for (const layer of this.#pipelines()) layer.settle(bound);
  }

  /** The rules that the layers grant, in the order of the mapping. */
  get rules(): PlacedRule[] {
    return this.#pipelines().flatMap(({ built }) => built?.rules ?? []);
  }

  /** What may be granted at all; null where nothing may. */
  get ceiling(): readonly PlacedRule[] | null {
    return this.#ceiling?.built?.rules ?? null;
  }

  get status(): LayerStatus[] {
    return this.#layers.map((layer) => layer.status());
  }

  /** The place of a path that begins with the name of a layer's file; null for any other. */
  place(path: readonly PropertyKey[], where: 'key' | 'value'): ReturnType<SourceDocument['place']> | null {
    const layer = this.#layers.find(({ place }) => place.file === path[0]);
    return layer?.document?.place(path.slice(1), where) ?? null;
  }

  /**
   * Runs the tests of each layer, and those of the base that a layer must not break. What fails is put out of force.
   * @returns true where something was: the rules are others then
   */
  judge(
    policy: Policy,
    baseTests: readonly Placed<TestItem>[],
    basePlace: (path: readonly PropertyKey[]) => string,
    now: number,
  ): boolean {
    const bound = this.#bound();
    const blamed = new Map<Layer, PathProblem[]>();
    for (const layer of this.#pipelines()) {
      if (layer.attempt.state !== 'current' || layer.built === null) continue;
      // Another layer may be for the same pipelines: what it denies there is not this one's fault.
      const own = failedTests(policy, layer.built.tests, now).filter(
        ({ problem, rule }) =>
          problem.severity === 'error' && (rule === null || rule.layer === null || rule.layer === layer.place.file),
      );
      if (own.length > 0)
        blamed.set(
          layer,
          own.map(({ problem }) => problem),
        );
    }
    for (const { problem, rule } of failedTests(policy, baseTests, now)) {
      const layer = this.#pipelines().find(({ place }) => place.file === rule?.layer);
      if (layer === undefined || rule === null || problem.severity === 'warning') continue;
      const message = `a test of the base at ${basePlace(problem.path)} fails by this file: ${problem.message}`;
      const at = layer.built?.rules.find((one) => one.rule.origin === rule.origin)?.path.slice(1) ?? [];
      blamed.set(layer, [...(blamed.get(layer) ?? []), { ...problem, path: at, message }]);
    }
    for (const [layer, problems] of blamed) layer.fail(problems, bound);
    return blamed.size > 0;
  }

  #pipelines(): Layer[] {
    return this.#layers.filter(({ place }) => place.role === 'pipeline');
  }

  #bound(): Ceiling | null {
    const rules = this.ceiling;
    return rules === null ? null : new Ceiling(rules.map(({ rule }) => rule));
  }
}

interface FoundPlace {
  readonly place: LayerPlace;
  readonly problems: readonly Problem[];
}

/** The files that the mapping names, each once. */
function placesOf({ file, layers, lastGood, limits }: LayersInput): FoundPlace[] {
  const filesMax = limits.layer_files_max;
  const folder = dirname(file);
  const found = new Map<string, FoundPlace>();
  if (layers.ceiling !== undefined) {
    const ceiling = join(folder, layers.ceiling);
    found.set(ceiling, { place: { role: 'ceiling', file: ceiling, scope: null, owner: null }, problems: [] });
  }
  let left = 0;
  for (const entry of layers.pipelines ?? []) {
    const pattern = join(folder, entry.file);
    const { names, problems } = layerFiles(pattern);
    if (problems.length > 0) found.set(pattern, placeOf(pattern, entry, problems));
    const before = problems.length > 0 ? Object.keys(lastGood).filter((name) => globMatches(pattern, name)) : [];
    for (const name of [...names, ...before]) {
      if (found.has(name)) continue;
      if (found.size <= filesMax) found.set(name, placeOf(name, entry, []));
      else left += 1;
    }
  }
  if (left > 0) {
    const message = `${left} files of layers are left out; limits.layer_files_max allows ${filesMax}`;
    const rest: LayerPlace = { role: 'pipeline', file: join(folder, '…'), scope: {}, owner: null };
    found.set(rest.file, { place: rest, problems: [unplaced('config-too-large', message)] });
  }
  return [...found.values()];
}

type Entry = NonNullable<NonNullable<Raw['layers']>['pipelines']>[number];

/** A name goes into a selector only where it says no more than a name: a star in it would select everybody. */
const PLAIN_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

function placeOf(file: string, entry: Entry, problems: readonly Problem[]): FoundPlace {
  const name = basename(file).replace(/\.ya?ml$/, '');
  const globs = Object.entries(entry.for as Selector);
  const scope = Object.fromEntries(globs.map(([key, list]) => [key, list.map((glob) => glob.replaceAll(NAME, name))]));
  const place: LayerPlace = { role: 'pipeline', file, scope, owner: entry.owner ?? null };
  if (PLAIN_NAME.test(name) || !globs.some(([, list]) => list.some((glob) => glob.includes(NAME))))
    return { place, problems };
  const message = `the name of ${file} is to say whom it is for, and is not a plain name`;
  const hint = 'Use letters, digits, ".", "_" and "-", or give the file an entry of its own under layers.';
  return { place: { ...place, scope: {} }, problems: [...problems, { ...unplaced('config-value', message), hint }] };
}

function unplaced(code: Problem['code'], message: string): Problem {
  return { code, severity: 'error', at: null, message, hint: OPERATOR_ERRORS[code].hint };
}

/** The files that a path with a star in its last part names, in order; a path without one names itself. */
export function layerFiles(pattern: string): { names: string[]; problems: readonly Problem[] } {
  const glob = basename(pattern);
  if (!glob.includes('*')) return { names: [pattern], problems: [] };
  const folder = dirname(pattern);
  try {
    const names = readdirSync(folder)
      .filter((name) => !name.startsWith('.') && globMatches(glob, name))
      .sort();
    return { names: names.map((name) => join(folder, name)), problems: [] };
  } catch (cause) {
    const { code = 'unknown' } = cause as NodeJS.ErrnoException;
    // A folder that is not there has no files, and no pipeline has anything of its own.
    if (code === 'ENOENT') return { names: [], problems: [] };
    return { names: [], problems: [unplaced('config-unreadable', `the folder ${folder} cannot be read: ${code}`)] };
  }
}
