// A table of any length: only the rows that are seen are in the document, between two spacers. The screen reader is told how many
// there are (aria-rowcount, aria-rowindex); the box takes the focus, so that the keyboard scrolls it.
import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';

const ROW_PX = 34;
const OVERSCAN = 8;
const HEIGHT_PX = 560;

export interface Column<T> {
  readonly head: string;
  readonly cell: (row: T) => ComponentChildren;
  readonly right?: boolean;
  /** A CSS grid width. */
  readonly width: string;
}

export function VirtualTable<T>({
  label,
  rows,
  columns,
  rowKey,
}: {
  readonly label: string;
  readonly rows: readonly T[];
  readonly columns: readonly Column<T>[];
  readonly rowKey: (row: T) => string;
}) {
  const [top, setTop] = useState(0);
  const seen = Math.ceil(HEIGHT_PX / ROW_PX);
  // A shorter list must not leave the view behind its end.
  const first = Math.max(0, Math.min(Math.floor(top / ROW_PX), rows.length - seen) - OVERSCAN);
  const last = Math.min(rows.length, first + seen + 2 * OVERSCAN);
  const grid = { gridTemplateColumns: columns.map(({ width }) => width).join(' ') };
  return (
    <div class="table" role="table" aria-label={label} aria-rowcount={rows.length + 1}>
      <div role="rowgroup">
        <div class="row head" role="row" aria-rowindex={1} style={grid}>
          {columns.map(({ head, right }) => (
            <span key={head} role="columnheader" class={right ? 'right' : ''}>
              {head}
            </span>
          ))}
        </div>
      </div>
      <div class="scroll" role="rowgroup" tabIndex={0} onScroll={(event) => setTop(event.currentTarget.scrollTop)}>
        <div role="presentation" style={{ height: `${first * ROW_PX}px` }} />
        {rows.slice(first, last).map((row, at) => (
          <div key={rowKey(row)} class="row" role="row" aria-rowindex={first + at + 2} style={grid}>
            {columns.map(({ head, cell, right }) => (
              <span key={head} role="cell" class={right ? 'right' : ''}>
                {cell(row)}
              </span>
            ))}
          </div>
        ))}
        <div role="presentation" style={{ height: `${(rows.length - last) * ROW_PX}px` }} />
      </div>
    </div>
  );
}
