// Static users through the built proxy: git's and curl's way to send credentials, a users file that changes under the running
// proxy, and a password that stands nowhere.
import { copyFileSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { decided } from '../support/lines.ts';
import { type Origin, startHttpOrigin } from '../support/origin.ts';
import { auditLine, PROCESSES_MS, readAudit, sallyport } from '../support/proxy-process.ts';
import { tempDir } from '../support/temp.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

const SECRET = 'hunter2-and-ten-more';
const users = join(tempDir('users'), 'users');
let world: World;
let origin: Origin;

const add = (file: string, name: string, ...more: string[]) =>
  sallyport(['user', 'add', name, '--file', file, ...more], { input: `${SECRET}\n` });

beforeAll(async () => {
  origin = await startHttpOrigin((_, response) => response.end('ok'));
  await add(users, 'ann', '--attributes', 'pipeline=web');
  const rule = { ports: [origin.port], protocol: 'http', addresses: LOOPBACK };
  world = await startWorld(
    {
      users: { file: users },
      limits: { watch_interval_ms: 100 },
      allow: [
        { ...rule, host: 'web.allowed.test', for: { pipeline: 'web' } },
        { ...rule, host: 'bob.allowed.test', for: { user: 'bob' } },
      ],
    },
    { 'web.allowed.test': ['127.0.0.1'], 'bob.allowed.test': ['127.0.0.1'] },
  );
});

afterAll(async () => {
  await world.close();
  await origin.close();
});

const curl = (user: string, host: string) =>
  world.client([
    ...['curl', '-sS', '-w', '%{http_code}', '--proxy', world.proxy.url(), '--proxy-user', user],
    `http://${host}.allowed.test:${origin.port}/`,
  ]);

it('a user gets what is for its attributes and its name, and nobody else does', async () => {
  expect((await curl(`ann:${SECRET}`, 'web')).stdout).toBe('ok200');
  expect((await curl(`ann:${SECRET}`, 'bob')).stdout).toMatch(/identity-not-allowed[\s\S]*403$/);
  expect((await curl('ann:not-the-password', 'web')).stdout).toMatch(/credentials-invalid[\s\S]*407$/);
  expect((await curl(`eve:${SECRET}`, 'web')).stdout).toMatch(/credentials-invalid[\s\S]*407$/);
  expect(readAudit(world.auditFile).find(decided('web.allowed.test'))?.identity).toEqual({
    kind: 'user',
    attributes: { pipeline: 'web', user: 'ann' },
    claimed: {},
  });
});

it('a user that is added while the proxy runs is known by itself, one that is taken out is not', async () => {
  expect((await curl(`bob:${SECRET}`, 'bob')).stdout).toMatch(/407$/);
  // One change, however long the two commands take: with a reload for each, the first would be taken for the second.
  const next = join(tempDir('users'), 'users');
  copyFileSync(users, next);
  await add(next, 'bob');
  await sallyport(['user', 'remove', 'ann', '--file', next]);
  renameSync(next, users);
  await auditLine(world.auditFile, (line) => line.event === 'policy' && line.detail['result'] === 'loaded');
  expect((await curl(`ann:${SECRET}`, 'web')).stdout).toMatch(/407$/);
  // It was wrong a moment ago; the reload has forgotten that too.
  expect((await curl(`bob:${SECRET}`, 'bob')).stdout).toBe('ok200');
});

it('a damaged users file is named by its line and leaves the users that were known', async () => {
  const before = readFileSync(users, 'utf8');
  writeFileSync(users, `${before}eve:${SECRET}\n`);
  await auditLine(world.auditFile, (line) => line.event === 'policy' && line.detail['result'] === 'refused');
  expect((await curl(`bob:${SECRET}`, 'bob')).stdout).toBe('ok200');
  const checked = await sallyport(['check', '--config', world.configFile]);
  expect([checked.code, checked.stderr]).toEqual([1, expect.stringContaining(`${users}:2`)]);
  expect(checked.stderr).not.toContain(SECRET);
});

it('the password stands neither in the audit log nor in the operational log', () => {
  const encoded = Buffer.from(`ann:${SECRET}`).toString('base64');
  for (const text of [readFileSync(world.auditFile, 'utf8'), world.proxy.stderr(), world.proxy.stdout()]) {
    expect(text).not.toContain(SECRET);
    expect(text).not.toContain(encoded);
  }
});
