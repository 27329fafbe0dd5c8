// INSERT of many rows: on SQLite some hundred VALUES at a time, on PostgreSQL any number in one statement of few parameters
// (unnest of an array a column). The caller says what becomes of rows that are there.
import {
  type Insertable,
  type InsertQueryBuilder,
  type InsertResult,
  type RawBuilder,
  sql,
  type Transaction,
} from 'kysely';
import type { Schema } from './schema.ts';
import type { Store } from './store.ts';

export type Trx = Transaction<Schema>;

/** Rows of one INSERT into SQLite, which takes 32,766 parameters; usage rows have 15. */
export const CHUNK = 200;

/** All have the same columns. On PostgreSQL no two of them may conflict with each other. */
export function insertRows<T extends keyof Schema & string>(
  store: Store,
  trx: Trx,
  table: T,
  rows: readonly Insertable<Schema[T]>[],
): InsertQueryBuilder<Schema, T, InsertResult> {
  const insert = trx.insertInto(table);
  if (store.kind === 'sqlite') return insert.values(rows);
  return insert.columns(Object.keys(rows[0] ?? {}) as never).expression(unnested(rows) as never);
}

/** The rows of one insertRows each. */
export function* parts<R>(store: Store, rows: readonly R[]): Generator<R[]> {
  const size = store.kind === 'sqlite' ? CHUNK : Math.max(1, rows.length);
  for (let at = 0; at < rows.length; at += size) yield rows.slice(at, at + size);
}

function unnested(rows: readonly object[]): RawBuilder<unknown> {
  const columns = Object.entries(rows[0] ?? {});
  const arrays = columns.map(([name, first]) => {
    const values = rows.map((row) => (row as Record<string, unknown>)[name]);
    return typeof first === 'number' ? sql`${values}::bigint[]` : sql`${values}::text[]`;
  });
  return sql`SELECT * FROM unnest(${sql.join(arrays)})`;
}

/** The less and the greater of two values; PostgreSQL's min and max are aggregates only. */
export function least(store: Store, a: RawBuilder<unknown>, b: RawBuilder<unknown>): RawBuilder<number> {
  return store.kind === 'sqlite' ? sql`min(${a}, ${b})` : sql`least(${a}, ${b})`;
}

export function greatest(store: Store, a: RawBuilder<unknown>, b: RawBuilder<unknown>): RawBuilder<number> {
  return store.kind === 'sqlite' ? sql`max(${a}, ${b})` : sql`greatest(${a}, ${b})`;
}
