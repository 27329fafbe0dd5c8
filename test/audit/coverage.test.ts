// Silence and absence: which stretches without a line are gaps, whether a quiet proxy says that it is there, and what a statement about
// several nodes makes of both.
import fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { AuditLog } from '../../src/audit/audit-log.ts';
import { Heartbeat } from '../../src/audit/heartbeat.ts';
import { stateAll, stateLog } from '../../src/audit/nodes.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import { Disk, ScratchLog } from '../support/audit.ts';
import { decidedRecord } from '../support/records.ts';

const MINUTE = 60_000;
const START = Date.parse('2026-03-01T00:00:00.000Z');
const FOREVER = { from: Number.NEGATIVE_INFINITY, to: Number.POSITIVE_INFINITY };

let scratch: ScratchLog;
let now: number;
beforeEach(() => {
  scratch = new ScratchLog();
  now = START;
});
afterEach(() => {
  vi.useRealTimers();
  scratch.close();
});

const at = (minute: number): number => START + minute * MINUTE;
const text = (minute: number): string => new Date(at(minute)).toISOString();
const open = (over = {}): AuditLog => scratch.open({ now: () => new Date(now), ...over });
const note = (log: AuditLog, event: 'start' | 'stop' | 'heartbeat', detail: Record<string, number> = {}): void =>
  void log.note({ event, policy: 'p', detail });
const start = (log: AuditLog, every = MINUTE): void => note(log, 'start', { heartbeat_ms: every });
/** Lines at these minutes, each a refusal. */
function speak(log: AuditLog, ...minutes: number[]): void {
  for (const minute of minutes) {
    now = at(minute);
    log.decided(decidedRecord({ id: `m${minute}`, verdict: 'deny' }));
  }
}
const state = (from: number, to: number, file = scratch.file) =>
  stateLog(file, { window: { from: at(from), to: at(to) }, until: at(to) });

describe('a silence', () => {
  it.each([
    [2, []],
    [2.001, [{ from: text(0), to: text(2.001) }]],
  ])('of %d heartbeats is judged', async (minutes, silences) => {
    const log = open();
    start(log);
    speak(log, minutes);
    const found = await verifyAudit(scratch.file);
    expect(found).toMatchObject({ silences, silence_count: silences.length, heartbeat_ms: MINUTE, problems: [] });
    expect(found.complete).toBe(silences.length === 0);
  });

  it('after a stop is none, and is said', async () => {
    const log = open();
    start(log);
    note(log, 'stop');
    now = at(90);
    start(log);
    note(log, 'stop');
    expect(await verifyAudit(scratch.file)).toMatchObject({
      complete: true,
      silences: [],
      stopped: [
        { from: text(0), to: text(90) },
        { from: text(90), to: null },
      ],
    });
  });

  it('of a restart is not worth a word', async () => {
    const log = open();
    start(log);
    note(log, 'stop');
    now = at(2);
    start(log);
    expect(await verifyAudit(scratch.file)).toMatchObject({ complete: true, silences: [], stopped: [] });
  });

  it('means nothing in a log that has no heartbeats', async () => {
    speak(open(), 0, 600);
    expect(await verifyAudit(scratch.file)).toMatchObject({ complete: true, silences: [], heartbeat_ms: null });
  });

  it('is judged also where the log says only after it how often it speaks', async () => {
    const log = open();
    // More short ones than are kept, and one that counts.
    speak(log, ...Array.from({ length: 500 }, (_, n) => n / 10), 60, 61);
    start(log);
    const found = await verifyAudit(scratch.file);
    expect(found).toMatchObject({ complete: false, silences: [{ from: text(49.9), to: text(60) }] });
  });

  it('is not judged by what the process after it does, where that one has no heartbeats', async () => {
    const log = open();
    start(log);
    note(log, 'stop');
    note(log, 'start');
    speak(log, 10);
    expect(await verifyAudit(scratch.file)).toMatchObject({ complete: true, heartbeat_ms: null });
  });

  it('is counted beyond those that are named', async () => {
    const log = open();
    start(log);
    speak(log, ...Array.from({ length: 120 }, (_, n) => 3 * (n + 1)));
    const found = await verifyAudit(scratch.file);
    expect(found.silence_count).toBe(120);
    expect(found.silences).toHaveLength(100);
  });

  it('of the process that drains is one of its branch', async () => {
    const log = open();
    start(log);
    const fork = log.handOver();
    const next = open({ takeOver: fork });
    start(next);
    now = at(5);
    note(log, 'stop');
    const found = await verifyAudit(scratch.file);
    expect(found.silences).toEqual([{ from: text(0), to: text(5) }]);
  });
});

describe('a statement about a time', () => {
  it('names the silences that touch it, up to its end', async () => {
    const log = open();
    start(log);
    speak(log, 1, 2, 30, 31, 32, 33, 34);
    expect(await state(3, 10)).toMatchObject({ complete: false, silences: [{ from: text(2), to: text(30) }] });
    expect(await state(31, 34)).toMatchObject({ complete: true, silences: [] });
    expect(await state(31, 60)).toMatchObject({ complete: false, silences: [{ from: text(34), to: text(60) }] });
    expect(await state(31, 36)).toMatchObject({ complete: true });
  });

  it('is judged by the segments that it touches', async () => {
    const log = open();
    start(log);
    speak(log, 1, 2);
    fs.renameSync(scratch.file, `${scratch.file}.1`);
    log.reopen();
    speak(log, 30, 31);
    note(log, 'heartbeat', { heartbeat_ms: MINUTE });
    expect(await state(20, 31)).toMatchObject({ complete: false, silences: [{ from: text(2), to: text(30) }] });
  });

  it('of several nodes says who is missing', async () => {
    const log = open();
    start(log);
    speak(log, 1, 2);
    const nodes = [await state(0, 3)];
    const window = { from: at(0), to: at(3) };
    expect(stateAll(nodes, window, ['node-1'])).toMatchObject({ verdict: 'complete', complete: true, missing: [] });
    expect(stateAll(nodes, window, ['node-2', 'node-1', 'node-2'])).toMatchObject({
      verdict: 'missing-nodes',
      complete: false,
      missing: ['node-2'],
    });
    expect(stateAll([], window, [])).toMatchObject({ verdict: 'gaps', complete: false });
  });

  it('calls a log of which nothing is there no complete one', async () => {
    const found = await stateLog(`${scratch.file}.nowhere`, { window: FOREVER });
    expect(found).toMatchObject({ node: null, complete: false, problem_count: 1 });
  });
});

describe('a heartbeat', () => {
  const events = (): string[] => scratch.lines().map(({ event }) => event);
  const beat = (log: AuditLog) => new Heartbeat({ audit: log, everyMs: MINUTE, policy: () => 'p' });

  it('is written where nothing else is, and keeps the log free of silences', async () => {
    vi.useFakeTimers();
    const log = scratch.open({ now: () => new Date() });
    start(log);
    const heartbeat = beat(log);
    vi.advanceTimersByTime(10 * MINUTE);
    heartbeat.stop();
    const lines = scratch.lines().slice(1);
    expect(lines.length).toBeGreaterThanOrEqual(10);
    expect(lines[0]).toMatchObject({ event: 'heartbeat', policy: 'p', detail: { heartbeat_ms: MINUTE, open: 0 } });
    expect(await verifyAudit(scratch.file)).toMatchObject({ complete: true, silences: [] });
    vi.advanceTimersByTime(10 * MINUTE);
    expect(events()).toHaveLength(lines.length + 1);
  });

  it('is not written where something else is', () => {
    vi.useFakeTimers();
    const log = scratch.open({ now: () => new Date() });
    const heartbeat = beat(log);
    for (let half = 0; half < 20; half++) {
      log.decided(decidedRecord({ id: `h${half}`, verdict: 'deny' }));
      vi.advanceTimersByTime(MINUTE / 2);
    }
    heartbeat.stop();
    expect(new Set(events())).toEqual(new Set(['decided']));
  });

  it('is no record that a full disk has lost', () => {
    vi.useFakeTimers();
    const disk = new Disk();
    const log = scratch.open({ now: () => new Date(), calls: disk, whenFull: 'drop-and-mark' });
    const heartbeat = beat(log);
    disk.full = true;
    log.decided(decidedRecord({ id: 'lost', verdict: 'deny' }));
    vi.advanceTimersByTime(5 * MINUTE);
    expect(log.stats.dropped).toBe(1);
    disk.full = false;
    log.decided(decidedRecord({ id: 'back', verdict: 'deny' }));
    vi.advanceTimersByTime(5 * MINUTE);
    heartbeat.stop();
    expect(events().slice(0, 3)).toEqual(['gap', 'decided', 'heartbeat']);
  });
});
