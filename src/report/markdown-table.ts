// A table of a pull request: each cell is made harmless, and a long one is cut with its rest counted. PURE.
import { markdownCell } from './inert.ts';

/** Its lines, the last one empty, below a heading where there is a title; none without rows. */
export function markdownTable(
  title: string | null,
  head: readonly string[],
  rows: readonly (readonly string[])[],
  rowsMax: number,
): string[] {
  if (rows.length === 0) return [];
  const line = (row: readonly string[]): string => `| ${row.map(markdownCell).join(' | ')} |`;
  const more = rows.length - rowsMax;
  return [
    ...(title === null ? [] : [`### ${title}`, '']),
    line(head),
    `|${' --- |'.repeat(head.length)}`,
    ...rows.slice(0, rowsMax).map(line),
    ...(more > 0 ? ['', `… and ${more} more: --format json`] : []),
    '',
  ];
}
