// What repeats in the facts, as rows with an id: looked up in bulk, made where they are missing. On SQLite one statement
// makes or finds a part of them; on PostgreSQL one statement finds all, and only what is new is inserted: a row that is there
// already is not locked, so that nodes which meet the same hosts do not wait for each other.
import { createHash } from 'node:crypto';
import { type Insertable, sql } from 'kysely';
import { CHUNK, insertRows, type Trx } from './insert.ts';
import type { Schema } from './schema.ts';
import type { Store } from './store.ts';

/** Between finding and making, another node may make the same; it has then, and is found. */
const ROUNDS_MAX = 3;

type Value = string | number;
type Dimension = 'target' | 'actor' | 'rule' | 'pipeline';

/**
 * Ids by key. Every row has the same columns, which together make it what it is; `rows` has them by their key.
 * Rows are inserted in the order of their keys: two writers never wait for each other crosswise.
 */
export async function idsOf(
  store: Store,
  trx: Trx,
  table: Dimension,
  rows: ReadonlyMap<string, object>,
): Promise<Map<string, number>> {
  if (rows.size === 0) return new Map();
  const all = [...rows] as [string, Record<string, Value>][];
  return store.kind === 'sqlite' ? fromSqlite(trx, table, all) : fromPostgres(store, trx, table, all);
}

async function fromSqlite(
  trx: Trx,
  table: Dimension,
  all: readonly [string, Record<string, Value>][],
): Promise<Map<string, number>> {
  const columns = Object.keys(all[0]?.[1] ?? {});
  const names = sql.join(columns.map((name) => sql.ref(name)));
  const last = sql.ref(columns.at(-1) ?? '');
  const ids = new Map<string, number>();
  for (let at = 0; at < all.length; at += CHUNK) {
    const some = all.slice(at, at + CHUNK);
    const values = sql.join(some.map(([, row]) => sql`(${sql.join(columns.map((name) => row[name]))})`));
    // Inserted or, where it is known, set to what it is: so RETURNING gives the ids of both.
    const { rows } = await sql<Record<string, Value> & { id: number }>`
      INSERT INTO ${sql.table(table)} (${names}) VALUES ${values}
      ON CONFLICT (${names}) DO UPDATE SET ${last} = excluded.${last} RETURNING *`.execute(trx);
    const found = new Map(rows.map((row) => [textOf(columns, row), row.id]));
    for (const [key, row] of some) ids.set(key, found.get(textOf(columns, row)) ?? Number.NaN);
  }
  return ids;
}

function textOf(columns: readonly string[], row: Record<string, Value>): string {
  return JSON.stringify(columns.map((name) => row[name]));
}

async function fromPostgres(
  store: Store,
  trx: Trx,
  table: Dimension,
  all: readonly [string, Record<string, Value>][],
): Promise<Map<string, number>> {
  const wanted = new Map(all.map(([key, row]) => [createHash('sha256').update(key).digest('base64url'), { key, row }]));
  const ids = new Map<string, number>();
  for (let round = 0; wanted.size > 0; round++) {
    const { rows } = await sql<{ id: number; key: string }>`
      SELECT id, key FROM ${sql.table(table)} WHERE key = ANY(${[...wanted.keys()]}::text[])`.execute(trx);
    for (const { id, key } of rows) {
      ids.set(wanted.get(key)?.key ?? '', id);
      wanted.delete(key);
    }
    if (wanted.size === 0) break;
    // Somebody who makes and deletes them at once: a bug, and no reason to go round for ever.
    if (round === ROUNDS_MAX) throw new Error(`${wanted.size} rows of ${table} cannot be made`);
    const missing = [...wanted].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, { row }]) => ({ key, ...row }));
    await insertRows(store, trx, table, missing as unknown as Insertable<Schema[Dimension]>[])
      .onConflict((on) => on.doNothing())
      .execute();
  }
  return ids;
}
