// A request-target as it was sent → its segments and query, and where an origin may read it in another way than we do. PURE.
// Nothing is repaired or decoded: what is judged is what is sent. A doubt says which characters could be structure to somebody:
// what may only be another slash is one kind, what may lead anywhere (dot segments, `\`, NUL, double encoding) the other.

/** Nothing; a slash more than is seen; anything. */
export type Doubt = 0 | 1 | 2;
const NONE = 0;
const SLASH = 1;
const HARD = 2;

export interface Target {
  /** Without the query. */
  readonly path: string;
  /** null where there is no `?`. */
  readonly query: string | null;
  /** Between the slashes, the first slash left out; hexadecimal digits of escapes are in capitals. */
  readonly segments: readonly string[];
  /** Of each segment. */
  readonly doubts: readonly Doubt[];
  /** The worst of them. */
  readonly doubt: Doubt;
  /** What the first worst one is, in words; '' without a doubt. */
  readonly why: string;
}

/** The escapes of these may be structure: slash, backslash, dot, `;`, `?`, `#`. */
const STRUCTURE: ReadonlyMap<string, string> = new Map([
  ['5C', 'an encoded backslash (%5C)'],
  ['2E', 'an encoded dot (%2E)'],
  ['3B', 'an encoded semicolon (%3B)'],
  ['3F', 'an encoded question mark (%3F)'],
  ['23', 'an encoded number sign (%23)'],
]);
const ENCODED_SLASH = 'an encoded slash (%2F)';

/** Escapes in capitals, so that %2f and %2F are one spelling. */
export function capitalEscapes(text: string): string {
  return text.includes('%') ? text.replace(/%[0-9a-f]{2}/gi, (triple) => triple.toUpperCase()) : text;
}

/**
 * Reads an origin-form target.
 * @param bytesMax longer targets are in doubt: an origin may cut them
 * @returns null where it is none (`*`, an absolute URL): such a target names no path here
 */
export function readTarget(target: string, bytesMax: number): Target | null {
  if (!target.startsWith('/')) return null;
  const mark = target.indexOf('?');
  const path = mark < 0 ? target : target.slice(0, mark);
  const segments = capitalEscapes(path.slice(1)).split('/');
  const doubts: Doubt[] = [];
  let doubt: Doubt = NONE;
  let why = '';
  const note = (found: Doubt, words: string): void => {
    if (found <= doubt) return;
    doubt = found;
    why = words;
  };
  segments.forEach((segment, index) => {
    const empty = segment === '' && index < segments.length - 1;
    const [found, words] = empty ? ([HARD, 'an empty segment (//)'] as const) : doubtOf(segment);
    doubts.push(found);
    note(found, words);
  });
  if (target.length > bytesMax) note(HARD, `more than limits.inspected_target_bytes (${bytesMax}) characters`);
  return { path, query: mark < 0 ? null : target.slice(mark + 1), segments, doubts, doubt, why };
}

/** Whether a segment, or a part of one, may be read as something else, and why. */
export function doubtOf(segment: string): readonly [Doubt, string] {
  if (segment === '.' || segment === '..') return [HARD, `a dot segment (${segment})`];
  for (let at = 0; at < segment.length; at += 1) {
    const code = segment.charCodeAt(at);
    if (code === 92) return [HARD, 'a backslash'];
    if (code === 59) return [HARD, 'a semicolon'];
    if (code === 35) return [HARD, 'a number sign'];
    if (code <= 32 || code >= 127) return [HARD, 'a character that must be encoded'];
  }
  if (!segment.includes('%')) return [NONE, ''];
  return doubtOfEscapes(segment);
}

function doubtOfEscapes(segment: string): readonly [Doubt, string] {
  let slash = false;
  for (let at = segment.indexOf('%'); at >= 0; at = segment.indexOf('%', at + 3)) {
    const hex = segment.slice(at + 1, at + 3).toUpperCase();
    if (!/^[0-9A-F]{2}$/.test(hex)) return [HARD, 'a percent sign that is no escape'];
    const words = STRUCTURE.get(hex);
    if (words !== undefined) return [HARD, words];
    if (hex < '20' || hex === '7F') return [HARD, `an encoded control character (%${hex})`];
    if (hex === '2F') slash = true;
  }
  const text = decoded(segment);
  if (text === null) return [HARD, 'escapes that are not UTF-8'];
  if (/%[0-9a-f]{2}/i.test(text)) return [HARD, 'an escape that is encoded itself (%25)'];
  if (isFoldable(text)) return [HARD, 'a character that stands for a dot or a slash'];
  if (!slash) return [NONE, ''];
  // Read as slashes, they must not make an empty or a dot segment.
  const parts = segment.split('%2F');
  if (parts.some((part) => part === '' || part === '.' || part === '..'))
    return [HARD, `${ENCODED_SLASH} beside dots or slashes`];
  return [SLASH, ENCODED_SLASH];
}

/** Decoded as UTF-8; null where that is not possible (overlong forms are not UTF-8). */
export function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}

/** Full-width forms, leaders and the like: compatible with a character of structure, and folded to it by some. */
function isFoldable(text: string): boolean {
  const structure = /[./\\;?#%]/g;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII alone is never folded.
  if (/^[\u0000-\u007f]*$/.test(text)) return false;
  if (/[\u2215\u2044\u29f8]/.test(text)) return true;
  return (text.normalize('NFKC').match(structure)?.length ?? 0) !== (text.match(structure)?.length ?? 0);
}
