// Export and import: stores that share no network add up to the same sums as one that counted all logs, however often and in
// whatever order the files come.
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { StorePlace } from '../../src/config/store-place.ts';
import { exportUsage } from '../../src/usage/export.ts';
import { importUsage } from '../../src/usage/import.ts';
import { projectOnce } from '../../src/usage/project-once.ts';
import { openStore } from '../../src/usage/store.ts';
import { Postgres, postgresBin } from '../support/postgres.ts';
import { decidedRecord } from '../support/records.ts';
import { tempDir } from '../support/temp.ts';
import { NOON, ScratchUsage, sumsOf } from '../support/usage.ts';

async function exported(world: ScratchUsage<StorePlace>, name: string): Promise<string> {
  await projectOnce(world.options());
  const file = path.join(world.directory, name);
  const store = await openStore(world.store, 'read');
  await exportUsage(store, file, NOON());
  await store.close();
  return file;
}

async function imported(place: StorePlace, ...files: string[]) {
  const store = await openStore(place, 'write');
  try {
    const done = [];
    for (const file of files) done.push(await importUsage(store, file));
    return done.map(({ taken, known }) => ({ taken, known }));
  } finally {
    await store.close();
  }
}

const STORES = [
  ['SQLite', async () => path.join(tempDir('merge'), 'usage.db'), false],
  [
    'PostgreSQL (skipped where it is not installed)',
    async () => (await Postgres.start()).place(),
    postgresBin === null,
  ],
] as const;

for (const [name, place, skipped] of STORES) {
  describe.skipIf(skipped)(`usage export and import on ${name}`, { timeout: 120_000 }, () => {
    it('merges stores once, in any order, and takes a later export of a log for an earlier one', async () => {
      const [a, b] = [new ScratchUsage({ node: 'a' }), new ScratchUsage({ node: 'b' })];
      a.write(30);
      b.write(20);
      a.log.decided(decidedRecord({ id: 'open' }));
      const first = await exported(a, 'first.jsonl');
      const other = await exported(b, 'other.jsonl');
      a.write(10);
      const later = await exported(a, 'later.jsonl');
      const all = new ScratchUsage<StorePlace>({ store: await place() });
      expect(await imported(all.store, first, other)).toEqual([
        { taken: 1, known: 0 },
        { taken: 1, known: 0 },
      ]);
      expect(await all.sums()).toEqual({ ...sumsOf(50), open: ['open'] });
      expect(await imported(all.store, later, first, later, other)).toEqual([
        { taken: 1, known: 0 },
        { taken: 0, known: 1 },
        { taken: 0, known: 1 },
        { taken: 0, known: 1 },
      ]);
      expect(await all.sums()).toEqual({ ...sumsOf(60), open: ['open'] });
    });

    it('a proxy whose log was imported goes on where the file ends', async () => {
      const a = new ScratchUsage({ node: 'a' });
      a.write(30);
      const file = await exported(a, 'a.jsonl');
      const store = await place();
      await imported(store, file);
      a.write(10);
      await projectOnce({ ...a.options(), store });
      expect(await new ScratchUsage<StorePlace>({ store }).sums()).toMatchObject(sumsOf(40));
      // What it counts itself is further than the file.
      expect(await imported(store, file)).toEqual([{ taken: 0, known: 1 }]);
    });

    it('what is exported again is the same', async () => {
      const a = new ScratchUsage({ node: 'a' });
      a.write(30);
      const file = await exported(a, 'a.jsonl');
      const store = await place();
      await imported(store, file);
      const b = new ScratchUsage<StorePlace>({ store });
      const again = fs.readFileSync(await exported(b, 'b.jsonl'), 'utf8').split('\n');
      const before = fs.readFileSync(file, 'utf8').split('\n');
      expect(again.sort()).toEqual(before.sort());
    });
  });
}

it('docs/usage-export.md names every member that a line has', async () => {
  const a = new ScratchUsage({ node: 'a' });
  a.write(30);
  a.log.decided(decidedRecord({ id: 'open' }));
  const text = fs.readFileSync(await exported(a, 'a.jsonl'), 'utf8').trimEnd();
  const members = (value: unknown): string[] =>
    typeof value !== 'object' || value === null
      ? []
      : Object.entries(value).flatMap(([name, inner]) => [...(Array.isArray(value) ? [] : [name]), ...members(inner)]);
  const page = fs.readFileSync(new URL('../../docs/usage-export.md', import.meta.url), 'utf8');
  const named = new Set([...page.matchAll(/`(\w+)`/g)].map(([, name]) => name));
  const all = new Set(text.split('\n').flatMap((line) => members(JSON.parse(line))));
  expect(all).toContain('denied');
  expect([...all].filter((name) => !named.has(name))).toEqual([]);
});

describe('importUsage', () => {
  const whole = async () => {
    const a = new ScratchUsage({ node: 'a' });
    a.write(30);
    const file = await exported(a, 'a.jsonl');
    return { file, lines: fs.readFileSync(file, 'utf8').trimEnd().split('\n') };
  };
  const CASES: [string, (lines: string[]) => string[], RegExp][] = [
    ['is cut short', (lines) => lines.slice(0, -1), /cut short/],
    ['lacks a line', (lines) => lines.toSpliced(2, 1), /before its end/],
    ['is empty', () => [''], /line 1 is not/],
    ['has a second head', (lines) => lines.toSpliced(1, 0, lines[0] ?? ''), /line 2 is not/],
    ['goes on after its end', (lines) => [...lines, lines[1] ?? ''], /is not one of/],
    ['has a row before its log', (lines) => lines.toSpliced(1, 1), /belongs to no log/],
    [
      'has a number that is none',
      (lines) => lines.map((line) => line.replace('"requests":', '"requests":-')),
      /line 3 is not/,
    ],
    ['is something else', () => ['version: 1'], /line 1 is not/],
  ];
  it.each(CASES)('refuses a file that %s, and takes nothing of it', async (_, change, why) => {
    const { file, lines } = await whole();
    fs.writeFileSync(file, `${change(lines).join('\n')}\n`);
    const store = path.join(tempDir('merge'), 'usage.db');
    await expect(imported(store, file)).rejects.toMatchObject({
      code: 'export-invalid',
      message: expect.stringMatching(why),
    });
    expect(await new ScratchUsage({ store }).sums()).toMatchObject({ allowed: 0, denied: 0 });
  });

  it('refuses a file that is not there', async () => {
    const store = path.join(tempDir('merge'), 'usage.db');
    await expect(imported(store, '/nonexistent/a.jsonl')).rejects.toMatchObject({ code: 'export-invalid' });
  });

  it('an export that cannot be written says so', async () => {
    const a = new ScratchUsage({ node: 'a' });
    await expect(exported(a, 'none/a.jsonl')).rejects.toMatchObject({ code: 'export-unwritable' });
  });
});
