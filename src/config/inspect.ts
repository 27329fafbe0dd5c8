// A rule's inspect keys → the Inspection that is compiled, and what contradicts itself in them.
// PURE. A preset (git, s3, read_only) is lines that anybody could write; `text` keeps its own words for people.
// What could let a host be used past its lines (another protocol, an address, a group's SSH entry) is an error, not a warning.
import type { InspectEntry, Inspection } from '../policy/inspect.ts';
import type { Pattern } from '../policy/pattern.ts';
import { INSPECT_KEYS } from './inspect-schema.ts';
import { error, type PathProblem } from './issues.ts';
import type { AllowMapping } from './schema.ts';

type Origin = (path: readonly PropertyKey[]) => string;
type Line = NonNullable<AllowMapping['allow']>[number] | NonNullable<AllowMapping['deny']>[number];
type Path = readonly PropertyKey[];

const BYTES_A_MB = 1_000_000;
const ANY_PATH = { text: '/**', segments: ['**'] };
const READ = ['GET', 'HEAD'];
/** Header fields that open an object of S3 to others. */
const GRANT_FIELDS = ['read', 'write', 'read-acp', 'write-acp', 'full-control'].map((what) => `x-amz-grant-${what}`);

/** What the item says below its host, without what depends on the pattern; null where it is not inspected, or wrongly. */
export function inspectionOf(
  item: AllowMapping,
  path: Path,
  origin: Origin,
  problems: PathProblem[],
): Inspection | null {
  if (item.inspect !== true) {
    for (const key of INSPECT_KEYS) {
      if (item[key] === undefined) continue;
      const message = `${key} says what may pass below the host, and the rule is not inspected`;
      problems.push(error('config-conflict', [...path, key], message, `Write inspect: true, or remove ${key}.`));
    }
    return null;
  }
  const before = problems.length;
  if (item.protocol !== undefined && item.protocol !== 'tls') {
    const message = `the rule is inspected, and protocol ${item.protocol} is not TLS`;
    problems.push(error('config-conflict', [...path, 'protocol'], message, 'Remove protocol, or inspect.'));
  }
  for (const key of ['max_upload_mb', 'max_response_mb'] as const) {
    if (item.websocket !== true || item[key] === undefined) continue;
    const message = `${key} cannot be held for a WebSocket, and the rule has websocket: true`;
    const hint = 'Remove one of them; another host or port may have a rule of its own.';
    problems.push(error('config-conflict', [...path, key], message, hint));
  }
  const allow = [...lines(item.allow, READ, [...path, 'allow'], origin), ...presets(item, path, origin)];
  if (allow.length === 0) {
    const message = 'the rule is inspected and lets no request through';
    const hint = 'Write allow: [{ path: /acme/** }], git:, s3: or read_only: true; or deny the host.';
    problems.push(error('config-missing-key', [...path, 'inspect'], message, hint));
  }
  if (problems.length > before) return null;
  const deny = [...lines(item.deny, null, [...path, 'deny'], origin), ...s3Denies(item, path, origin)];
  return {
    allow,
    deny,
    endpoint: '',
    maxUploadBytes: bytesOf(item.max_upload_mb),
    maxResponseBytes: bytesOf(item.max_response_mb),
    websocket: item.websocket === true,
    upstreamCa: item.upstream_ca ?? null,
  };
}

/** The inspection for one host of the rule; null with a problem told where that host cannot be inspected. */
export function inspectionFor(
  inspection: Inspection,
  pattern: Pattern,
  path: Path,
  problems: PathProblem[],
): Inspection | null {
  if (pattern.kind === 'address') {
    const message = `${pattern.text} is an address, and an inspected host needs a name`;
    problems.push(error('config-conflict', [...path, 'inspect'], message, 'Write a rule for its name.'));
    return null;
  }
  const s3 = inspection.allow.some(({ buckets }) => buckets !== null);
  return s3 ? { ...inspection, endpoint: pattern.host } : inspection;
}

function bytesOf(megabytes: number | undefined): number | null {
  return megabytes === undefined ? null : Math.ceil(megabytes * BYTES_A_MB);
}

function lines(
  given: readonly Line[] | undefined,
  methods: readonly string[] | null,
  path: Path,
  origin: Origin,
): InspectEntry[] {
  return (given ?? []).map((line, index) => {
    const own = line.methods === undefined ? methods : line.methods === 'any' ? null : withHead(line.methods);
    const { text, segments } = line.path ?? ANY_PATH;
    const query = line.query === undefined || line.query === 'none' ? (line.query ?? null) : conditions(line.query);
    const verbs = own === null ? 'any method' : own.join(', ');
    const headers = conditions(line.headers ?? {}).map(({ name, globs }) => ({ name: name.toLowerCase(), globs }));
    const fields = headers.length === 0 ? '' : ` with ${headers.map(({ name }) => name).join(', ')}`;
    return {
      ...blank(`${verbs} ${text}${queryText(query)}${fields}`, origin([...path, index])),
      methods: own,
      path: segments,
      query,
      headers,
    };
  });
}

/** Behind a path, for people: the keys that it wants. */
function queryText(query: InspectEntry['query']): string {
  if (query === null) return '';
  return query === 'none' ? ' without a query' : `?${query.map(({ name }) => `${name}=…`).join('&')}`;
}

function blank(text: string, origin: string): InspectEntry {
  return { text, origin, methods: READ, path: ['**'], query: null, headers: [], buckets: null };
}

/** Whoever may GET may ask for the head of it. */
function withHead(methods: readonly string[]): string[] {
  const all = methods.includes('GET') ? [...methods, 'HEAD'] : methods;
  return [...new Set(all)];
}

function conditions(given: Readonly<Record<string, readonly string[]>>): { name: string; globs: readonly string[] }[] {
  return Object.entries(given).map(([name, globs]) => ({ name, globs }));
}

function presets(item: AllowMapping, path: Path, origin: Origin): InspectEntry[] {
  const entries: InspectEntry[] = [];
  if (item.read_only === true) entries.push(blank('GET, HEAD /**', origin([...path, 'read_only'])));
  if (item.git !== undefined) entries.push(...gitEntries(item.git, [...path, 'git'], origin));
  if (item.s3 !== undefined) entries.push(...s3Entries(item.s3, origin([...path, 's3'])));
  return entries;
}

/** Smart HTTP alone: what Git asks for where it may not fall back to plain files. */
function gitEntries(git: NonNullable<AllowMapping['git']>, path: Path, origin: Origin): InspectEntry[] {
  const entries: InspectEntry[] = [];
  const smart = (verb: string, service: string, text: string, repository: readonly string[], at: string): void => {
    const entry = blank(`git ${verb} ${text}`, at);
    for (const base of spellings(repository)) {
      const query = [{ name: 'service', globs: [service] }];
      entries.push({ ...entry, methods: ['GET'], path: [...base, 'info', 'refs'], query });
      entries.push({ ...entry, methods: ['POST'], path: [...base, service] });
    }
  };
  if (git.fetch === null) smart('fetch', 'git-upload-pack', '**', ['**'], origin([...path, 'fetch']));
  git.fetch?.forEach(({ text, segments }, index) => {
    smart('fetch', 'git-upload-pack', text, segments, origin([...path, 'fetch', index]));
  });
  git.push?.forEach(({ text, segments }, index) => {
    smart('push', 'git-receive-pack', text, segments, origin([...path, 'push', index]));
  });
  git.lfs?.forEach(({ text, segments }, index) => {
    const entry = blank(`git lfs ${text}`, origin([...path, 'lfs', index]));
    for (const base of spellings(segments)) {
      entries.push({ ...entry, methods: ['POST'], path: [...base, 'info', 'lfs', 'objects', 'batch'] });
      entries.push({ ...entry, methods: ['GET', 'POST'], path: [...base, 'info', 'lfs', 'locks', '**'] });
    }
  });
  return entries;
}

/** With and without the `.git` that most servers take for the same repository. */
function spellings(repository: readonly string[]): (readonly string[])[] {
  const last = repository.at(-1) ?? '';
  if (last === '*' || last === '**') return [repository];
  return [repository, [...repository.slice(0, -1), `${last}.git`]];
}

function s3Entries({ buckets, write }: NonNullable<AllowMapping['s3']>, at: string): InspectEntry[] {
  const shown = buckets.join(', ');
  const read = { ...blank(`S3 read ${shown}`, at), buckets };
  if (write !== true) return [read];
  const text = `S3 write ${shown}`;
  return [
    read,
    { ...read, text, methods: ['PUT', 'POST', 'DELETE'], path: ['*', '**'] },
    { ...read, text, methods: ['POST'], path: [''], query: [{ name: 'delete', globs: ['*'] }] },
  ];
}

/** An object that is put readable for everybody is not in one's own bucket only. */
function s3Denies(item: AllowMapping, path: Path, origin: Origin): InspectEntry[] {
  if (item.s3?.write !== true) return [];
  const deny = { ...blank('changes of S3 access lists', origin([...path, 's3'])), methods: ['PUT', 'POST', 'DELETE'] };
  return [
    { ...deny, query: [{ name: 'acl', globs: ['*'] }] },
    { ...deny, headers: [{ name: 'x-amz-acl', globs: ['public-*', 'authenticated-read'] }] },
    ...GRANT_FIELDS.map((name) => ({ ...deny, headers: [{ name, globs: ['*'] }] })),
  ];
}
