// What is new: hosts that were asked for in the window and not in the one of the same length before it.
import { sql } from 'kysely';
import type { Store } from '../usage/store.ts';
import { HOUR_MS } from '../usage/tally.ts';
import { among, conditions, type Facts, type Filter, type TargetRow, wholeHours } from './query.ts';
import { endOf, Sums } from './sums.ts';
import type { ReportView } from './view.ts';

export interface DriftRow {
  readonly host: string;
  readonly port: number;
  /** Catalog group and rule that let it through last; '' where none did. */
  readonly group: string;
  readonly rule: string;
  readonly tunnels: number;
  readonly denied: number;
  readonly would_deny: number;
  readonly failed: number;
  readonly first_seen: string;
  readonly last_seen: string;
  /** Of the first DRIFT_WHO_MAX rows, DRIFT_PIPELINES_MAX of each. */
  readonly pipelines: readonly string[];
}

export interface Drift {
  /** The window before, RFC 3339, and from when on it was recorded at all; null where it was not. */
  readonly previous: { readonly from: string; readonly to: string; readonly recorded_from: string | null };
  /** Hosts that were not asked for then, the most used first; empty where nothing was recorded then. */
  readonly hosts: readonly DriftRow[];
  readonly hosts_total: number;
}

const DRIFT_MAX = 1_000;
const DRIFT_WHO_MAX = 200;
export const DRIFT_PIPELINES_MAX = 100;

export async function readDrift(
  store: Store,
  view: ReportView,
  filter: Filter,
  rows: readonly TargetRow[],
  { first: firstRecord, dailyBefore }: Facts,
): Promise<Drift> {
  // Whole hours or days, as the counts are; the one in which the window begins is in the window.
  const to = wholeHours(filter.from, filter.to, dailyBefore)[0] * HOUR_MS - 1;
  const from = to + 1 - Math.max(HOUR_MS, filter.to - filter.from);
  const recorded = firstRecord === null || firstRecord > to ? null : Math.max(from, firstRecord);
  const previous = { from: iso(from), to: iso(to), recorded_from: recorded === null ? null : iso(recorded) };
  if (recorded === null) return { previous, hosts: [], hosts_total: 0 };
  const known = await readAsked(store, { ...filter, from, to }, [...new Set(rows.map((row) => row.target_id))]);
  const fresh = new Map<number, { readonly row: TargetRow; readonly sums: Sums; passed: TargetRow | null }>();
  for (const row of rows) {
    if (row.host === '' || row.port === 0 || known.has(row.target_id) || view.isExpected(row.host)) continue;
    let entry = fresh.get(row.target_id);
    if (entry === undefined) {
      entry = { row, sums: new Sums(), passed: null };
      fresh.set(row.target_id, entry);
    }
    entry.sums.add(row, endOf(row.verdict, row.reason, row.outcome), row.verdict);
    const isLater = row.last_seen >= (entry.passed?.last_seen ?? 0);
    if (row.verdict !== 'deny' && row.rule !== '' && isLater) entry.passed = row;
  }
  const sorted = [...fresh.values()]
    .sort((a, b) => weight(b.sums) - weight(a.sums) || (a.row.host < b.row.host ? -1 : 1))
    .slice(0, DRIFT_MAX);
  const who = await readPipelinesOf(
    store,
    filter,
    sorted.slice(0, DRIFT_WHO_MAX).map(({ row }) => row.target_id),
  );
  return {
    previous,
    hosts: sorted.map(({ row, sums, passed }) => ({
      host: row.host,
      port: row.port,
      group: passed?.grp ?? '',
      rule: passed?.rule ?? '',
      tunnels: sums.tunnels,
      denied: sums.denied,
      would_deny: sums.wouldDeny,
      failed: sums.failed,
      first_seen: iso(sums.first),
      last_seen: iso(sums.last),
      pipelines: who.get(row.target_id) ?? [],
    })),
    hosts_total: fresh.size,
  };
}

const weight = (sums: Sums): number => sums.tunnels + sums.denied + sums.failed + sums.challenged;

/** Those of the targets that were asked for in a window. */
async function readAsked(store: Store, filter: Filter, targets: readonly number[]): Promise<Set<number>> {
  const where = await conditions(store, filter);
  const { rows } = await sql<{ target_id: number }>`
    SELECT DISTINCT target_id FROM usage WHERE ${among(store, sql`target_id`, targets)} AND ${where}`.execute(store.db);
  return new Set(rows.map((row) => Number(row.target_id)));
}

async function readPipelinesOf(
  store: Store,
  filter: Filter,
  targets: readonly number[],
): Promise<Map<number, string[]>> {
  if (targets.length === 0) return new Map();
  const where = await conditions(store, filter);
  const { rows } = await sql<{ target_id: number; name: string }>`
    SELECT target_id, name FROM (
      SELECT s.target_id, p.name, row_number() OVER (PARTITION BY s.target_id ORDER BY min(p.claimed), p.name) AS place
      FROM (SELECT DISTINCT target_id, pipeline_id FROM usage WHERE ${among(store, sql`target_id`, targets)} AND ${where}) AS s
        JOIN pipeline AS p ON p.id = s.pipeline_id
      WHERE p.name <> '' GROUP BY s.target_id, p.name
    ) AS x WHERE place <= ${DRIFT_PIPELINES_MAX} ORDER BY name`.execute(store.db);
  const found = Map.groupBy(rows, ({ target_id }) => target_id);
  return new Map([...found].map(([target, list]) => [target, list.map(({ name }) => name)]));
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
