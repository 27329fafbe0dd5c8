// The window of a report as typed: --from (or --since) and --to (or --until), each a span back from now or a date or time.
import { type Input, moment, usage } from './input.ts';

/**
 * Milliseconds; `since` is where it begins unless something is typed, null for the beginning of time.
 * @throws SallyportError `usage`
 */
export function windowOf(
  input: Input,
  now: number,
  since: string | null,
): { readonly from: number; readonly to: number } {
  const begin = oneOf(input, 'from', 'since');
  const end = oneOf(input, 'to', 'until');
  const otherwise = since === null ? Number.NEGATIVE_INFINITY : moment(since, 'from', now);
  const from = begin === null ? otherwise : moment(begin.text, begin.option, now);
  const to = end === null ? now : moment(end.text, end.option, now);
  if (from > to) throw usage('the window ends before it begins', 'Exchange the two.');
  return { from, to };
}

function oneOf(input: Input, name: string, alias: string): { readonly option: string; readonly text: string } | null {
  const [first, second] = [input.text(name), input.text(alias)];
  if (first !== null && second !== null) throw usage(`--${name} and --${alias} are the same`, 'Give one of the two.');
  if (first !== null) return { option: name, text: first };
  return second === null ? null : { option: alias, text: second };
}
