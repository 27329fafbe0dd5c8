// Path rules for plain HTTP: which method and path pass where a host is open only in parts (instance metadata).
// The raw path is judged as it will be sent, so whatever an origin might read as another path is refused here:
// percent-encoding, empty and dot segments, parameters after `;`, and a query that the rule does not spell out.

export interface PathRule {
  /** As sent, capitals: `GET`, `PUT`. */
  readonly method: string;
  /** An absolute path; covers itself and what is below it, on segment boundaries. */
  readonly path: string;
  /** True: this very path (with its query, if it has one) and nothing below it. */
  readonly exact?: boolean;
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
  if (path === rule.path) return true;
  if (rule.exact === true || !isPlainPath(path)) return false;
  return path.startsWith(rule.path.endsWith('/') ? rule.path : `${rule.path}/`);
}

/** True where one of the rules has this method and covers this raw path. */
export function pathAllowed(rules: readonly PathRule[], method: string, path: string): boolean {
  return rules.some((rule) => rule.method === method && covers(rule, path));
}
