// A disk that is really full: what the kernel says then, no fake can be trusted to say. The test mounts it itself and is
// skipped where it may not (no root).
import fs from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AuditOptions } from '../../src/audit/options.ts';
import { listSegments } from '../../src/audit/read.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { errorOf, ScratchLog } from '../support/audit.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';
import { canMount, SmallDisk } from '../support/tmpfs.ts';

describe.skipIf(!canMount())('a full disk of its own (needs root to mount)', () => {
  let disk: SmallDisk;
  let scratch: ScratchLog;
  let file: string;

  beforeEach(() => {
    disk = new SmallDisk('512k');
    scratch = new ScratchLog();
    file = path.join(disk.directory, 'audit.jsonl');
  });
  afterEach(() => {
    scratch.close();
    disk.unmount();
  });

  const open = (over: Partial<AuditOptions> = {}) => scratch.open({ file, ...over });

  /** Decides until the disk takes no more; gives the ids that were taken. */
  function decideAll(log: ReturnType<typeof open>, prefix: string): string[] {
    const taken: string[] = [];
    for (let n = 0; n < 2_000; n++) {
      try {
        log.decided(decidedRecord({ id: `${prefix}${n}` }));
        taken.push(`${prefix}${n}`);
      } catch (error) {
        expect(error).toMatchObject({ code: 'audit-unwritable' });
        return taken;
      }
    }
    return expect.fail('the disk is never full');
  }

  const idsOf = (of: string) => scratch.lines(of).flatMap((line) => (line.event === 'decided' ? [line.id] : []));

  it('refuse: whole lines only, none lost, none twice; goes on when there is room, and the ends follow', async () => {
    const log = open();
    disk.fill(20_000);
    const taken = decideAll(log, 'a');
    expect(taken.length).toBeGreaterThan(5);
    for (const id of taken) log.ended(endedRecord({ id }));
    expect(log.stats).toMatchObject({ lastError: expect.stringContaining('audit.jsonl') });
    expect(fs.readFileSync(file, 'latin1').at(-1)).toBe('\n');
    expect((await verifyAudit(file)).complete).toBe(true);
    disk.empty();
    log.decided(decidedRecord({ id: 'back' }));
    expect(log.stats).toMatchObject({ waiting: 0, open: 1, lastError: null });
    expect(idsOf(file)).toEqual([...taken, 'back']);
    expect(await verifyAudit(file)).toMatchObject({ complete: true, lines: 2 * taken.length + 1, open: 1 });
  });

  it('drop-and-mark: passes, and the gap note has the number that is missing', async () => {
    const log = open({ whenFull: 'drop-and-mark' });
    disk.fill(20_000);
    for (let n = 0; n < 100; n++) log.decided(decidedRecord({ id: `r${n}`, verdict: 'deny' }));
    const { dropped, lastSeq } = log.stats;
    expect(dropped).toBeGreaterThan(50);
    expect(dropped + lastSeq).toBe(100);
    disk.empty();
    log.decided(decidedRecord({ id: 'back', verdict: 'deny' }));
    expect(scratch.lines(file).slice(-2)).toMatchObject([{ event: 'gap', detail: { dropped } }, { id: 'back' }]);
    expect((await verifyAudit(file)).problems).toMatchObject([{ why: expect.stringContaining(`${dropped} records`) }]);
  });

  it('a rotation goes on in the old file, and happens when there is room', async () => {
    const problems: string[] = [];
    const log = open({ rotateBytes: 15_000, onProblem: (what) => problems.push(what) });
    disk.fill(16_384);
    const taken = decideAll(log, 'a');
    expect(problems).toEqual(['the audit log could not be rotated; it goes on in the same file']);
    expect(listSegments(file).segments.map((segment) => segment.path)).toEqual([file]);
    log.close();
    disk.empty();
    const next = open({ rotateBytes: 15_000 });
    expect(next.interrupted).toBe(taken.length);
    next.decided(decidedRecord({ id: 'b', verdict: 'deny' }));
    expect(listSegments(file).segments.length).toBe(2);
    expect(await verifyAudit(file)).toMatchObject({ complete: true, open: 0 });
  });

  it('a rotation by logrotate is refused and the old file stays in use', async () => {
    const log = open();
    disk.fill(20_000);
    const taken = decideAll(log, 'a');
    fs.renameSync(file, `${file}.1`);
    // Not a byte is left: not even the page that the first line of a new file needs.
    disk.fill();
    expect(errorOf(() => log.reopen()).code).toBe('audit-unwritable');
    disk.empty();
    log.decided(decidedRecord({ id: 'back' }));
    log.reopen();
    expect(idsOf(`${file}.1`)).toEqual([...taken, 'back']);
    expect(await verifyAudit(file)).toMatchObject({ complete: true, lines: taken.length + 2 });
  });

  it('a handover is refused and nothing changes; with room it works', async () => {
    const log = open();
    disk.fill(20_000);
    const taken = decideAll(log, 'a');
    disk.fill();
    const before = fs.readdirSync(disk.directory).sort();
    expect(errorOf(() => log.handOver()).code).toBe('audit-unwritable');
    expect(fs.readdirSync(disk.directory).sort()).toEqual(before);
    disk.empty();
    const next = open({ takeOver: log.handOver() });
    for (const id of taken) log.ended(endedRecord({ id }));
    log.close();
    next.close();
    expect(await verifyAudit(file)).toMatchObject({ complete: true, open: 0, lines: 2 * taken.length + 2 });
  });

  it('says so before: the warning names what is left, and the proxy is not ready', async () => {
    disk.fill(16_384);
    const limits = { ...DEFAULT_LIMITS, audit_sync_interval_ms: 10 };
    const said = await new Promise<string>((resolve) => {
      const log = open({ limits, onProblem: (what) => resolve(`${what}; ${log.notReady}`) });
    });
    expect(said).toMatch(/has [0-4]\.\d % free .*; the disk of the audit log has [0-4]\.\d % free/);
  });
});
