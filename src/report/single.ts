// Hosts that one pipeline alone was let through to: nobody else would miss them, and they need not be allowed for everybody.
import { sql } from 'kysely';
import type { Store } from '../usage/store.ts';
import { among, conditions, type Filter, type TargetRow } from './query.ts';

export interface SingleRow {
  readonly pipeline: string;
  readonly host: string;
  readonly port: number;
  readonly requests: number;
  readonly last_seen: string;
}

export const SINGLE_MAX = 1_000;

interface Found {
  readonly row: TargetRow;
  low: number;
  high: number;
  requests: number;
  last: number;
}

/**
 * A pipeline that is claimed and one of the same name that is proven are two; what is asked for without a pipeline is nobody's.
 * With a pipeline in the filter, these are the hosts of its own; with a job in it, nobody can tell.
 */
export async function readSingle(
  store: Store,
  filter: Filter,
  targets: readonly TargetRow[],
): Promise<{ rows: SingleRow[]; total: number }> {
  if (filter.job !== null) return { rows: [], total: 0 };
  const found = new Map<number, Found>();
  for (const row of targets) {
    if (row.verdict === 'deny' || row.port === 0) continue;
    const { pipeline_low: low, pipeline_high: high, requests, last_seen: last } = row;
    const known = found.get(row.target_id);
    if (known === undefined) found.set(row.target_id, { row, low, high, requests, last });
    else {
      known.low = Math.min(known.low, low);
      known.high = Math.max(known.high, high);
      known.requests += requests;
      known.last = Math.max(known.last, last);
    }
  }
  const alone = [...found.values()].filter(({ low, high }) => low === high);
  const targetIds = alone.map(({ row }) => row.target_id);
  const shared = filter.pipeline === null ? new Set<number>() : await readShared(store, filter, targetIds);
  const names = await readNames(store, [...new Set(alone.map(({ low }) => low))]);
  const rows = alone.flatMap(({ row, low, requests, last }): SingleRow[] => {
    const pipeline = names.get(low) ?? '';
    if (pipeline === '' || shared.has(row.target_id)) return [];
    return [{ pipeline, host: row.host, port: row.port, requests, last_seen: new Date(last).toISOString() }];
  });
  rows.sort((a, b) => compare(a.pipeline, b.pipeline) || b.requests - a.requests || compare(a.host, b.host));
  return { rows: rows.slice(0, SINGLE_MAX), total: rows.length };
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Those of the targets that more than one pipeline was let through to, whatever pipeline the filter names. */
async function readShared(store: Store, filter: Filter, targets: readonly number[]): Promise<Set<number>> {
  const where = await conditions(store, { ...filter, pipeline: null });
  const { rows } = await sql<{ target_id: number }>`
    SELECT target_id FROM usage WHERE verdict <> 'deny' AND ${among(store, sql`target_id`, targets)} AND ${where}
    GROUP BY target_id HAVING min(pipeline_id) <> max(pipeline_id)`.execute(store.db);
  return new Set(rows.map(({ target_id }) => target_id));
}

async function readNames(store: Store, ids: readonly number[]): Promise<Map<number, string>> {
  const { rows } = await sql<{ id: number; name: string }>`
    SELECT id, name FROM pipeline WHERE ${among(store, sql`id`, ids)}`.execute(store.db);
  return new Map(rows.map(({ id, name }) => [id, name]));
}
