// How fast history is replayed against a policy. `node test/bench/replay.ts [--quick]` prints requests a second for lines that
// are read already, and for a log on disk; the sums are checked in both cases.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { LineReader, type ReadLine } from '../../src/audit/line-reader.ts';
import { openAuditLog } from '../../src/audit/log.ts';
import { readFileLines } from '../../src/audit/read.ts';
import { loadConfigHere } from '../../src/config/load.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { Policy } from '../../src/policy/decide.ts';
import { Replayer } from '../../src/report/replay.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';
import { writePolicy } from '../support/temp.ts';

const quick = process.argv.includes('--quick');
const requests = quick ? 2_000 : 300_000;
const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'sallyport-bench-'));
const file = path.join(directory, 'audit.jsonl');
const now = Date.now();

/** Runs it and prints how many a second, by processor time: the machine may be shared. */
function timed(what: string, count: number, act: () => void): void {
  const before = process.cpuUsage();
  act();
  const { user, system } = process.cpuUsage(before);
  if (!quick) console.log(`${what}: ${Math.round(count / ((user + system) / 1e6))} a CPU second`);
}

try {
  const log = openAuditLog({
    file,
    node: 'bench',
    limits: DEFAULT_LIMITS,
    whenFull: 'refuse',
    now: () => new Date(now),
    sync: 'none',
  });
  for (let n = 0; n < requests; n++) {
    const asked = {
      id: `r${n}`,
      host: `host${n % 100}.example.com`,
      identity: { kind: 'job', attributes: { pipeline: `p${n % 7}`, job: `j${n % 500}` }, claimed: {} },
    } as const;
    log.decided(decidedRecord(asked));
    log.ended(endedRecord(asked));
  }
  log.close();
  const proposed = writePolicy(path.join(directory, 'new.yaml'), {
    version: 1,
    listen: '127.0.0.1:0',
    admin: '127.0.0.1:0',
    allow: Array.from({ length: 50 }, (_, n) => `host${n}.example.com`),
  });
  const policy = new Policy(loadConfigHere({ file: proposed, now }).policy);
  const options = { now, from: 0, to: now, enforce: false };
  const check = (replayer: Replayer): void => {
    const { requests: seen, newly_fail_requests } = replayer.result();
    assert.deepEqual([seen, newly_fail_requests], [requests, requests / 2]);
  };

  const lines: ReadLine[] = [];
  const reader = new LineReader();
  for (const { text } of readFileLines(file)) {
    const read = reader.read(text);
    if (read !== null && read.kind === 'opened') lines.push({ ...read });
  }
  const pure = new Replayer(policy, options);
  timed('replay of records', requests, () => {
    for (const read of lines) pure.add(read);
  });
  check(pure);

  const whole = new Replayer(policy, options);
  timed('replay of a log on disk, lines', 2 * requests, () => {
    const fresh = new LineReader();
    for (const { text } of readFileLines(file)) {
      const read = fresh.read(text);
      if (read !== null) whole.add(read);
    }
  });
  check(whole);
} finally {
  fs.rmSync(directory, { recursive: true });
}
