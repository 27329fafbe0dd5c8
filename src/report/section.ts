// What a report is made of for a reader: sections of rows of cells, and the words that cells share. PURE.
import type { HostRow } from './report.ts';
import { bytesText } from './words.ts';

export type Tone = 'bad' | 'warn' | 'quiet' | 'plain';

export interface Column {
  readonly title: string;
  readonly right?: true;
  /** Left out where there is little room. */
  readonly roomy?: true;
}

export interface Row {
  /** One for each column. */
  readonly cells: readonly string[];
  readonly tone: Tone;
}

export interface Section {
  readonly id: string;
  readonly title: string;
  /** What it says, in one sentence; '' where the title says it. */
  readonly about: string;
  readonly columns: readonly Column[];
  readonly rows: readonly Row[];
  /** May be more than there are rows. */
  readonly total: number;
  /** Sentences below the table. */
  readonly notes: readonly string[];
}

type Sums = Pick<HostRow, 'tunnels' | 'denied' | 'failed'>;

export const COUNTS: readonly Column[] = [
  { title: 'Tunnels', right: true },
  { title: 'Denied', right: true },
  { title: 'Failed', right: true },
];
export const BYTES: readonly Column[] = [
  { title: 'Up', right: true },
  { title: 'Down', right: true },
];
export const TIMES: readonly Column[] = [
  { title: 'First seen', roomy: true },
  { title: 'Last seen', roomy: true },
];

export function counts(row: Sums): string[] {
  return [count(row.tunnels), count(row.denied), count(row.failed)];
}

export function bytes(row: Pick<HostRow, 'bytes_up' | 'bytes_down'>): string[] {
  return [row.bytes_up, row.bytes_down].map((value) => (value === 0 ? '' : bytesText(value)));
}

export function times(row: { readonly first_seen: string | null; readonly last_seen: string | null }): string[] {
  return [minute(row.first_seen), minute(row.last_seen)];
}

export function called(name: string, { claimed }: { readonly claimed: boolean }): string {
  return `${name === '' ? '(none)' : name}${claimed ? ' (claimed)' : ''}`;
}

export function count(value: number): string {
  return value === 0 ? '' : String(value);
}

export function some(names: readonly string[], total: number, max: number): string {
  const shown = names.slice(0, max);
  return `${shown.join(' ')}${total > shown.length ? ` +${total - shown.length}` : ''}`;
}

/** 2026-11-24 09:30, UTC. */
export function minute(time: string | null): string {
  return time === null ? '' : `${time.slice(0, 10)} ${time.slice(11, 16)}`;
}
