// What was refused below inspected hosts → the lines that would have let it through. PURE. Ids and versions in a path become a star, and many
// paths under one first segment become one pattern; a repository that Git asked for becomes a line of `git`. What a deny names, what
// nobody can read, and what its rule lets through by now are never proposed.
import { decideRequest, type Inspection } from '../policy/inspect.ts';
import { METHOD } from '../policy/inspect-conditions.ts';
import { yamlScalar } from '../policy/nearest-text.ts';
import { parsePathPattern } from '../policy/path-pattern.ts';
import { type Pattern, patternMatches } from '../policy/pattern.ts';

/** A path that was refused, as reports have it. */
export interface RefusedPath {
  readonly host: string;
  readonly port: number;
  readonly method: string;
  readonly path: string;
  readonly reason: string;
  readonly requests: number;
  /** The line that the refusal named; '' without one. */
  readonly fix: string;
  readonly pipelines: readonly string[];
}

export interface InspectedRule {
  readonly pattern: Pattern;
  readonly origin: string;
  readonly inspect: Inspection;
}

export interface SuggestedPath {
  readonly host: string;
  /** `file:line` of the rule that it goes under. */
  readonly origin: string;
  /** As it is written there: a line of `allow`, or `git: { … }`. */
  readonly line: string;
  readonly requests: number;
  readonly pipelines: readonly string[];
}

/** From so many paths under one first segment on they are one pattern. */
const MANY = 4;
/** Numbers, hashes, UUIDs and versions. */
const ID = /^(?:\d+|v?\d+(?:\.\d+)+[\w.-]*|(?=[a-f]*\d)[0-9a-f]{7,64}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/i;

/** The line that a refusal of Git names. */
const GIT_FIX = /^git: \{ (fetch|push): \["([^"\\]+)"\] \}$/;
const SERVICES: Readonly<Record<string, string>> = { fetch: 'upload', push: 'receive' };

/** The lines to add, the most asked for first. */
export function suggestPaths(refused: Iterable<RefusedPath>, rules: readonly InspectedRule[]): SuggestedPath[] {
  const hosts = new Map<string, { host: string; rule: InspectedRule; rows: RefusedPath[] }>();
  for (const row of refused) {
    if (row.reason !== 'request-not-allowed' || !/^\/[^*…(]*$/.test(row.path) || !isWritable(row)) continue;
    const rule = rules.find(({ pattern }) => patternMatches(pattern, row.host));
    if (rule === undefined || isAllowed(rule.inspect, row)) continue;
    const key = `${row.host} ${rule.origin}`;
    const known = hosts.get(key) ?? { host: row.host, rule, rows: [] };
    hosts.set(key, known);
    known.rows.push(row);
  }
  return [...hosts.values()].flatMap(({ host, rule, rows }) => linesOf(host, rule.origin, rows));
}

/** Whether a policy file can say it: what a client makes up must not become a proposal that does not load. */
function isWritable({ method, path, fix }: RefusedPath): boolean {
  const repository = GIT_FIX.exec(fix)?.[2];
  if (fix.startsWith('git:')) return repository !== undefined && isRepository(repository);
  return METHOD.test(method) && 'segments' in parsePathPattern(path);
}

function isRepository(name: string): boolean {
  return !/^\/|\/$|\.git$|:\/\//.test(name) && 'segments' in parsePathPattern(`/${name}`);
}

/** Of its query a record of Git has the service, and counts have nothing: the line for it says which it was. */
function isAllowed(inspect: Inspection, { method, path, host, fix }: RefusedPath): boolean {
  const kind = GIT_FIX.exec(fix)?.[1];
  const query = kind !== undefined && path.endsWith('/info/refs') ? `?service=git-${SERVICES[kind]}-pack` : '';
  return decideRequest(inspect, { method, target: path + query, host, headers: null }).verdict === 'allow';
}

function linesOf(host: string, origin: string, rows: readonly RefusedPath[]): SuggestedPath[] {
  const found = new Map<string, RefusedPath[]>();
  const put = (key: string, row: RefusedPath): void => void found.set(key, [...(found.get(key) ?? []), row]);
  const plain = rows.filter(({ fix }) => !fix.startsWith('git:'));
  for (const row of rows) if (row.fix.startsWith('git:')) put(row.fix, row);
  const families = new Map<string, Set<string>>();
  for (const { path } of plain) {
    const family = families.get(firstOf(path)) ?? new Set();
    families.set(firstOf(path), family.add(starred(path)));
  }
  for (const row of plain) {
    const isMany = (families.get(firstOf(row.path))?.size ?? 0) >= MANY;
    put(isMany ? `/${firstOf(row.path)}/**` : starred(row.path), row);
  }
  const lines = [...found].map(([what, of]) => ({
    host,
    origin,
    line: what.startsWith('git:') ? what : lineOf(what, of),
    requests: of.reduce((sum, { requests }) => sum + requests, 0),
    pipelines: [...new Set(of.flatMap(({ pipelines }) => pipelines))].sort(),
  }));
  return lines.sort((a, b) => b.requests - a.requests || (a.line < b.line ? -1 : 1));
}

/** GET covers HEAD, and is what a line without methods says. */
function lineOf(path: string, rows: readonly RefusedPath[]): string {
  const methods = [...new Set(rows.map(({ method }) => (method === 'HEAD' ? 'GET' : method)))].sort();
  const given =
    methods.length === 1 && methods[0] === 'GET' ? '' : `methods: [${methods.map(yamlScalar).join(', ')}], `;
  return `{ ${given}path: ${yamlScalar(path)} }`;
}

function firstOf(path: string): string {
  return path.split('/')[1] ?? '';
}

function starred(path: string): string {
  return path
    .split('/')
    .map((segment) => (ID.test(segment) ? '*' : segment))
    .join('/');
}
