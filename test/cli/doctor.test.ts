// `sallyport doctor` on a host of the test's own, through a proxy that knows a few hosts on loopback: what each way of failing looks like.
import { mkdirSync, writeFileSync } from 'node:fs';
import http2 from 'node:http2';
import net from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Check } from '../../src/buildkite/doctor-check.ts';
import { loadCatalog } from '../../src/catalog/load.ts';
import { type Origin, startHttpOrigin, startOrigin } from '../support/origin.ts';
import { tempDir } from '../support/temp.ts';
import { certificateFor, testCa } from '../support/tls.ts';
import { policyFile, type, typeJson } from './console.ts';

interface Told {
  readonly checks: readonly Check[];
  readonly fail: number;
  readonly warn: number;
}

const HOSTS = ['h1.test', 'h2.test'];
const closing: (() => unknown)[] = [];
const ports = new Map<string, number>();
let proxy: Origin;
let env: Record<string, string>;

beforeAll(async () => {
  const certificate = certificateFor(HOSTS);
  const plain = await startHttpOrigin((_, response) => response.end(), { tls: certificate });
  const second = http2.createSecureServer({ ...certificate });
  await new Promise<void>((resolve) => second.listen(0, '127.0.0.1', resolve));
  const silent = await startOrigin(() => {});
  const closes = await startOrigin((socket) => socket.destroy());
  // Closes an idle connection before anything is asked for.
  const impatient = await startOrigin((socket) => void setImmediate(() => socket.end()), {
    tls: certificateFor(['impatient.test']),
  });
  ports.set('h1.test', plain.port);
  ports.set('h2.test', (second.address() as net.AddressInfo).port);
  ports.set('other-name.test', plain.port);
  ports.set('silent.test', silent.port);
  ports.set('closes.test', closes.port);
  ports.set('impatient.test', impatient.port);
  proxy = await startOrigin((client) => {
    client.once('data', (head: Buffer) => {
      const host = /^CONNECT ([^:]+):/.exec(head.toString())?.[1] ?? '';
      const port = ports.get(host);
      if (host === 'nowhere.test')
        return void client.end(
          'HTTP/1.1 502 dns-failed\r\nSallyport-Code: dns-failed\r\nSallyport-Hint: check the spelling\r\n\r\n',
        );
      if (host === 'login.test')
        return void client.end('HTTP/1.1 407 credentials-required\r\nProxy-Authenticate: Basic\r\n\r\n');
      if (port === undefined)
        return void client.end(
          'HTTP/1.1 403 host-not-allowed\r\nSallyport-Code: host-not-allowed\r\nSallyport-Hint: ask for it\r\n\r\n',
        );
      const upstream = net.connect({ host: '127.0.0.1', port, allowHalfOpen: true });
      upstream.on('error', () => client.destroy());
      upstream.on('close', () => client.destroy());
      client.on('close', () => upstream.destroy());
      client.write('HTTP/1.1 200 OK\r\n\r\n');
      return void client.pipe(upstream).pipe(client);
    });
  });
  const home = tempDir('doctor');
  mkdirSync(join(home, 'bin'));
  const url = `http://127.0.0.1:${proxy.port}`;
  const around = ['localhost', '127.0.0.1', '::1', ...loadCatalog().neverProxy.map(({ host }) => host)].join(',');
  env = {
    HOME: home,
    PATH: join(home, 'bin'),
    HTTPS_PROXY: url,
    https_proxy: url,
    HTTP_PROXY: url,
    http_proxy: url,
    NO_PROXY: around,
    no_proxy: around,
  };
  closing.push(plain.close, silent.close, closes.close, impatient.close, proxy.close, () => second.close());
});
afterAll(() => Promise.all(closing.map((close) => close())));

const doctor = (...args: readonly string[]) => ['doctor', '--ca', testCa().caFile, ...args];
const told = async (...args: readonly string[]) => (await typeJson<Told>(doctor('--only', ...args), { env })).json;
const of = async (host: string, ...args: readonly string[]) =>
  (await told(host, ...args)).checks.find(({ subject }) => subject === `${host}:443`);

describe('a host that is as it should be', () => {
  it('exit 0, and every check is ok', async () => {
    const { code, out, err } = await type(doctor('--only', ...HOSTS), { env });
    expect([code, err]).toEqual([0, '']);
    expect(out).toMatch(
      /^ok {4}h1\.test:443 +CONNECT, TLS \(certificate by Sallyport test CA\), http\/1\.1 \(\d+ ms\)$/m,
    );
    expect(out).toMatch(
      /^ok {4}h2\.test:443 +CONNECT, TLS \(certificate by Sallyport test CA\), HTTP\/2 answers a ping/m,
    );
    expect(out).toMatch(/0 to look at, 0 to mend, \d+ skipped\n$/);
  });

  it('the required hosts of the catalog are asked for, and those of a policy', async () => {
    const { file } = policyFile({
      allow: ['h1.test', '*.wild.test', { host: 'ssh.test', ports: [22] }, { host: 'later.test', for: { queue: 'x' } }],
    });
    const { code, json } = await typeJson<Told>(doctor('--config', file), { env });
    expect(code).toBe(1);
    const hosts = json.checks.filter(({ area }) => area === 'host').map(({ subject, state }) => `${state} ${subject}`);
    const required = [...loadCatalog().groups.values()]
      .flatMap(({ entries }) => entries)
      .filter(({ need }) => need === 'required');
    for (const { host } of required) expect(hosts).toContain(`fail ${host}:443`);
    expect(hosts).toContain('ok h1.test:443');
    expect(hosts.join()).not.toContain('wild');
    expect(hosts.join()).not.toContain('ssh.test');
  });
});

describe('what is wrong with a host', () => {
  it.each<[string, string, string]>([
    ['denied.test', 'the proxy refuses it: 403 host-not-allowed', 'ask for it'],
    ['nowhere.test', 'the proxy cannot resolve nowhere.test (dns-failed)', 'check the spelling'],
    ['other-name.test', "the tunnel opens, TLS fails: Hostname/IP does not match certificate's altnames", '--ca FILE'],
    ['closes.test', 'the tunnel opens, TLS fails', 'audit log'],
    ['silent.test', 'the tunnel opens, TLS does not complete within 1000 ms', 'audit log'],
  ])('%s', async (host, message, fix) => {
    const found = await of(host, '--timeout', '1');
    expect(found?.state).toBe('fail');
    expect(found?.message).toContain(message);
    expect(found?.fix).toContain(fix);
  });

  it('a certificate of an authority that is not trusted here', async () => {
    const { json } = await typeJson<Told>(['doctor', '--only', 'h1.test'], { env });
    const found = json.checks.find(({ subject }) => subject === 'h1.test:443');
    expect(found?.message).toMatch(/TLS fails: .*(?:self-signed|unable to)/);
    expect(found?.fix).toContain('NODE_EXTRA_CA_CERTS');
  });

  it('is printed with what mends it', async () => {
    const { code, out } = await type(doctor('--only', 'denied.test'), { env });
    expect(code).toBe(1);
    expect(out).toMatch(
      /^fail {2}denied\.test:443 +the proxy refuses it: 403 host-not-allowed \(\d+ ms\)\n +fix: ask for it$/m,
    );
  });
});

describe('what is wrong with the proxy', () => {
  it('is said once, and no host is asked for', async () => {
    const { json } = await typeJson<Told>(doctor('--only', '--proxy', 'http://127.0.0.1:1', ...HOSTS), { env });
    const lines = json.checks.filter(({ area }) => area === 'proxy' || area === 'host');
    expect(lines).toMatchObject([
      { area: 'proxy', state: 'fail', message: expect.stringContaining('cannot be reached') },
    ]);
  });

  it('none is named', async () => {
    const { code, out } = await type(['doctor', '--only', 'h1.test'], { env: { HOME: env['HOME'] ?? '', PATH: '' } });
    expect(code).toBe(1);
    expect(out).toContain('neither HTTPS_PROXY nor https_proxy is set');
    expect(out).toContain('no proxy is named');
  });

  it('it wants credentials', async () => {
    const { checks } = await told('login.test');
    expect(checks.find(({ area }) => area === 'proxy')).toMatchObject({
      state: 'fail',
      fix: expect.stringContaining('--credentials-file'),
    });
  });
});

describe('an idle tunnel', () => {
  const stream = async (host: string) => (await told(host, '--idle', '1')).checks.find(({ area }) => area === 'stream');

  it.each(HOSTS)('%s still carries', async (host) => {
    expect(await stream(host)).toMatchObject({ state: 'ok', message: 'a tunnel that was idle for 1 s still carries' });
  });

  it('that is closed meanwhile', async () => {
    expect(await stream('impatient.test')).toMatchObject({
      state: 'warn',
      message: expect.stringMatching(/closed after \d s/),
    });
  });

  it('is skipped where no host can be reached', async () => {
    expect(await stream('denied.test')).toMatchObject({ subject: 'idle tunnel', state: 'skip' });
  });
});

describe('the exit code', () => {
  it('is 1 for what is to look at only with --strict', async () => {
    const one = { ...env, no_proxy: '' };
    expect((await type(doctor('--only', 'h1.test'), { env: one })).code).toBe(0);
    expect((await type(doctor('--only', 'h1.test', '--strict'), { env: one })).code).toBe(1);
  });

  it.each([['h1..test'], ['--idle', '0', 'h1.test'], ['--timeout', 'x', 'h1.test']])('is 2 for %j', async (...args) =>
    expect((await type(doctor(...args), { env })).code).toBe(2),
  );
});

it('looks at programs of the host within bounds', async () => {
  const git = join(env['PATH'] ?? '', 'git');
  const script = '#!/bin/sh\n[ "$1" = --version ] && echo git 2 || printf "http.proxy\\nhttp://old.example:1\\0"\n';
  writeFileSync(git, script, { mode: 0o755 });
  const { checks } = await told('h1.test');
  expect(checks.find(({ subject }) => subject === 'git')).toMatchObject({
    state: 'fail',
    message: 'http.proxy names http://old.example:1',
  });
});
