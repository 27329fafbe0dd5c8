// Who asked, as the client says it in the proxy URL: recorded as a claim, never believed, and reported by pipeline and job.
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import type { Report } from '../../src/report/report.ts';
import { decided, ended } from '../support/lines.ts';
import { type Origin, startHttpOrigin } from '../support/origin.ts';
import { auditLines, PROCESSES_MS, readAudit } from '../support/proxy-process.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

let world: World;
let origin: Origin;

beforeAll(async () => {
  origin = await startHttpOrigin((_, response) => response.end('ok'));
  world = await startWorld(
    {
      allow: [
        { host: 'mirror.allowed.test', ports: [origin.port], protocol: 'http', addresses: LOOPBACK },
        {
          host: 'release.allowed.test',
          ports: [origin.port],
          protocol: 'http',
          addresses: LOOPBACK,
          for: { pipeline: 'web' },
        },
      ],
    },
    { 'mirror.allowed.test': ['127.0.0.1'], 'release.allowed.test': ['127.0.0.1'] },
  );
});

afterAll(async () => {
  await world.close();
  await origin.close();
});

const curl = (user: string, host: string) =>
  world.client([
    'curl',
    '-sS',
    '-o',
    '-',
    '-w',
    '%{http_code}',
    '--proxy',
    world.proxy.url(user),
    `http://${host}:${origin.port}/`,
  ]);

it('records the claim beside an identity that proves nothing, and refuses a password without keeping it', async () => {
  expect((await curl('web%2Fjob-1', 'mirror.allowed.test')).stdout).toBe('ok200');
  expect(readAudit(world.auditFile).find(decided('mirror.allowed.test'))?.identity).toEqual({
    kind: 'claimed',
    attributes: {},
    claimed: { pipeline: 'web', job: 'job-1' },
  });
  const secret = await world.client([
    'curl',
    '-sS',
    '--proxy',
    world.proxy.url().replace('//', '//web%2Fjob-1:hunter2-secret@'),
    `http://mirror.allowed.test:${origin.port}/`,
  ]);
  expect(secret.stdout).toContain('credentials-invalid');
  expect(JSON.stringify(readAudit(world.auditFile))).not.toContain('hunter2');
});

it('is never matched by a selector', async () => {
  const done = await curl('web%2Fjob-1', 'release.allowed.test');
  expect(done.stdout).toContain('identity-not-allowed');
  expect(done.stdout).toMatch(/403$/);
});

it('asks for credentials where a rule selects who asks and none were sent', async () => {
  const done = await world.client([
    'curl',
    '-sS',
    '-D',
    '-',
    '--proxy',
    world.proxy.url(),
    `http://release.allowed.test:${origin.port}/`,
  ]);
  expect(done.stdout).toContain('HTTP/1.1 407 credentials-required');
  expect(done.stdout.toLowerCase()).toContain('proxy-authenticate: basic');
});

it('gets 407 for credentials that cannot be read', async () => {
  const done = await world.client([
    'curl',
    '-sS',
    '-D',
    '-',
    '--proxy',
    world.proxy.url(),
    '-H',
    'Proxy-Authorization: Basic %%%',
    `http://mirror.allowed.test:${origin.port}/`,
  ]);
  expect(done.stdout).toContain('HTTP/1.1 407 credentials-malformed');
});

it('is reported by pipeline and by job', async () => {
  await curl('api%2Fjob-2', 'pastebin.test');
  await curl('api%2Fjob-3', 'pastebin.test');
  await curl('web%2Fjob-1', 'mirror.allowed.test');
  const count = async (...args: readonly string[]) =>
    (await world.report<Report>(...args)).denied.find(({ host }) => host === 'pastebin.test')?.count ?? 0;
  expect(await count()).toBe(2);
  expect(await count('--pipeline', 'api')).toBe(2);
  expect(await count('--job', 'job-2')).toBe(1);
  expect(await count('--pipeline', 'web')).toBe(0);
  await auditLines(world.auditFile, (lines) => lines.filter(ended('mirror.allowed.test')).length === 2);
  const tunnels = async (pipeline: string) =>
    (await world.report<Report>('--pipeline', pipeline)).other.find(({ host }) => host === 'mirror.allowed.test')
      ?.tunnels;
  expect(await tunnels('web')).toBe(2);
  expect(await tunnels('api')).toBe(0);
});
