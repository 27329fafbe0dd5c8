// Puts a tally into the store and moves the checkpoint, in one transaction: after a kill at any moment either both have
// happened or neither. Another process may project the same log (the CLI before a report): the checkpoint is read again
// inside the transaction, and a batch that someone else has counted meanwhile is not counted twice.
import { type Insertable, sql, type Transaction } from 'kysely';
import { ACTOR_COLUMNS, type ActorColumns, type Schema, USAGE_KEY } from './schema.ts';
import type { Store } from './store.ts';
import type { Position } from './tail.ts';
import { keyOfActor, keyOfRule, keyOfTarget, type Tally, type TallyRow } from './tally.ts';

export interface BatchWrite {
  readonly tally: Tally;
  /** Whose checkpoint it is: the node's, or that of a branch of its log. */
  readonly node: string;
  readonly branch: boolean;
  readonly from: Position | null;
  readonly to: Position;
  readonly damagedLines: number;
  readonly missingLines: number;
}

/** Rows of one INSERT; SQLite takes 32,766 parameters, usage rows have 14. */
const CHUNK = 200;

type Trx = Transaction<Schema>;

/** @returns false where another process has moved the checkpoint: nothing was written, look where it stands now */
export async function writeBatch(store: Store, batch: BatchWrite): Promise<boolean> {
  return store.db.transaction().execute(async (trx) => {
    const nodes = await nodeIds(trx, [batch.node, ...batch.tally.windows.keys()]);
    const owner = idOf(nodes, batch.node);
    const now = await (batch.branch
      ? trx.selectFrom('branch_checkpoint').selectAll().where('file_id', '=', batch.to.file_id)
      : trx.selectFrom('checkpoint').selectAll().where('node_id', '=', owner)
    ).executeTakeFirst();
    if (!samePosition(now ?? null, batch.from)) return false;
    await writeTally(trx, batch.tally, nodes);
    await addToMeta(trx, 'damaged_lines', batch.damagedLines);
    await addToMeta(trx, 'missing_lines', batch.missingLines);
    await (batch.branch ? moveBranch(trx, batch.to) : moveNode(trx, owner, batch.to));
    return true;
  });
}

async function moveNode(trx: Trx, node_id: number, to: Position): Promise<void> {
  await trx
    .insertInto('checkpoint')
    .values({ node_id, ...to })
    .onConflict((on) => on.column('node_id').doUpdateSet(to))
    .execute();
}

/** A branch is one file, whose id stays. */
async function moveBranch(trx: Trx, to: Position): Promise<void> {
  await trx
    .insertInto('branch_checkpoint')
    .values(to)
    .onConflict((on) => on.column('file_id').doUpdateSet(to))
    .execute();
}

function samePosition(a: Position | null, b: Position | null): boolean {
  if (a === null || b === null) return a === b;
  return a.file_id === b.file_id && a.offset === b.offset && a.seq === b.seq;
}

async function writeTally(trx: Trx, tally: Tally, nodes: ReadonlyMap<string, number>): Promise<void> {
  const targets = await targetIds(trx, tally);
  const actors = await actorIds(trx, tally);
  const rules = await ruleIds(trx, tally);
  const pipelines = await pipelineIds(trx, tally);
  for (const rows of chunks([...tally.rows.values()])) {
    await addRows(
      trx,
      rows.map(({ node, target, actor, rule, ...row }: TallyRow) => ({
        ...row,
        node_id: idOf(nodes, node),
        target_id: idOf(targets, target),
        actor_id: idOf(actors, actor),
        rule_id: idOf(rules, rule),
        pipeline_id: idOf(pipelines, actor),
      })),
    );
  }
  await writeDenials(trx, tally, targets);
  await writeOpen(trx, tally, nodes);
  await writeWindows(trx, tally, nodes);
}

async function addRows(trx: Trx, rows: Insertable<Schema['usage']>[]): Promise<void> {
  await trx
    .insertInto('usage')
    .values(rows)
    .onConflict((on) =>
      on.columns([...USAGE_KEY]).doUpdateSet((eb) => ({
        requests: eb('usage.requests', '+', eb.ref('excluded.requests')),
        bytes_up: eb('usage.bytes_up', '+', eb.ref('excluded.bytes_up')),
        bytes_down: eb('usage.bytes_down', '+', eb.ref('excluded.bytes_down')),
        first_seen: sql<number>`min(usage.first_seen, excluded.first_seen)`,
        last_seen: sql<number>`max(usage.last_seen, excluded.last_seen)`,
      })),
    )
    .execute();
}

async function writeDenials(trx: Trx, tally: Tally, targets: ReadonlyMap<string, number>): Promise<void> {
  for (const some of chunks([...tally.denials])) {
    await trx
      .insertInto('denial')
      .values(some.map(([target, denial]) => ({ target_id: idOf(targets, target), ...denial })))
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

async function writeOpen(trx: Trx, tally: Tally, nodes: ReadonlyMap<string, number>): Promise<void> {
  for (const node of tally.started)
    await trx.deleteFrom('open_request').where('node_id', '=', idOf(nodes, node)).execute();
  for (const ids of chunks([...tally.closed])) await trx.deleteFrom('open_request').where('id', 'in', ids).execute();
  for (const some of chunks([...tally.opened])) {
    await trx
      .insertInto('open_request')
      .values(some.map(([id, { node, line }]) => ({ id, node_id: idOf(nodes, node), line })))
      .onConflict((on) => on.column('id').doUpdateSet((eb) => ({ line: eb.ref('excluded.line') })))
      .execute();
  }
}

async function writeWindows(trx: Trx, tally: Tally, nodes: ReadonlyMap<string, number>): Promise<void> {
  for (const [node, { first, last }] of tally.windows) {
    await trx
      .insertInto('window')
      .values({ node_id: idOf(nodes, node), first, last })
      .onConflict((on) =>
        on.column('node_id').doUpdateSet({
          first: sql<number>`min("window".first, excluded.first)`,
          last: sql<number>`max("window".last, excluded.last)`,
        }),
      )
      .execute();
  }
}

async function addToMeta(trx: Trx, key: string, count: number): Promise<void> {
  if (count === 0) return;
  await trx
    .insertInto('meta')
    .values({ key, value: String(count) })
    .onConflict((on) => on.column('key').doUpdateSet({ value: sql<string>`cast(meta.value as integer) + ${count}` }))
    .execute();
}

// A dimension is inserted or, where it is known, set to what it is: so RETURNING gives the ids of both.

async function nodeIds(trx: Trx, names: readonly string[]): Promise<Map<string, number>> {
  const rows = await trx
    .insertInto('node')
    .values([...new Set(names)].map((name) => ({ name })))
    .onConflict((on) => on.column('name').doUpdateSet((eb) => ({ name: eb.ref('excluded.name') })))
    .returningAll()
    .execute();
  return new Map(rows.map((row) => [row.name, row.id]));
}

async function targetIds(trx: Trx, tally: Tally): Promise<Map<string, number>> {
  const ids = new Map<string, number>();
  for (const values of chunks([...tally.targets.values()])) {
    const rows = await trx
      .insertInto('target')
      .values(values)
      .onConflict((on) => on.columns(['host', 'port']).doUpdateSet((eb) => ({ port: eb.ref('excluded.port') })))
      .returningAll()
      .execute();
    for (const row of rows) ids.set(keyOfTarget(row), row.id);
  }
  return ids;
}

async function actorIds(trx: Trx, tally: Tally): Promise<Map<string, number>> {
  const ids = new Map<string, number>();
  for (const values of chunks<ActorColumns>([...tally.actors.values()])) {
    const rows = await trx
      .insertInto('actor')
      .values(values)
      .onConflict((on) => on.columns([...ACTOR_COLUMNS]).doUpdateSet((eb) => ({ kind: eb.ref('excluded.kind') })))
      .returningAll()
      .execute();
    for (const row of rows) ids.set(keyOfActor(row), row.id);
  }
  return ids;
}

async function ruleIds(trx: Trx, tally: Tally): Promise<Map<string, number>> {
  const ids = new Map<string, number>();
  for (const values of chunks([...tally.rules.values()])) {
    const rows = await trx
      .insertInto('rule')
      .values(values)
      .onConflict((on) => on.columns(['rule', 'grp']).doUpdateSet((eb) => ({ grp: eb.ref('excluded.grp') })))
      .returningAll()
      .execute();
    for (const row of rows) ids.set(keyOfRule(row), row.id);
  }
  return ids;
}

/** By key of the actor. */
async function pipelineIds(trx: Trx, tally: Tally): Promise<Map<string, number>> {
  const named = new Map<string, { name: string; claimed: 0 | 1 }>();
  const keyOf = (name: string, claimed: number): string => `${claimed} ${name}`;
  const claimedOf = (actor: ActorColumns): 0 | 1 => (actor.kind === 'claimed' ? 1 : 0);
  for (const actor of tally.actors.values()) {
    const claimed = claimedOf(actor);
    named.set(keyOf(actor.pipeline, claimed), { name: actor.pipeline, claimed });
  }
  const known = new Map<string, number>();
  for (const values of chunks([...named.values()])) {
    const rows = await trx
      .insertInto('pipeline')
      .values(values)
      .onConflict((on) => on.columns(['name', 'claimed']).doUpdateSet((eb) => ({ name: eb.ref('excluded.name') })))
      .returningAll()
      .execute();
    for (const row of rows) known.set(keyOf(row.name, row.claimed), row.id);
  }
  return new Map([...tally.actors].map(([key, actor]) => [key, idOf(known, keyOf(actor.pipeline, claimedOf(actor)))]));
}

function* chunks<T>(all: readonly T[]): Generator<T[]> {
  for (let at = 0; at < all.length; at += CHUNK) yield all.slice(at, at + CHUNK);
}

function idOf(ids: ReadonlyMap<string, number>, key: string): number {
  const id = ids.get(key);
  // A dimension that was just inserted must be there: anything else is a bug in the keys.
  if (id === undefined) throw new Error(`no id for ${key}`);
  return id;
}
