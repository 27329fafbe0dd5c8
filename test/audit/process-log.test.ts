// An upgrade that fails after the fork, as the log sees it: the old process writes FILE again, what was open ends in its branch.
import fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { branchPath, isFinished } from '../../src/audit/branch.ts';
import { LOCK_TOUCH_MS, lockHolder } from '../../src/audit/lock.ts';
import { ProcessLog } from '../../src/audit/process-log.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { Disk, ScratchLog } from '../support/audit.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';

const STOP = { event: 'stop', policy: 'p', detail: {} } as const;
let scratch: ScratchLog;
let file: string;
let disk: Disk;
let log: ProcessLog;
let problems: string[];

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
  scratch = new ScratchLog();
  ({ file } = scratch);
  disk = new Disk();
  problems = [];
  log = new ProcessLog({
    file,
    node: 'node-1',
    limits: DEFAULT_LIMITS,
    whenFull: 'refuse',
    now: () => new Date('2026-01-31T12:00:00.123Z'),
    onProblem: (what) => problems.push(what),
    calls: disk,
  });
  log.decided(decidedRecord({ id: 'a' }));
  log.decided(decidedRecord({ id: 'b' }));
});
afterEach(() => {
  log.close();
  scratch.close();
  vi.useRealTimers();
});

const lines = (of = file) => scratch.lines(of).map((line) => ('id' in line ? `${line.event} ${line.id}` : line.event));

/** The log at its end: closed in order, complete, nothing open. */
async function settled(): Promise<void> {
  log.note(STOP);
  log.close();
  expect(await verifyAudit(file)).toMatchObject({ complete: true, problems: [], open: 0 });
}

describe('a log that is taken back', () => {
  it('is written anew where the new process has written nothing', async () => {
    const branch = branchPath(file, log.handOver().seq);
    log.decided(decidedRecord({ id: 'between' }));
    expect(lockHolder(file)).toBeNull();
    log.takeBack();
    expect(lockHolder(file)?.pid).toBe(process.pid);
    log.decided(decidedRecord({ id: 'c' }));
    for (const id of ['a', 'c']) log.ended(endedRecord({ id }));
    expect(isFinished(branch)).toBe(false);
    for (const id of ['between', 'b']) log.ended(endedRecord({ id }));
    expect(lines(branch)).toEqual(['reopen', 'decided between', 'ended a', 'ended between', 'ended b', 'stop']);
    expect(lockHolder(branch)).toBeNull();
    await settled();
    expect(lines()).toEqual(['reopen', 'decided c', 'ended c', 'stop']);
  });

  it('goes on where the new process ended, and ends what that one had open', async () => {
    const fresh = scratch.open({ takeOver: log.handOver(), rotateBytes: 1_500 });
    for (const id of ['x', 'y', 'z']) fresh.decided(decidedRecord({ id }));
    fresh.close();
    expect(lines().length).toBeLessThan(3);
    log.takeBack();
    for (const id of ['a', 'b']) log.ended(endedRecord({ id }));
    expect(lines()).toEqual(expect.arrayContaining(['ended x', 'ended y', 'ended z']));
    await settled();
  });

  it('can be handed over again, and taken back again, whatever is open', async () => {
    for (let round = 0; round < 3; round++) {
      log.decided(decidedRecord({ id: `r${round}` }));
      log.handOver();
      log.takeBack();
    }
    const fork = log.handOver();
    scratch.open({ takeOver: fork }).close();
    for (const id of ['r2', 'a', 'r0', 'b', 'r1']) log.ended(endedRecord({ id }));
    await settled();
    expect(lines()).toEqual(['reopen']);
  });

  it('is ended in order with what is open', async () => {
    const branch = branchPath(file, log.handOver().seq);
    log.takeBack();
    log.note(STOP);
    log.close();
    // A branch with open requests has no stop note: the next writer ends it.
    expect(isFinished(branch)).toBe(false);
    expect(scratch.open().interrupted).toBe(2);
    expect(await verifyAudit(file)).toMatchObject({ complete: true, open: 0 });
  });

  it('is tried for again while it cannot be had, but not during another upgrade', async () => {
    const branch = branchPath(file, log.handOver().seq);
    disk.full = true;
    log.takeBack();
    expect(problems).toEqual(['the audit log could not be taken back after an upgrade that failed']);
    disk.full = false;
    log.decided(decidedRecord({ id: 'c' }));
    expect(lines(branch)).toEqual(['reopen', 'decided c']);
    log.handOver();
    vi.advanceTimersByTime(LOCK_TOUCH_MS);
    expect(lockHolder(file)).toBeNull();
    log.takeBack();
    expect(lockHolder(file)?.pid).toBe(process.pid);
    disk.full = true;
    for (const id of ['a', 'b', 'c']) log.ended(endedRecord({ id }));
    expect(fs.existsSync(`${branch}.lock`)).toBe(true);
    disk.full = false;
    vi.advanceTimersByTime(LOCK_TOUCH_MS);
    expect(lines(branch).slice(2)).toEqual(['ended a', 'ended b', 'ended c', 'stop']);
    expect(vi.getTimerCount()).toBe(2);
    await settled();
  });

  it('is left alone where it was never given away', () => {
    log.takeBack();
    expect(fs.readdirSync(scratch.directory).sort()).toEqual(['audit.jsonl', 'audit.jsonl.lock']);
  });
});
