// `connect` and `doctor` through the built proxy's TLS listener, which asks its clients for a certificate.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { decided } from '../support/lines.ts';
import { echo, type Origin, startHttpOrigin, startOrigin } from '../support/origin.ts';
import { auditLine, MAIN, PROCESSES_MS } from '../support/proxy-process.ts';
import { tempDir } from '../support/temp.ts';
import { certificateFor, testCa } from '../support/tls.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

const dir = tempDir('connect-tls');
const path = (name: string) => join(dir, name);
let world: World;
let plain: Origin;
let secure: Origin;
let url = '';

beforeAll(async () => {
  const own = certificateFor(['127.0.0.1']);
  const agent = certificateFor(['a1.agents.test'], { usage: 'clientAuth' });
  const files = { 'cert.pem': own.cert, 'key.pem': own.key, 'agent.pem': agent.cert, 'agent.key': agent.key };
  for (const [name, text] of Object.entries(files)) writeFileSync(path(name), text);
  plain = await startOrigin(echo);
  secure = await startHttpOrigin((_, response) => response.end('ok'), { tls: certificateFor(['web.allowed.test']) });
  const only = { addresses: LOOPBACK, for: { queue: 'release' } };
  world = await startWorld(
    {
      tls: {
        listen: '127.0.0.1:0',
        cert: path('cert.pem'),
        key: path('key.pem'),
        client_ca: testCa().caFile,
        certificates: [{ san: '*.agents.test', attributes: { queue: 'release' } }],
      },
      allow: [
        { host: 'raw.allowed.test', ports: [plain.port], protocol: 'any', ...only },
        { host: 'web.allowed.test', ports: [secure.port], ...only },
      ],
    },
    { 'raw.allowed.test': ['127.0.0.1'], 'web.allowed.test': ['127.0.0.1'] },
  );
  url = /https:\/\/[\d.:]+/.exec(world.proxy.stdout())?.[0] ?? '';
});
afterAll(async () => {
  await world.close();
  await Promise.all([plain.close(), secure.close()]);
});

const sallyport = (args: readonly string[], input = '') => world.client([process.execPath, MAIN, ...args], { input });
const CERTIFICATE = ['--cert', path('agent.pem'), '--key', path('agent.key')];

it('connect: with its certificate the client is who it says', async () => {
  const args = ['connect', '--proxy', url, '--proxy-ca', testCa().caFile, 'raw.allowed.test', String(plain.port)];
  const done = await sallyport([...args, ...CERTIFICATE], 'there and back');
  expect([done.code, done.stdout], done.stderr).toEqual([0, 'there and back']);
  const line = await auditLine(world.auditFile, decided('raw.allowed.test'));
  expect(line.identity).toMatchObject({ attributes: { queue: 'release' } });
});

it('connect: without one there is no tunnel, and it is said what is missing', async () => {
  const args = ['connect', '--proxy', url, '--proxy-ca', testCa().caFile, 'raw.allowed.test', String(plain.port)];
  const done = await sallyport(args);
  expect([done.code, done.stdout]).toEqual([1, '']);
  expect(done.stderr).toContain('proxy-unreachable');
  expect(done.stderr).toContain('--cert');
});

it('a certificate without its key is a usage error', async () => {
  const done = await sallyport(['connect', '--proxy', url, '--cert', path('agent.pem'), 'raw.allowed.test', '1']);
  expect(done.code).toBe(2);
  expect(done.stderr).toContain('--key FILE is missing');
});

it('doctor: the same way', async () => {
  const args = [
    'doctor',
    '--only',
    `web.allowed.test:${secure.port}`,
    '--json',
    '--proxy',
    url,
    '--ca',
    testCa().caFile,
  ];
  const host = async (...more: readonly string[]) => {
    const { checks } = JSON.parse((await sallyport([...args, ...more])).stdout);
    return checks.filter(({ area }: { area: string }) => area === 'proxy' || area === 'host');
  };
  expect(await host(...CERTIFICATE)).toMatchObject([{ state: 'ok' }, { area: 'host', state: 'ok' }]);
  expect(await host()).toMatchObject([{ area: 'proxy', state: 'fail', fix: expect.stringContaining('--cert') }]);
});
