// kill -9, again and again, of a process that rotates its log by size and hands it over: whatever the moment, no record whose
// call had returned is lost, none stands twice, the log is complete, and the store has counted each once.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { branchPaths } from '../../src/audit/branch.ts';
import { openAuditLog } from '../../src/audit/log.ts';
import { listSegments } from '../../src/audit/read.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import type { Line } from '../../src/policy/record.ts';
import { projectOnce } from '../../src/usage/project-once.ts';
import { rebuildStore } from '../../src/usage/rebuild.ts';
import { openStore } from '../../src/usage/store.ts';
import { tempDir } from '../support/temp.ts';

const CHILD = new URL('./child-upgrade.ts', import.meta.url).pathname;
const ROUNDS = 6;
const SEED = 20_261_126;

/** Runs the writer until it has said so much, kills it, and gives back what it had said. */
function writeAndKill(file: string, prefix: string, bytes: number): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [CHILD, file, prefix], { stdio: ['ignore', 'pipe', 'inherit'] });
    let out = '';
    child.stdout.setEncoding('latin1').on('data', (text: string) => {
      out += text;
      if (out.length > bytes) child.kill('SIGKILL');
    });
    child.once('error', reject);
    child.once('close', () => resolve(out.split('\n').slice(0, -1)));
  });
}

function allLines(file: string): Line[] {
  return [...listSegments(file).segments, ...branchPaths(file)].flatMap((of) =>
    fs
      .readFileSync(of.path, 'latin1')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line)),
  );
}

async function sums(store: string) {
  const { db, close } = openStore(store, 'read');
  const rows = await db.selectFrom('usage').select(['requests', 'bytes_up', 'bytes_down']).execute();
  const open = await db.selectFrom('open_request').select('id').execute();
  await close();
  const total = (key: 'requests' | 'bytes_up' | 'bytes_down') => rows.reduce((sum, row) => sum + row[key], 0);
  return { requests: total('requests'), up: total('bytes_up'), down: total('bytes_down'), open: open.length };
}

it('loses and doubles nothing', async () => {
  const directory = tempDir('kill-upgrade');
  const file = path.join(directory, 'audit.jsonl');
  const store = path.join(directory, 'usage.db');
  const onProblem = ({ message }: { message: string }) => expect.fail(message);
  const count = () => projectOnce({ auditFile: file, store, limits: DEFAULT_LIMITS, onProblem });
  const said: string[] = [];
  for (let round = 0, random = SEED; round < ROUNDS; round++) {
    random = (random * 1_103_515_245 + 12_345) % 2_147_483_648;
    said.push(...(await writeAndKill(file, `r${round}`, 5_000 + (random % 8_000))));
    await count();
  }
  const last = openAuditLog({ file, node: 'n', limits: DEFAULT_LIMITS, whenFull: 'refuse', now: () => new Date() });
  last.close();
  await count();

  const verified = await verifyAudit(file);
  expect(verified.problems).toEqual([]);
  expect(verified.open).toBe(0);
  expect(branchPaths(file).length).toBeGreaterThan(ROUNDS);
  const requests = allLines(file).flatMap((line) => ('id' in line ? [`${line.event} ${line.id}`] : []));
  const seen = new Set(requests);
  expect(seen.size).toBe(requests.length);
  expect(said.length).toBeGreaterThan(1_000);
  expect(said.filter((entry) => !seen.has(entry))).toEqual([]);

  const ended = allLines(file).filter((line) => line.event === 'ended');
  const total = (key: 'bytes_up' | 'bytes_down') => ended.reduce((sum, line) => sum + line[key], 0);
  const expected = { requests: ended.length, up: total('bytes_up'), down: total('bytes_down'), open: 0 };
  expect(await sums(store)).toEqual(expected);
  await rebuildStore({ store, auditFile: file, limits: DEFAULT_LIMITS, now: () => new Date(), onProblem });
  expect(await sums(store)).toEqual(expected);
}, 120_000);
