// An upgrade, as the log sees it: the old process goes on in a branch, the new one begins FILE anew from the same line.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BranchWatch } from '../../src/audit/adopt.ts';
import { isFinished } from '../../src/audit/branch.ts';
import type { AuditOptions } from '../../src/audit/options.ts';
import { listSegments } from '../../src/audit/read.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { Disk, errorOf, ScratchLog } from '../support/audit.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';

let scratch: ScratchLog;
let file: string;

beforeEach(() => {
  scratch = new ScratchLog();
  ({ file } = scratch);
});
afterEach(() => scratch.close());

const open = (over: Partial<AuditOptions> = {}) => scratch.open({ file, ...over });
const lines = (of = file) => scratch.lines(of);
const stop = { event: 'stop', policy: 'p', detail: {} } as const;

/** A log that is handed over after line 2, with request `a` open. */
function handedOver() {
  const old = open();
  old.decided(decidedRecord({ id: 'a' }));
  old.decided(decidedRecord({ id: 'b' }));
  old.ended(endedRecord({ id: 'b' }));
  const fork = old.handOver();
  return { old, fork, branch: `${file}.drain-000000000003`, aside: `${file}.000000000003` };
}

/** What a process that is gone leaves: its lock names a pid that no process has. */
function killed(branch: string): void {
  const lock = JSON.parse(fs.readFileSync(`${branch}.lock`, 'utf8'));
  const { pid } = spawnSync(process.execPath, ['-e', '']);
  fs.writeFileSync(`${branch}.lock`, JSON.stringify({ ...lock, pid }));
}

describe('a handover', () => {
  it('forks the chain: both sides go on from the same line, and verify finds both complete', async () => {
    const { old, fork, branch, aside } = handedOver();
    const log = open({ takeOver: fork });
    log.note({ event: 'start', policy: 'p', detail: {} });
    log.decided(decidedRecord({ id: 'c' }));
    old.ended(endedRecord({ id: 'a' }));
    old.note(stop);
    old.close();
    log.ended(endedRecord({ id: 'c' }));
    log.close();
    expect(lines(aside).map((line) => line.seq)).toEqual([1, 2, 3]);
    expect(lines(branch)).toMatchObject([
      { seq: 4, event: 'reopen', prev: fork.hash, detail: { previous_seq: 3, oldest_open: 1 } },
      { seq: 5, event: 'ended', id: 'a' },
      { seq: 6, event: 'stop' },
    ]);
    expect(lines()).toMatchObject([
      {
        seq: 4,
        event: 'reopen',
        prev: fork.hash,
        detail: { previous_seq: 3, oldest_open: null, branch: path.basename(branch) },
      },
      { seq: 5, event: 'start', detail: { draining: 1 } },
      { seq: 6, event: 'decided', id: 'c' },
      { seq: 7, event: 'ended', id: 'c' },
    ]);
    expect(await verifyAudit(file)).toMatchObject({ complete: true, lines: 10, open: 0, to: { seq: 7 } });
    expect(listSegments(file).segments.map((segment) => segment.path)).toEqual([aside, file]);
    expect(fs.readdirSync(scratch.directory).filter((name) => name.endsWith('.lock'))).toEqual([]);
  });

  it('names the same line when it is asked again', () => {
    const { old, fork } = handedOver();
    expect(old.handOver()).toEqual(fork);
  });

  it('lets a second attempt go on where the first new process died', () => {
    const { old, fork } = handedOver();
    open({ takeOver: fork }).close();
    const log = open({ takeOver: old.handOver() });
    log.note({ event: 'start', policy: 'p', detail: {} });
    expect(lines().map((line) => [line.seq, line.event])).toEqual([
      [4, 'reopen'],
      [5, 'start'],
    ]);
  });

  it('leaves the requests of a living old process alone, also at a plain start', () => {
    const { fork } = handedOver();
    open({ takeOver: fork }).close();
    expect(open().interrupted).toBe(0);
  });

  it('is refused where nothing was handed over, or FILE is another log', () => {
    const { fork } = handedOver();
    expect(errorOf(() => open({ takeOver: { ...fork, seq: 2 } })).message).toContain('not handed over at line 2');
    expect(errorOf(() => open({ takeOver: { ...fork, hash: '0'.repeat(64) } })).code).toBe('audit-unwritable');
    fs.copyFileSync(`${file}.000000000003`, file);
    expect(errorOf(() => open({ takeOver: fork })).message).toContain('it is not empty');
  });

  it('goes on where logrotate has just renamed the file', async () => {
    const old = open();
    old.decided(decidedRecord({ id: 'a' }));
    fs.renameSync(file, `${file}.1`);
    const log = open({ takeOver: old.handOver() });
    old.note(stop);
    old.close();
    log.close();
    expect(await verifyAudit(file)).toMatchObject({ complete: true, lines: 4, open: 1 });
  });

  it('changes nothing on a full disk, and works when there is room', () => {
    const disk = new Disk();
    const log = open({ calls: disk });
    log.decided(decidedRecord({ id: 'a' }));
    disk.full = true;
    expect(errorOf(() => log.handOver()).code).toBe('audit-unwritable');
    expect(fs.readdirSync(scratch.directory).sort()).toEqual(['audit.jsonl', 'audit.jsonl.lock']);
    disk.full = false;
    log.decided(decidedRecord({ id: 'b', verdict: 'deny' }));
    expect(log.handOver().seq).toBe(2);
    expect(lines(`${file}.drain-000000000002`)).toMatchObject([{ seq: 3, event: 'reopen' }]);
  });

  it('takes what waits for the disk into the branch', async () => {
    const disk = new Disk();
    const old = open({ calls: disk });
    old.decided(decidedRecord({ id: 'a' }));
    disk.full = true;
    old.ended(endedRecord({ id: 'a' }));
    expect(old.stats.waiting).toBe(1);
    disk.full = false;
    old.handOver();
    old.close();
    expect(await verifyAudit(file)).toMatchObject({ complete: true, open: 0 });
  });
});

describe('a branch whose process died', () => {
  it('is ended at the next start: its open requests are interrupted, from both sides of the fork', async () => {
    const { old, fork, branch } = handedOver();
    const log = open({ takeOver: fork });
    log.decided(decidedRecord({ id: 'mine' }));
    old.decided(decidedRecord({ id: 'late' }));
    fs.appendFileSync(branch, '{"time":"20');
    killed(branch);
    log.close();
    const next = open();
    expect(next.interrupted).toBe(3);
    expect(lines(branch).slice(2)).toMatchObject([
      { seq: 6, event: 'ended', id: 'a', outcome: 'interrupted' },
      { seq: 7, event: 'ended', id: 'late', outcome: 'interrupted' },
      { seq: 8, event: 'stop', detail: { interrupted: 2 } },
    ]);
    expect(fs.existsSync(`${branch}.torn-6`)).toBe(true);
    next.close();
    expect(await verifyAudit(file)).toMatchObject({ complete: true, open: 0 });
    expect(open().interrupted).toBe(0);
  });

  it('is ended by the running process too, in steps', async () => {
    const { old, branch } = handedOver();
    for (let n = 0; n < 3_000; n++) old.decided(decidedRecord({ id: `r${n}`, verdict: 'deny' }));
    const onError = (error: unknown) => expect.fail(String(error));
    const watch = new BranchWatch({ file, limits: DEFAULT_LIMITS, now: () => new Date(0), onError });
    watch.check();
    expect(watch.unfinished).toBe(1);
    killed(branch);
    watch.check();
    let turns = 0;
    for (; watch.unfinished > 0 && turns < 100; turns++) await new Promise((resolve) => setImmediate(resolve));
    expect(turns).toBeGreaterThan(1);
    expect(lines(branch).slice(-2)).toMatchObject([{ id: 'a', outcome: 'interrupted' }, { event: 'stop' }]);
    expect(fs.existsSync(`${branch}.lock`)).toBe(false);
  });

  it('is left in order where the running process ends meanwhile', () => {
    const { old, branch } = handedOver();
    for (let n = 0; n < 3_000; n++) old.decided(decidedRecord({ id: `r${n}`, verdict: 'deny' }));
    killed(branch);
    const onError = (error: unknown) => expect.fail(String(error));
    const watch = new BranchWatch({ file, limits: DEFAULT_LIMITS, now: () => new Date(0), onError });
    watch.check();
    watch.stop();
    expect(isFinished(branch)).toBe(false);
    expect(open().interrupted).toBe(1);
  });

  it('does not keep the new process from starting where the branch is damaged', () => {
    const { fork, branch } = handedOver();
    fs.appendFileSync(branch, 'rubbish\n');
    killed(branch);
    const problems: string[] = [];
    open({ takeOver: fork, onProblem: (what) => problems.push(what) });
    expect(problems).toEqual([`${branch} cannot be ended`]);
  });

  it('owns the requests that were open at the fork, where no new process came', async () => {
    const { branch } = handedOver();
    killed(branch);
    const log = open();
    expect(log.interrupted).toBe(1);
    log.close();
    expect(lines().map((line) => line.event)).toEqual(['reopen']);
    expect(await verifyAudit(file)).toMatchObject({ complete: true, open: 0 });
  });
});

describe('verify', () => {
  it('names a branch that is missing, and one that was changed', async () => {
    const { old, fork, branch } = handedOver();
    open({ takeOver: fork }).close();
    old.ended(endedRecord({ id: 'a' }));
    old.close();
    const text = fs.readFileSync(branch, 'utf8');
    fs.writeFileSync(
      branch,
      text.replace('"outcome":"closed"', '"outcome":"drained"').replace(fork.hash, '1'.repeat(64)),
    );
    expect((await verifyAudit(file)).problems).toMatchObject([
      { file: branch, line: 1, why: expect.stringContaining('prev') },
      { file: branch, line: 2, why: expect.stringContaining('prev') },
    ]);
    fs.rmSync(branch);
    expect(await verifyAudit(file)).toMatchObject({
      open: 1,
      problems: [{ file, line: 1, why: expect.stringContaining(`${path.basename(branch)} is missing`) }],
    });
  });

  it('sees that the main chain lost the line of the fork', async () => {
    const { aside } = handedOver();
    const text = fs.readFileSync(aside, 'utf8').split('\n');
    fs.writeFileSync(aside, `${text.slice(0, 2).join('\n')}\n`);
    expect((await verifyAudit(file)).problems).toMatchObject([
      { why: expect.stringContaining('line 3, which is not in the log') },
    ]);
  });
});
