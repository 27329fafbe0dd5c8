import fs from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AuditLog } from '../../src/audit/audit-log.ts';
import type { AuditOptions } from '../../src/audit/options.ts';
import { lineHash } from '../../src/audit/parse.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import type { Line } from '../../src/policy/record.ts';
import { Counted, errorOf, ScratchLog } from '../support/audit.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';

let scratch: ScratchLog;
let directory: string;
let file: string;

beforeEach(() => {
  scratch = new ScratchLog();
  ({ directory, file } = scratch);
});
afterEach(() => scratch.close());

const open = (over: Partial<AuditOptions> = {}) => scratch.open({ file, ...over });
const texts = (of = file) => scratch.texts(of);
const lines = (of = file) => scratch.lines(of);

describe('writing', () => {
  it('numbers the lines and chains each to the bytes of the one before', () => {
    const log = open();
    log.note({ event: 'start', policy: 'p', detail: { pid: 1 } });
    log.decided(decidedRecord({ id: 'a' }));
    log.ended(endedRecord({ id: 'a' }));
    expect(log.stats).toMatchObject({ lines: 3, lastSeq: 3, failures: 0, lastError: null, open: 0 });
    const [first, second, third] = texts();
    expect(lines().map((line) => [line.seq, line.event, line.time])).toEqual([
      [1, 'start', '2026-01-31T12:00:00.123Z'],
      [2, 'decided', '2026-01-31T12:00:00.123Z'],
      [3, 'ended', '2026-01-31T12:00:00.123Z'],
    ]);
    const prevs = lines().map((line) => (line as Line & { prev: string }).prev);
    expect(prevs).toEqual(['0'.repeat(64), lineHash(first ?? ''), lineHash(second ?? '')]);
    expect(log.stats.bytes).toBe(texts().join('\n').length + 1);
    expect(third).toContain('"event":"ended"');
  });

  it('stamps each millisecond, over the second and backwards', () => {
    const times = [999, 1_000, 1_001, 61_001, 5];
    let next = 0;
    const log = open({ now: () => new Date(times[next++] ?? 0) });
    for (const id of ['a', 'b', 'c', 'd', 'e']) log.decided(decidedRecord({ id }));
    expect(lines().map((line) => Date.parse(line.time))).toEqual(times);
  });

  it('makes the folders it needs, and a file that others may not read', () => {
    file = path.join(directory, 'deep', 'er', 'audit.jsonl');
    open().note({ event: 'start', policy: 'p', detail: {} });
    expect(fs.statSync(file).mode & 0o007).toBe(0);
    expect(fs.statSync(file).mode & 0o600).toBe(0o600);
  });

  it('refuses what is no regular file', () => {
    expect(errorOf(() => open({ file: directory })).code).toBe('audit-unwritable');
    expect(errorOf(() => open({ file: '/dev/null' })).code).toBe('audit-unwritable');
  });

  it('writes the ended lines of a turn together, when the turn ends', async () => {
    const calls = new Counted();
    const log = open({ calls });
    for (const id of ['a', 'b', 'c']) log.decided(decidedRecord({ id }));
    for (const id of ['a', 'b', 'c']) log.ended(endedRecord({ id }));
    expect(calls.writes).toBe(3);
    await new Promise((resolve) => setImmediate(resolve));
    expect(calls.writes).toBe(4);
    expect(lines().map((line) => line.event)).toEqual(['decided', 'decided', 'decided', 'ended', 'ended', 'ended']);
    expect(await verifyAudit(file)).toMatchObject({ complete: true, lines: 6, open: 0 });
  });

  it('writes them with the next line that must stand at once, before it', async () => {
    const calls = new Counted();
    const log = open({ calls });
    log.decided(decidedRecord({ id: 'a' }));
    log.ended(endedRecord({ id: 'a' }));
    log.decided(decidedRecord({ id: 'b' }));
    log.ended(endedRecord({ id: 'b' }));
    log.note({ event: 'policy', policy: 'p', detail: {} });
    expect(calls.writes).toBe(3);
    expect(lines().map((line) => line.event)).toEqual(['decided', 'ended', 'decided', 'ended', 'policy']);
    expect((await verifyAudit(file)).complete).toBe(true);
  });

  it('writes them before the turn ends where they are more than 256 KiB', () => {
    const log = open();
    for (let n = 0; n < 1_000; n++) log.ended(endedRecord({ id: `r${n}` }));
    const { size } = fs.statSync(file);
    expect(size).toBeGreaterThanOrEqual(262_144);
    expect(size).toBeLessThan(263_500);
  });

  it.each(['stats', 'reopen', 'close'] as const)('%s finds them written', (act) => {
    const log = open();
    log.decided(decidedRecord({ id: 'a' }));
    log.ended(endedRecord({ id: 'a' }));
    if (act === 'stats') expect(log.stats).toMatchObject({ lastSeq: 2, open: 0 });
    else log[act]();
    expect(lines().map((line) => line.event)).toEqual(['decided', 'ended']);
  });

  it('throws after close', () => {
    const log = open();
    log.close();
    expect(errorOf(() => log.decided(decidedRecord({ id: 'a' }))).code).toBe('audit-unwritable');
    expect(errorOf(() => log.ended(endedRecord({ id: 'a' }))).code).toBe('audit-unwritable');
    expect(texts()).toEqual([]);
  });
});

describe('opening an existing log', () => {
  it('continues numbers and chain', async () => {
    const first = open();
    first.decided(decidedRecord({ id: 'a' }));
    first.ended(endedRecord({ id: 'a' }));
    first.close();
    open().decided(decidedRecord({ id: 'b' }));
    expect(lines().map((line) => line.seq)).toEqual([1, 2, 3]);
    expect(await verifyAudit(file)).toMatchObject({ complete: true, lines: 3, open: 1 });
  });

  it('closes orphans as interrupted, and nothing else', () => {
    const first = open();
    first.decided(decidedRecord({ id: 'open', verdict: 'observe', reason: 'host-not-allowed' }));
    first.decided(decidedRecord({ id: 'done' }));
    first.ended(endedRecord({ id: 'done' }));
    first.decided(decidedRecord({ id: 'refused', verdict: 'deny', reason: 'host-denied' }));
    first.decided(decidedRecord({ id: 'failed', outcome: 'dns-failed' }));
    first.decided(
      decidedRecord({
        id: 'tricky',
        target: '"outcome":"x" "verdict":"deny"',
        user_agent: ',"event":"ended","id":"open"',
      }),
    );
    first.close();
    const log = open();
    expect(log.interrupted).toBe(2);
    expect(lines().slice(6)).toMatchObject([
      {
        event: 'ended',
        id: 'open',
        verdict: 'observe',
        reason: 'host-not-allowed',
        outcome: 'interrupted',
        bytes_up: 0,
        bytes_down: 0,
      },
      { event: 'ended', id: 'tricky', outcome: 'interrupted' },
    ]);
    expect(log.stats.open).toBe(0);
    log.close();
    expect(open().interrupted).toBe(0);
  });

  it('sets a torn last line aside, whatever its length', async () => {
    const first = open();
    first.decided(decidedRecord({ id: 'a', verdict: 'deny' }));
    first.close();
    const good = fs.readFileSync(file, 'latin1');
    for (const torn of ['{', good.slice(0, -1), good.slice(0, 100)]) {
      fs.writeFileSync(file, good + torn);
      const log = open();
      expect(log.repaired).toEqual({ file: `${file}.torn-2`, bytes: torn.length });
      expect(fs.readFileSync(`${file}.torn-2`, 'latin1')).toBe(torn);
      log.decided(decidedRecord({ id: 'b', verdict: 'deny' }));
      log.close();
      expect(await verifyAudit(file)).toMatchObject({ complete: true, lines: 2 });
    }
  });

  it('begins anew where the first line ever was torn', () => {
    fs.writeFileSync(file, '{"time":"2026');
    const log = open();
    expect(log.repaired).toEqual({ file: `${file}.torn-1`, bytes: 13 });
    log.decided(decidedRecord({ id: 'a' }));
    expect(lines()).toMatchObject([{ seq: 1, prev: '0'.repeat(64) }]);
  });

  it.each([
    ['rubbish', 'rubbish'],
    ['JSON of something else', '{"a":1}'],
    ['NUL bytes of a host crash', '\0'.repeat(300)],
    ['a very long line', 'x'.repeat(2_000_000)],
  ])('refuses to go on after %s, names the line and the command', (_what, last) => {
    const first = open();
    first.decided(decidedRecord({ id: 'a', verdict: 'deny' }));
    first.close();
    fs.appendFileSync(file, `${last}\n`);
    const error = errorOf(() => open());
    expect(error.code).toBe('audit-damaged');
    expect(error.message).toContain(`${file}:2`);
    expect(error.message).toContain('sallyport audit repair');
    // The lock was given back: the next try says the same.
    expect(errorOf(() => open()).code).toBe('audit-damaged');
  });

  it('refuses a file that never was a log', () => {
    fs.writeFileSync(file, 'hello\nworld\n');
    expect(errorOf(() => open()).code).toBe('audit-damaged');
  });
});

describe('the lock', () => {
  it('keeps a second writer out and names the first', () => {
    open();
    const error = errorOf(() => open());
    expect(error.code).toBe('audit-locked');
    expect(error.message).toContain(`process ${process.pid}`);
  });

  it.each([
    ['a pid that is gone', { pid: 4_194_304 + 1, host: null, started: '' }],
    ['our own pid from an earlier life (a container)', { pid: process.pid, host: null, started: '1' }],
    ['a living pid that started at another time', { pid: process.ppid, host: null, started: '1' }],
  ])('is taken over from %s', (_what, holder) => {
    const host = JSON.parse(fs.readFileSync(lockOfAnother(), 'utf8')).host;
    fs.writeFileSync(`${file}.lock`, JSON.stringify({ ...holder, host }));
    open().close();
    expect(fs.existsSync(`${file}.lock`)).toBe(false);
  });

  it('is taken over where it is rubbish', () => {
    fs.writeFileSync(`${file}.lock`, '');
    expect(open().stats.lastSeq).toBe(0);
  });

  it('of another host stands while it is touched, and falls when it is not', () => {
    fs.writeFileSync(`${file}.lock`, JSON.stringify({ pid: 1, host: 'elsewhere.example', started: '' }));
    const error = errorOf(() => open());
    expect(error.code).toBe('audit-locked');
    expect(error.message).toContain('elsewhere.example');
    const old = new Date(Date.now() - 3_600_000);
    fs.utimesSync(`${file}.lock`, old, old);
    expect(open().stats.lastSeq).toBe(0);
  });

  it('leaves nothing behind in the folder', () => {
    open().close();
    expect(fs.readdirSync(directory)).toEqual(['audit.jsonl']);
  });

  function lockOfAnother(): string {
    const other = path.join(directory, 'other.jsonl');
    open({ file: other });
    return `${other}.lock`;
  }
});

describe('rotation', () => {
  function rotate(log: AuditLog, to: string): void {
    fs.renameSync(file, `${file}${to}`);
    log.reopen();
  }

  it('goes on in a new file whose first line continues the chain', async () => {
    const log = open();
    log.decided(decidedRecord({ id: 'a' }));
    rotate(log, '.1');
    log.ended(endedRecord({ id: 'a' }));
    log.close();
    expect(lines(`${file}.1`)).toMatchObject([{ seq: 1 }]);
    expect(lines()).toMatchObject([
      {
        seq: 2,
        event: 'reopen',
        policy: decidedRecord({ id: 'a' }).policy,
        detail: { previous_seq: 1, oldest_open: 1 },
      },
      { seq: 3, event: 'ended' },
    ]);
    expect(await verifyAudit(file)).toMatchObject({ complete: true, lines: 3, open: 0 });
  });

  it('loses no line between the rename and the signal', async () => {
    const log = open();
    log.decided(decidedRecord({ id: 'a', verdict: 'deny' }));
    fs.renameSync(file, `${file}-20260131`);
    fs.writeFileSync(file, '');
    log.decided(decidedRecord({ id: 'b', verdict: 'deny' }));
    log.reopen();
    log.decided(decidedRecord({ id: 'c', verdict: 'deny' }));
    expect(lines(`${file}-20260131`).map((line) => line.seq)).toEqual([1, 2]);
    expect(await verifyAudit(file)).toMatchObject({ complete: true, lines: 4 });
  });

  it('does nothing where nothing was renamed', () => {
    const log = open();
    log.decided(decidedRecord({ id: 'a' }));
    log.reopen();
    log.decided(decidedRecord({ id: 'b' }));
    expect(lines().map((line) => line.event)).toEqual(['decided', 'decided']);
  });

  it('stays with the old file where the new one is not usable', () => {
    const log = open();
    log.decided(decidedRecord({ id: 'a' }));
    fs.renameSync(file, `${file}.1`);
    fs.writeFileSync(file, 'not empty\n');
    expect(errorOf(() => log.reopen()).code).toBe('audit-unwritable');
    log.decided(decidedRecord({ id: 'b' }));
    expect(lines(`${file}.1`).map((line) => line.seq)).toEqual([1, 2]);
    expect(texts()).toEqual(['not empty']);
  });

  it('continues from the rotated file where the process restarts before it wrote again', async () => {
    const log = open();
    log.decided(decidedRecord({ id: 'a', verdict: 'deny' }));
    log.close();
    fs.renameSync(file, `${file}.1`);
    open().decided(decidedRecord({ id: 'b', verdict: 'deny' }));
    expect(lines()).toMatchObject([
      { seq: 2, event: 'reopen', detail: { previous_seq: 1, oldest_open: null } },
      { seq: 3, id: 'b' },
    ]);
    expect(await verifyAudit(file)).toMatchObject({ complete: true, lines: 3 });
  });

  it('finds orphans of older segments, as far back as the oldest open request', async () => {
    const log = open();
    log.decided(decidedRecord({ id: 'old' }));
    rotate(log, '-20260101');
    log.decided(decidedRecord({ id: 'gone' }));
    log.ended(endedRecord({ id: 'gone' }));
    rotate(log, '-20260102');
    log.decided(decidedRecord({ id: 'new' }));
    log.close();
    expect(open().interrupted).toBe(2);
    expect(await verifyAudit(file)).toMatchObject({ complete: true, open: 0 });
  });

  it('does not read segments in which nothing can be open', () => {
    const log = open();
    log.decided(decidedRecord({ id: 'a' }));
    log.ended(endedRecord({ id: 'a' }));
    rotate(log, '.1');
    log.close();
    // An open request that was never there when the log was rotated: it would be found if the segment were read.
    const [first] = texts(`${file}.1`);
    fs.appendFileSync(`${file}.1`, `${(first ?? '').replace('"id":"a"', '"id":"late"')}\n`);
    expect(open().interrupted).toBe(0);
  });
});
