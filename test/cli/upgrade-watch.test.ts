// What an upgrade says in the log is heard while the handover moves the log away: names come and go between two looks, and within one.
import { appendFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { expect, it } from 'vitest';
import { UpgradeWatch } from '../../src/cli/upgrade-watch.ts';
import { tempDir } from '../support/temp.ts';

const note = (seq: number, event: string, detail: object): string =>
  `${JSON.stringify({ time: '2026-01-01T00:00:00.000Z', seq, event, node: 'n', policy: 'p', detail, prev: '0'.repeat(64) })}\n`;

it('follows the log into the file of the new process', () => {
  const file = join(tempDir('watch'), 'audit.jsonl');
  writeFileSync(file, note(1, 'start', { pid: 1 }));
  const watch = new UpgradeWatch(file, 1);
  expect(watch.look()).toBeNull();
  appendFileSync(file, note(2, 'upgrade', { result: 'begun' }));
  expect(watch.look()).toBeNull();
  renameSync(file, `${file}.000000000002`);
  expect(watch.look()).toBeNull();
  writeFileSync(file, note(3, 'start', { pid: 2 }));
  expect(watch.look()).toBeNull();
  writeFileSync(`${file}.drain-000000000002`, note(3, 'upgrade', { result: 'done' }));
  expect(watch.look()).toMatchObject({ seq: 3, detail: { pid: 2 } });
});

it('says why it failed', () => {
  const file = join(tempDir('watch'), 'audit.jsonl');
  writeFileSync(file, '');
  const watch = new UpgradeWatch(file, 1);
  appendFileSync(file, note(1, 'upgrade', { result: 'failed', code: 'upgrade-failed', why: 'no' }));
  expect(() => watch.look()).toThrow('no');
});

it('does not mind a name that is taken away while it looks', async () => {
  const file = join(tempDir('watch'), 'audit.jsonl');
  writeFileSync(file, note(1, 'start', { pid: 1 }));
  const over = new Int32Array(new SharedArrayBuffer(4));
  const mover = new Worker(
    `const { renameSync } = require('node:fs');
     const { file, over } = require('node:worker_threads').workerData;
     while (Atomics.load(over, 0) === 0) { renameSync(file, file + '.1'); renameSync(file + '.1', file); }`,
    { eval: true, workerData: { file, over } },
  );
  const ended = new Promise((resolve) => mover.once('exit', resolve));
  await new Promise((resolve) => mover.once('online', resolve));
  const watch = new UpgradeWatch(file, 1);
  try {
    for (let looks = 0; looks < 4_000; looks++) expect(watch.look()).toBeNull();
  } finally {
    Atomics.store(over, 0, 1);
  }
  expect(await ended).toBe(0);
});
