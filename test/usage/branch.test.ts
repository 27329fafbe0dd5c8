// An upgrade, as the store sees it: each line of the branch is counted once, whoever counts and whenever the branch comes.
import fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AuditLog } from '../../src/audit/audit-log.ts';
import { openAuditLog } from '../../src/audit/log.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { projectOnce } from '../../src/usage/project-once.ts';
import { Projector } from '../../src/usage/projector.ts';
import { rebuildStore } from '../../src/usage/rebuild.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';
import { NOON, ScratchUsage } from '../support/usage.ts';

let world: ScratchUsage;
let fresh: AuditLog;

/** The world's log is handed over with request `old` open; `fresh` goes on in its file. */
beforeEach(() => {
  world = new ScratchUsage();
  world.write(10);
  world.log.decided(decidedRecord({ id: 'old' }));
  const takeOver = world.log.handOver();
  fresh = openAuditLog({
    file: world.file,
    node: 'n1',
    limits: DEFAULT_LIMITS,
    whenFull: 'refuse',
    now: NOON,
    takeOver,
  });
  fresh.note({ event: 'start', policy: 'p', detail: {} });
});
afterEach(() => {
  world.log.close();
  fresh.close();
});

function finish(): void {
  world.log.ended(endedRecord({ id: 'old', bytes_up: 7 }));
  world.log.note({ event: 'stop', policy: 'p', detail: {} });
  world.log.close();
}

describe('a branch', () => {
  it('is counted once, over restarts of the counting and a rebuild', async () => {
    await projectOnce(world.options());
    expect(await world.sums()).toMatchObject({ allowed: 8, denied: 2, open: ['old'] });
    world.write(5);
    fresh.decided(decidedRecord({ id: 'new' }));
    await projectOnce(world.options());
    expect(await world.sums()).toMatchObject({ allowed: 12, denied: 3, open: ['new', 'old'] });
    finish();
    for (let round = 0; round < 3; round++) await projectOnce(world.options());
    const sums = await world.sums();
    expect(sums).toMatchObject({ allowed: 13, denied: 3, open: ['new'] });
    const { store, file: auditFile } = world;
    const onProblem = (problem: { message: string }) => expect.fail(problem.message);
    const rebuilt = await rebuildStore({ store, auditFile, limits: DEFAULT_LIMITS, now: NOON, onProblem });
    // 8 × 2 and 2 refused, `old`; then `reopen`, `start` and `new`; in the branch `reopen`, 4 × 2 and 1, `old`, `stop`.
    expect(rebuilt.lines).toBe(19 + 3 + 12);
    expect(await world.sums()).toEqual(sums);
    expect(world.problems).toEqual([]);
  });

  it('is counted by one projector that meets it growing, in small batches', async () => {
    const projector = new Projector(world.options({ batchLines: 3 }));
    const all = async () => {
      for (let steps = 0; (await projector.step()).more; steps++) expect(steps).toBeLessThan(100);
    };
    await all();
    world.write(5);
    fresh.decided(decidedRecord({ id: 'new' }));
    void world.log.stats;
    await all();
    expect(await world.sums()).toMatchObject({ allowed: 12, open: ['new', 'old'] });
    finish();
    await all();
    await all();
    expect(projector.lag().bytes).toBe(0);
    await projector.close();
    expect(await world.sums()).toMatchObject({ allowed: 13, denied: 3, open: ['new'] });
  });

  it('is counted where two projectors take turns', async () => {
    finish();
    const [one, two] = [
      new Projector(world.options({ batchLines: 2 })),
      new Projector(world.options({ batchLines: 3 })),
    ];
    for (let more = true, steps = 0; more; steps++) {
      more = (await one.step()).more;
      more = (await two.step()).more || more;
      expect(steps).toBeLessThan(100);
    }
    await one.close();
    await two.close();
    expect(await world.sums()).toMatchObject({ allowed: 9, denied: 2, open: [] });
  });

  it('of a dead process is counted when it was ended by the next', async () => {
    await projectOnce(world.options());
    fresh.close();
    const branch = `${world.file}.drain-000000000019`;
    fs.writeFileSync(`${branch}.lock`, '');
    fresh = openAuditLog({ file: world.file, node: 'n1', limits: DEFAULT_LIMITS, whenFull: 'refuse', now: NOON });
    expect(fresh.interrupted).toBe(1);
    await projectOnce(world.options());
    expect(await world.sums()).toMatchObject({ allowed: 9, denied: 2, open: [] });
  });
});
