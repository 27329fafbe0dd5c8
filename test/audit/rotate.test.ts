import fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DiskWatch } from '../../src/audit/disk.ts';
import type { AuditOptions } from '../../src/audit/options.ts';
import { listSegments } from '../../src/audit/read.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import { createMeter, DEFAULT_LIMITS } from '../../src/limits.ts';
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
const segments = () => listSegments(file).segments.map((segment) => segment.path);
const descriptors = () => fs.readdirSync('/proc/self/fd').length;

describe('rotation by size', () => {
  it('begins a new file in the turn that fills the old one, and leaks no descriptor', async () => {
    const log = open({ rotateBytes: 10_000 });
    const before = descriptors();
    for (let n = 0; n < 200; n++) {
      log.decided(decidedRecord({ id: `r${n}` }));
      log.ended(endedRecord({ id: `r${n}` }));
    }
    expect(log.stats).toMatchObject({ failures: 0, open: 0 });
    const paths = segments();
    expect(paths.length).toBeGreaterThan(10);
    expect(paths.at(-1)).toBe(file);
    for (const of of paths) expect(fs.statSync(of).size).toBeLessThan(12_000);
    expect(await verifyAudit(file)).toMatchObject({ complete: true, lines: 400 + paths.length - 1, open: 0 });
    // The old files are flushed and closed by other threads.
    for (let turns = 0; descriptors() > before && turns < 10_000; turns++)
      await new Promise((resolve) => setImmediate(resolve));
    expect(descriptors()).toBe(before);
  });

  it('names each file by its last line', () => {
    const log = open({ rotateBytes: 1 });
    log.decided(decidedRecord({ id: 'a', verdict: 'deny' }));
    log.note({ event: 'policy', policy: 'p', detail: {} });
    expect(segments()).toEqual([`${file}.000000000001`, `${file}.000000000003`, file]);
  });

  it('counts what a file had before the start', () => {
    const first = open();
    for (const id of ['a', 'b', 'c']) first.decided(decidedRecord({ id, verdict: 'deny' }));
    first.close();
    const log = open({ rotateBytes: fs.statSync(file).size + 10 });
    log.decided(decidedRecord({ id: 'd', verdict: 'deny' }));
    expect(scratch.lines(`${file}.000000000004`)).toHaveLength(4);
    expect(scratch.lines()).toMatchObject([{ seq: 5, event: 'reopen', detail: { oldest_open: null } }]);
  });

  it('knows the request whose line filled the file as open', () => {
    const log = open({ rotateBytes: 1 });
    log.decided(decidedRecord({ id: 'a' }));
    expect(scratch.lines()).toMatchObject([{ event: 'reopen', detail: { previous_seq: 1, oldest_open: 1 } }]);
    log.close();
    expect(open().interrupted).toBe(1);
  });

  it('works beside logrotate', async () => {
    const log = open({ rotateBytes: 2_000 });
    for (const id of ['a', 'b']) log.decided(decidedRecord({ id, verdict: 'deny' }));
    fs.renameSync(file, `${file}.1`);
    fs.writeFileSync(file, '');
    // Full before the signal comes: the new file is there already.
    for (const id of ['c', 'd', 'e']) log.decided(decidedRecord({ id, verdict: 'deny' }));
    log.reopen();
    log.decided(decidedRecord({ id: 'f', verdict: 'deny' }));
    expect(segments()).toEqual([`${file}.1`, file]);
    expect(await verifyAudit(file)).toMatchObject({ complete: true, lines: 7 });
  });

  it('goes on in the old file where the new one cannot be begun, and does not try at every line', async () => {
    const disk = new Disk();
    const problems: string[] = [];
    const log = open({ calls: disk, rotateBytes: 1, onProblem: (what) => problems.push(what) });
    disk.failAfter = 1;
    log.decided(decidedRecord({ id: 'a', verdict: 'deny' }));
    expect(problems).toEqual(['the audit log could not be rotated; it goes on in the same file']);
    expect(errorOf(() => log.decided(decidedRecord({ id: 'b', verdict: 'deny' }))).code).toBe('audit-unwritable');
    disk.failAfter = null;
    for (const id of ['c', 'd']) log.decided(decidedRecord({ id, verdict: 'deny' }));
    expect(problems).toHaveLength(1);
    expect(segments()).toEqual([file]);
    expect(await verifyAudit(file)).toMatchObject({ complete: true, lines: 3 });
    expect(log.notReady).toBe(null);
  });

  it('never overwrites a file that has the name already', () => {
    fs.writeFileSync(`${file}.000000000001`, 'precious');
    const problems: string[] = [];
    const log = open({ rotateBytes: 1, onProblem: (_what, error) => problems.push(String(error)) });
    log.decided(decidedRecord({ id: 'a', verdict: 'deny' }));
    expect(fs.readFileSync(`${file}.000000000001`, 'utf8')).toBe('precious');
    expect(problems[0]).toContain('not overwritten');
  });

  it('does not rotate a branch', () => {
    const log = open({ rotateBytes: 5_000 });
    log.decided(decidedRecord({ id: 'a' }));
    log.handOver();
    for (let n = 0; n < 20; n++) log.decided(decidedRecord({ id: `r${n}`, verdict: 'deny' }));
    expect(fs.readdirSync(scratch.directory).sort()).toEqual([
      'audit.jsonl.000000000001',
      'audit.jsonl.drain-000000000001',
      'audit.jsonl.drain-000000000001.lock',
    ]);
  });
});

describe('sync: batch', () => {
  it('says when the lines are on the disk; those of a turn share one flush', async () => {
    const log = open({ sync: 'batch' });
    log.decided(decidedRecord({ id: 'a', verdict: 'deny' }));
    const first = log.durable();
    log.decided(decidedRecord({ id: 'b', verdict: 'deny' }));
    expect(log.durable()).toBe(first);
    await first;
    log.decided(decidedRecord({ id: 'c', verdict: 'deny' }));
    const second = log.durable();
    expect(second).not.toBe(first);
    await second;
  });

  it('keeps its word over a rotation, a handover and the close', async () => {
    const log = open({ sync: 'batch' });
    log.decided(decidedRecord({ id: 'a' }));
    const rotated = log.durable();
    fs.renameSync(file, `${file}.1`);
    log.reopen();
    await rotated;
    const handed = log.durable();
    log.handOver();
    await handed;
    const closed = log.durable();
    log.close();
    await closed;
  });

  it.each(['none', 'interval'] as const)('nobody waits with %s', (sync) => {
    expect(open({ sync }).durable()).toBe(null);
  });
});

describe('the room on the disk', () => {
  it('is said once at each threshold, and makes the proxy not ready below the second', () => {
    const said: string[] = [];
    const limits = { ...DEFAULT_LIMITS, audit_disk_warn_percent: 20, audit_disk_min_percent: 5 };
    const meter = createMeter();
    const watch = new DiskWatch(file, limits, (what) => said.push(what), meter);
    const at = (free: number) => {
      watch.seen(free);
      return [said.length, watch.short !== null];
    };
    expect([20, 19.9, 10, 5, 4.9, 4, 6, 30, 19].map(at)).toEqual([
      [0, false],
      [1, false],
      [1, false],
      [1, false],
      [2, true],
      [2, true],
      [3, false],
      [3, false],
      [4, false],
    ]);
    expect(said[0]).toContain('19.9 % free');
    expect(Object.fromEntries(meter.hits)).toEqual({ audit_disk_warn_percent: 3, audit_disk_min_percent: 1 });
  });

  it('is looked at beside the flushes', async () => {
    const limits = { ...DEFAULT_LIMITS, audit_disk_min_percent: 100, audit_sync_interval_ms: 10 };
    const said = await new Promise<string>((resolve) => open({ limits, onProblem: (what) => resolve(what) }));
    expect(said).toContain('% free');
  });
});
