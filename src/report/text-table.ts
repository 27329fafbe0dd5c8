// Aligned columns for a terminal. Cells are made inert here, so that no caller can forget it; widths count code points, and
// the widest columns give way where the terminal is narrow (cut in the middle, because host names differ at both ends).
import { inert } from './inert.ts';

export interface TableOptions {
  /** Columns of the terminal. */
  readonly width: number;
  /** Places of the columns that are aligned to the right. */
  readonly right: readonly number[];
  /** Changes a finished line, for colour; it gets the place of the row. */
  readonly paint?: (line: string, row: number) => string;
  readonly indent?: number;
}

const GAP = 2;
const COLUMN_MIN = 12;

/** The table with a head line; empty columns are left out. Ends with a line end. */
export function textTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  options: TableOptions,
): string {
  const cells = rows.map((row) => row.map((cell) => inert(cell)));
  const used = head.map((_, column) => column).filter((column) => cells.some((row) => (row[column] ?? '') !== ''));
  const indent = ' '.repeat(options.indent ?? 0);
  const widths = squeeze(
    used.map((column) =>
      cells.reduce((most, row) => Math.max(most, length(row[column] ?? '')), length(head[column] ?? '')),
    ),
    options.width - indent.length,
  );
  const line = (row: readonly string[]): string =>
    `${indent}${used
      .map((column, place) => {
        const width = widths[place] ?? 0;
        const text = shorten(row[column] ?? '', width);
        const space = ' '.repeat(Math.max(0, width - length(text)));
        return options.right.includes(column) ? space + text : text + space;
      })
      .join(' '.repeat(GAP))}`.trimEnd();
  const paint = options.paint ?? ((text: string) => text);
  return `${[line(head), ...cells.map((row, place) => paint(line(row), place))].join('\n')}\n`;
}

function length(text: string): number {
  // Everything shown is host names and words; wide characters of pipelines may stand a little out of line.
  return [...text].length;
}

function squeeze(widths: number[], available: number): number[] {
  const fitted = [...widths];
  const total = (): number => fitted.reduce((sum, width) => sum + width, GAP * (fitted.length - 1));
  while (total() > available) {
    const widest = fitted.indexOf(Math.max(...fitted));
    const next = Math.max(COLUMN_MIN, (fitted[widest] ?? 0) - (total() - available));
    const second = Math.max(0, ...fitted.filter((_, place) => place !== widest));
    const target = Math.max(next, Math.min(second, (fitted[widest] ?? 0) - 1), COLUMN_MIN);
    if (target >= (fitted[widest] ?? 0)) break;
    fitted[widest] = target;
  }
  return fitted;
}

/** The text in at most `width` characters, its middle replaced by … where it is longer. */
export function shorten(text: string, width: number): string {
  const characters = [...text];
  if (characters.length <= width) return text;
  if (width <= 1) return '…';
  const left = Math.ceil((width - 1) / 2);
  return `${characters.slice(0, left).join('')}…${characters.slice(characters.length - (width - 1 - left)).join('')}`;
}
