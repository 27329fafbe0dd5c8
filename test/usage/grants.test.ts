// Grants and instances in the store, SQLite and PostgreSQL: what is written is read, an old store gets the tables, a rebuild carries them over.
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it } from 'vitest';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import type { Grant } from '../../src/policy/grant.ts';
import { addGrant, dropGrants, GRANTS_KEPT_MS, grantById, readGrants, revokeGrant } from '../../src/usage/grants.ts';
import { type Instance, listInstances, sayInstance } from '../../src/usage/instances.ts';
import { rebuildStore } from '../../src/usage/rebuild.ts';
import { MIGRATIONS } from '../../src/usage/sqlite-schema.ts';
import { openStore, type Store } from '../../src/usage/store.ts';
import { Postgres, postgresBin } from '../support/postgres.ts';
import { tempDir } from '../support/temp.ts';
import { NOON, ScratchUsage } from '../support/usage.ts';

const NOW = NOON().getTime();
const GRANT: Grant = {
  ...{
    id: 'g1',
    host: '*.corp.test',
    port: 22,
    protocol: 'ssh',
    addresses: ['10.0.0.0/8'],
    for: { pipeline: ['web', 'api'], branch: ['main'] },
  },
  ...{ created: NOW - 10, expires: NOW + 10, revoked: null, reason: 'r', owner: 'o', by: 'me@here', revokedBy: null },
};
const INSTANCE: Instance = {
  ...{
    name: 'n',
    host: 'h',
    pid: 1,
    version: '1',
    policy: 'p',
    mode: 'enforce',
    source: '',
    layers_broken: 0,
    grants: 0,
    since: NOW,
    seen: NOW,
    lag: 4_096,
  },
};

/** The same for both kinds of store. */
async function lifeOf(store: Store): Promise<void> {
  await addGrant(store, GRANT);
  await addGrant(store, { ...GRANT, id: 'g2', protocol: null, addresses: [], created: NOW - 20 });
  expect(await readGrants(store, NOW)).toEqual([
    { ...GRANT, id: 'g2', protocol: null, addresses: [], created: NOW - 20 },
    GRANT,
  ]);
  expect(await readGrants(store, NOW + 10)).toEqual([]);
  expect(await revokeGrant(store, 'g1', 'you@there', NOW)).toBe(true);
  expect(await revokeGrant(store, 'g1', 'you@there', NOW)).toBe(false);
  expect(await revokeGrant(store, 'g2', 'you@there', NOW + 11)).toBe(false);
  expect(await revokeGrant(store, 'g3', 'you@there', NOW)).toBe(false);
  expect(await grantById(store, 'g1')).toEqual({ ...GRANT, revoked: NOW, revokedBy: 'you@there' });
  await dropGrants(store, NOW + 10 + GRANTS_KEPT_MS);
  expect(await readGrants(store, 0)).toHaveLength(2);
  await dropGrants(store, NOW + 11 + GRANTS_KEPT_MS);
  expect(await readGrants(store, 0)).toEqual([]);

  await sayInstance(store, INSTANCE);
  await sayInstance(store, { ...INSTANCE, pid: 2, policy: 'q', seen: NOW + 1 });
  await sayInstance(store, { ...INSTANCE, host: 'a' });
  expect(await listInstances(store)).toEqual([
    { ...INSTANCE, host: 'a' },
    { ...INSTANCE, pid: 2, policy: 'q', seen: NOW + 1 },
  ]);
  await sayInstance(store, { ...INSTANCE, seen: NOW + 31 * 86_400_000 });
  expect(await listInstances(store)).toHaveLength(1);
}

describe('SQLite', () => {
  it('keeps grants and instances', async () => {
    const store = openStore(path.join(tempDir('grants'), 'usage.db'), 'write');
    await lifeOf(store);
    await store.close();
  });

  it('a store of the schema before gets the tables and keeps what it has', async () => {
    const file = path.join(tempDir('grants'), 'usage.db');
    const old = new DatabaseSync(file);
    old.exec(
      `${MIGRATIONS.slice(0, 4).join(';')}; INSERT INTO meta VALUES ('schema_version', '4'); INSERT INTO node (name) VALUES ('n')`,
    );
    old.close();
    const store = openStore(file, 'write');
    await lifeOf(store);
    expect(await store.db.selectFrom('node').select('name').execute()).toEqual([{ name: 'n' }]);
    await store.close();
  });

  it('a row that is no grant hides no other', async () => {
    const store = openStore(path.join(tempDir('grants'), 'usage.db'), 'write');
    await addGrant(store, GRANT);
    for (const [id, selector, addresses] of [
      ['x', '{', '[]'],
      ['y', '[]', '[]'],
      ['z', '{}', '[1]'],
      ['w', '{}', 'null'],
    ] as const) {
      await addGrant(store, { ...GRANT, id });
      await store.db.updateTable('granted').set({ selector, addresses }).where('id', '=', id).execute();
    }
    expect((await readGrants(store, NOW)).map(({ id }) => id)).toEqual(['g1']);
    await store.close();
  });

  it('a rebuild carries grants over', async () => {
    const world = new ScratchUsage();
    const store = openStore(world.store, 'write');
    await addGrant(store, GRANT);
    await addGrant(store, { ...GRANT, id: 'g2' });
    await revokeGrant(store, 'g2', 'you@there', NOW);
    await store.close();
    world.write(3);
    const { onProblem } = world.options();
    const rebuilt = await rebuildStore({
      store: world.store,
      auditFile: world.file,
      limits: DEFAULT_LIMITS,
      now: NOON,
      onProblem,
    });
    expect(rebuilt.grants).toBe(2);
    const after = openStore(world.store, 'read');
    expect(await readGrants(after, 0)).toEqual([GRANT, { ...GRANT, id: 'g2', revoked: NOW, revokedBy: 'you@there' }]);
    await after.close();
    world.log.close();
  });
});

describe.skipIf(postgresBin === null)('PostgreSQL', () => {
  it('keeps grants and instances', async () => {
    const server = await Postgres.start();
    const store = await openStore(server.place(), 'write', 10_000);
    await lifeOf(store);
    await store.close();
  });
});
