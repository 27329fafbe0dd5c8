// What counts as a change of the policy files, on a real file system; the clock alone is the test's: each `look` is one interval.
import { mkdirSync, mkdtempSync, renameSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { fileRead } from '../../src/catalog/load-signature.ts';
import { PolicyWatch } from '../../src/cli/watch.ts';
import { tempDir } from '../support/temp.ts';

const INTERVAL_MS = 1_000;
const root = tempDir('watch');

let dir = '';
let file = '';
let watch: PolicyWatch | null = null;
let changes = 0;
let enabled = true;
let layers: readonly string[] = [];
let problems: unknown[] = [];
/** What a reload does with the change: by default the files are taken as they are. */
let act: (watch: PolicyWatch) => Promise<void>;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  dir = mkdtempSync(join(root, 'w-'));
  file = join(dir, 'sallyport.yaml');
  changes = 0;
  enabled = true;
  layers = [];
  problems = [];
  act = async (on) => on.refused(await on.look());
});

let further: readonly string[] = [];

afterEach(() => {
  further = [];
  watch?.close();
  vi.useRealTimers();
});

const read = (path: string, text: string) => fileRead(path, statSync(path, { bigint: true }), Buffer.from(text));

function start(text = 'one', folders: readonly string[] = []): void {
  writeFileSync(file, text);
  begin([read(file, text)], folders);
}

function begin(files: ReturnType<typeof read>[], folders: readonly string[] = []): void {
  const made: PolicyWatch = new PolicyWatch(
    {
      file,
      intervalMs: INTERVAL_MS,
      source: () => null,
      folders: () => folders,
      files: () => further,
      layers: () => layers,
      enabled: () => enabled,
      changed: async () => {
        changes++;
        await act(made);
      },
      failed: (error) => void problems.push(error),
    },
    files,
  );
  watch = made;
}

/** Lets intervals pass; each look is through before the next. */
async function look(times = 1): Promise<number> {
  for (let i = 0; i < times; i++) {
    vi.advanceTimersByTime(INTERVAL_MS);
    while (vi.getTimerCount() === 0) await new Promise<void>((resolve) => setImmediate(resolve));
  }
  return changes;
}

describe('a change', () => {
  it('of a further file that was read, such as the users, counts as one of the policy', async () => {
    const users = join(dir, 'users');
    writeFileSync(users, 'ann');
    writeFileSync(file, 'one');
    further = [users];
    begin([read(file, 'one'), read(users, 'ann')]);
    expect(await look(3)).toBe(0);
    writeFileSync(users, 'bob and ann');
    expect(await look(2)).toBe(1);
  });

  it('of the lock that was read counts, and its end', async () => {
    const lock = join(dir, 'sallyport.lock');
    writeFileSync(lock, 'one');
    writeFileSync(file, 'one');
    begin([read(file, 'one'), read(lock, 'one')]);
    expect(await look(3)).toBe(0);
    writeFileSync(lock, 'two');
    expect(await look(2)).toBe(1);
    rmSync(lock);
    expect(await look(2)).toBe(2);
  });

  it('is none while nothing is written', async () => {
    start();
    expect(await look(5)).toBe(0);
  });

  it('counts once, when the next look sees no further one', async () => {
    start();
    writeFileSync(file, 'two');
    expect(await look()).toBe(0);
    expect(await look()).toBe(1);
    expect(await look(5)).toBe(1);
  });

  it('that came between the reading and the first look counts', async () => {
    writeFileSync(file, 'one');
    const before = read(file, 'one');
    writeFileSync(file, 'two!');
    begin([before]);
    expect(await look(2)).toBe(1);
  });

  it.each<[string, () => void]>([
    [
      'another file under the name, of the same size and times',
      () => {
        const { atime, mtime } = statSync(file);
        writeFileSync(`${file}.new`, 'two');
        utimesSync(`${file}.new`, atime, mtime);
        renameSync(`${file}.new`, file);
      },
    ],
    [
      'a write that puts the times back',
      () => {
        const { atime, mtime } = statSync(file);
        writeFileSync(file, 'two');
        utimesSync(file, atime, mtime);
      },
    ],
    ['the file’s end', () => rmSync(file)],
    [
      'a file in catalog.d that comes',
      () => {
        mkdirSync(join(dir, 'catalog.d'));
        writeFileSync(join(dir, 'catalog.d', 'own.yaml'), 'x');
      },
    ],
    ['a lock of the catalog that comes', () => writeFileSync(join(dir, 'sallyport.lock'), 'x')],
  ])('is %s', async (_, change) => {
    start();
    expect(await look(2)).toBe(0);
    change();
    expect(await look(3)).toBe(1);
    expect(await look(3)).toBe(1);
  });

  it('is none in files that are not read', async () => {
    mkdirSync(join(dir, 'catalog.d'));
    start();
    writeFileSync(join(dir, 'audit.jsonl'), 'x');
    writeFileSync(join(dir, 'catalog.d', '.own.yaml.swp'), 'x');
    writeFileSync(join(dir, 'catalog.d', 'README.md'), 'x');
    expect(await look(5)).toBe(0);
  });

  it('in a named folder counts, when a file is written and when it goes', async () => {
    const folder = join(dir, 'mine');
    const own = join(folder, 'own.yaml');
    mkdirSync(folder);
    writeFileSync(file, 'one');
    writeFileSync(own, 'x');
    begin([read(file, 'one'), read(own, 'x')], [folder]);
    expect(await look(3)).toBe(0);
    writeFileSync(own, 'longer');
    expect(await look(3)).toBe(1);
    rmSync(own);
    expect(await look(3)).toBe(2);
  });

  it('is the symlink swap of a mounted ConfigMap, and the removal of the old folder is none', async () => {
    for (const version of ['..v1', '..v2']) {
      mkdirSync(join(dir, version));
      writeFileSync(join(dir, version, 'sallyport.yaml'), version);
    }
    symlinkSync('..v1', join(dir, '..data'));
    symlinkSync('..data/sallyport.yaml', file);
    begin([read(file, '..v1')]);
    expect(await look(2)).toBe(0);
    symlinkSync('..v2', join(dir, '..data_tmp'));
    renameSync(join(dir, '..data_tmp'), join(dir, '..data'));
    rmSync(join(dir, '..v1'), { recursive: true });
    expect(await look(5)).toBe(1);
  });
});

describe('a file that is written again and again', () => {
  it('is read after ten looks, and not at each', async () => {
    start();
    for (let i = 1; i <= 25; i++) {
      writeFileSync(file, 'x'.repeat(10 + i));
      await look();
    }
    expect(changes).toBe(2);
  });
});

describe('after a reload', () => {
  it('the files that were taken are no change, whatever was looked at besides', async () => {
    // A folder that is the shipped catalog is looked at and not read with the operator's files.
    mkdirSync(join(dir, 'shipped'));
    writeFileSync(join(dir, 'shipped', 'agent.yaml'), 'x');
    act = async (on) => on.taken(await on.look(), [read(file, 'two')]);
    start('one', [join(dir, 'shipped')]);
    writeFileSync(file, 'two');
    expect(await look(2)).toBe(1);
    expect(await look(5)).toBe(1);
  });

  it('a change between its look and its reading is one more', async () => {
    start();
    act = async (on) => {
      const looked = await on.look();
      if (changes === 1) writeFileSync(file, 'three');
      on.taken(looked, [read(file, 'two')]);
      if (changes === 1) writeFileSync(file, 'four!');
    };
    writeFileSync(file, 'two');
    expect(await look(2)).toBe(1);
    expect(await look(3)).toBe(2);
    expect(await look(3)).toBe(2);
  });

  it('that fails in itself the next look goes on', async () => {
    start();
    act = () => Promise.reject(new Error('a bug'));
    writeFileSync(file, 'two');
    await look(3);
    expect(problems.length).toBeGreaterThan(0);
    act = async (on) => on.refused(await on.look());
    const before = changes;
    expect(await look(2)).toBeGreaterThan(before);
  });
});

it('nothing is acted upon while it is switched off, and what was missed counts when it is on again', async () => {
  start();
  enabled = false;
  writeFileSync(file, 'two');
  expect(await look(5)).toBe(0);
  enabled = true;
  expect(await look(2)).toBe(1);
});

it('no timer is left when it is closed', async () => {
  start();
  await look();
  watch?.close();
  expect(vi.getTimerCount()).toBe(0);
});
