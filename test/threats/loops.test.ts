// Section "Loops and self" of docs/threat-model.md: whatever the policy lists, the proxy is no way to its own listeners.
// The rules are written once its ports are known, and list everything that an operator could list by mistake.
import http from 'node:http';
import { networkInterfaces } from 'node:os';
import { beforeAll, describe, expect, it } from 'vitest';
import type { PolicyFile } from '../support/temp.ts';
import { ALLOWED, connect, refused, refusedAfterLookup, type Stage, useStage, type Want } from './stage.ts';

const CASE_MS = 10_000;
const self = refusedAfterLookup(403, 'self-prohibited');
const EVERYTHING = ['0.0.0.0/0', '::/0'];

const NAMES: Readonly<Record<string, readonly string[]>> = {
  'loop.test': ['127.0.0.1'],
  'other-loop.test': ['127.0.0.2'],
  'far-loop.test': ['127.200.3.4'],
  'six-loop.test': ['::1'],
  'mapped-loop.test': ['::ffff:127.0.0.1'],
  'nat64-loop.test': ['64:ff9b::7f00:1'],
  'zero.test': ['0.0.0.0'],
  'six-zero.test': ['::'],
  'mixed.test': ['127.0.0.2', '::1', '127.0.0.1', '0.0.0.0'],
  localhost: ['127.0.0.1'],
};
const LITERALS = ['127.0.0.1', '127.0.0.2', '::1', '0.0.0.0', '::', '64:ff9b::7f00:1'];

/** Loads rules that let every name and literal above through on the proxy's own ports. */
async function openWide(stage: Stage, more: PolicyFile = {}): Promise<void> {
  const { proxy, admin } = stage.world.proxy;
  const ports = [proxy.port, admin?.port ?? 0];
  const rules = [...Object.keys(NAMES), ...LITERALS].map((host) => ({
    host,
    ports,
    protocol: 'any',
    addresses: EVERYTHING,
  }));
  stage.world.write({ allow: [stage.rule(ALLOWED), ...rules], ...more });
  const mark = stage.mark();
  stage.world.proxy.signal('SIGHUP');
  expect(await stage.lines(mark, 1)).toMatchObject([{ event: 'policy', detail: { result: 'loaded' } }]);
}

/** Both kinds of request to both listeners. */
function ways(stage: Stage, host: string): readonly string[] {
  const { proxy, admin } = stage.world.proxy;
  const text = host.includes(':') ? `[${host}]` : host;
  return [proxy.port, admin?.port].flatMap((port) => [
    connect(`${text}:${port}`),
    `GET http://${text}:${port}/healthz HTTP/1.1\r\nHost: ${text}\r\n\r\n`,
  ]);
}

async function allRefused(stage: Stage, host: string, want: Want): Promise<void> {
  for (const bytes of ways(stage, host)) await stage.run(bytes, want);
}

describe('O1 the proxy and its admin listener by an address, listed as it may be', () => {
  const stage = useStage({ names: NAMES });
  beforeAll(() => openWide(stage));

  it.each(LITERALS)('%s', { timeout: CASE_MS }, (host) => allRefused(stage, host, self));
});

describe('O2 the proxy and its admin listener by a name, listed as it may be', () => {
  const stage = useStage({ names: NAMES });
  beforeAll(() => openWide(stage));

  it.each(Object.keys(NAMES))('%s', { timeout: CASE_MS }, (host) => allRefused(stage, host, self));
});

describe('O3 the proxy in its own request is not a matter of spelling', () => {
  const stage = useStage({ names: NAMES });
  beforeAll(() => openWide(stage));

  it.each([
    ['localhost with a dot and capitals', 'LOCALHOST.', self],
    ['a decimal number', '2130706433', refused(400, 'authority-malformed')],
  ] as const)('%s', { timeout: CASE_MS }, async (_, host, want) => {
    await stage.run(connect(`${host}:${stage.world.proxy.proxy.port}`), want);
  });

  it('a plain request in origin-form to the proxy itself is no page of its own', { timeout: CASE_MS }, async () => {
    for (const path of ['/', '/healthz', '/readyz', '/metrics', '//127.0.0.1/', '*'])
      await stage.run(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`, refused(400, 'target-malformed'));
  });
});

describe('O4 a proxy that listens on every interface knows all of its addresses', () => {
  const own = Object.values(networkInterfaces())
    .flatMap((ones) => ones ?? [])
    .filter(({ scopeid }) => !scopeid)
    .map(({ address }) => address);
  const names = Object.fromEntries(own.map((address, at) => [`own${at}.test`, [address]]));
  const stage = useStage({ policy: { listen: '0.0.0.0:0' }, names });

  it('none of them is reached by name or by literal', { timeout: 30_000 }, async () => {
    const { proxy } = stage.world.proxy;
    const rules = [...own, ...Object.keys(names)].map((host) => ({
      host,
      ports: [proxy.port],
      protocol: 'any',
      addresses: EVERYTHING,
    }));
    stage.world.write({ allow: [stage.rule(ALLOWED), ...rules] });
    const mark = stage.mark();
    stage.world.proxy.signal('SIGHUP');
    await stage.lines(mark, 1);
    for (const host of [...own, ...Object.keys(names)])
      await stage.run(connect(`${host.includes(':') ? `[${host}]` : host}:${proxy.port}`), self);
  });
});

describe('O5 the admin listener is separate', () => {
  const stage = useStage();
  const ask = (path: string, method = 'GET'): Promise<number> => {
    const { admin } = stage.world.proxy;
    if (!admin) throw new Error('no admin listener');
    return new Promise((resolve, reject) => {
      http
        .request({ ...admin, path, method, agent: false }, (response) => {
          response.resume();
          resolve(response.statusCode ?? 0);
        })
        .on('error', reject)
        .end();
    });
  };

  it('it forwards nothing and knows no CONNECT', { timeout: CASE_MS }, async () => {
    const mark = stage.mark();
    expect(await ask('/healthz')).toBe(200);
    expect(await ask(`http://${ALLOWED}:${stage.port}/`)).toBe(404);
    expect(await ask('/', 'POST')).toBe(405);
    const client = await stage.client();
    client.close();
    stage.untouched(mark);
    await stage.good();
  });

  it('both listeners are on loopback unless told otherwise', { timeout: CASE_MS }, () => {
    expect(stage.world.proxy.proxy.host).toBe('127.0.0.1');
    expect(stage.world.proxy.admin?.host).toBe('127.0.0.1');
  });
});
