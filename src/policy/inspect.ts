// Rules below the host: whether one decrypted request may pass, by its method, path, query and header fields.
// PURE. The target is judged as it was sent; what an origin may read in another way passes only where every reading of it is let
// through, else it is refused as request-ambiguous. A deny wins, and is matched loosely (decoded, whatever the case): it may refuse too much.
// What is allowed is matched exactly. `Inspection` is plain data that structured clone copies.
import { DEFAULT_LIMITS } from '../limits.ts';
import type { CompiledPolicy, Mode } from './compile.ts';
import { type Located, locateBucket } from './inspect-bucket.ts';
import {
  fieldsMatch,
  hasMethod,
  hasMethodLoosely,
  pathOverridden,
  queryMatches,
  TWO_READINGS,
  withOverrides,
} from './inspect-conditions.ts';
import { ambiguousText, deniedRequestText, requestNearest } from './inspect-text.ts';
import { coversAll, type Place, patternMatches, patternMatchesLoosely } from './path-pattern.ts';
import type { Nearest, Verdict } from './record.ts';
import { globMatches } from './selector.ts';
import { readTarget, type Target } from './target.ts';
import { RuleViews } from './view.ts';

/** A key of the query, or a header field in lower case, and the globs of which one must match its value. */
export interface Condition {
  readonly name: string;
  readonly globs: readonly string[];
}

/** One line of `allow` or `deny` below a rule, or one that a preset (git, s3, read_only) stands for. */
export interface InspectEntry {
  /** As it is shown: `GET /acme/**`, `git push acme/*`. */
  readonly text: string;
  /** `file:line`. */
  readonly origin: string;
  /** null: every method but CONNECT and TRACE. */
  readonly methods: readonly string[] | null;
  /** Segments: `*` is any characters of one, `**` any number of them. With `buckets`: of what follows the bucket. */
  readonly path: readonly string[];
  /** null: the query does not matter; `none`: there must be none. Keys that are not named are free. */
  readonly query: readonly Condition[] | 'none' | null;
  readonly headers: readonly Condition[];
  /** S3: globs of the bucket, which stands in the host or first in the path; null: no matter of buckets. */
  readonly buckets: readonly string[] | null;
}

/** What a rule with `inspect` says of the requests to its host. */
export interface Inspection {
  readonly allow: readonly InspectEntry[];
  readonly deny: readonly InspectEntry[];
  /** The host of an S3 endpoint that is not of AWS: buckets are names below it, or first in its paths. */
  readonly endpoint: string;
  /** For one job (or asker), all its requests to the rule together; null: no bound. */
  readonly maxUploadBytes: number | null;
  /** For one response; null: no bound. */
  readonly maxResponseBytes: number | null;
  readonly websocket: boolean;
  /** A file with the certificates that the origin's must lead to; null: those of the system. */
  readonly upstreamCa: string | null;
}

export interface InspectedRequest {
  readonly method: string;
  /** The raw target as it will be sent on. */
  readonly target: string;
  /** The canonical host: of the CONNECT, and of Host or :authority, which the caller has compared. */
  readonly host: string;
  /** Names and values in turn, as in rawHeaders; null where somebody only asks: what `allow` wants is there then, what `deny` names is not. */
  readonly headers: readonly string[] | null;
}

export type RequestReason = 'request-not-allowed' | 'request-denied' | 'request-ambiguous';

export type RequestAnswer =
  | { readonly verdict: 'allow'; readonly entry: InspectEntry }
  | {
      readonly verdict: 'deny';
      readonly reason: RequestReason;
      /** The deny that refused it; else null. */
      readonly entry: InspectEntry | null;
      /** The nearest line, why it does not match, and the line that would let it through. */
      readonly nearest: Nearest | null;
    };

/** Decides one request on an inspected connection. */
export function decideRequest(
  inspection: Inspection,
  request: InspectedRequest,
  limits: { readonly inspected_target_bytes: number } = DEFAULT_LIMITS,
): RequestAnswer {
  const read = readTarget(request.target, limits.inspected_target_bytes);
  if (read === null) return ambiguous(inspection, 'a target that is no path');
  const target = pathOverridden(request.headers)
    ? { ...read, doubt: 2 as const, why: 'a header field that names another path' }
    : read;
  let allowed: RequestAnswer | null = null;
  // A method in a header field (X-HTTP-Method-Override) is the one that some origins take: each must be let through.
  const methods = withOverrides(request.method, request.headers, target.query);
  if (methods === null) return ambiguous(inspection, TWO_READINGS);
  for (const method of methods) {
    const answer = decideMethod(inspection, { ...request, method }, target);
    if (answer.verdict === 'deny') return answer;
    allowed ??= answer;
  }
  return allowed ?? ambiguous(inspection, 'no method');
}

function decideMethod(inspection: Inspection, request: InspectedRequest, target: Target): RequestAnswer {
  const located = locateBucket(request.host, inspection.endpoint, target);
  for (const entry of inspection.deny) {
    const found = denies(entry, request, target, located);
    if (found === 'yes') {
      return { verdict: 'deny', reason: 'request-denied', entry, nearest: deniedRequestText(entry) };
    }
    if (found === 'perhaps') return ambiguous(inspection, target.why === '' ? TWO_READINGS : target.why);
  }
  let doubt: string | null = null;
  for (const entry of inspection.allow) {
    const found = allows(entry, request, target, located);
    if (found === true) return { verdict: 'allow', entry };
    if (found !== false) doubt ??= found;
  }
  if (doubt !== null) return ambiguous(inspection, doubt);
  return {
    verdict: 'deny',
    reason: 'request-not-allowed',
    entry: null,
    nearest: requestNearest(inspection, request, target),
  };
}

/** @param what the request has that two readers take differently, in words */
function ambiguous(inspection: Inspection, what: string): RequestAnswer {
  return { verdict: 'deny', reason: 'request-ambiguous', entry: null, nearest: ambiguousText(inspection, what) };
}

/** True, false, or in words what keeps a request from passing that would pass in one reading. */
function allows(entry: InspectEntry, request: InspectedRequest, target: Target, located: Located): boolean | string {
  if (!hasMethod(entry, request.method)) return false;
  const place = placeFor(entry, target, located);
  if (place === null) return false;
  const path = patternMatches(entry.path, place);
  if (path === false) return false;
  const query = queryMatches(entry.query, target.query);
  if (query === false) return false;
  const fields = fieldsMatch(entry.headers, request.headers);
  if (fields === false) return false;
  if (path === 'doubt') return target.why;
  if (query !== true) return query;
  return fields;
}

/** Of an entry with buckets: what follows the bucket, where it is one of them. */
function placeFor({ buckets }: InspectEntry, target: Target, located: Located): Place | null {
  if (buckets === null) return { ...target, whole: true };
  return located !== null && buckets.some((glob) => globMatches(glob, located.bucket)) ? located.place : null;
}

/** `perhaps`: a reading of it would be denied, or nobody knows. */
function denies(
  entry: InspectEntry,
  request: InspectedRequest,
  target: Target,
  located: Located,
): 'yes' | 'no' | 'perhaps' {
  if (!hasMethodLoosely(entry, request.method)) return 'no';
  const place = placeFor(entry, target, located);
  if (place === null) return 'no';
  const path = coversAll(entry.path) || patternMatchesLoosely(entry.path, place.segments);
  const unsure = !path && place.doubt > 0;
  if (!path && !unsure) return 'no';
  const query = queryMatches(entry.query, target.query, 'any');
  if (query === false || !fieldsMatch(entry.headers, request.headers, 'any')) return 'no';
  return unsure || query !== true ? 'perhaps' : 'yes';
}

/** What an answer comes to: observe lifts that no line lets it through, and nothing that somebody said or nobody can read. */
export function verdictBelow(answer: RequestAnswer, mode: Mode): Verdict {
  if (answer.verdict === 'allow') return 'allow';
  return mode === 'observe' && answer.reason === 'request-not-allowed' ? 'observe' : 'deny';
}

/** The patterns of hosts that a policy inspects, each once, as they are written: `github.com`, `*.s3.amazonaws.com`. */
export function inspectedNames(compiled: CompiledPolicy): string[] {
  const names = new Set<string>();
  const views = new RuleViews(compiled);
  for (let index = 0; index < compiled.ruleCount; index += 1) {
    if ((compiled.inspectRow[index] ?? 0) !== 0) names.add(views.at(index).pattern);
  }
  return [...names];
}
