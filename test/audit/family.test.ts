// Which logs belong to one proxy: its own, those of its workers, and no others that lie beside them.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { logFamily, workerLog, workersThatServed, workersWithLogs } from '../../src/audit/family.ts';
import { LineWriter } from '../../src/audit/line.ts';
import { WORKERS_MAX } from '../../src/limits.ts';
import { tempDir } from '../support/temp.ts';

it.each([
  ['data/audit.jsonl', 'data/audit.w3.jsonl'],
  ['/var/log/a.b.jsonl', '/var/log/a.b.w3.jsonl'],
  ['audit', 'audit.w3'],
])('the log of worker 3 of %s is %s', (file, log) => expect(workerLog(file, 3)).toBe(log));

it('finds the workers of a log by their files and rotated segments, and no strangers', () => {
  const dir = tempDir('family');
  const file = join(dir, 'audit.jsonl');
  expect(logFamily(file)).toEqual([file]);
  const mine = ['audit.w2.jsonl', 'audit.w10.jsonl-20260131', 'audit.w3.jsonl.1', 'audit.w4.jsonl.drain-7'];
  const strange = ['audit.w5.jsonl.lock', 'audit.w6.jsonl.sock', 'audit.wx.jsonl', 'audit2.w7.jsonl', 'audit.w8.json'];
  for (const name of [...mine, ...strange]) writeFileSync(join(dir, name), '');
  mkdirSync(join(dir, 'audit.w9.jsonl.leases.json'));
  expect(workersWithLogs(file)).toEqual([2, 3, 4, 10]);
  expect(logFamily(file, workerLog(file, 2))).toEqual([
    file,
    ...[2, 3, 4, 10].map((worker) => workerLog(file, worker)),
  ]);
  expect(workersWithLogs(join(dir, 'none', 'audit.jsonl'))).toEqual([]);
});

it('takes the number of workers that served from a log only where it can be one', () => {
  const file = join(tempDir('family'), 'audit.jsonl');
  const writer = new LineWriter(100);
  const started = (workers: unknown, seq: number): string => {
    const detail = { workers } as Record<string, number>;
    const stamp = { time: '2026-01-31T12:00:00.000Z', seq, node: '"n"' };
    return `${writer.note(stamp, { event: 'start', policy: 'p', detail })},"prev":"${'0'.repeat(64)}"}\n`;
  };
  const served = (...counts: unknown[]): string[] => {
    writeFileSync(file, counts.map((count, at) => started(count, at + 1)).join(''));
    return workersThatServed(file);
  };
  expect(served(2, undefined)).toEqual(['n.w1', 'n.w2']);
  expect(served(WORKERS_MAX)).toHaveLength(WORKERS_MAX);
  expect(served(WORKERS_MAX + 1, 1e12, 1.5, 0, -1, '3', null)).toEqual([]);
});
