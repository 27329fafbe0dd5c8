// Which logs belong to one proxy: its own, those of its workers, and no others that lie beside them.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { logFamily, workerLog, workersWithLogs } from '../../src/audit/family.ts';
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
