// A file, flags and the environment → LoadedConfig, or one SallyportError with every problem and its place.
// The only reader of the environment and of the machine in config/. Nothing half-read ever comes out of here: a file
// that is missing, empty, damaged or wrong gives an error and no policy. loadConfig does the work in a thread of its own,
// because parsing 100,000 rules takes a second in which a proxy must go on answering.
import { statSync } from 'node:fs';
import { hostname, networkInterfaces } from 'node:os';
import { dirname, join } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { Catalog } from '../catalog/catalog.ts';
import { type FileRead, loadCatalog } from '../catalog/load.ts';
import { OPERATOR_ERRORS, type OperatorErrorCode, type Problem, SallyportError, type SourcePlace } from '../errors.ts';
import type { CompiledPolicy, PolicySource, RuleSource } from '../policy/compile.ts';
import type { Selector } from '../policy/selector.ts';
import { buildSettings, deepFreeze, type Settings } from './config.ts';
import type { SourceDocument } from './document.ts';
import { Findings } from './findings.ts';
import { provable } from './identity.ts';
import type { PathProblem } from './issues.ts';
import { type LintInput, lintRules } from './lint.ts';
import { loadIdentity } from './load-identity.ts';
import { type LastGood, type LayerStatus, Layers } from './load-layers.ts';
import { lockOf, pendingProblems } from './load-lock.ts';
import { makePolicy } from './load-policy.ts';
import { followSource, sourceProblems } from './load-source.ts';
import { parseText, readTextFile } from './load-text.ts';
import { type Overrides, type Parsed, parseRaw } from './parse.ts';
import { buildPolicySource } from './policy-source.ts';
import type { PlacedRule } from './rules.ts';
import { type TestRequest, testRequests } from './trial.ts';

export type { Overrides } from './parse.ts';

/** The file that commands use where none is named. */
export const DEFAULT_FILE = 'config/sallyport.yaml';
/** Beside the file, where it exists and `catalog.dir` names no other. */
export const CATALOG_FOLDER = 'catalog.d';
const FILE_VARIABLE = 'SALLYPORT_CONFIG';

/** A bound for the thread that parses: a configuration that needs more is a mistake, and must not end the proxy. */
const WORKER_MEMORY_MB = 2_048;
/** Of it, what is new: V8 would let it grow to a hundred, and gives nothing back for seconds after the thread has ended. */
const WORKER_YOUNG_MB = 16;

export interface LoadOptions {
  /** The file as it was named; null: the built-in policy (group buildkite-agent), with the overrides. */
  readonly file: string | null;
  /** Its text, instead of what is on the disk: a proposal that nobody has written yet. */
  readonly text?: string;
  readonly overrides?: Overrides;
  /** The file is a policy that many nodes share, without the settings of one: what they need of it is not asked for. */
  readonly shared?: boolean;
  /** Where the policy is read from, instead of the folder in force of `policy.source`: a bundle on trial. */
  readonly policyFolder?: string;
  /** What was last in force of each layer, for one that is broken now. */
  readonly lastGood?: LastGood;
  /** Milliseconds since the epoch, for expiry. */
  readonly now: number;
}

export interface LoadedConfig {
  readonly settings: Settings;
  readonly policy: CompiledPolicy;
  /** The operator's files it was made from, in the order of reading. */
  readonly files: readonly FileRead[];
  /** Warnings only. */
  readonly problems: readonly Problem[];
  /** The ceiling and the files of pipelines; each that is broken has its problems, and they are no warnings. */
  readonly layers: readonly LayerStatus[];
  /** What may be granted at all; null where nothing may. */
  readonly ceiling: readonly RuleSource[] | null;
}

export interface LoadedHere extends LoadedConfig {
  readonly source: PolicySource;
  readonly catalog: Catalog;
  /** The requests that `tests:` is about. */
  readonly tests: readonly TestRequest[];
}

/**
 * The configuration file to use: the flag, else SALLYPORT_CONFIG, else config/sallyport.yaml where it exists.
 * @returns file null where there is none
 */
export function findConfigFile(flag: string | null): { file: string | null; from: string } {
  if (flag !== null) return { file: flag, from: 'command line' };
  const named = process.env[FILE_VARIABLE];
  if (named !== undefined && named !== '') return { file: named, from: FILE_VARIABLE };
  return { file: statSync(DEFAULT_FILE, { throwIfNoEntry: false })?.isFile() ? DEFAULT_FILE : null, from: 'default' };
}

/**
 * Loads and compiles in a worker thread; the compiled arrays move over without being copied.
 * @param memoryMb what the thread may use; one that needs more dies alone
 * @throws SallyportError with `problems` where anything is wrong, also where the thread dies
 */
export async function loadConfig(options: LoadOptions, memoryMb: number = WORKER_MEMORY_MB): Promise<LoadedConfig> {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  const worker = new Worker(new URL(`./load-worker.${extension}`, import.meta.url), {
    workerData: options,
    resourceLimits: { maxOldGenerationSizeMb: memoryMb, maxYoungGenerationSizeMb: WORKER_YOUNG_MB },
  });
  const answer = await new Promise<WorkerAnswer>((resolve, reject) => {
    const died = (why: string, cause?: unknown): void => {
      const name = options.file ?? 'the built-in policy';
      reject(new SallyportError('config-unreadable', `${name} could not be loaded: ${why}`, { cause }));
    };
    worker.once('message', (message: WorkerAnswer) => resolve(message));
    worker.once('messageerror', (cause) => died('the loading thread sent what cannot be read', cause));
    worker.once('error', (cause: Error) => died(`the loading thread failed (${cause.message})`, cause));
    worker.once('exit', (code) => died(`the loading thread ended with ${code} and no answer`));
  });
  if (answer.ok) return { ...answer.loaded, settings: deepFreeze(answer.loaded.settings) };
  const { code, message, hint, problems } = answer;
  throw new SallyportError(code, message, { hint, problems });
}

/** What the worker sends; an error loses its class on the way, so it goes as plain fields. */
export type WorkerAnswer =
  | { readonly ok: true; readonly loaded: LoadedConfig }
  | {
      readonly ok: false;
      readonly code: OperatorErrorCode;
      readonly message: string;
      readonly hint: string;
      readonly problems: readonly Problem[];
    };

/**
 * Loads and compiles in this thread: for short commands, and the body of the worker.
 * @throws SallyportError with `problems`
 */
export function loadConfigHere(options: LoadOptions): LoadedHere {
  const { file, now, shared = false } = options;
  const own = file === null ? BUILT_IN : options.text === undefined ? readFile(file) : read(file, options.text);
  const elsewhere = file === null ? null : followSource(own, file, options.policyFolder ?? null);
  const document = elsewhere?.document ?? own;
  /** Beside it stand the catalog files, the lock and the layers. */
  const base = elsewhere?.file ?? file;
  const parsed = parseRaw(document.value, options.overrides ?? {});
  const { raw } = parsed;
  let layers: Layers | null = null;
  const findings = new Findings(
    file,
    (problem) => layers?.place(problem.path, problem.key ? 'key' : 'value') ?? placeOf(problem, document, parsed),
  );
  findings.add(parsed.problems);
  findings.add(sourceProblems(raw.policy));
  const catalogDirs = catalogFolders(base, parsed, findings);
  const files = [...(own.read === null ? [] : [own.read]), ...(elsewhere?.read ?? [])];
  const lock = lockOf(base);
  const catalog = readCatalog(catalogDirs, lock, findings, files);
  const origin = (path: readonly PropertyKey[]): string => originText(document.place(path));
  const { settings, problems: relations } = buildSettings({
    file,
    parsed,
    origin: (path) => (holds(document.value, path) ? origin(path) : null),
    hostname: hostname(),
    catalogDirs,
    identity: loadIdentity(parsed.raw, findings, files),
    layerFiles: layerPaths(base, raw),
    policyFile: elsewhere?.file ?? null,
  });
  findings.add(relations);
  if (file !== null) findings.add(sizeProblems(Math.max(own.bytes, elsewhere?.bytes ?? 0), settings));
  // Without its catalog every group of the file would look unknown.
  if (catalog === null) throw findings.error();
  const built = buildPolicySource({ parsed, settings, catalog, origin, machine: machineAddresses(), shared });
  findings.add(built.problems);
  // Rules of a file with an error are incomplete: warnings and tests about them would mislead.
  if (findings.hasErrors) throw findings.error();
  if (raw.layers !== undefined && base !== null) {
    const { lastGood = {} } = options;
    const inspects = shared || settings.inspection !== null;
    const filesMax = settings.limits.layer_files_max;
    layers = new Layers({ file: base, layers: raw.layers, catalog, lastGood, filesMax, inspects, files });
  }
  const made = makePolicy(built, catalog, layers, { tests: parsed.tests, place: origin, now });
  const rules = [...built.rules, ...(layers?.rules ?? [])];
  const { clientGroups, identity } = settings;
  const scopes = scopesOf(raw);
  const proves = (selector: Selector): boolean => provable(identity, selector);
  const { modes } = built.source;
  findings.add(lintRules({ rules, catalog, clientGroups, provable: proves, modes, scopes, now }));
  findings.add(made.failed);
  if (lock !== null) findings.addPlaced(pendingProblems(lock, catalog, groupsOf(rules)));
  if (findings.hasErrors) throw findings.error();
  const tests = testRequests(parsed.tests, now);
  const { source, policy } = made;
  const ceiling = layers?.ceiling?.map(({ rule }) => rule) ?? null;
  const status = layers?.status ?? [];
  return { settings, policy, files, problems: findings.warnings(), source, catalog, tests, layers: status, ceiling };
}

function groupsOf(rules: readonly PlacedRule[]): Set<string> {
  return new Set(rules.flatMap(({ rule }) => (rule.group === null ? [] : [rule.group])));
}

/**
 * The public keys that a policy file names under `catalog.keys`: also of one that is not valid under the catalog it was accepted with.
 * @throws SallyportError where the file is no YAML, or what it says of the catalog is not allowed
 */
export function catalogKeys(file: string): readonly string[] {
  const document = readFile(file);
  const parsed = parseRaw(document.value, {});
  const findings = new Findings(file, (problem) => placeOf(problem, document, parsed));
  findings.add(parsed.problems.filter(({ path }) => path[0] === 'catalog'));
  if (findings.hasErrors) throw findings.error();
  return parsed.raw.catalog?.keys ?? [];
}

interface ReadDocument extends SourceDocument {
  readonly bytes: number;
  readonly read: FileRead | null;
}

/** Without a file: the hosts that every agent needs, and nothing else. */
const BUILT_IN: ReadDocument = {
  value: { version: 1, allow: [{ group: 'buildkite-agent' }] },
  bytes: 0,
  read: null,
  place: () => ({ file: 'built-in', line: 0, column: 0 }),
};

function originText({ file, line }: SourcePlace): string {
  return line === 0 ? file : `${file}:${line}`;
}

function readFile(file: string): ReadDocument {
  const { text, bytes, read } = readTextFile(file);
  return { ...parseText(file, text), bytes, read };
}

function read(file: string, text: string): ReadDocument {
  return { ...parseText(file, text), bytes: Buffer.byteLength(text), read: null };
}

/** limits.config_bytes below the default: the file itself must keep to it. The default bounds what is read before that. */
function sizeProblems(bytes: number, settings: Settings): PathProblem[] {
  const max = settings.limits.config_bytes;
  if (bytes <= max) return [];
  const message = `this file has ${bytes} bytes; config_bytes allows ${max}`;
  const { hint } = OPERATOR_ERRORS['config-too-large'];
  return [{ code: 'config-too-large', severity: 'error', path: ['limits', 'config_bytes'], key: false, message, hint }];
}

function catalogFolders(file: string | null, parsed: Parsed, findings: Findings): readonly string[] {
  const named = parsed.raw.catalog?.dir;
  const folder = named ?? (file === null ? undefined : join(dirname(file), CATALOG_FOLDER));
  if (folder === undefined) return [];
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return [folder];
  if (named !== undefined) {
    const message = `the folder ${named} does not exist`;
    const { hint } = OPERATOR_ERRORS['config-unreadable'];
    findings.add([
      { code: 'config-unreadable', severity: 'error', path: ['catalog', 'dir'], key: false, message, hint },
    ]);
  }
  return [];
}

/** Whom the files of layers are for, with the place of each entry. */
function scopesOf({ layers }: Parsed['raw']): NonNullable<LintInput['scopes']> {
  return (layers?.pipelines ?? []).map(({ file, for: selector, accept = [] }, index) => ({
    path: ['layers', 'pipelines', index],
    file,
    for: selector as Selector,
    accept,
  }));
}

function layerPaths(file: string | null, { layers }: Parsed['raw']): string[] {
  const { ceiling, pipelines = [] } = layers ?? {};
  const named = [...(ceiling === undefined ? [] : [ceiling]), ...pipelines.map((one) => one.file)];
  return named.map((one) => join(dirname(file ?? '.'), one));
}

function readCatalog(
  folders: readonly string[],
  lock: string | null,
  findings: Findings,
  read: FileRead[],
): Catalog | null {
  try {
    return loadCatalog(folders, lock ?? undefined, read);
  } catch (cause) {
    if (!(cause instanceof SallyportError)) throw cause;
    findings.addPlaced(cause.problems);
    return null;
  }
}

function machineAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((list) =>
    (list ?? []).map(({ address }) => address.split('%')[0] ?? address),
  );
}

function holds(value: unknown, path: readonly string[]): boolean {
  let inner = value;
  for (const part of path) {
    if (typeof inner !== 'object' || inner === null || !Object.hasOwn(inner, part)) return false;
    inner = Reflect.get(inner, part);
  }
  return true;
}

/** Where a problem stands; null for what the command line gave. */
function placeOf(problem: PathProblem, document: SourceDocument, parsed: Parsed): SourcePlace | null {
  const { path, key } = problem;
  if ([path.slice(0, 1), path.slice(0, 2)].some((start) => parsed.overridden.has(start.join('.')))) return null;
  const at = document.place(path, key ? 'key' : 'value');
  return at.line === 0 ? null : at;
}
