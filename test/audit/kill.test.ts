// What kill -9 and a full disk really do to the log: processes of their own, killed; a file size limit of the kernel.
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { expect, it, vi } from 'vitest';
import { openAuditLog } from '../../src/audit/log.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import type { Line } from '../../src/policy/record.ts';
import { PROCESSES_MS } from '../support/proxy-process.ts';
import { tempDir } from '../support/temp.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

const CHILD = new URL('./child.ts', import.meta.url).pathname;

/** Runs the writer until it has reported some ids, kills it, and gives back all it had reported. */
function writeAndKill(file: string, prefix: string, reports: number): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [CHILD, file, prefix], { stdio: ['ignore', 'pipe', 'inherit'] });
    let out = '';
    child.stdout.setEncoding('latin1').on('data', (text: string) => {
      out += text;
      if (out.split('\n').length > reports) child.kill('SIGKILL');
    });
    child.once('error', reject);
    child.once('close', () => resolve(out.split('\n').slice(0, -1)));
  });
}

function linesOf(file: string): Line[] {
  return fs
    .readFileSync(file, 'latin1')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}

it('kill -9 loses no record whose call had returned, and the next start closes what was open', async () => {
  const file = path.join(tempDir('kill'), 'audit.jsonl');
  const reported: string[] = [];
  for (const [round, reports] of [5, 300, 1_001].entries())
    reported.push(...(await writeAndKill(file, `r${round}`, reports)));
  const log = openAuditLog({ file, node: 'n', limits: DEFAULT_LIMITS, whenFull: 'refuse', now: () => new Date() });
  expect(log.interrupted).toBeGreaterThan(0);
  log.close();

  const lines = linesOf(file);
  const seen = new Set(lines.map((line) => `${line.event} ${'id' in line ? line.id : ''}`));
  expect(reported.length).toBeGreaterThan(1_300);
  expect(reported.filter((entry) => !seen.has(entry))).toEqual([]);
  const verified = await verifyAudit(file);
  expect(verified).toMatchObject({ complete: true, open: 0, problems: [] });
  const interrupted = lines.filter((line) => line.event === 'ended' && line.outcome === 'interrupted');
  expect(interrupted.length).toBeGreaterThan(400);
});

it('a disk that fills in the middle of a line leaves whole lines only, and goes on when there is room', async () => {
  const directory = tempDir('full');
  const script = path.join(directory, 'full.ts');
  const source = (name: string) => JSON.stringify(new URL(`../../src/${name}`, import.meta.url).pathname);
  // RLIMIT_FSIZE makes the kernel take a part of a write, as a full disk does; prlimit gives the room back.
  fs.writeFileSync(
    script,
    `import fs from 'node:fs';
import { spawnSync } from 'node:child_process';
import { openAuditLog } from ${source('audit/log.ts')};
import { DEFAULT_LIMITS } from ${source('limits.ts')};
import { decidedRecord } from ${JSON.stringify(new URL('../support/records.ts', import.meta.url).pathname)};
process.on('SIGXFSZ', () => {});
const file = process.argv[2];
const log = openAuditLog({ file, node: 'n', limits: DEFAULT_LIMITS, whenFull: 'refuse', now: () => new Date() });
const limit = (bytes) => spawnSync('prlimit', ['--pid', String(process.pid), '--fsize=' + bytes + ':unlimited']);
limit(1500);
let written = 0;
const codes = [];
for (let n = 0; n < 20; n++) {
  try { log.decided(decidedRecord({ id: 'a' + n })); written++; } catch (error) { codes.push(error.code); }
}
const tail = fs.readFileSync(file, 'latin1').at(-1);
limit('unlimited');
log.decided(decidedRecord({ id: 'back' }));
log.close();
console.log(JSON.stringify({ written, codes, tail }));
`,
  );
  const file = path.join(directory, 'audit.jsonl');
  const run = spawnSync(process.execPath, [script, file], { encoding: 'utf8' });
  const { written, codes, tail } = JSON.parse(run.stdout);
  expect(written).toBeGreaterThan(0);
  expect(codes).toEqual(Array(20 - written).fill('audit-unwritable'));
  expect(codes.length).toBeGreaterThan(0);
  expect(tail).toBe('\n');
  expect(linesOf(file)).toHaveLength(written + 1);
  expect(await verifyAudit(file)).toMatchObject({ complete: true, lines: written + 1 });
});
