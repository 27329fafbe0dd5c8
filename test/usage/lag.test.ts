// How far the store is behind, also while it cannot be asked: the metric and the warning must be true just then.
import fs from 'node:fs';
import { describe, expect, it, vi } from 'vitest';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { startProjection } from '../../src/usage/project.ts';
import { type ProjectionProblem, Projector } from '../../src/usage/projector.ts';
import { ScratchUsage } from '../support/usage.ts';

const size = (file: string) => fs.statSync(file).size;

/** A store that cannot be opened until it is taken away. */
function block(store: string): void {
  fs.rmSync(store, { force: true });
  fs.mkdirSync(store);
}

describe('lag', () => {
  it('is the bytes of the log that are not counted, over rotated files, before and after the store is gone', async () => {
    const world = new ScratchUsage();
    const projector = new Projector(world.options({ batchLines: 9 }));
    world.write(10);
    void world.log.stats;
    await projector.step();
    const counted = fs.readFileSync(world.file, 'latin1').split('\n').slice(0, 9).join('\n').length + 1;
    expect(projector.lag()).toEqual({ bytes: size(world.file) - counted, seq: 9 });
    await projector.close();
    expect(projector.lag()).toEqual({ bytes: size(world.file) - counted, seq: 9 });
    block(world.store);
    world.rotate('.1');
    world.write(10);
    void world.log.stats;
    await expect(projector.step()).rejects.toMatchObject({ code: 'store-unreadable' });
    expect(projector.lag()).toEqual({ bytes: size(`${world.file}.1`) - counted + size(world.file), seq: 9 });
    // It comes back empty: all of the log is behind, and then nothing.
    fs.rmdirSync(world.store);
    while ((await projector.step()).more);
    expect(projector.lag()).toMatchObject({ bytes: 0 });
    await projector.close();
    expect(projector.lag()).toMatchObject({ bytes: 0 });
  });

  it('of a store that was never reached is at least what came since the start', async () => {
    const world = new ScratchUsage();
    world.write(10);
    void world.log.stats;
    block(world.store);
    const before = size(world.file);
    const projector = new Projector(world.options());
    expect(projector.lag()).toEqual({ bytes: 0, seq: 0 });
    world.write(10);
    void world.log.stats;
    await expect(projector.step()).rejects.toMatchObject({ code: 'store-unreadable' });
    expect(projector.lag()).toEqual({ bytes: size(world.file) - before, seq: 0 });
    fs.rmdirSync(world.store);
    await projector.step();
    await projector.close();
  });

  it('of a log that is not there yet is nothing, then all of it', () => {
    const world = new ScratchUsage();
    const auditFile = `${world.directory}/later.jsonl`;
    const projector = new Projector(world.options({ auditFile }));
    expect(projector.lag()).toEqual({ bytes: 0, seq: 0 });
    world.write(5);
    world.log.close();
    fs.renameSync(world.file, auditFile);
    expect(projector.lag()).toEqual({ bytes: size(auditFile), seq: 0 });
  });

  it('warns beyond usage_lag_bytes_warn, once, while the store is gone', async () => {
    const world = new ScratchUsage();
    block(world.store);
    const problems: ProjectionProblem[] = [];
    world.write(5);
    void world.log.stats;
    const warn = 1_048_576;
    const limits = { ...DEFAULT_LIMITS, usage_lag_bytes_warn: warn };
    const options = world.options({ limits, onProblem: (problem) => problems.push(problem) });
    const projection = startProjection(options);
    const codes = (code: string) => problems.filter((problem) => problem.code === code);
    await vi.waitUntil(() => codes('store-unreadable').length > 0, { timeout: 60_000 });
    expect(codes('usage-lag')).toEqual([]);
    const before = size(world.file);
    while (size(world.file) - before <= warn) {
      world.write(200);
      void world.log.stats;
    }
    await vi.waitUntil(() => codes('usage-lag').length > 0, { timeout: 60_000 });
    const behind = size(world.file) - before;
    expect(codes('usage-lag')).toMatchObject([{ message: expect.stringContaining(`${behind} bytes behind`) }]);
    expect(projection.lag().bytes).toBe(behind);
    fs.rmdirSync(world.store);
    await projection.stop();
    expect(codes('usage-lag')).toHaveLength(1);
    expect(projection.lag().bytes).toBe(0);
  }, 120_000);
});
