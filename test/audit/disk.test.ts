import fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AuditOptions } from '../../src/audit/options.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
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

describe('a full disk', () => {
  it('refuse: throws, uses no number twice, and works again when there is room', async () => {
    const disk = new Disk();
    const log = open({ calls: disk });
    log.decided(decidedRecord({ id: 'a', verdict: 'deny' }));
    disk.full = true;
    const error = errorOf(() => log.decided(decidedRecord({ id: 'b', verdict: 'deny' })));
    expect(error.code).toBe('audit-unwritable');
    expect(error.message).toContain('ENOSPC');
    expect(log.stats).toMatchObject({ lastSeq: 1, failures: 1, open: 0 });
    expect(log.stats.lastError).toContain('ENOSPC');
    disk.full = false;
    log.decided(decidedRecord({ id: 'c', verdict: 'deny' }));
    expect(lines().map((line) => line.seq)).toEqual([1, 2]);
    expect(log.stats).toMatchObject({ dropped: 0, lastError: null });
    expect((await verifyAudit(file)).complete).toBe(true);
  });

  it.each([1, 100, 400])('cuts a line back of which only %d bytes were taken', async (part) => {
    const disk = new Disk();
    const log = open({ calls: disk });
    log.decided(decidedRecord({ id: 'a', verdict: 'deny' }));
    const before = fs.readFileSync(file, 'latin1');
    disk.part = part;
    expect(errorOf(() => log.decided(decidedRecord({ id: 'b' }))).code).toBe('audit-unwritable');
    expect(fs.readFileSync(file, 'latin1')).toBe(before);
    disk.part = null;
    log.decided(decidedRecord({ id: 'c' }));
    expect(await verifyAudit(file)).toMatchObject({ complete: true, lines: 2 });
  });

  it('writes nothing after a broken line until that could be cut back', () => {
    const disk = new Disk();
    const log = open({ calls: disk });
    log.decided(decidedRecord({ id: 'a', verdict: 'deny' }));
    disk.part = 50;
    disk.cutFails = true;
    expect(errorOf(() => log.decided(decidedRecord({ id: 'b' }))).message).toContain('EIO');
    disk.part = null;
    expect(errorOf(() => log.decided(decidedRecord({ id: 'c' }))).message).toContain('EIO');
    disk.cutFails = false;
    log.decided(decidedRecord({ id: 'd' }));
    expect(lines().map((line) => ('id' in line ? line.id : ''))).toEqual(['a', 'd']);
  });

  it('keeps the end of a tunnel until it can be written', () => {
    const disk = new Disk();
    const log = open({ calls: disk });
    log.decided(decidedRecord({ id: 'a' }));
    disk.full = true;
    log.ended(endedRecord({ id: 'a', bytes_up: 7 }));
    expect(log.stats).toMatchObject({ waiting: 1, open: 1, lastError: expect.stringContaining('ENOSPC') });
    log.ended(endedRecord({ id: 'a', bytes_up: 7 }));
    expect(log.stats).toMatchObject({ waiting: 1, open: 1 });
    disk.full = false;
    log.decided(decidedRecord({ id: 'b', verdict: 'deny' }));
    expect(lines()).toMatchObject([{ id: 'a' }, { event: 'ended', id: 'a', bytes_up: 7 }, { id: 'b' }]);
    expect(log.stats).toMatchObject({ waiting: 0, open: 0 });
  });

  it('a short write takes back the ended lines that went with the decided one', async () => {
    const disk = new Disk();
    const log = open({ calls: disk });
    for (const id of ['a', 'b']) log.decided(decidedRecord({ id }));
    const before = fs.readFileSync(file, 'latin1');
    for (const id of ['a', 'b']) log.ended(endedRecord({ id }));
    disk.part = 1_000;
    expect(errorOf(() => log.decided(decidedRecord({ id: 'c' }))).code).toBe('audit-unwritable');
    expect(fs.readFileSync(file, 'latin1')).toBe(before);
    expect(log.stats).toMatchObject({ waiting: 2, open: 2, lastSeq: 2 });
    disk.part = null;
    log.decided(decidedRecord({ id: 'd', verdict: 'deny' }));
    expect(lines().map((line) => `${line.event} ${'id' in line ? line.id : ''}`)).toEqual([
      'decided a',
      'decided b',
      'ended a',
      'ended b',
      'decided d',
    ]);
    expect(await verifyAudit(file)).toMatchObject({ complete: true, open: 0 });
  });

  it('writes what waits at close', async () => {
    const disk = new Disk();
    const log = open({ calls: disk });
    log.decided(decidedRecord({ id: 'a' }));
    disk.full = true;
    log.ended(endedRecord({ id: 'a' }));
    expect(log.stats.waiting).toBe(1);
    disk.full = false;
    log.close();
    expect(await verifyAudit(file)).toMatchObject({ complete: true, open: 0 });
  });

  it('drop-and-mark: lets pass, and marks the gap with the count', async () => {
    const disk = new Disk();
    const log = open({ calls: disk, whenFull: 'drop-and-mark' });
    log.decided(decidedRecord({ id: 'a' }));
    disk.full = true;
    log.decided(decidedRecord({ id: 'b' }));
    log.ended(endedRecord({ id: 'b' }));
    log.note({ event: 'policy', policy: 'p', detail: {} });
    log.ended(endedRecord({ id: 'a' }));
    expect(log.stats).toMatchObject({ dropped: 3, waiting: 1, lastSeq: 1 });
    disk.full = false;
    log.decided(decidedRecord({ id: 'c', verdict: 'deny' }));
    expect(lines()).toMatchObject([
      { seq: 1, id: 'a' },
      { seq: 2, event: 'gap', detail: { dropped: 3, cause: expect.stringContaining('ENOSPC') } },
      { seq: 3, event: 'ended', id: 'a' },
      { seq: 4, id: 'c' },
    ]);
    const verified = await verifyAudit(file);
    expect(verified.complete).toBe(false);
    expect(verified.problems).toMatchObject([{ line: 2, why: expect.stringContaining('3 records') }]);
  });

  it('stays with the old segment where the new one cannot be begun', async () => {
    const disk = new Disk();
    const log = open({ calls: disk });
    log.decided(decidedRecord({ id: 'a', verdict: 'deny' }));
    fs.renameSync(file, `${file}.1`);
    disk.full = true;
    expect(errorOf(() => log.reopen()).code).toBe('audit-unwritable');
    disk.full = false;
    log.decided(decidedRecord({ id: 'b', verdict: 'deny' }));
    expect(lines(`${file}.1`).map((line) => line.seq)).toEqual([1, 2]);
    log.reopen();
    expect(await verifyAudit(file)).toMatchObject({ complete: true, lines: 3 });
  });

  it.each(['close', 'rotation'])('takes half a line back at the latest at the %s', async (how) => {
    const disk = new Disk();
    const log = open({ calls: disk });
    log.decided(decidedRecord({ id: 'a', verdict: 'deny' }));
    disk.part = 50;
    disk.cutFails = true;
    expect(errorOf(() => log.decided(decidedRecord({ id: 'b' }))).message).toContain('EIO');
    expect((await verifyAudit(file)).complete).toBe(false);
    disk.part = null;
    disk.cutFails = false;
    if (how === 'rotation') {
      fs.renameSync(file, `${file}.1`);
      log.reopen();
    }
    log.close();
    expect(await verifyAudit(file)).toMatchObject({ complete: true, lines: how === 'rotation' ? 2 : 1 });
  });

  it('an end whose decided line is in a marked gap is no second problem; one more is', async () => {
    const disk = new Disk();
    const log = open({ calls: disk, whenFull: 'drop-and-mark' });
    disk.full = true;
    log.decided(decidedRecord({ id: 'a' }));
    disk.full = false;
    log.ended(endedRecord({ id: 'a' }));
    log.decided(decidedRecord({ id: 'b', verdict: 'deny' }));
    expect(lines()).toMatchObject([{ event: 'gap' }, { event: 'ended', id: 'a' }, { id: 'b' }]);
    expect((await verifyAudit(file)).problems).toMatchObject([{ why: expect.stringContaining('1 records') }]);
    log.ended(endedRecord({ id: 'x' }));
    log.close();
    expect((await verifyAudit(file)).problems).toMatchObject([
      { why: expect.stringContaining('1 records') },
      { why: 'request x ended, but was never decided' },
    ]);
  });
});
