// A batch of the projection is read in pieces, between which it rests: it is one transaction all the same, and nothing of it shows.
import fs from 'node:fs';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { projectOnce } from '../../src/usage/project-once.ts';
import { Projector } from '../../src/usage/projector.ts';
import { ScratchUsage, sumsOf } from '../support/usage.ts';

let world: ScratchUsage;
beforeEach(() => {
  world = new ScratchUsage();
});
afterEach(() => world.log.close());

it.each([
  ['rests between the pieces', 2, 7],
  ['does not rest where half of what is warned of is left to read', 0, 0],
])('%s, and counts all of it in one step', async (_, more, expected) => {
  world.write(1_000);
  const warn = fs.statSync(world.file).size * 2 + more;
  let rests = 0;
  const projector = new Projector(
    world.options({
      limits: { ...DEFAULT_LIMITS, usage_lag_bytes_warn: warn },
      breathe: async () => void rests++,
    }),
  );
  expect(await projector.step()).toMatchObject({ lines: 1_800, more: false });
  await projector.close();
  expect(await world.sums()).toMatchObject({ ...sumsOf(1_000), open: [] });
  expect(rests).toBe(expected);
});

it('nothing is in the store before the whole batch is', async () => {
  world.write(1_000);
  const seen: number[] = [];
  const options = world.options({
    breathe: async () => void seen.push((await world.sums()).allowed),
  });
  const projector = new Projector(options);
  await projector.use(async () => {});
  while ((await projector.step()).more);
  await projector.close();
  expect(new Set(seen)).toEqual(new Set([0]));
  expect(await world.sums()).toMatchObject(sumsOf(1_000));
});

it('names damaged lines of any piece by their place', async () => {
  world.write(1_000);
  world.log.close();
  const lines = fs.readFileSync(world.file, 'latin1').split('\n');
  for (const number of [3, 400, 1_201]) lines[number - 1] = 'rubbish';
  fs.writeFileSync(world.file, lines.join('\n'));
  await projectOnce(world.options());
  expect(world.problems.map(({ line }) => line)).toEqual([3, 400, 1_201]);
  expect(await world.sums()).toMatchObject({ damaged: 3, missing: 0 });
});

it('names ten of many and says how many more there are, over all pieces', async () => {
  world.write(1_000);
  world.log.close();
  const lines = fs.readFileSync(world.file, 'latin1').split('\n');
  fs.writeFileSync(world.file, lines.map((line, at) => (at % 100 === 50 ? 'rubbish' : line)).join('\n'));
  await projectOnce(world.options());
  expect(world.problems.slice(0, 10).map(({ line }) => line)).toEqual(
    Array.from({ length: 10 }, (_, n) => 51 + n * 100),
  );
  expect(world.problems.slice(10).map(({ message }) => message)).toEqual([`${world.file}: 8 more such lines`]);
});

it('a batch may begin in one segment and end in the next; each is on the disk before it is counted', async () => {
  world.write(500);
  const projector = new Projector(world.options());
  await projector.step();
  world.write(500);
  world.rotate('-20260131');
  world.write(500);
  void world.log.stats;
  const flushed = vi.spyOn(fs, 'fdatasyncSync');
  expect(await projector.step()).toMatchObject({ lines: 1_801, more: false });
  const flushes = flushed.mock.calls.length;
  flushed.mockRestore();
  await projector.close();
  expect(flushes).toBe(2);
  expect(await world.sums()).toMatchObject({ ...sumsOf(1_500), open: [] });
  expect(world.problems).toEqual([]);
});

it('a file that is cut while a batch of it is read is read again from what is counted', async () => {
  world.write(1_000);
  world.log.close();
  const text = fs.readFileSync(world.file, 'latin1');
  const cut = text.indexOf('\n', text.length / 2) + 1;
  let rests = 0;
  const projector = new Projector(
    world.options({
      breathe: async () => {
        if (++rests === 7) fs.truncateSync(world.file, cut);
      },
    }),
  );
  const steps = [await projector.step(), await projector.step()];
  while ((await projector.step()).more);
  await projector.close();
  expect(steps).toMatchObject([{ lines: 0, more: true }, { more: false }]);
  const { allowed, denied, missing } = await world.sums();
  expect(allowed + denied).toBeGreaterThan(400);
  expect(allowed + denied).toBeLessThan(600);
  expect(missing).toBe(0);
});
