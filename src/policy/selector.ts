// `for:` selectors: attribute → globs. Matched against PROVEN attributes only; what a client merely claims of itself
// never selects anything. Globs know `*` and nothing else: no regular expressions are made from what people write.
import type { Attribute, Attributes, Identity } from './record.ts';

/** Every attribute given must match one of its globs. */
export type Selector = Readonly<Partial<Record<Attribute, readonly string[]>>>;

/**
 * True where the text matches the glob; `*` stands for any characters, none included. Case counts: branches differ by it.
 * Runs in length × length at worst, without recursion.
 */
export function globMatches(glob: string, text: string): boolean {
  let g = 0;
  let t = 0;
  let star = -1;
  let resume = 0;
  while (t < text.length) {
    if (g < glob.length && glob.charCodeAt(g) === 42) {
      star = g;
      resume = t;
      g += 1;
    } else if (g < glob.length && glob.charCodeAt(g) === text.charCodeAt(t)) {
      g += 1;
      t += 1;
    } else if (star >= 0) {
      // The last star takes one more character.
      g = star + 1;
      resume += 1;
      t = resume;
    } else {
      return false;
    }
  }
  while (g < glob.length && glob.charCodeAt(g) === 42) g += 1;
  return g === glob.length;
}

/**
 * True where every text that the inner glob matches is matched by one of the outer ones. Exact: a star of the inner glob may stand for a
 * character that no outer glob has, and that only a star of an outer glob can take.
 */
export function globCovered(inner: string, outer: readonly string[]): boolean {
  return outer.some((glob) => globMatches(glob, inner));
}

/** True where every attribute of the selector is proven and matches one of its globs. An empty selector selects everyone. */
export function selectorMatches(selector: Selector, attributes: Attributes): boolean {
  for (const name in selector) {
    const attribute = name as Attribute;
    const globs = selector[attribute];
    if (globs === undefined) continue;
    const value = attributes[attribute];
    if (value === undefined || !globs.some((glob) => globMatches(glob, value))) return false;
  }
  return true;
}

/** The same text for selectors that say the same of the same attributes, whatever their order; '' for none, which is everyone. */
export function selectorKey(selector: Selector | null): string {
  return selector === null ? '' : JSON.stringify(Object.entries(selector).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** A selector for people: `pipeline web or api, branch main`. */
export function selectorText(selector: Selector): string {
  return Object.entries(selector)
    .map(([name, globs]) => `${name} ${globs.join(' or ')}`)
    .join(', ');
}

/** True for identities that prove nothing: no selector matches them, whatever they say of themselves. */
export function isUnproven(identity: Identity): boolean {
  return identity.kind === 'anonymous' || identity.kind === 'claimed';
}

/**
 * True for who sent no credentials at all, and so may be asked for some. A claim was sent: asking again would loop or prompt.
 * @param known whether this proxy knows credentials: then who is known by address or certificate alone may have them too (git sends
 *   them when it is asked, and not before)
 */
export function mayBeAsked(identity: Identity, known: boolean): boolean {
  if (identity.kind === 'anonymous') return true;
  if (!known || (identity.kind !== 'address' && identity.kind !== 'certificate')) return false;
  return Object.keys(identity.claimed).length === 0;
}
