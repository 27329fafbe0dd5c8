// Patterns of paths: `*` is any characters of one segment, `**` any number of segments, none included. PURE.
// Exact matching is for what is allowed: by raw segments, and what an origin may read in another way only where the pattern spells it
// out, or where every reading is matched too. Loose matching is for what is denied: decoded, whatever the case, with or without a last slash.

import { globMatches } from './selector.ts';
import { capitalEscapes, type Doubt, decoded, doubtOf } from './target.ts';

const ANY = '**';
/** Longer patterns are nobody's. */
const PATTERN_LENGTH_MAX = 1_024;

export type PatternProblem = { readonly problem: string; readonly hint?: string };

/** A pattern as it is written → its segments, or what is wrong with it. */
export function parsePathPattern(text: string): { readonly segments: readonly string[] } | PatternProblem {
  if (text.length > PATTERN_LENGTH_MAX) return { problem: `the path has more than ${PATTERN_LENGTH_MAX} characters` };
  if (!text.startsWith('/')) {
    const hint = /^https?:\/\//.test(text) ? 'Write the path alone, such as /acme/**.' : `Did you mean /${text}?`;
    return { problem: `${JSON.stringify(text)} does not begin with a slash`, hint };
  }
  if (text.includes('?')) {
    return { problem: `${JSON.stringify(text)} has a query`, hint: 'Write the path alone, and query: { key: value }.' };
  }
  const segments = capitalEscapes(text.slice(1)).split('/');
  for (const [index, segment] of segments.entries()) {
    if (segment === '' && index < segments.length - 1)
      return { problem: `${JSON.stringify(text)} has an empty segment` };
    if (segment === ANY) continue;
    if (segment.includes(ANY)) {
      const hint = 'Write * for any characters of a segment, or /**/ for any number of segments.';
      return { problem: `${JSON.stringify(text)}: ** stands alone in its segment`, hint };
    }
    const [doubt, why] = doubtOf(segment);
    if (doubt === 2) {
      return {
        problem: `${JSON.stringify(text)} has ${why}, which origins read differently`,
        hint: 'Write the path plainly; of escapes, %2F may be spelled out.',
      };
    }
  }
  return { segments };
}

/** Segments that a pattern is held against. */
export interface Place {
  readonly segments: readonly string[];
  readonly doubts: readonly Doubt[];
  readonly doubt: Doubt;
  /** Whether every path is the same to `/**`, however it is read; not where something before these segments decides. */
  readonly whole: boolean;
}

/** Matches, does not, or would if nobody read the path in another way. */
export function patternMatches(pattern: readonly string[], place: Place): boolean | 'doubt' {
  const { segments, doubts, doubt } = place;
  if (place.whole && coversAll(pattern)) return true;
  const plain = walk(
    pattern,
    segments,
    (glob, index) => segmentMatches(glob, segments[index] ?? '', doubts[index] ?? 0, false),
    (index) => (doubts[index] ?? 0) < 2,
  );
  // A doubt of the whole target (its length, a header field) is in no segment.
  if (plain) return doubt === 2 && !doubts.includes(2) ? 'doubt' : true;
  if (doubt === 0) return false;
  const lax = walk(
    pattern,
    segments,
    (glob, index) => segmentMatches(glob, segments[index] ?? '', 0, true),
    () => true,
  );
  return lax ? 'doubt' : false;
}

/** True where every path that the inner pattern matches is matched by the outer one. */
export function patternCovers(outer: readonly string[], inner: readonly string[]): boolean {
  // A star of the inner pattern is a character that only a star of the outer one can take; an encoded slash is spelled out by both.
  const one = (glob: string, index: number): boolean => {
    const segment = inner[index] ?? '';
    return segment !== ANY && segmentMatches(glob, segment, doubtOf(segment)[0], false);
  };
  return walk(outer, inner, one, () => true);
}

/** True for the pattern of every path. */
export function coversAll(pattern: readonly string[]): boolean {
  return pattern.length === 1 && pattern[0] === ANY;
}

/** For a deny: what the path becomes to an origin that decodes it and knows no case. */
export function patternMatchesLoosely(pattern: readonly string[], segments: readonly string[]): boolean {
  const globs = trimmed(pattern.map(folded));
  const texts = trimmed(segments.map(folded));
  return walk(
    globs,
    texts,
    (glob, index) => globMatches(glob, texts[index] ?? ''),
    () => true,
  );
}

function folded(segment: string): string {
  return (decoded(segment) ?? segment).normalize('NFKC').toLowerCase();
}

function trimmed(segments: readonly string[]): readonly string[] {
  return segments.at(-1) === '' ? segments.slice(0, -1) : segments;
}

/** An encoded slash is matched by a star only where the rest is free too: by `**`, or by a text that spells it out. */
function segmentMatches(glob: string, segment: string, doubt: Doubt, lax: boolean): boolean {
  if (glob === segment) return true;
  if (!glob.includes('*') || segment === '') return false;
  if (doubt === 0 || lax) return globMatches(glob, segment);
  const star = glob.indexOf('*');
  if (doubt === 2 || glob.includes('*', star + 1)) return false;
  const [head, tail] = [glob.slice(0, star), glob.slice(star + 1)];
  if (segment.length < head.length + tail.length || !segment.startsWith(head) || !segment.endsWith(tail)) return false;
  return doubtOf(segment.slice(head.length, segment.length - tail.length))[0] === 0;
}

/** Segments against a pattern with `**`; like a glob of characters, in length × length at worst. */
function walk(
  pattern: readonly string[],
  segments: readonly string[],
  one: (glob: string, index: number) => boolean,
  swallows: (index: number) => boolean,
): boolean {
  let p = 0;
  let s = 0;
  let star = -1;
  let resume = 0;
  while (s < segments.length) {
    const glob = pattern[p];
    if (glob === ANY) {
      star = p;
      resume = s;
      p += 1;
    } else if (glob !== undefined && one(glob, s)) {
      p += 1;
      s += 1;
    } else if (star >= 0 && swallows(resume)) {
      p = star + 1;
      resume += 1;
      s = resume;
    } else {
      return false;
    }
  }
  while (pattern[p] === ANY) p += 1;
  return p === pattern.length;
}
