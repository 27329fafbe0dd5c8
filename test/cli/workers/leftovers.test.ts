// Logs of workers of a time with more of them: what was open gets its end as soon as nobody holds the log, and a log that is held is said.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { workerLog } from '../../../src/audit/family.ts';
import { openAuditLog } from '../../../src/audit/log.ts';
import { Leftovers } from '../../../src/cli/workers/leftovers.ts';
import type { Settings } from '../../../src/config/config.ts';
import { DEFAULT_LIMITS } from '../../../src/limits.ts';
import { readAudit } from '../../support/proxy-process.ts';
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
