// The built proxy over TLS: curl with an https:// proxy and a certificate of its own, a certificate that is renewed under it, and one
// that cannot be used.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { decided } from '../support/lines.ts';
import { type Origin, startHttpOrigin } from '../support/origin.ts';
import { auditLine, launch, MAIN, PROCESSES_MS, readAudit, sallyport } from '../support/proxy-process.ts';
import { tempDir } from '../support/temp.ts';
import { type Certificate, certificateFor, testCa } from '../support/tls.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

const dir = tempDir('tls-listener');
const [cert, key, agentCert, agentKey] = ['cert.pem', 'key.pem', 'agent.pem', 'agent.key'].map((name) =>
  join(dir, name),
) as [string, string, string, string];
let world: World;
let origin: Origin;

const put = (certificate: Certificate): void => {
  writeFileSync(key, certificate.key);
  writeFileSync(cert, certificate.cert);
};

const tls = { listen: '127.0.0.1:0', cert, key, client_ca: testCa().caFile };
const certificates = [{ san: '*.agents.test', attributes: { queue: 'release' } }];

beforeAll(async () => {
  put(certificateFor(['127.0.0.1'], { commonName: 'first' }));
  const agent = certificateFor(['a1.agents.test'], { usage: 'clientAuth' });
  writeFileSync(agentCert, agent.cert);
  writeFileSync(agentKey, agent.key);
  origin = await startHttpOrigin((_, response) => response.end('ok'), { tls: certificateFor(['o.allowed.test']) });
  const allow = [{ host: 'o.allowed.test', ports: [origin.port], addresses: LOOPBACK, for: { queue: 'release' } }];
  world = await startWorld(
    { tls: { ...tls, certificates }, limits: { watch_interval_ms: 100 }, allow },
    { 'o.allowed.test': ['127.0.0.1'] },
  );
});

afterAll(async () => {
  await world.close();
  await origin.close();
});

const proxy = (): string => /https:\/\/[\d.:]+/.exec(world.proxy.stdout())?.[0] ?? '';
const curl = (...more: string[]) =>
  world.client([
    ...['curl', '-sSv', '--cacert', testCa().caFile, '--proxy', proxy(), '--proxy-cacert', testCa().caFile],
    ...more,
    `https://o.allowed.test:${origin.port}/`,
  ]);
const asAgent = () => curl('--proxy-cert', agentCert, '--proxy-key', agentKey);

it('curl with the certificate of an agent gets what is for it; without one it gets nowhere', async () => {
  const done = await asAgent();
  expect(done.stdout, done.stderr).toBe('ok');
  expect(readAudit(world.auditFile).find(decided('o.allowed.test'))?.identity).toEqual({
    kind: 'certificate',
    attributes: { queue: 'release' },
    claimed: {},
  });
  expect((await curl()).code).not.toBe(0);
  // The plain listener is there still, where nobody has a certificate.
  const plain = await world.client([
    'curl',
    '-sS',
    '--proxy',
    world.proxy.url(),
    `https://o.allowed.test:${origin.port}/`,
  ]);
  expect(plain.stderr).toContain('407');
});

it('the listener is the proxy itself: no request reaches it through another one', async () => {
  const port = /:(\d+)$/.exec(proxy())?.[1];
  const done = await world.client(['curl', '-sS', '--proxy', world.proxy.url(), `https://127.0.0.1:${port}/`]);
  expect(done.stderr).toMatch(/403/);
});

it('a renewed certificate counts by itself, a damaged one leaves it in use and is said', async () => {
  put(certificateFor(['127.0.0.1'], { commonName: 'second' }));
  await auditLine(world.auditFile, (line) => line.event === 'policy' && line.detail['result'] === 'certificate-loaded');
  const done = await asAgent();
  expect(done.stdout, done.stderr).toBe('ok');
  expect(done.stderr).toContain('CN=second');
  writeFileSync(cert, 'rubbish');
  const refused = await auditLine(
    world.auditFile,
    (line) => line.event === 'policy' && line.detail['result'] === 'certificate-refused',
  );
  expect(refused).toMatchObject({ detail: { detail: `${cert} holds no usable PEM` } });
  expect((await asAgent()).stderr).toContain('CN=second');
  put(certificateFor(['127.0.0.1'], { commonName: 'third' }));
  world.proxy.signal('SIGHUP');
  await auditLine(
    world.auditFile,
    (line) => line.event === 'policy' && String(line.detail['detail']).includes('third'),
  );
  expect((await asAgent()).stderr).toContain('CN=third');
});

it('an upgrade takes the listener along', async () => {
  const upgraded = await sallyport(['upgrade', '--json', '--config', world.configFile]);
  const { ready, pid } = JSON.parse(upgraded.stdout) as { ready: string; pid: number };
  try {
    expect(ready).toContain(proxy());
    const done = await asAgent();
    expect(done.stdout, done.stderr).toBe('ok');
  } finally {
    // It is no child of ours, and holds the streams of the one before.
    process.kill(pid, 'SIGKILL');
  }
});

it('a certificate that cannot be used at the start ends the start, with what is wrong', async () => {
  writeFileSync(key, certificateFor(['127.0.0.1']).key);
  const file = join(dir, 'start.yaml');
  writeFileSync(
    file,
    JSON.stringify({
      version: 1,
      listen: '127.0.0.1:0',
      admin: 'off',
      tls,
      audit: { file: join(dir, 'a.jsonl') },
      usage: { store: join(dir, 'u.db') },
      allow: ['a.test'],
    }),
  );
  const done = await launch([process.execPath, MAIN, 'serve', '--config', file]).exited;
  expect([done.code, done.stderr]).toEqual([1, expect.stringContaining('is not the key of the certificate')]);
  expect(done.stderr).toContain('tls-invalid');
});
