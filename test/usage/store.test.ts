import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { sql } from 'kysely';
import { beforeEach, describe, expect, it } from 'vitest';
import { SallyportError } from '../../src/errors.ts';
import { MIGRATIONS } from '../../src/usage/sqlite-schema.ts';
import { openStore, type Store } from '../../src/usage/store.ts';
import { tempDir } from '../support/temp.ts';

let file: string;

beforeEach(() => {
  file = path.join(tempDir('store'), 'usage.db');
});

async function withStore<T>(mode: 'read' | 'write', act: (store: Store) => Promise<T>): Promise<T> {
  const store = openStore(file, mode);
  try {
    return await act(store);
  } finally {
    await store.close();
  }
}

function errorOf(act: () => unknown): SallyportError {
  try {
    act();
  } catch (error) {
    if (error instanceof SallyportError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

const names = (store: Store) => store.db.selectFrom('node').select('name').orderBy('name').execute();

describe('openStore', () => {
  it('is loaded without a word about SQLite among the log lines of a proxy', () => {
    const load = `await import(${JSON.stringify(new URL('../../src/usage/store.ts', import.meta.url))})`;
    const ran = spawnSync(process.execPath, ['--input-type=module', '--eval', load], { encoding: 'utf8' });
    expect(ran.status).toBe(0);
    expect(ran.stderr).not.toContain('SQLite');
  });

  it('makes the store with its folders, and opens it again', async () => {
    file = path.join(path.dirname(file), 'a', 'b', 'usage.db');
    await withStore('write', (store) => store.db.insertInto('node').values({ name: 'n' }).execute());
    expect(await withStore('read', names)).toEqual([{ name: 'n' }]);
    expect(await withStore('write', (store) => store.db.selectFrom('meta').selectAll().execute())).toEqual([
      { key: 'schema_version', value: '8' },
    ]);
  });

  it('read: says that there is none yet', () => {
    const error = errorOf(() => openStore(file, 'read'));
    expect(error.code).toBe('store-unreadable');
    expect(error.message).toContain(file);
    expect(fs.existsSync(file)).toBe(false);
  });

  it('read: cannot write, and sees a steady picture while another writes', async () => {
    await withStore('write', async (writer) => {
      await writer.db.insertInto('node').values({ name: 'a' }).execute();
      await withStore('read', async (reader) => {
        await reader.db.transaction().execute(async (trx) => {
          expect(await trx.selectFrom('node').select('name').execute()).toHaveLength(1);
          await writer.db.insertInto('node').values({ name: 'b' }).execute();
          expect(await trx.selectFrom('node').select('name').execute()).toHaveLength(1);
        });
        expect(await names(reader)).toHaveLength(2);
        const refused = reader.db.insertInto('node').values({ name: 'c' }).execute();
        await expect(refused).rejects.toMatchObject({ code: 'store-unreadable' });
      });
    });
  });

  it.each([
    ['text', 'this is not a database, it is a text that is longer than a header of one hundred bytes. '.repeat(20)],
    ['random bytes', Buffer.from(Array.from({ length: 8_192 }, (_, n) => (n * 7_919) % 251))],
  ])('says damaged, with the command that mends it, for %s', (_what, content) => {
    fs.writeFileSync(file, content);
    for (const mode of ['read', 'write'] as const) {
      const error = errorOf(() => openStore(file, mode));
      expect(error.code).toBe('store-damaged');
      expect(error.message).toContain('sallyport usage rebuild');
    }
  });

  it('says damaged where pages inside are overwritten, at the latest when they are read', async () => {
    await withStore('write', async (store) => {
      for (let n = 0; n < 40; n++) {
        const values = Array.from({ length: 50 }, (_, m) => ({ name: `node-${n}-${m}-${'x'.repeat(50)}` }));
        await store.db.insertInto('node').values(values).execute();
      }
    });
    const bytes = fs.readFileSync(file);
    bytes.fill(0xa5, 4_096 * 3);
    fs.writeFileSync(file, bytes);
    const read = async () =>
      withStore('read', (store) => store.db.selectFrom('node').select('name').orderBy('id').execute());
    await expect(read()).rejects.toMatchObject({ code: 'store-damaged' });
  });

  it('leaves a SQLite file of something else alone', () => {
    const other = new DatabaseSync(file);
    other.exec('CREATE TABLE mine (a)');
    other.close();
    for (const mode of ['read', 'write'] as const)
      expect(errorOf(() => openStore(file, mode)).code).toBe('store-unreadable');
    const again = new DatabaseSync(file);
    expect(again.prepare("SELECT count(*) AS n FROM sqlite_schema WHERE type = 'table'").get()).toEqual({ n: 1 });
    again.close();
  });

  it('takes a store of the first versions over, with its place, what is open, and what was lost', async () => {
    const old = new DatabaseSync(file);
    for (const migration of MIGRATIONS.slice(0, 2)) old.exec(migration);
    old.exec(`
      INSERT INTO meta VALUES ('schema_version', '2'), ('damaged_lines', '3'), ('missing_lines', '4');
      INSERT INTO node (id, name) VALUES (1, 'n1'), (2, 'renamed');
      INSERT INTO checkpoint VALUES (1, '1:abc', 100, 7, 'hash');
      INSERT INTO branch_checkpoint VALUES ('5:def', 10, 9, 'other');
      INSERT INTO open_request VALUES ('r1', 1, '{}');
      INSERT INTO "window" VALUES (1, 5, 6);
    `);
    old.close();
    await withStore('write', async ({ db }) => {
      expect(await db.selectFrom('node').selectAll().orderBy('id').execute()).toEqual([
        { id: 1, name: 'n1', log: '1:abc', damaged_lines: 3, missing_lines: 4 },
        { id: 2, name: 'renamed', log: '1:abc', damaged_lines: 0, missing_lines: 0 },
      ]);
      expect(await db.selectFrom('open_request').selectAll().execute()).toEqual([{ node_id: 1, id: 'r1', line: '{}' }]);
      expect(await db.selectFrom('branch_checkpoint').select(['file_id', 'node_id', 'seq']).execute()).toEqual([
        { file_id: '5:def', node_id: 1, seq: 9 },
      ]);
      expect(await db.selectFrom('checkpoint').select(['file_id', 'seq']).execute()).toEqual([
        { file_id: '1:abc', seq: 7 },
      ]);
      expect(await db.selectFrom('meta').select('key').execute()).toEqual([{ key: 'schema_version' }]);
    });
  });

  it('refuses a store of a newer version', async () => {
    await withStore('write', (store) => store.db.updateTable('meta').set({ value: '99' }).execute());
    const error = errorOf(() => openStore(file, 'write'));
    expect(error.code).toBe('store-unreadable');
    expect(error.message).toContain('newer');
  });

  it('a store of an older version keeps its rows, and everything in it still refers to something', async () => {
    const old = new DatabaseSync(file);
    old.exec(MIGRATIONS.slice(0, 2).join(';'));
    old.exec(`
      INSERT INTO meta VALUES ('schema_version', '2');
      INSERT INTO node VALUES (1, 'n');
      INSERT INTO target VALUES (7, 'h.example', 443);
      INSERT INTO rule VALUES (1, '', '');
      INSERT INTO pipeline VALUES (3, 'web', 1);
      INSERT INTO actor VALUES (9, 'claimed', '', 'web', '', '', '', 'j', '', '10.0.0.7');
      INSERT INTO usage VALUES (1, 1, 7, 9, 1, 3, 'connect', 'allow', 'allowed', 'closed', 2, 5, 6, 10, 20)`);
    old.close();
    await withStore('write', async ({ db }) => {
      const actors = await db.selectFrom('actor').selectAll().execute();
      expect(actors).toMatchObject([{ id: 9, pipeline: 'web', job: 'j', agent: '', client: '10.0.0.7' }]);
      const joined = db.selectFrom('usage').innerJoin('actor', 'actor.id', 'usage.actor_id').select('usage.requests');
      expect(await joined.execute()).toEqual([{ requests: 2 }]);
      expect((await sql`PRAGMA foreign_key_check`.execute(db)).rows).toEqual([]);
      await expect(sql`DELETE FROM actor`.execute(db)).rejects.toThrow('FOREIGN KEY');
    });
  });

  it('says unreadable where the path is a folder', () => {
    fs.mkdirSync(file);
    expect(errorOf(() => openStore(file, 'write')).code).toBe('store-unreadable');
  });
});

describe('the dialect', () => {
  it('rolls a failed transaction back', async () => {
    await withStore('write', async (store) => {
      const failed = store.db.transaction().execute(async (trx) => {
        await trx.insertInto('node').values({ name: 'a' }).execute();
        throw new Error('on purpose');
      });
      await expect(failed).rejects.toThrow('on purpose');
      expect(await names(store)).toEqual([]);
    });
  });

  it('keeps the statements of others out of a transaction', async () => {
    await withStore('write', async (store) => {
      const order: string[] = [];
      const first = store.db.transaction().execute(async (trx) => {
        await trx.insertInto('node').values({ name: 'a' }).execute();
        await new Promise((resolve) => setImmediate(resolve));
        order.push('first');
        throw new Error('on purpose');
      });
      const second = store.db
        .insertInto('node')
        .values({ name: 'b' })
        .execute()
        .then(() => order.push('second'));
      await expect(first).rejects.toThrow('on purpose');
      await second;
      expect(order).toEqual(['first', 'second']);
      expect(await names(store)).toEqual([{ name: 'b' }]);
    });
  });

  it('holds foreign keys', async () => {
    await withStore('write', async (store) => {
      const row = { node_id: 7, first: 1, last: 2 };
      await expect(store.db.insertInto('window').values(row).execute()).rejects.toMatchObject({
        code: 'store-unreadable',
      });
    });
  });

  it('gives rows, ids, counts and streams', async () => {
    await withStore('write', async ({ db }) => {
      const values = [{ name: 'a' }, { name: 'b' }, { name: 'c' }];
      expect(await db.insertInto('node').values(values).returning('id').execute()).toEqual([
        { id: 1 },
        { id: 2 },
        { id: 3 },
      ]);
      expect(await db.insertInto('node').values({ name: 'd' }).executeTakeFirstOrThrow()).toMatchObject({
        insertId: 4n,
      });
      expect(await db.updateTable('node').set({ name: 'z' }).where('id', '=', 1).executeTakeFirst()).toMatchObject({
        numUpdatedRows: 1n,
      });
      expect(await db.deleteFrom('node').where('id', '>', 2).executeTakeFirst()).toMatchObject({ numDeletedRows: 2n });
      expect((await sql<{ n: number }>`select count(*) as n from node`.execute(db)).rows).toEqual([{ n: 2 }]);
      const streamed: string[] = [];
      for await (const row of db.selectFrom('node').select('name').orderBy('id').stream()) streamed.push(row.name);
      expect(streamed).toEqual(['z', 'b']);
    });
  });
});
