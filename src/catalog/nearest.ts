// The nearest known spelling of a word that is not known: for messages only, never to accept the word.
// PURE. Distance is Damerau-Levenshtein (optimal string alignment): a swap of two letters is one slip.

/** Words longer than this are not compared: the text may come from anywhere, and the cost is length × length. */
const COMPARED_CHARACTERS_MAX = 64;

/**
 * The candidate within a third of the word's length (at least 1, at most 3 slips), or null.
 * Upper and lower case, and _ for -, count as no slip at all.
 */
export function nearestSpelling(word: string, candidates: Iterable<string>): string | null {
  if (word.length === 0 || word.length > COMPARED_CHARACTERS_MAX) return null;
  const plain = fold(word);
  let best: string | null = null;
  let bestSlips = Math.min(3, Math.max(1, Math.floor(word.length / 3))) + 1;
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - word.length) >= bestSlips) continue;
    const slips = distance(plain, fold(candidate));
    if (slips < bestSlips) {
      best = candidate;
      bestSlips = slips;
    }
  }
  return best;
}

function fold(text: string): string {
  return text.toLowerCase().replaceAll('_', '-');
}

function distance(a: string, b: string): number {
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= b.length; column += 1) {
      const same = a[row - 1] === b[column - 1];
      let slips = Math.min(
        (last[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (last[column - 1] ?? 0) + (same ? 0 : 1),
      );
      if (row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]) {
        slips = Math.min(slips, (before[column - 2] ?? 0) + 1);
      }
      current.push(slips);
    }
    before = last;
    last = current;
  }
  return last[b.length] ?? 0;
}
