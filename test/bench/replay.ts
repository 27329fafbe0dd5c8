// How fast history is replayed against a policy, by processor time. `node test/bench/replay.ts [--quick]` prints requests and
// lines a second for a log on disk, plain and packed, and for records that are read already; the sums are checked in each case. Of ten requests, six are let through, two are refused and two are only observed, as in a log of observe mode.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { LineReader } from '../../src/audit/line-reader.ts';
import { openAuditLog } from '../../src/audit/log.ts';
import { readFileLines } from '../../src/audit/read.ts';
import { loadConfigHere } from '../../src/config/load-here.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { Policy } from '../../src/policy/decide.ts';
import type { Decided } from '../../src/policy/record.ts';
import { Replayer } from '../../src/report/replay.ts';
import { replayLog } from '../../src/report/replay-log.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';
import { writePolicy } from '../support/temp.ts';

const quick = process.argv.includes('--quick');
const requests = quick ? 2_000 : 300_000;
/** One of five was refused, which takes one line; the others took two. */
const lines = requests * 1.8;
const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'sallyport-bench-'));
const file = path.join(directory, 'audit.jsonl');
const now = Date.now();

/** Runs it and prints how many requests a second, by processor time: the machine may be shared. */
async function timed(what: string, act: (replayer: Replayer) => unknown): Promise<void> {
  const replayer = new Replayer(policy, { now, from: 0, to: now, enforce: false, limits: DEFAULT_LIMITS });
  const before = process.cpuUsage();
  await act(replayer);
  const { user, system } = process.cpuUsage(before);
  const [asking, writing] = [requests, lines].map((count) => Math.round(count / ((user + system) / 1e6)));
  if (!quick) console.log(`replay of ${what}: ${asking} requests, ${writing} lines a CPU second`);
  const { requests: seen, newly_fail_requests, newly_pass_requests } = replayer.result();
  assert.deepEqual([seen, newly_fail_requests, newly_pass_requests], [requests, requests * 0.4, requests * 0.1]);
}

/** Six of ten hosts were let through, of which the policy allows three; of the others it allows one refused and one observed. */
function asked(n: number): Decided {
  const kind = n % 10;
  // A job makes 200 requests to 20 hosts.
  const job = { pipeline: `p${Math.floor(n / 200) % 7}`, job: `j${Math.floor(n / 200)}`, step: 'test' };
  const record = decidedRecord({
    id: `r${n}`,
    host: `host${n % 20}.example.com`,
    identity: { kind: 'job', attributes: job, claimed: {} },
    user_agent: 'curl/8.5.0',
  });
  if (kind < 6) return record;
  const nearest = { pattern: '*.example.net', rule: 'net', why: `${record.host} is not below example.net`, fix: 'x' };
  const { addresses, ...missed } = { ...record, group: null, rule: null, reason: 'host-not-allowed', nearest } as const;
  return kind < 8
    ? { ...missed, verdict: 'deny' }
    : { ...missed, ...(addresses === undefined ? {} : { addresses }), verdict: 'observe' };
}

const proposed = writePolicy(path.join(directory, 'new.yaml'), {
  version: 1,
  listen: '127.0.0.1:0',
  admin: '127.0.0.1:0',
  allow: Array.from({ length: 20 }, (_, n) => n)
    .filter((n) => [0, 1, 2, 6, 8].includes(n % 10))
    .map((n) => ({ host: `host${n}.example.com`, for: { pipeline: ['p*', 'web'] } })),
});
const policy = new Policy(loadConfigHere({ file: proposed, now }).policy, { explains: false });

try {
  const base = { file, node: 'bench', limits: DEFAULT_LIMITS, whenFull: 'refuse', sync: 'none' } as const;
  const log = openAuditLog({ ...base, now: () => new Date(now) });
  for (let n = 0; n < requests; n++) {
    const record = asked(n);
    const { id, host, identity, verdict, reason } = record;
    log.decided(record);
    if (verdict !== 'deny') log.ended(endedRecord({ id, host, identity, verdict, reason }));
  }
  log.close();

  // The log first: what is held in memory for the records would cost it garbage collections that no replay has.
  const whole = { from: 0, to: Number.POSITIVE_INFINITY };
  const packed = path.join(directory, 'packed.jsonl');
  fs.writeFileSync(`${packed}.1.gz`, gzipSync(fs.readFileSync(file), { level: 1 }));
  await timed('a log on disk', (replayer) => replayLog(file, replayer, whole, () => undefined));
  await timed('a packed log', (replayer) => replayLog(packed, replayer, whole, () => undefined));
  const reader = new LineReader();
  const reads = [...readFileLines(file)].flatMap(({ text }) => reader.read(text) ?? []);
  const decided = reads.filter((read) => read.kind === 'decided');
  await timed('records', (replayer) => {
    for (const read of decided) replayer.add(read);
  });
} finally {
  fs.rmSync(directory, { recursive: true });
}
