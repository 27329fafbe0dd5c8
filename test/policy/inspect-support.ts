// Inspections from lines as a person would write them, for the tables of this folder.
import { decideRequest, type InspectEntry, type Inspection } from '../../src/policy/inspect.ts';
import { parsePathPattern } from '../../src/policy/path-pattern.ts';

interface Line {
  readonly methods?: readonly string[] | null;
  readonly path?: string;
  readonly query?: Readonly<Record<string, readonly string[]>> | 'none';
  readonly headers?: Readonly<Record<string, readonly string[]>>;
  readonly buckets?: readonly string[];
}

function conditions(given: Readonly<Record<string, readonly string[]>>): InspectEntry['headers'] {
  return Object.entries(given).map(([name, globs]) => ({ name, globs }));
}

function entry({ methods = ['GET'], path = '/**', query, headers = {}, buckets }: Line): InspectEntry {
  const parsed = parsePathPattern(path);
  if (!('segments' in parsed)) throw new Error(parsed.problem);
  return {
    text: `${methods?.join(', ') ?? 'any'} ${path}`,
    origin: 'policy.yaml:1',
    methods,
    path: parsed.segments,
    query: query === undefined ? null : query === 'none' ? 'none' : conditions(query),
    headers: conditions(headers),
    buckets: buckets ?? null,
  };
}

export function inspection(
  allow: readonly Line[],
  deny: readonly Line[] = [],
  more: Partial<Inspection> = {},
): Inspection {
  return {
    allow: allow.map(entry),
    deny: deny.map((line) => entry({ methods: null, ...line })),
    endpoint: '',
    maxUploadBytes: null,
    maxResponseBytes: null,
    websocket: false,
    upstreamCa: null,
    ...more,
  };
}

interface Asked {
  readonly host?: string;
  readonly headers?: readonly string[];
}

/** `allow`, or the reason. */
export function ask(inspected: Inspection, what: string, { host = 'git.example', headers = [] }: Asked = {}): string {
  const space = what.indexOf(' ');
  const answer = decideRequest(inspected, {
    method: what.slice(0, space),
    target: what.slice(space + 1),
    host,
    headers,
  });
  return answer.verdict === 'allow' ? 'allow' : answer.reason;
}

export const AMBIGUOUS = 'request-ambiguous';
export const NOT_ALLOWED = 'request-not-allowed';
export const DENIED = 'request-denied';
