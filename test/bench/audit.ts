// Measures what one audit line costs the data plane's thread, how fast a log is scanned at start, and how fast it is
// projected into the usage store. `node test/bench/audit.ts` prints the figures; `--quick` takes few lines and is for the
// sums alone, which are checked in both cases.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { openAuditLog } from '../../src/audit/log.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { projectOnce } from '../../src/usage/project-once.ts';
import { openStore } from '../../src/usage/store.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';

const quick = process.argv.includes('--quick');
const requests = quick ? 2_000 : 200_000;
const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'sallyport-bench-'));
const file = path.join(directory, 'audit.jsonl');
const limits = DEFAULT_LIMITS;

function seconds(from: bigint): number {
  return Number(process.hrtime.bigint() - from) / 1e9;
}

function open() {
  return openAuditLog({ file, node: 'bench', limits, whenFull: 'refuse', now: () => new Date(), sync: 'none' });
}

/** A turn of the event loop with so many requests that were let through, as under load. */
const TURN = 32;

/** What each audit.sync costs: the same lines, 32 decided and 32 ended in a turn; in mode batch each turn waits for the disk. */
async function modes(): Promise<void> {
  for (const sync of ['none', 'interval', 'batch'] as const) {
    const at = `${file}-of-${sync}`;
    const log = openAuditLog({ file: at, node: 'bench', limits, whenFull: 'refuse', now: () => new Date(), sync });
    const turns = Math.ceil(requests / TURN / (sync === 'batch' ? 10 : 1));
    const waits: number[] = [];
    const cpu = process.cpuUsage();
    const start = process.hrtime.bigint();
    for (let turn = 0; turn < turns; turn++) {
      for (let n = 0; n < TURN; n++) log.decided(decidedRecord({ id: `${turn}-${n}`, host: `host${n}.example.com` }));
      const written = process.hrtime.bigint();
      await log.durable();
      waits.push(seconds(written) * 1e3);
      for (let n = 0; n < TURN; n++) log.ended(endedRecord({ id: `${turn}-${n}`, host: `host${n}.example.com` }));
      await new Promise((resolve) => setImmediate(resolve));
    }
    const took = seconds(start);
    const { user, system } = process.cpuUsage(cpu);
    log.close();
    waits.sort((a, b) => a - b);
    const wait = (part: number) => (waits[Math.floor(waits.length * part)] ?? 0).toFixed(2);
    const lines = 2 * TURN * turns;
    console.log(
      `sync ${sync}: ${Math.round(lines / took)} lines/s, ${((user + system) / lines).toFixed(2)} µs CPU a line` +
        (sync === 'batch' ? `, wait for the disk ${wait(0.5)} ms (median), ${wait(0.99)} ms (99th percentile)` : ''),
    );
    assert.equal((await verifyAudit(at)).lines, lines);
  }
}

try {
  const log = open();
  const cpu = process.cpuUsage();
  let start = process.hrtime.bigint();
  for (let n = 0; n < requests; n++) {
    const id = `01J8ZQ4T9V${String(n).padStart(12, '0')}`;
    const host = `host${n % 100}.example.com`;
    log.decided(decidedRecord({ id, host }));
    log.ended(endedRecord({ id, host }));
  }
  const wall = (seconds(start) * 1e6) / (2 * requests);
  const used = process.cpuUsage(cpu);
  const cpuMicros = (used.user + used.system) / (2 * requests);
  log.close();
  const { size } = fs.statSync(file);
  console.log(
    `audit line: ${wall.toFixed(2)} µs, ${cpuMicros.toFixed(2)} µs CPU (${2 * requests} lines of ${Math.round(size / requests / 2)} bytes)`,
  );

  await modes();

  start = process.hrtime.bigint();
  open().close();
  let took = seconds(start);
  console.log(
    `open and scan: ${took.toFixed(2)} s for ${(size / 1e6).toFixed(0)} MB (${(size / 1e6 / took).toFixed(0)} MB/s)`,
  );

  start = process.hrtime.bigint();
  const verified = await verifyAudit(file);
  took = seconds(start);
  assert.equal(verified.complete, true);
  assert.equal(verified.lines, 2 * requests);
  console.log(`verify: ${Math.round((2 * requests) / took)} lines/s`);

  const store = path.join(directory, 'usage.db');
  const before = process.cpuUsage();
  start = process.hrtime.bigint();
  await projectOnce({ auditFile: file, store, limits, onProblem: (problem) => assert.fail(problem.message) });
  took = seconds(start);
  const counting = process.cpuUsage(before);
  const micros = (counting.user + counting.system) / (2 * requests);
  console.log(`projection: ${Math.round((2 * requests) / took)} lines/s, ${micros.toFixed(2)} µs CPU a line`);
  const reader = openStore(store, 'read');
  const sums = await reader.db
    .selectFrom('usage')
    .select((eb) => [eb.fn.sum<number>('requests').as('requests'), eb.fn.sum<number>('bytes_down').as('down')])
    .executeTakeFirstOrThrow();
  await reader.close();
  assert.deepEqual({ ...sums }, { requests, down: requests * 2_000 });
} finally {
  fs.rmSync(directory, { recursive: true });
}
