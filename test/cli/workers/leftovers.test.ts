// Logs of workers of a time with more of them: what was open gets its end as soon as nobody holds the log, and a log that is held is said.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import { basename, join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { branchPath } from '../../../src/audit/branch.ts';
import { workerLog } from '../../../src/audit/family.ts';
import { openAuditLog } from '../../../src/audit/log.ts';
import { verifyAudit } from '../../../src/audit/verify.ts';
import { Leftovers } from '../../../src/cli/workers/leftovers.ts';
import type { Settings } from '../../../src/config/config.ts';
import { DEFAULT_LIMITS } from '../../../src/limits.ts';
import { auditLine, readAudit } from '../../support/proxy-process.ts';
import { decidedRecord } from '../../support/records.ts';
import { tempDir } from '../../support/temp.ts';

let file = '';
let settings: Settings;
let holder: ChildProcess;
let said: string[] = [];

const log = pino({ level: 'warn' }, { write: (line) => void said.push((JSON.parse(line) as { msg: string }).msg) });

beforeEach(() => {
  said = [];
  const dir = tempDir('leftovers');
  const auditFile = join(dir, 'audit.jsonl');
  file = workerLog(auditFile, 2);
  settings = {
    node: 'test',
    limits: DEFAULT_LIMITS,
    audit: { file: auditFile, whenFull: 'refuse' },
    usage: { store: { kind: 'sqlite', file: join(dir, 'usage.db') }, keep: { hourly: 90, daily: 400 } },
  } as unknown as Settings;
  const audit = openAuditLog({
    ...{ file, node: 'test.w2', limits: DEFAULT_LIMITS, whenFull: 'refuse', now: () => new Date() },
  });
  audit.decided(decidedRecord({ id: 'a' }));
  audit.close();
  holder = spawn('sleep', ['60']);
  writeFileSync(`${file}.lock`, JSON.stringify({ pid: holder.pid, host: os.hostname(), started: '' }));
});

afterEach(() => {
  holder.kill('SIGKILL');
});

function adopting(): Leftovers {
  const leftovers = new Leftovers({ settings, workers: 1, log, policy: 'sha256:0' });
  leftovers.begin();
  return leftovers;
}

it('waits for a worker that is just dying', async () => {
  const leftovers = adopting();
  expect(readAudit(file)).toHaveLength(1);
  holder.kill('SIGKILL');
  await once(holder, 'exit');
  await leftovers.over;
  expect(readAudit(file).at(-1)).toMatchObject({ event: 'ended', id: 'a', outcome: 'interrupted' });
  expect(said).toContain('requests of a former worker are recorded as interrupted');
});

it('leaves a log alone that is held for longer, and says so', { timeout: 30_000 }, async () => {
  await adopting().over;
  expect(readAudit(file)).toHaveLength(1);
  expect(said).toContain('the log of a former worker could not be looked at');
  rmSync(`${file}.lock`);
});

it('that an upgrade has no worker for is begun anew and stopped; its branch is ended when its worker dies', {
  timeout: 60_000,
}, async () => {
  rmSync(`${file}.lock`);
  const old = openAuditLog({
    ...{ file, node: 'test.w2', limits: DEFAULT_LIMITS, whenFull: 'refuse', now: () => new Date() },
  });
  old.decided(decidedRecord({ id: 'b' }));
  const fork = old.handOver();
  const branch = branchPath(file, fork.seq);
  // Its process goes on: this one has given the log up as if it had died.
  old.close();
  writeFileSync(`${branch}.lock`, JSON.stringify({ pid: holder.pid, host: os.hostname(), started: '' }));
  const leftovers = new Leftovers({ settings, workers: 1, log, policy: 'sha256:0' });
  leftovers.begin([[2, fork]]);
  await auditLine(file, ({ event }) => event === 'stop');
  expect(readAudit(file)).toMatchObject([
    { event: 'reopen', seq: fork.seq + 1, detail: { branch: basename(branch) } },
    { event: 'stop', detail: { reason: 'replaced' } },
  ]);
  expect(readAudit(branch).some(({ event }) => event === 'ended')).toBe(false);
  holder.kill('SIGKILL');
  await once(holder, 'exit');
  await leftovers.over;
  expect(readAudit(branch).slice(-2)).toMatchObject([
    { event: 'ended', id: 'b', outcome: 'interrupted' },
    { event: 'stop' },
  ]);
  expect(await verifyAudit(file)).toMatchObject({ complete: true });
});
