// Nodes that share a store say, about once a second, up to when they have counted their logs: so a reader can wait until all of
// them have counted what happened before he asked, and name the one that has not. The clock is the store's, one for all nodes.
// A store in a file has one node, and needs none of this, or the workers of one proxy, whose clock is the machine's.
import { sql } from 'kysely';
import type { Store } from './store.ts';

const PREFIX = 'counted/';
/** Who has said nothing for so long is gone for good: an instance that was scaled away. */
const FORGOTTEN_MS = 86_400_000;
const CALL_MS = 1_000;

/** Milliseconds since the epoch on the store's clock. */
export async function storeNow(store: Store): Promise<number> {
  if (store.kind === 'sqlite') return Date.now();
  const { rows } = await sql<{ ms: string | number }>`
    SELECT floor(extract(epoch FROM clock_timestamp()) * 1000) AS ms`.execute(store.db);
  return Number(rows[0]?.ms);
}

/** A node's place in a store. */
export interface Standing {
  readonly store: Store;
  readonly node: string;
  readonly log: string;
}

/** What one node says. `begin` comes before it counts, `answer` when it is through; once in CALL_MS, to a shared store. */
export class RollCall {
  #answeredMs = Number.NEGATIVE_INFINITY;
  readonly #shared: boolean;
  #begun: { readonly store: Store; readonly ms: number } | null = null;

  /** @param shared whether others count into the same store; alone, nobody asks */
  constructor(shared: boolean) {
    this.#shared = shared;
  }

  /** @throws SallyportError */
  async begin(standing: Standing | null): Promise<void> {
    this.#begun = null;
    if (standing === null || !this.#shared) return;
    if (performance.now() - this.#answeredMs < CALL_MS) return;
    this.#begun = { store: standing.store, ms: await storeNow(standing.store) };
  }

  /** Everything that the log held at `begin` is counted. @throws SallyportError */
  async answer(standing: Standing | null): Promise<void> {
    if (this.#begun === null || standing?.store !== this.#begun.store) return;
    await answerCall(standing, this.#begun.ms);
    this.#answeredMs = performance.now();
  }

  /** Everything is counted, and no more will come from here. @throws SallyportError */
  async leave(standing: Standing | null): Promise<void> {
    if (standing === null || !this.#shared) return;
    await standing.store.db.deleteFrom('meta').where('key', '=', keyOf(standing)).execute();
  }
}

/** The node has counted everything that its log held at `ms` on the store's clock. */
export async function answerCall(standing: Standing, ms: number): Promise<void> {
  const { db } = standing.store;
  await db
    .insertInto('meta')
    .values({ key: keyOf(standing), value: String(ms) })
    .onConflict((on) => on.column('key').doUpdateSet((eb) => ({ value: eb.ref('excluded.value') })))
    .execute();
  await sql`DELETE FROM meta WHERE key LIKE ${`${PREFIX}%`} AND CAST(value AS BIGINT) < ${ms - FORGOTTEN_MS}`.execute(
    db,
  );
}

/** Names of the other nodes that have not counted up to `ms` yet. */
export async function missingAt(store: Store, own: string, ms: number): Promise<string[]> {
  const rows = await store.db.selectFrom('meta').selectAll().where('key', 'like', `${PREFIX}%`).execute();
  const missing = rows
    .filter(({ value }) => Number(value) < ms && Number(value) >= ms - FORGOTTEN_MS)
    .map(({ key }) => key.slice(PREFIX.length, key.lastIndexOf('/')))
    .filter((node) => node !== own);
  return [...new Set(missing)].sort();
}

/** The last slash parts them. */
function keyOf({ node, log }: Standing): string {
  return `${PREFIX}${node}/${log.replaceAll('/', '_')}`;
}
