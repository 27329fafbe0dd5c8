// The words of a request that was refused below its host: which line is the nearest, why it does not match, and what would. PURE.
// A refused client reads them: values of the query and of header fields never stand in them.
import type { InspectEntry, InspectedRequest, Inspection } from './inspect.ts';
import { fieldsMatch, hasMethod, METHOD, queryMatches } from './inspect-conditions.ts';
import { yamlScalar } from './nearest-text.ts';
import { patternMatches } from './path-pattern.ts';
import type { Nearest } from './record.ts';
import type { Target } from './target.ts';

/** Characters of a path that is repeated in an answer. */
const SHOWN_MAX = 120;
const GIT_PATH = /^\/(.{1,200}?)(?:\.git)?\/(?:info\/refs|git-(upload|receive)-pack)$/;

export function deniedRequestText(entry: InspectEntry): Nearest {
  const why = `it is denied by ${entry.text} at ${entry.origin}; a deny always wins`;
  return { pattern: entry.text, rule: entry.origin, why, fix: '' };
}

/** An ambiguous request is mended at the client, not in the policy. */
export function ambiguousText(inspection: Inspection, what: string): Nearest {
  const [first] = inspection.allow;
  return {
    pattern: first?.text ?? '',
    rule: first?.origin ?? null,
    why: `it has ${what}, which origins read differently: send it plainly`,
    fix: '',
  };
}

/** The line that comes nearest: one whose path matches, else the one that shares most of its beginning. */
export function requestNearest(inspection: Inspection, request: InspectedRequest, target: Target): Nearest | null {
  let best: InspectEntry | null = null;
  let most = -1;
  for (const entry of inspection.allow) {
    const score = likeness(entry, request, target);
    if (score <= most) continue;
    most = score;
    best = entry;
  }
  if (best === null) return null;
  return { pattern: best.text, rule: best.origin, why: whyNot(best, request, target), fix: fixFor(request, target) };
}

function pathMatches(entry: InspectEntry, target: Target): boolean {
  return entry.buckets === null && patternMatches(entry.path, { ...target, whole: true }) === true;
}

function likeness(entry: InspectEntry, request: InspectedRequest, target: Target): number {
  const method = hasMethod(entry, request.method) ? 1 : 0;
  if (entry.buckets !== null) return method;
  if (pathMatches(entry, target)) return 1_000 + method;
  let same = 0;
  while (same < entry.path.length && entry.path[same] === target.segments[same]) same += 1;
  return same * 2 + method;
}

function whyNot(entry: InspectEntry, request: InspectedRequest, target: Target): string {
  const { method } = request;
  if (entry.buckets !== null) {
    const verb = hasMethod(entry, method) ? '' : ` by ${shown(method)}`;
    return `${shown(target.path)}${verb} is not what ${entry.text} at ${entry.origin} lets through`;
  }
  if (!pathMatches(entry, target)) return `${shown(target.path)} is not under ${entry.text} at ${entry.origin}`;
  if (!hasMethod(entry, method)) return `${entry.text} at ${entry.origin} does not let ${shown(method)} through`;
  if (queryMatches(entry.query, target.query) !== true) {
    const keys = entry.query === 'none' || entry.query === null ? 'no query' : listed('key', entry.query);
    return `${entry.text} at ${entry.origin} wants ${keys}`;
  }
  if (fieldsMatch(entry.headers, request.headers) !== true) {
    return `${entry.text} at ${entry.origin} wants ${listed('header field', entry.headers)}`;
  }
  return `${entry.text} at ${entry.origin} does not match`;
}

function listed(
  word: string,
  conditions: readonly { readonly name: string; readonly globs: readonly string[] }[],
): string {
  return conditions.map(({ name, globs }) => `the ${word} ${name} to be ${globs.join(' or ')}`).join(' and ');
}

/** The line that would let this through; '' where the path is better not copied into a policy. */
function fixFor({ method }: InspectedRequest, target: Target): string {
  const { path, query, doubt } = target;
  if (doubt > 0 || path.length > SHOWN_MAX || path.includes('*') || !METHOD.test(method)) return '';
  const [, repository, kind] = GIT_PATH.exec(path) ?? [];
  if (repository !== undefined) {
    const push = kind === undefined ? query === 'service=git-receive-pack' : kind === 'receive';
    return `git: { ${push ? 'push' : 'fetch'}: [${JSON.stringify(repository)}] }`;
  }
  return `{ methods: [${method}], path: ${yamlScalar(path)} }`;
}

function shown(text: string): string {
  return text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}…` : text;
}
