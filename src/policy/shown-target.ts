// A request-target as records show it: the path, and of the query the names of its keys. PURE.
// Values carry signatures, tokens and what people search for, and what stands behind `;` carries sessions. What is in the path itself stays:
// it is what the rules are about; a token that somebody puts there is recorded, save in a few shapes that are known.
const VALUE = '…';
/** A key that looks like a name; anything else may be a secret that stands alone. */
const KEY = /^[A-Za-z0-9_.[\]-]{1,40}$/;
/** Says whether Git fetches or pushes, and is one of two. */
const GIT_SERVICE = /^service=git-(?:upload|receive)-pack$/;
/** Tokens that say of themselves what they are: GitHub, GitLab, Slack, AWS, Google, npm. */
const TOKEN = /(?:gh[pousr]_|github_pat_|glpat-|xox[abeprs]-|AKIA|ASIA|AIza|npm_)[\w-]{12,}/g;
/** A JWT where the group is there. A head alone is taken too: else each `eyJ` in it would be tried, up to its end. */
const JWT = /eyJ[\w-]{8,}(\.[\w-]{4,}(?:\.[\w-]*)?)?/g;

/** The path without secrets that are known by their shape, and `?key=…&other=…`; Git's service keeps its value. Showing it again changes nothing. */
export function shownTarget(target: string): string {
  const mark = target.search(/[?#]/);
  const path = shownPath(mark < 0 ? target : target.slice(0, mark));
  if (mark < 0) return path;
  if (target.charAt(mark) === '#') return `${path}#${VALUE}`;
  const query = target.slice(mark + 1);
  return `${path}?${query === '' ? '' : query.split('&').map(shownPair).join('&')}`;
}

/** The path alone: what is counted and compared with rules. */
export function shownPath(path: string): string {
  const mark = path.search(/[?#]/);
  const bare = mark < 0 ? path : path.slice(0, mark);
  return withoutTokens(bare.replace(/;[^/]*/g, `;${VALUE}`));
}

function withoutTokens(text: string): string {
  return text
    .replace(JWT, (head, rest: string | undefined) => (rest === undefined ? head : VALUE))
    .replace(TOKEN, VALUE);
}

function shownPair(pair: string): string {
  const equals = pair.indexOf('=');
  const name = equals < 0 ? pair : pair.slice(0, equals);
  // A short key that stands alone is a switch (`?acl`, `?uploads`); a longer one may be a secret.
  if (equals < 0) return KEY.test(name) && name.length <= 20 ? name : VALUE;
  if (GIT_SERVICE.test(pair)) return pair;
  return `${KEY.test(name) ? withoutTokens(name) : VALUE}=${equals === pair.length - 1 ? '' : VALUE}`;
}
