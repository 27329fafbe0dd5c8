// The decided lines of one turn of the event loop go to the kernel in one write, and nobody goes on before.
import fs from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { AuditLog } from '../../src/audit/audit-log.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import { Counted, Disk, ScratchLog } from '../support/audit.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';

let scratch: ScratchLog;
beforeEach(() => {
  scratch = new ScratchLog();
});
afterEach(() => scratch.close());

/** What each was told, in the order in which it was: its id, and the id of the line or the failure's code. */
type Told = readonly [id: string, became: string];

function gatherIn(log: AuditLog, told: Told[], ...ids: readonly string[]): void {
  for (const id of ids)
    log.gather(decidedRecord({ id }), (failure, line) =>
      told.push([id, failure === null ? JSON.parse(line).id : (failure as { code: string }).code]),
    );
}

const sizeOf = (file: string): number => fs.statSync(file).size;
const ids = (): string[] => scratch.lines().map((line) => ('id' in line ? line.id : line.event));

it('all of a turn are one write, in their order, and each hears of its own line', async () => {
  const disk = new Counted();
  const log = scratch.open({ calls: disk });
  const told: Told[] = [];
  gatherIn(log, told, 'a', 'b', 'c');
  expect([told, sizeOf(scratch.file), log.isOpen('a')]).toEqual([[], 0, false]);
  await turn();
  expect(told).toEqual([
    ['a', 'a'],
    ['b', 'b'],
    ['c', 'c'],
  ]);
  expect([ids(), disk.writes, log.isOpen('a')]).toEqual([['a', 'b', 'c'], 1, true]);
  gatherIn(log, told, 'd');
  await turn();
  expect([ids(), disk.writes, log.stats.open]).toEqual([['a', 'b', 'c', 'd'], 2, 4]);
  expect(await verifyAudit(scratch.file)).toMatchObject({ complete: true, lines: 4 });
});

it('who is told finds its line in the file', async () => {
  const log = scratch.open();
  const seen: string[] = [];
  for (const id of ['a', 'b'])
    log.gather(decidedRecord({ id }), (_, line) => void (scratch.texts().includes(line) && seen.push(id)));
  await turn();
  expect(seen).toEqual(['a', 'b']);
});

it.each([
  ['a decided line', (log: AuditLog) => void log.decided(decidedRecord({ id: 'x', verdict: 'deny' })), 'x'],
  ['a note', (log: AuditLog) => void log.note({ event: 'mode', policy: 'p', detail: {} }), 'mode'],
])('%s that is written at once takes along what was gathered before it', async (_, write, shown) => {
  const disk = new Counted();
  const log = scratch.open({ calls: disk });
  const told: Told[] = [];
  gatherIn(log, told, 'a', 'b');
  write(log);
  expect([told.length, ids(), disk.writes]).toEqual([2, ['a', 'b', shown], 1]);
  await turn();
  expect([told.length, disk.writes]).toEqual([2, 1]);
  expect(await verifyAudit(scratch.file)).toMatchObject({ complete: true, lines: 3 });
});

it('an end in the same turn stands behind them, in the same write', async () => {
  const disk = new Counted();
  const log = scratch.open({ calls: disk });
  log.decided(decidedRecord({ id: 'old' }));
  gatherIn(log, [], 'a');
  log.ended(endedRecord({ id: 'old' }));
  gatherIn(log, [], 'b');
  await turn();
  expect([ids(), disk.writes, log.isOpen('old'), log.stats.open]).toEqual([['old', 'a', 'old', 'b'], 2, false, 2]);
});

it('on a full disk none of them passes, no number is used twice, and the next turn goes on', async () => {
  const disk = new Disk();
  const log = scratch.open({ calls: disk });
  const told: Told[] = [];
  disk.full = true;
  gatherIn(log, told, 'a', 'b');
  await turn();
  const failed = 'audit-unwritable';
  expect(told).toEqual([
    ['a', failed],
    ['b', failed],
  ]);
  expect(log.stats).toMatchObject({ lastSeq: 0, failures: 2, open: 0, dropped: 0 });
  disk.full = false;
  gatherIn(log, told, 'c');
  await turn();
  expect(told.at(-1)).toEqual(['c', 'c']);
  expect(scratch.lines()).toMatchObject([{ seq: 1, id: 'c' }]);
  expect(await verifyAudit(scratch.file)).toMatchObject({ complete: true, lines: 1 });
});

it('a write of which the disk takes a part is taken back whole', async () => {
  const disk = new Disk();
  const log = scratch.open({ calls: disk });
  const told: Told[] = [];
  disk.part = 700;
  gatherIn(log, told, 'a', 'b', 'c');
  await turn();
  expect([told.map(([, became]) => became), sizeOf(scratch.file)]).toEqual([Array(3).fill('audit-unwritable'), 0]);
});

it('with drop-and-mark each goes on, and the gap says how many', async () => {
  const disk = new Disk();
  const log = scratch.open({ calls: disk, whenFull: 'drop-and-mark' });
  const told: Told[] = [];
  disk.full = true;
  gatherIn(log, told, 'a', 'b');
  await turn();
  expect(told).toEqual([
    ['a', 'a'],
    ['b', 'b'],
  ]);
  disk.full = false;
  gatherIn(log, told, 'c');
  await turn();
  expect(scratch.lines()).toMatchObject([{ event: 'gap', detail: { dropped: 2 } }, { id: 'c' }]);
  expect(log.stats).toMatchObject({ dropped: 2, failures: 2, open: 1 });
});

it('more than a write should have at once does not wait for the end of the turn', async () => {
  const disk = new Counted();
  const log = scratch.open({ calls: disk });
  const told: Told[] = [];
  const many = Array.from({ length: 1_500 }, (_, index) => `id-${index}`);
  gatherIn(log, told, ...many);
  expect(disk.writes).toBeGreaterThan(0);
  expect(told.length).toBeGreaterThan(0);
  await turn();
  expect(told.map(([id]) => id)).toEqual(many);
  expect(ids()).toEqual(many);
});

it('a log that is closed in the same turn has them, and one that is closed takes no more', async () => {
  const log = scratch.open();
  const told: Told[] = [];
  gatherIn(log, told, 'a');
  log.close();
  gatherIn(log, told, 'b');
  await turn();
  expect(told).toEqual([
    ['a', 'a'],
    ['b', 'audit-unwritable'],
  ]);
  expect(ids()).toEqual(['a']);
});

it('the file is rotated behind the write that filled it', async () => {
  const log = scratch.open({ rotateBytes: 1_000 });
  gatherIn(log, [], 'a', 'b', 'c');
  await turn();
  expect(scratch.lines()).toMatchObject([{ event: 'reopen', detail: { previous_seq: 3, oldest_open: 1 } }]);
  expect(await verifyAudit(scratch.file)).toMatchObject({ complete: true, lines: 4 });
});

it('an upgrade in the same turn leaves them in front of the fork', async () => {
  const log = scratch.open();
  const told: Told[] = [];
  gatherIn(log, told, 'a', 'b');
  expect(log.handOver().seq).toBe(2);
  expect([told.length, log.stats.open]).toEqual([2, 2]);
});
