// Use over time: sums of equal spans of the window, for plots. Spans without a request are there with zeros, so that a gap in
// the picture is a gap in the traffic.
import { sql } from 'kysely';
import type { Store } from '../usage/store.ts';
import { HOUR_MS, hourOf } from '../usage/tally.ts';
import {
  conditions,
  END_COUNTS,
  END_SUMS,
  type EndCounts,
  type EndSums,
  endSums,
  type Filter,
  type Raw,
} from './query.ts';

export interface TimelinePoint extends EndCounts {
  /** Begin of the span, RFC 3339. */
  readonly at: string;
}

export interface Timeline {
  /** Length of a span, in hours. */
  readonly hours: number;
  readonly points: readonly TimelinePoint[];
}

const POINTS_MAX = 96;
/** Spans that people think in; beyond them whole days. */
const SPANS = [1, 2, 3, 6, 12, 24, 48, 168];

/** @param window what was recorded (Report.window), ms; null where nothing was */
export async function readTimeline(
  store: Store,
  filter: Filter,
  window: { readonly from: number; readonly to: number } | null,
): Promise<Timeline> {
  if (window === null) return { hours: 1, points: [] };
  const [first, last] = [hourOf(window.from), hourOf(window.to)];
  const least = Math.ceil((last - first + 1) / POINTS_MAX);
  const hours = SPANS.find((span) => span >= least) ?? Math.ceil(least / 24) * 24;
  const where = await conditions(store, filter);
  const { rows } = await sql<Raw<EndSums> & { hour: number }>`
    SELECT hour, ${END_SUMS} FROM usage WHERE ${where} GROUP BY hour`.execute(store.db);
  const begin = Math.floor(first / hours);
  const points = Array.from({ length: Math.floor(last / hours) - begin + 1 }, (_, place) => ({
    at: new Date((begin + place) * hours * HOUR_MS).toISOString(),
    tunnels: 0,
    denied: 0,
    would_deny: 0,
    failed: 0,
    bytes_up: 0,
    bytes_down: 0,
  }));
  for (const row of rows) {
    const point = points[Math.floor(Number(row.hour) / hours) - begin];
    if (point === undefined) continue;
    const sums = endSums(row);
    for (const key of END_COUNTS) point[key] += sums[key];
  }
  return { hours, points };
}

/**
 * Tunnels of each group in the spans of a timeline of the same filter; groups without one are missing.
 * @returns group → one number a point
 */
export async function readGroupTimelines(
  store: Store,
  filter: Filter,
  { hours, points }: Timeline,
): Promise<Record<string, number[]>> {
  const [first] = points;
  if (first === undefined) return {};
  const begin = Math.round(Date.parse(first.at) / HOUR_MS / hours);
  const where = await conditions(store, filter);
  const { rows } = await sql<Raw<EndSums> & { hour: number; grp: string }>`
    SELECT (SELECT grp FROM rule WHERE rule.id = rule_id) AS grp, hour, ${END_SUMS} FROM usage WHERE ${where}
    GROUP BY 1, 2`.execute(store.db);
  const found = new Map<string, number[]>();
  for (const row of rows) {
    const place = Math.floor(Number(row.hour) / hours) - begin;
    if (row.grp === '' || place < 0 || place >= points.length) continue;
    const line = found.get(row.grp) ?? points.map(() => 0);
    line[place] = (line[place] ?? 0) + endSums(row).tunnels;
    found.set(row.grp, line);
  }
  return Object.fromEntries(found);
}
