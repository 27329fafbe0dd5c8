// Exactly once: processes that count the same log are killed at any moment, or run side by side, and the sums are those of the log.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { expect, it, vi } from 'vitest';
import { openAuditLog } from '../../src/audit/log.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import type { Line } from '../../src/policy/record.ts';
import { projectOnce } from '../../src/usage/project-once.ts';
import { openStore } from '../../src/usage/store.ts';
import { PROCESSES_MS } from '../support/proxy-process.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';
import { tempDir } from '../support/temp.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

const CHILD = new URL('./child.ts', import.meta.url).pathname;
const REQUESTS = 1_500;

/** Runs a counting process; kills it after some batches where `killAfter` says so. Resolves with the number of batches it reported. */
function run(file: string, store: string, batch: number, killAfter = Number.POSITIVE_INFINITY): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [CHILD, file, store, String(batch)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let batches = 0;
    child.stdout.on('data', (chunk: Buffer) => {
      batches += chunk.length;
      if (batches >= killAfter) child.kill('SIGKILL');
    });
    child.once('error', reject);
    child.once('close', (code, signal) => {
      if (code === 0 || signal === 'SIGKILL') resolve(batches);
      else reject(new Error(`the child ended with ${code}`));
    });
  });
}

/** A log with two rotated segments, of requests of different sizes. */
function writeLog(file: string): void {
  const log = openAuditLog({
    file,
    node: 'n',
    limits: DEFAULT_LIMITS,
    whenFull: 'refuse',
    now: () => new Date(),
    sync: 'none',
  });
  for (let n = 0; n < REQUESTS; n++) {
    const id = `r${n}`;
    const host = `h${n % 37}.example`;
    log.decided(decidedRecord({ id, host }));
    if (n > 5)
      log.ended(endedRecord({ id: `r${n - 5}`, host: `h${(n - 5) % 37}.example`, bytes_up: n, bytes_down: 2 * n }));
    if (n === 500 || n === 1_000) {
      fs.renameSync(file, `${file}.${3 - n / 500}`);
      log.reopen();
    }
  }
  log.close();
}

async function sums(store: string) {
  const { db, close } = openStore(store, 'read');
  const rows = await db.selectFrom('usage').select(['requests', 'bytes_up', 'bytes_down']).execute();
  const open = await db.selectFrom('open_request').select('id').execute();
  await close();
  const total = (key: 'requests' | 'bytes_up' | 'bytes_down') => rows.reduce((sum, row) => sum + row[key], 0);
  return { requests: total('requests'), up: total('bytes_up'), down: total('bytes_down'), open: open.length };
}

function expected(file: string) {
  const lines: Line[] = [`${file}.2`, `${file}.1`, file].flatMap((name) =>
    fs
      .readFileSync(name, 'latin1')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line)),
  );
  const ended = lines.filter((line) => line.event === 'ended');
  const decided = lines.filter((line) => line.event === 'decided');
  const total = (key: 'bytes_up' | 'bytes_down') => ended.reduce((sum, line) => sum + line[key], 0);
  return {
    requests: ended.length,
    up: total('bytes_up'),
    down: total('bytes_down'),
    open: decided.length - ended.length,
  };
}

it('kill -9 at any moment of the counting changes no sum', async () => {
  const directory = tempDir('count');
  const file = path.join(directory, 'audit.jsonl');
  const store = path.join(directory, 'usage.db');
  writeLog(file);
  let killed = 0;
  for (const killAfter of [1, 2, 5, 13, 21, 30]) {
    const batches = await run(file, store, 20, killAfter);
    if (batches >= killAfter) killed++;
  }
  expect(killed).toBe(6);
  await projectOnce({
    auditFile: file,
    store,
    limits: DEFAULT_LIMITS,
    onProblem: ({ message }) => expect.fail(message),
  });
  expect(await sums(store)).toEqual(expected(file));
});

it('processes that count the same log at the same time count each line once', async () => {
  const directory = tempDir('count');
  const file = path.join(directory, 'audit.jsonl');
  const store = path.join(directory, 'usage.db');
  writeLog(file);
  await Promise.all([run(file, store, 40), run(file, store, 60), run(file, store, 80)]);
  expect(await sums(store)).toEqual(expected(file));
});
