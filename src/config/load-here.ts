// A file, flags and the environment → LoadedConfig in this thread: the body of the loading thread, and for short commands.
// The only reader of the machine in config/. Nothing half-read ever comes out of here: a file that is missing, empty, damaged
// or wrong gives an error and no policy.
import { statSync } from 'node:fs';
import { hostname, networkInterfaces } from 'node:os';
import { dirname, join } from 'node:path';
import type { Catalog } from '../catalog/catalog.ts';
import { loadCatalog } from '../catalog/load.ts';
import type { FileRead } from '../catalog/load-signature.ts';
import { SallyportError, type SourcePlace } from '../errors.ts';
import type { PolicySource } from '../policy/compile.ts';
import type { Selector } from '../policy/selector.ts';
import { buildSettings, type Settings } from './config.ts';
import type { SourceDocument } from './document.ts';
import { Findings } from './findings.ts';
import { provable } from './identity.ts';
import { error, type PathProblem, valueAt } from './issues.ts';
import { type LintInput, lintRules } from './lint.ts';
import type { LoadedConfig, LoadOptions } from './load.ts';
import { CATALOG_FOLDER } from './load-beside.ts';
import { loadIdentity } from './load-identity.ts';
import { Layers } from './load-layers.ts';
import { lockOf, pendingProblems } from './load-lock.ts';
import { makePolicy } from './load-policy.ts';
import { followSource, sourceProblems } from './load-source.ts';
import { parseText, readTextFile } from './load-text.ts';
import { type Parsed, parseRaw } from './parse.ts';
import { buildPolicySource } from './policy-source.ts';
import type { PlacedRule } from './rules.ts';
import { type TestRequest, testRequests } from './trial.ts';

export interface LoadedHere extends LoadedConfig {
  readonly source: PolicySource;
  readonly catalog: Catalog;
  /** The requests that `tests:` is about. */
  readonly tests: readonly TestRequest[];
}

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
    origin: (path) => (valueAt(document.value, path) === undefined ? null : origin(path)),
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
    const { limits } = settings;
    layers = new Layers({ file: base, layers: raw.layers, catalog, lastGood, limits, inspects, files });
  }
  const made = makePolicy(built, catalog, layers, { tests: parsed.tests, place: origin, now });
  const rules = [...built.rules, ...(layers?.rules ?? [])];
  const { clientGroups, identity } = settings;
  const scopes = scopesOf(raw);
  // Of a policy that many nodes share, each of them has what proves an attribute.
  const proves = (selector: Selector): boolean => shared || provable(identity, selector);
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
  const { text, bytes, read } = readTextFile(file, 'Name an existing file; `sallyport init` writes one.');
  return { ...parseText(file, text), bytes, read };
}

function read(file: string, text: string): ReadDocument {
  return { ...parseText(file, text), bytes: Buffer.byteLength(text), read: null };
}

/** limits.config_bytes below the default: the file itself must keep to it. The default bounds what is read before that. */
function sizeProblems(bytes: number, settings: Settings): PathProblem[] {
  const max = settings.limits.config_bytes;
  if (bytes <= max) return [];
  return [
    error('config-too-large', ['limits', 'config_bytes'], `this file has ${bytes} bytes; config_bytes allows ${max}`),
  ];
}

function catalogFolders(file: string | null, parsed: Parsed, findings: Findings): readonly string[] {
  const named = parsed.raw.catalog?.dir;
  const folder = named ?? (file === null ? undefined : join(dirname(file), CATALOG_FOLDER));
  if (folder === undefined) return [];
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return [folder];
  if (named !== undefined)
    findings.add([error('config-unreadable', ['catalog', 'dir'], `the folder ${named} does not exist`)]);
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

/** Where a problem stands; null for what the command line gave. */
function placeOf(problem: PathProblem, document: SourceDocument, parsed: Parsed): SourcePlace | null {
  const { path, key } = problem;
  if ([path.slice(0, 1), path.slice(0, 2)].some((start) => parsed.overridden.has(start.join('.')))) return null;
  const at = document.place(path, key ? 'key' : 'value');
  return at.line === 0 ? null : at;
}
