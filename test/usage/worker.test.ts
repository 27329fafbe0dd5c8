import fs from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { type Projection, startProjection } from '../../src/usage/project.ts';
import { projectOnce } from '../../src/usage/project-once.ts';
import { type ProjectionProblem, Projector } from '../../src/usage/projector.ts';
import { rebuildStore } from '../../src/usage/rebuild.ts';
import { NOON, ScratchUsage, sumsOf } from '../support/usage.ts';

let world: ScratchUsage;
let file: string;
let store: string;

beforeEach(() => {
  world = new ScratchUsage();
  ({ file, store } = world);
});
afterEach(() => world.log.close());

describe('rebuildStore', () => {
  it('sets a damaged store aside and counts from the log', async () => {
    world.write(20);
    fs.writeFileSync(store, 'rubbish '.repeat(100));
    await expect(projectOnce(world.options())).rejects.toMatchObject({ code: 'store-damaged' });
    const rebuilt = await rebuildStore({
      store,
      auditFile: file,
      limits: DEFAULT_LIMITS,
      now: NOON,
      onProblem: world.options().onProblem,
    });
    expect(rebuilt).toEqual({ aside: `${store}.damaged-2026-01-31T120000000Z`, lines: 36, flows: null, grants: null });
    expect(fs.readFileSync(rebuilt.aside ?? '', 'utf8')).toContain('rubbish');
    expect(await world.sums()).toMatchObject(sumsOf(20));
  });

  it('is noticed by a projection that has the old file open', async () => {
    const projector = new Projector(world.options());
    world.write(10);
    await projector.step();
    await rebuildStore({
      store,
      auditFile: file,
      limits: DEFAULT_LIMITS,
      now: NOON,
      onProblem: world.options().onProblem,
    });
    world.write(10);
    while ((await projector.step()).more);
    await projector.close();
    expect(await world.sums()).toMatchObject(sumsOf(20));
  });
});

describe('startProjection', () => {
  /** Resolves when the worker has reported this seq. */
  const reached = (projection: Projection, seq: number) =>
    vi.waitUntil(() => projection.lag().seq >= seq, { timeout: 20_000, interval: 10 });

  it('says when a line is counted, at once where it is, and gives up after the time', async () => {
    world.write(10);
    const projection = startProjection(world.options());
    expect(await projection.reached(18, 20_000)).toBe(true);
    expect(await projection.reached(18, 0)).toBe(true);
    expect(await projection.reached(19, 1)).toBe(false);
    world.write(10);
    void world.log.stats;
    expect(await projection.reached(36, 20_000)).toBe(true);
    await projection.stop();
  });

  it('follows the log in a worker, and finishes it when told to stop', async () => {
    world.write(10);
    const projection = startProjection(world.options());
    await reached(projection, 18);
    expect(projection.lag()).toMatchObject({ bytes: 0, seq: 18 });
    world.write(10);
    await reached(projection, 36);
    world.write(10);
    await projection.stop();
    expect(await world.sums()).toMatchObject(sumsOf(30));
    expect(world.problems).toEqual([]);
  });

  it('reports a dead store, and goes on when it is mended', async () => {
    fs.mkdirSync(store);
    world.write(10);
    let reported = (_problem: ProjectionProblem) => {};
    const first = new Promise<ProjectionProblem>((resolve) => {
      reported = resolve;
    });
    const projection = startProjection(world.options({ onProblem: (problem) => reported(problem) }));
    expect(await first).toMatchObject({ code: 'store-unreadable' });
    fs.rmdirSync(store);
    await reached(projection, 18);
    await projection.stop();
    expect(await world.sums()).toMatchObject(sumsOf(10));
  });

  it('reports a damaged line of the log with its place', async () => {
    world.write(5);
    fs.appendFileSync(file, 'rubbish\n');
    const projection = startProjection(world.options());
    await reached(projection, 9);
    await projection.stop();
    expect(world.problems).toMatchObject([{ code: 'audit-damaged', file, line: 10 }]);
  });

  it('stops at once where there is nothing at all', async () => {
    const projection = startProjection(world.options({ auditFile: path.join(path.dirname(file), 'none.jsonl') }));
    await projection.stop();
    expect(projection.lag()).toMatchObject({ bytes: 0, seq: 0 });
  });
});
