// Path rules for plain HTTP: which method and path pass where a host is open only in parts (instance metadata).
// The raw path is judged as it will be sent, so whatever an origin might read as another path is refused here:
// percent-encoding, empty and dot segments, parameters after `;`, and a query that the rule does not spell out.

/** A header field that a request must carry, in lower case; without a value any value will do. */
export interface RequiredField {
  readonly name: string;
  readonly value?: string;
}

export interface PathRule {
  /** As sent, capitals: `GET`, `PUT`. */
  readonly method: string;
  /** An absolute path; covers itself and what is below it, on segment boundaries. A segment `*` is any one segment. */
  readonly path: string;
  /** True: this very path (with its query, if it has one) and nothing below it. */
  readonly exact?: boolean;
  /** Metadata services want one, so that a request that somebody was talked into is none. */
  readonly field?: RequiredField;
}

/** Whether the request carries a field. What is decided without the request at hand says yes or no for all. */
export type Carries = (field: RequiredField) => boolean;

/** How a rule is shown: `GET /latest/… (with metadata-flavor: Google)`. */
export function pathRuleText({ method, path, exact, field }: PathRule): string {
  const below = exact === true ? '' : path.endsWith('/') ? '…' : '/…';
  const value = field?.value === undefined ? '' : `: ${field.value}`;
  return `${method} ${path}${below}${field === undefined ? '' : ` (with ${field.name}${value})`}`;
}

/** True for a path that every origin reads the same way. */
function isPlainPath(path: string): boolean {
  if (!path.startsWith('/')) return false;
  let segmentStart = 1;
  for (let at = 1; at <= path.length; at += 1) {
    const code = at === path.length ? 47 : path.charCodeAt(at);
    // % and ; can hide another path; ? begins a query; \ is a slash to some.
    if (code === 37 || code === 59 || code === 63 || code === 92) return false;
    if (code !== 47) continue;
    const length = at - segmentStart;
    if (length === 0 && at < path.length) return false;
    const segment = path.slice(segmentStart, at);
    if (segment === '.' || segment === '..') return false;
    segmentStart = at + 1;
  }
  return true;
}

function covers(rule: PathRule, path: string): boolean {
  if (path === rule.path && !rule.path.includes('*')) return true;
  if (!isPlainPath(path)) return false;
  if (rule.path.includes('*')) return coversSegments(rule, path);
  if (rule.exact === true) return false;
  return path.startsWith(rule.path.endsWith('/') ? rule.path : `${rule.path}/`);
}

/** With a `*` in the rule: segment by segment, the path already being plain. */
function coversSegments(rule: PathRule, path: string): boolean {
  const wanted = rule.path.split('/');
  const given = path.split('/');
  if (rule.exact === true ? given.length !== wanted.length : given.length < wanted.length) return false;
  return wanted.every((segment, index) => (segment === '*' ? given[index] !== '' : segment === given[index]));
}

/** True where one of the rules has this method, covers this raw path, and has the field that it wants. */
export function pathAllowed(rules: readonly PathRule[], method: string, path: string, carries: Carries): boolean {
  return rules.some(
    (rule) => rule.method === method && covers(rule, path) && (rule.field === undefined || carries(rule.field)),
  );
}
