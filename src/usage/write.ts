// Puts a tally into the store and moves the checkpoint, in one transaction: after a kill at any moment either both have
// happened or neither. Another process may project the same log (the CLI before a report): the checkpoint is read again
// inside the transaction, and a batch that someone else has counted meanwhile is not counted twice.
// Statements stand in one order and rows in the order of their keys, so that nodes on one PostgreSQL do not lock crosswise;
// the row of the node is locked first, which is what makes two writers of one log follow each other.
import { sql } from 'kysely';
import { idsOf } from './dimensions.ts';
import { greatest, insertRows, least, parts, type Trx } from './insert.ts';
import { type ActorColumns, PATH_KEY, type PathColumns, USAGE_KEY, type UsageColumns } from './schema.ts';
import type { Store } from './store.ts';
import type { Position } from './tail.ts';
import type { Tally, TallyRow } from './tally.ts';

export interface BatchWrite {
  readonly tally: Tally;
  /** Whose checkpoint it is: the log's, or that of a branch of it. */
  readonly node: string;
  readonly log: string;
  readonly branch: boolean;
  readonly from: Position | null;
  readonly to: Position;
  readonly damagedLines: number;
  readonly missingLines: number;
}

/** @returns false where another process has moved the checkpoint: nothing was written, look where it stands now */
export async function writeBatch(store: Store, batch: BatchWrite): Promise<boolean> {
  return store.db.transaction().execute(async (trx) => {
    const nodes = await nodeIds(trx, [batch.node, ...batch.tally.windows.keys()], batch.log);
    const owner = idOf(nodes, batch.node);
    const now = await (batch.branch
      ? trx.selectFrom('branch_checkpoint').selectAll().where('file_id', '=', batch.to.file_id)
      : trx.selectFrom('checkpoint').selectAll().where('node_id', '=', owner)
    ).executeTakeFirst();
    if (!samePosition(now ?? null, batch.from)) return false;
    await writeTally(store, trx, batch.tally, nodes);
    if (batch.damagedLines + batch.missingLines > 0) await addLost(trx, owner, batch);
    await (batch.branch ? moveBranch(trx, owner, batch.to) : moveNode(trx, owner, batch.to));
    return true;
  });
}

async function addLost(trx: Trx, owner: number, batch: BatchWrite): Promise<void> {
  await trx
    .updateTable('node')
    .set((eb) => ({
      damaged_lines: eb('damaged_lines', '+', batch.damagedLines),
      missing_lines: eb('missing_lines', '+', batch.missingLines),
    }))
    .where('id', '=', owner)
    .execute();
}

/** Where the log of a node is counted to. */
export async function moveNode(trx: Trx, node_id: number, to: Position): Promise<void> {
  await trx
    .insertInto('checkpoint')
    .values({ node_id, ...to })
    .onConflict((on) => on.column('node_id').doUpdateSet(to))
    .execute();
}

/** A branch is one file, whose id stays. */
export async function moveBranch(trx: Trx, node_id: number, to: Position): Promise<void> {
  await trx
    .insertInto('branch_checkpoint')
    .values({ node_id, ...to })
    .onConflict((on) => on.column('file_id').doUpdateSet(to))
    .execute();
}

function samePosition(a: Position | null, b: Position | null): boolean {
  if (a === null || b === null) return a === b;
  return a.file_id === b.file_id && a.offset === b.offset && a.seq === b.seq;
}

/** Adds a tally to what is there; `nodes` are ids by name, all of one log. */
export async function writeTally(
  store: Store,
  trx: Trx,
  tally: Tally,
  nodes: ReadonlyMap<string, number>,
): Promise<void> {
  const targets = await idsOf(store, trx, 'target', tally.targets);
  const actors = await idsOf(store, trx, 'actor', tally.actors);
  const rules = await idsOf(store, trx, 'rule', tally.rules);
  const pipelines = await pipelineIds(store, trx, tally);
  const rows = [...tally.rows.values()].map(({ node, target, actor, rule, ...row }: TallyRow) => ({
    ...row,
    node_id: idOf(nodes, node),
    target_id: idOf(targets, target),
    actor_id: idOf(actors, actor),
    rule_id: idOf(rules, rule),
    pipeline_id: idOf(pipelines, actor),
  }));
  for (const some of parts(store, rows)) await addRows(store, trx, some);
  const paths = [...tally.paths.values()].map(({ node, target, actor, ...row }) => ({
    ...row,
    node_id: idOf(nodes, node),
    target_id: idOf(targets, target),
    actor_id: idOf(actors, actor),
    pipeline_id: idOf(pipelines, actor),
  }));
  for (const some of parts(store, paths)) await addPaths(store, trx, some);
  await writeOpen(store, trx, tally, nodes);
  await writeWindows(store, trx, tally, nodes);
  await writeDenials(store, trx, tally, targets);
  await writeRedirects(store, trx, tally, targets);
}

/** Adds rows to those of the same key. */
export async function addRows(store: Store, trx: Trx, rows: readonly UsageColumns[]): Promise<void> {
  await insertRows(store, trx, 'usage', rows)
    .onConflict((on) =>
      on.columns([...USAGE_KEY]).doUpdateSet((eb) => ({
        requests: eb('usage.requests', '+', eb.ref('excluded.requests')),
        bytes_up: eb('usage.bytes_up', '+', eb.ref('excluded.bytes_up')),
        bytes_down: eb('usage.bytes_down', '+', eb.ref('excluded.bytes_down')),
        first_seen: least(store, sql`usage.first_seen`, sql`excluded.first_seen`),
        last_seen: greatest(store, sql`usage.last_seen`, sql`excluded.last_seen`),
      })),
    )
    .execute();
}

async function addPaths(store: Store, trx: Trx, rows: readonly PathColumns[]): Promise<void> {
  const kept = sql<boolean>`excluded.nearest = '' OR excluded.last_seen < path.last_seen`;
  await insertRows(store, trx, 'path', rows)
    .onConflict((on) =>
      on.columns([...PATH_KEY]).doUpdateSet((eb) => ({
        requests: eb('path.requests', '+', eb.ref('excluded.requests')),
        bytes_up: eb('path.bytes_up', '+', eb.ref('excluded.bytes_up')),
        bytes_down: eb('path.bytes_down', '+', eb.ref('excluded.bytes_down')),
        first_seen: least(store, sql`path.first_seen`, sql`excluded.first_seen`),
        last_seen: greatest(store, sql`path.last_seen`, sql`excluded.last_seen`),
        nearest: sql<string>`CASE WHEN ${kept} THEN path.nearest ELSE excluded.nearest END`,
      })),
    )
    .execute();
}

/** Last, for these rows are every node's: they stay locked until the commit. */
async function writeDenials(store: Store, trx: Trx, tally: Tally, targets: ReadonlyMap<string, number>): Promise<void> {
  const rows = [...tally.denials].map(([target, denial]) => ({ target_id: idOf(targets, target), ...denial }));
  rows.sort((a, b) => a.target_id - b.target_id);
  for (const some of parts(store, rows)) {
    await insertRows(store, trx, 'denial', some)
      .onConflict((on) =>
        on
          .column('target_id')
          .doUpdateSet((eb) => ({
            reason: eb.ref('excluded.reason'),
            nearest: eb.ref('excluded.nearest'),
            rule: eb.ref('excluded.rule'),
            last_seen: eb.ref('excluded.last_seen'),
          }))
          .where((eb) => eb('excluded.last_seen', '>=', eb.ref('denial.last_seen'))),
      )
      .execute();
  }
}

/** Goes on with the vote that the tally began: the same candidate adds up, another one takes away, the stronger one stays. */
async function writeRedirects(
  store: Store,
  trx: Trx,
  tally: Tally,
  targets: ReadonlyMap<string, number>,
): Promise<void> {
  const same = sql<boolean>`redirect.host = excluded.host AND redirect.port = excluded.port`;
  const stays = sql<boolean>`redirect.votes >= excluded.votes`;
  const rows = [...tally.redirects].map(([target, redirect]) => ({ target_id: idOf(targets, target), ...redirect }));
  rows.sort((a, b) => a.target_id - b.target_id);
  for (const some of parts(store, rows)) {
    await insertRows(store, trx, 'redirect', some)
      .onConflict((on) =>
        on.column('target_id').doUpdateSet({
          votes: sql<number>`CASE WHEN ${same} THEN redirect.votes + excluded.votes ELSE abs(redirect.votes - excluded.votes) END`,
          last_seen: sql<number>`CASE WHEN ${same} OR NOT ${stays} THEN excluded.last_seen ELSE redirect.last_seen END`,
          host: sql<string>`CASE WHEN ${stays} THEN redirect.host ELSE excluded.host END`,
          port: sql<number>`CASE WHEN ${stays} THEN redirect.port ELSE excluded.port END`,
        }),
      )
      .execute();
  }
}

async function writeOpen(store: Store, trx: Trx, tally: Tally, nodes: ReadonlyMap<string, number>): Promise<void> {
  for (const node of tally.started)
    await trx.deleteFrom('open_request').where('node_id', '=', idOf(nodes, node)).execute();
  const ids = [...nodes.values()];
  for (const some of parts(store, [...tally.closed])) {
    const closed =
      store.kind === 'sqlite' ? sql<boolean>`id IN (${sql.join(some)})` : sql<boolean>`id = ANY(${some}::text[])`;
    await trx.deleteFrom('open_request').where('node_id', 'in', ids).where(closed).execute();
  }
  const opened = [...tally.opened].map(([id, { node, line }]) => ({ node_id: idOf(nodes, node), id, line }));
  for (const some of parts(store, opened)) {
    await insertRows(store, trx, 'open_request', some)
      .onConflict((on) => on.columns(['node_id', 'id']).doUpdateSet((eb) => ({ line: eb.ref('excluded.line') })))
      .execute();
  }
}

async function writeWindows(store: Store, trx: Trx, tally: Tally, nodes: ReadonlyMap<string, number>): Promise<void> {
  for (const [node, { first, last }] of tally.windows) {
    await trx
      .insertInto('window')
      .values({ node_id: idOf(nodes, node), first, last })
      .onConflict((on) =>
        on.column('node_id').doUpdateSet({
          first: least(store, sql`"window".first`, sql`excluded.first`),
          last: greatest(store, sql`"window".last`, sql`excluded.last`),
        }),
      )
      .execute();
  }
}

/** Makes or finds the nodes of a log, by name, and locks their rows until the end of the transaction. */
export async function nodeIds(trx: Trx, names: readonly string[], log: string): Promise<Map<string, number>> {
  const rows = await trx
    .insertInto('node')
    .values([...new Set(names)].sort().map((name) => ({ name, log })))
    .onConflict((on) => on.columns(['name', 'log']).doUpdateSet((eb) => ({ name: eb.ref('excluded.name') })))
    .returning(['id', 'name'])
    .execute();
  return new Map(rows.map((row) => [row.name, row.id]));
}

/** Takes out all that was counted of a log. Its nodes stay, without a place: they are counted from the start again. */
export async function forgetNodes(trx: Trx, log: string): Promise<void> {
  const nodes = await trx
    .updateTable('node')
    .set({ damaged_lines: 0, missing_lines: 0 })
    .where('log', '=', log)
    .returning('id')
    .execute();
  const ids = nodes.map(({ id }) => id);
  if (ids.length === 0) return;
  for (const table of ['usage', 'path', 'open_request', 'window', 'branch_checkpoint', 'checkpoint'] as const)
    await trx.deleteFrom(table).where('node_id', 'in', ids).execute();
}

/** By key of the actor. */
async function pipelineIds(store: Store, trx: Trx, tally: Tally): Promise<Map<string, number>> {
  const named = new Map<string, { name: string; claimed: 0 | 1 }>();
  const keyOf = (actor: ActorColumns): string => `${claimedOf(actor)} ${actor.pipeline}`;
  const claimedOf = (actor: ActorColumns): 0 | 1 => (actor.kind === 'claimed' ? 1 : 0);
  for (const actor of tally.actors.values())
    named.set(keyOf(actor), { name: actor.pipeline, claimed: claimedOf(actor) });
  const known = await idsOf(store, trx, 'pipeline', named);
  return new Map([...tally.actors].map(([key, actor]) => [key, idOf(known, keyOf(actor))]));
}

function idOf(ids: ReadonlyMap<string, number>, key: string): number {
  const id = ids.get(key);
  // A dimension that was just inserted must be there: anything else is a bug in the keys.
  if (id === undefined || Number.isNaN(id)) throw new Error(`no id for ${key}`);
  return id;
}
