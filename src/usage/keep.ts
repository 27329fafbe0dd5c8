// How long counts are kept (`usage.keep`): hours become days, old days are deleted, and what nothing refers to any more goes too.
// In bounded steps, between which the projection goes on. First it is said that hours before a day count by the day
// (meta.daily_before), then they are summed up: a reader who takes whole days there gets the same sums before, meanwhile and
// after, also of what a late node adds by the hour. Ages are counted from the newest record, or the clock where that is earlier:
// a store that gets no more records is not emptied.
import { type RawBuilder, sql } from 'kysely';
import { insertRows, type Trx } from './insert.ts';
import { PATH_KEY, USAGE_KEY, type UsageColumns } from './schema.ts';
import type { Store } from './store.ts';
import { DAY_HOURS, dayOf, HOUR_MS } from './tally.ts';
import { addRows } from './write.ts';

/** Days; hourly is at most daily. */
export interface Keep {
  readonly hourly: number;
  readonly daily: number;
}

/** Rows of one step: some tens of milliseconds. */
const STEP_ROWS = 2_000;
const PASS_MS = HOUR_MS;

export class Keeper {
  readonly #keep: Keep;
  readonly #rows: number;
  #due = 0;
  #pass: { readonly store: Store; readonly steps: AsyncGenerator<void> } | null = null;

  constructor(keep: Keep, rows: number = STEP_ROWS) {
    this.#keep = keep;
    this.#rows = rows;
  }

  /** One bounded step of a pass; a pass begins every hour. @returns true where it has more steps @throws SallyportError */
  async step(store: Store, now: number): Promise<boolean> {
    if (this.#pass?.store !== store) this.#pass = null;
    if (this.#pass === null && now < this.#due) return false;
    this.#due = now + PASS_MS;
    this.#pass ??= { store, steps: pass(store, this.#keep, this.#rows, now) };
    try {
      const { done } = await this.#pass.steps.next();
      if (done === true) this.#pass = null;
      return done !== true;
    } catch (error) {
      this.#pass = null;
      throw error;
    }
  }
}

/** The first hour that counts by the hour; 0 where all do. */
export async function dailyBefore(store: Store): Promise<number> {
  const row = await store.db.selectFrom('meta').select('value').where('key', '=', DAILY).executeTakeFirst();
  return Number(row?.value ?? 0);
}

const DAILY = 'daily_before';

/** Hours before it are, or will be, rows of their day. It never goes back: what is summed up cannot be parted. */
export async function raiseDailyBefore(store: Store, trx: Trx, hour: number): Promise<void> {
  await insertRows(store, trx, 'meta', [{ key: DAILY, value: String(hour) }])
    .onConflict((on) =>
      on
        .column('key')
        .doUpdateSet((eb) => ({ value: eb.ref('excluded.value') }))
        .where(sql<boolean>`CAST(excluded.value AS INTEGER) > CAST(meta.value AS INTEGER)`),
    )
    .execute();
}

async function* pass(store: Store, keep: Keep, rows: number, now: number): AsyncGenerator<void> {
  const newest = await store.db
    .selectFrom('window')
    .select(({ fn }) => fn.max('last').as('last'))
    .executeTakeFirst();
  const today = dayOf(Math.min(now, newest?.last ?? 0));
  const hourlyFrom = today - keep.hourly * DAY_HOURS;
  const keptFrom = today - keep.daily * DAY_HOURS;
  if (hourlyFrom <= 0) return;
  await store.db.transaction().execute((trx) => raiseDailyBefore(store, trx, hourlyFrom));
  yield;
  yield* deleteOld(store, keptFrom, rows);
  yield* sumUp(store, hourlyFrom, rows);
  yield* prune(store, 'actor', rows);
  yield* prune(store, 'target', rows);
}

const KEY = sql.join(USAGE_KEY.map((name) => sql.ref(name)));

/** The rows that a condition takes, in the order of their keys, `rows` at most. */
function some(where: RawBuilder<unknown>, rows: number): RawBuilder<unknown> {
  return sql`(${KEY}) IN (SELECT ${KEY} FROM usage WHERE ${where} ORDER BY ${KEY} LIMIT ${rows})`;
}

async function* deleteOld(store: Store, before: number, rows: number): AsyncGenerator<void> {
  for (;;) {
    const gone = await sql`DELETE FROM usage WHERE ${some(sql`hour < ${before}`, rows)} RETURNING hour`.execute(
      store.db,
    );
    if (gone.rows.length === 0) break;
    yield;
  }
  const pathKey = sql.join(PATH_KEY.map((name) => sql.ref(name)));
  for (;;) {
    const old = sql`SELECT ${pathKey} FROM path WHERE hour < ${before} ORDER BY ${pathKey} LIMIT ${rows}`;
    const gone = await sql`DELETE FROM path WHERE (${pathKey}) IN (${old}) RETURNING hour`.execute(store.db);
    if (gone.rows.length === 0) break;
    yield;
  }
  const ms = before * HOUR_MS;
  for (;;) {
    const gone =
      await sql`DELETE FROM flow WHERE key IN (SELECT key FROM flow WHERE last < ${ms} LIMIT ${rows}) RETURNING key`.execute(
        store.db,
      );
    if (gone.rows.length === 0) break;
    yield;
  }
  await store.db.updateTable('window').set({ first: ms }).where('first', '<', ms).where('last', '>=', ms).execute();
  // A node that is heard of no more will not end what it had open.
  await sql`DELETE FROM open_request WHERE node_id IN (SELECT node_id FROM "window" WHERE last < ${ms})`.execute(
    store.db,
  );
}

/** Day after day; the rows of a day part by part. */
async function* sumUp(store: Store, before: number, rows: number): AsyncGenerator<void> {
  let from = 0;
  for (;;) {
    const low = sql`hour >= ${from} AND hour < ${before} AND hour % ${sql.lit(DAY_HOURS)} <> 0`;
    const { rows: found } = await sql<{ hour: number }>`
      SELECT hour FROM usage WHERE ${low} ORDER BY hour LIMIT 1`.execute(store.db);
    const hour = found[0]?.hour;
    if (hour === undefined) return;
    from = Math.floor(hour / DAY_HOURS) * DAY_HOURS;
    const day = from;
    await store.db.transaction().execute(async (trx) => {
      const part = some(sql`hour > ${day} AND hour < ${day + DAY_HOURS}`, rows);
      const taken = await sql<UsageColumns>`DELETE FROM usage WHERE ${part} RETURNING *`.execute(trx);
      await addRows(store, trx, merged(taken.rows, day));
    });
    yield;
  }
}

/** Rows that differ in their hour only are one, of the hour that stands for all. */
function merged(rows: readonly UsageColumns[], hour: number): UsageColumns[] {
  const days = new Map<string, UsageColumns>();
  for (const row of rows) {
    const key = JSON.stringify(USAGE_KEY.map((name) => (name === 'hour' ? hour : row[name])));
    const known = days.get(key);
    days.set(key, known === undefined ? { ...row, hour } : { ...known, ...sumOf(known, row) });
  }
  return [...days.values()];
}

function sumOf(a: UsageColumns, b: UsageColumns): Partial<UsageColumns> {
  return {
    requests: a.requests + b.requests,
    bytes_up: a.bytes_up + b.bytes_up,
    bytes_down: a.bytes_down + b.bytes_down,
    first_seen: Math.min(a.first_seen, b.first_seen),
    last_seen: Math.max(a.last_seen, b.last_seen),
  };
}

/** Deletes dimensions without a row of usage or path. Where a writer takes one up meanwhile, its foreign key fails and it tries again. */
async function* prune(store: Store, table: 'actor' | 'target', rows: number): AsyncGenerator<void> {
  const column = sql.ref(`${table}_id`);
  let from = 0;
  for (;;) {
    const { rows: found } = await sql<{ to: number | null }>`
      SELECT max(id) AS "to" FROM (
        SELECT id FROM ${sql.table(table)} WHERE id > ${from} ORDER BY id LIMIT ${rows}
      ) AS part`.execute(store.db);
    const to = found[0]?.to ?? null;
    if (to === null) return;
    const unused = sql`SELECT d.id FROM ${sql.table(table)} AS d
      WHERE d.id > ${from} AND d.id <= ${to} AND NOT EXISTS (SELECT 1 FROM usage AS u WHERE u.${column} = d.id)
        AND NOT EXISTS (SELECT 1 FROM path AS p WHERE p.${column} = d.id)`;
    await store.db.transaction().execute(async (trx) => {
      if (table === 'target') {
        await sql`DELETE FROM denial WHERE target_id IN (${unused})`.execute(trx);
        await sql`DELETE FROM redirect WHERE target_id IN (${unused})`.execute(trx);
      }
      await sql`DELETE FROM ${sql.table(table)} WHERE id IN (${unused})`.execute(trx);
    });
    from = to;
    yield;
  }
}
