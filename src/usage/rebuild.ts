// `sallyport usage rebuild`: the store is only a projection, so a damaged file is set aside and made again from the audit log.
// In a database that many share, only what was counted of this log is taken out and counted anew.
// What stood in segments that are rotated away and deleted comes back no more; the result says from where the log begins.
import fs from 'node:fs';
import { logFamily } from '../audit/family.ts';
import { listSegments } from '../audit/read.ts';
import type { StorePlace } from '../config/store-place.ts';
import type { Limits } from '../limits.ts';
import { addGrant, readGrants, revokeGrant } from './grants.ts';
import { projectOnce } from './project-once.ts';
import type { ProjectionProblem } from './projector.ts';
import { openStore, type Store, storeError } from './store.ts';
import { forgetNodes } from './write.ts';

/** Rows of one statement. */
const CARRY_ROWS = 1_000;

export interface RebuildOptions {
  readonly store: StorePlace;
  readonly auditFile: string;
  readonly limits: Limits;
  readonly now: () => Date;
  readonly onProblem: (problem: ProjectionProblem) => void;
}

export interface Rebuild {
  /** Where the old store is now; null where there was none. */
  readonly aside: string | null;
  /** Lines of the audit log that were read. */
  readonly lines: number;
  /** Records of `import flows` that were carried over; null where the old file could not be read to its end. */
  readonly flows: number | null;
  /** Grants that were carried over; null where the old file could not be read. */
  readonly grants: number | null;
}

/** Safe while the proxy runs: its worker notices the new file, or the checkpoint that is gone. @throws SallyportError */
export async function rebuildStore(options: RebuildOptions): Promise<Rebuild> {
  const { store, auditFile, limits, onProblem } = options;
  const aside = typeof store === 'string' ? setAside(store, options.now()) : null;
  let lines = 0;
  for (const log of logFamily(auditFile)) {
    if (typeof store !== 'string') await forgetLog(store, log, limits);
    lines += (await projectOnce({ auditFile: log, store, limits, onProblem })).lines;
  }
  if (typeof store !== 'string' || aside === null) return { aside, lines, flows: 0, grants: 0 };
  return {
    aside,
    lines,
    flows: await carried(aside, store, carryFlows),
    grants: await carried(aside, store, carryGrants),
  };
}

/** How much `carry` takes over from the old file; null where that cannot be read to its end. */
async function carried(
  aside: string,
  file: string,
  carry: (old: Store, fresh: Store) => Promise<number>,
): Promise<number | null> {
  let old: Store | null = null;
  let fresh: Store | null = null;
  try {
    old = openStore(aside, 'read');
    fresh = openStore(file, 'write');
    return await carry(old, fresh);
  } catch {
    return null;
  } finally {
    await old?.close();
    await fresh?.close();
  }
}

/** Attempts past the proxy come from other logs: they go over, as far as the old file can be read. */
async function carryFlows(old: Store, fresh: Store): Promise<number> {
  let count = 0;
  let after = '';
  for (;;) {
    const rows = await old.db
      .selectFrom('flow')
      .selectAll()
      .where('key', '>', after)
      .orderBy('key')
      .limit(CARRY_ROWS)
      .execute();
    const last = rows.at(-1);
    if (last === undefined) return count;
    await fresh.db
      .insertInto('flow')
      .values(rows)
      .onConflict((on) => on.doNothing())
      .execute();
    count += rows.length;
    after = last.key;
  }
}

/** Grants are no counts and stand in no log as a whole: they go over too. */
async function carryGrants(old: Store, fresh: Store): Promise<number> {
  const grants = await readGrants(old, 0);
  for (const grant of grants) {
    await addGrant(fresh, grant);
    if (grant.revoked !== null) await revokeGrant(fresh, grant.id, grant.revokedBy ?? '', grant.revoked);
  }
  return grants.length;
}

function setAside(store: string, now: Date): string | null {
  if (!fs.existsSync(store)) return null;
  const aside = `${store}.damaged-${now.toISOString().replace(/[:.]/g, '')}`;
  try {
    // The write-ahead log belongs to the file it was written for: left behind, it would be played into the new one.
    for (const suffix of ['-wal', '-shm', '']) {
      if (fs.existsSync(store + suffix)) fs.renameSync(store + suffix, aside + suffix);
    }
  } catch (error) {
    throw storeError(store, error);
  }
  return aside;
}

/** The log is known by the checkpoint that stands in one of its segments, as in the projector. */
async function forgetLog(place: StorePlace, auditFile: string, limits: Limits): Promise<void> {
  const segments = listSegments(auditFile).segments.map(({ id }) => id);
  if (segments.length === 0) return;
  const store = await openStore(place, 'write', limits.usage_store_timeout_ms);
  try {
    await store.db.transaction().execute(async (trx) => {
      const nodes = await trx
        .selectFrom('node')
        .innerJoin('checkpoint', 'checkpoint.node_id', 'node.id')
        .select('node.log')
        .where('file_id', 'in', segments)
        .execute();
      for (const { log } of nodes) await forgetNodes(trx, log);
    });
  } finally {
    await store.close();
  }
}
