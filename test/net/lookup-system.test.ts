// dns: system. The queue over a getaddrinfo that the test holds; the hosts file; and, in a network namespace of its own, the
// real getaddrinfo under a hostile search domain.
import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { createMeter, DEFAULT_LIMITS, type Limits } from '../../src/limits.ts';
import { systemLookups } from '../../src/net/lookup-system.ts';
import { createResolver, type Resolution, type Resolver } from '../../src/net/resolve.ts';
import { tempDir, writeFile } from '../support/temp.ts';

const closers: (() => void)[] = [];

afterEach(() => {
  for (const close of closers.splice(0).reverse()) close();
});

type Call = PromiseWithResolvers<readonly { address: string; family: number }[]> & { readonly name: string };

interface World {
  readonly resolver: Resolver;
  /** What getaddrinfo was asked; the test answers. */
  readonly calls: Call[];
  pass(ms: number): void;
}

function world(limits: Partial<Limits> = {}, hosts = ''): World {
  const calls: Call[] = [];
  let now = 0;
  const resolver = createResolver({
    dns: { mode: 'system' },
    limits: { ...DEFAULT_LIMITS, ...limits },
    meter: createMeter(),
    now: () => now,
    ipv6: () => true,
    system: {
      hostsFile: writeFile(join(tempDir('hosts'), 'hosts'), hosts),
      getaddrinfo: (name) => {
        const call = { ...Promise.withResolvers<readonly { address: string; family: number }[]>(), name };
        calls.push(call);
        return call.promise;
      },
    },
  });
  closers.push(() => resolver.close());
  return {
    resolver,
    calls,
    pass: (ms) => {
      now += ms;
    },
  };
}

const ok = (...addresses: string[]): Resolution => ({ ok: true, addresses });
const four = (address: string) => [{ address, family: 4 }];
const refusal = (code: string): Error => Object.assign(new Error(code), { code });

describe('getaddrinfo', () => {
  test('gets the absolute name, so that no search domain is tried; the answer is kept for 30 s', async () => {
    const { resolver, calls, pass } = world();
    const ended = resolver.resolve('a.test');
    calls[0]?.resolve([
      ...four('192.0.2.1'),
      { address: '2001:db8::1', family: 6 },
      { address: 'fe80::1%eth0', family: 6 },
    ]);
    expect(await ended).toEqual(ok('2001:db8::1', '192.0.2.1'));
    expect(calls.map(({ name }) => name)).toEqual(['a.test.']);
    pass(29_999);
    expect(resolver.resolve('a.test')).toEqual(ok('2001:db8::1', '192.0.2.1'));
    pass(1);
    expect(resolver.resolve('a.test')).toBeInstanceOf(Promise);
  });

  test('the cap on kept answers holds here, too', async () => {
    const { resolver, calls, pass } = world({ dns_cache_ttl_max_ms: 1_000 });
    const ended = resolver.resolve('a.test');
    calls[0]?.resolve(four('192.0.2.1'));
    await ended;
    pass(1_000);
    expect(resolver.resolve('a.test')).toBeInstanceOf(Promise);
  });

  test.each([
    ['ENOTFOUND', 'the name does not exist'],
    ['EAI_AGAIN', 'the system resolver got no answer for now (EAI_AGAIN)'],
    ['EAI_FAIL', 'EAI_FAIL'],
  ])('%s', async (code, detail) => {
    const { resolver, calls } = world();
    const ended = resolver.resolve('a.test');
    calls[0]?.reject(refusal(code));
    expect(await ended).toEqual({ ok: false, code: 'dns-failed', detail });
  });

  test('an answer without a usable address is a failure', async () => {
    const { resolver, calls } = world();
    const ended = resolver.resolve('a.test');
    calls[0]?.resolve([{ address: 'fe80::1%eth0', family: 6 }]);
    expect(await ended).toMatchObject({ ok: false, code: 'dns-failed' });
  });

  test('runs as often at once as libuv lets it (half of 4 threads); the rest waits its turn', async () => {
    const { resolver, calls } = world();
    const names = ['a.test', 'b.test', 'c.test', 'd.test'];
    const all = names.map((name, n) => resolver.resolve(name, `client ${n % 2}`));
    expect(calls.map(({ name }) => name)).toEqual(['a.test.', 'b.test.']);
    calls[0]?.resolve(four('192.0.2.1'));
    await all[0];
    calls[1]?.reject(refusal('ENOTFOUND'));
    await all[1];
    expect(calls.map(({ name }) => name)).toEqual(['a.test.', 'b.test.', 'c.test.', 'd.test.']);
    for (const call of calls) call.resolve(four('192.0.2.1'));
    expect(await all[3]).toEqual(ok('192.0.2.1'));
  });
});

describe('clients take turns', () => {
  const asked = ({ calls }: World) => calls.map(({ name }) => name.slice(0, -1));
  const turns = () => new Promise(setImmediate);

  test('one with names that never answer holds up nobody, and never has all threads', async () => {
    const w = world();
    for (let n = 0; n < 128; n++) void w.resolver.resolve(`slow${n}.test`, 'hostile');
    expect(asked(w)).toEqual(['slow0.test']);
    for (const name of ['a.test', 'b.test']) {
      const answer = w.resolver.resolve(name, 'other');
      expect(asked(w).at(-1)).toBe(name);
      w.calls.at(-1)?.resolve(four('192.0.2.1'));
      expect(await answer).toEqual(ok('192.0.2.1'));
      await turns();
    }
    expect(asked(w)).toEqual(['slow0.test', 'a.test', 'b.test']);
  });

  test('they are asked for in turn, not in the order of arrival', async () => {
    const w = world();
    for (const client of ['a', 'b', 'c']) for (let n = 0; n < 3; n++) void w.resolver.resolve(`${client}${n}`, client);
    for (let n = 0; n < 9; n++) {
      w.calls[n]?.resolve(four('192.0.2.1'));
      await turns();
    }
    expect(asked(w)).toEqual(['a0', 'b0', 'a1', 'b1', 'c0', 'a2', 'b2', 'c1', 'c2']);
  });

  test('a name that another waits for as well comes with the first turn of either', async () => {
    const w = world();
    for (const name of ['slow0.test', 'slow1.test', 'both.test']) void w.resolver.resolve(name, 'hostile');
    const joined = w.resolver.resolve('both.test', 'other');
    expect(asked(w)).toEqual(['slow0.test', 'both.test']);
    w.calls[1]?.resolve(four('192.0.2.1'));
    expect(await joined).toEqual(ok('192.0.2.1'));
    w.calls[0]?.resolve(four('192.0.2.1'));
    await turns();
    expect(asked(w)).toEqual(['slow0.test', 'both.test', 'slow1.test']);
  });
});

describe('a getaddrinfo that hangs', () => {
  test('ends at the deadline, but its slot stays taken and the name fails at once until it returns', async () => {
    const { resolver, calls, pass } = world({ dns_timeout_ms: 100, dns_pending_max: 1, dns_negative_ttl_ms: 1_000 });
    expect(await resolver.resolve('a.test')).toMatchObject({ ok: false, code: 'dns-timeout' });
    pass(1_000);
    expect(resolver.resolve('a.test')).toMatchObject({ ok: false, code: 'dns-timeout' });
    expect(resolver.resolve('b.test')).toMatchObject({ ok: false, code: 'dns-failed' });
    expect(resolver.stats()).toMatchObject({ pending: 1, misses: 1 });
    calls[0]?.reject(refusal('EAI_AGAIN'));
    await new Promise(setImmediate);
    expect(resolver.stats().pending).toBe(0);
    expect(resolver.resolve('b.test')).toBeInstanceOf(Promise);
  });

  test('whose answer comes late serves the next request', async () => {
    const { resolver, calls } = world({ dns_timeout_ms: 100 });
    expect(await resolver.resolve('a.test')).toMatchObject({ ok: false, code: 'dns-timeout' });
    calls[0]?.resolve(four('192.0.2.1'));
    await new Promise(setImmediate);
    expect(resolver.resolve('a.test')).toEqual(ok('192.0.2.1'));
  });

  test('makes others wait only until their own deadline; they leave the queue and are never run', async () => {
    const { resolver, calls } = world({ dns_timeout_ms: 100 });
    const all = ['a.test', 'b.test', 'c.test'].map((name) => resolver.resolve(name, name));
    expect(await Promise.all(all)).toMatchObject(all.map(() => ({ ok: false, code: 'dns-timeout' })));
    for (const call of calls) call.resolve(four('192.0.2.1'));
    await new Promise(setImmediate);
    expect(calls.map(({ name }) => name)).toEqual(['a.test.', 'b.test.']);
    expect(resolver.stats().pending).toBe(0);
  });

  test('does not hold up close(), and its late answer is dropped', async () => {
    const { resolver, calls } = world();
    const ended = resolver.resolve('a.test');
    resolver.close();
    expect(await ended).toMatchObject({ ok: false, detail: 'the resolver is closed' });
    calls[0]?.resolve(four('192.0.2.1'));
    await new Promise(setImmediate);
    expect(resolver.stats()).toMatchObject({ pending: 0, entries: 0 });
  });
});

describe('the hosts file', () => {
  const FILE = `
# comment
192.0.2.1   one.test  Alias.Test # 192.0.2.9 not.test
\t2001:db8::1 one.test\r
192.0.2.2
`;

  test('goes before getaddrinfo; names stand on several lines, in any case', async () => {
    const { resolver, calls } = world({}, FILE);
    expect(await resolver.resolve('one.test')).toEqual(ok('2001:db8::1', '192.0.2.1'));
    expect(await resolver.resolve('alias.test')).toEqual(ok('192.0.2.1'));
    expect(calls).toEqual([]);
  });

  test.each(['not.test', 'comment', 'test', '__proto__', 'constructor'])('%s is not in it', (host) => {
    const { resolver, calls } = world({}, FILE);
    void resolver.resolve(host);
    expect(calls.map(({ name }) => name)).toEqual([`${host}.`]);
  });

  test('is read again when it changes, and lists nothing when it is gone', async () => {
    const path = join(tempDir('hosts'), 'hosts');
    const source = systemLookups({ hostsFile: path, getaddrinfo: () => Promise.reject(refusal('ENOTFOUND')) });
    const addresses = async (): Promise<unknown> => {
      const answer = await source.lookup('a.test', 'client').answer;
      return answer.ok ? answer.addresses : answer.detail;
    };
    expect(await addresses()).toBe('the name does not exist');
    writeFile(path, '192.0.2.1 a.test\n');
    expect(await addresses()).toEqual(['192.0.2.1']);
    writeFile(path, '192.0.2.1 a.test\n192.0.2.22 a.test\n');
    expect(await addresses()).toEqual(['192.0.2.1', '192.0.2.22']);
  });
});

// A private network and mount namespace: port 53 and /etc/resolv.conf are the test's own. Needs root, or user namespaces.
const NAMESPACE = ['-r', '-n', '-m'];
const isolated =
  spawnSync('unshare', [...NAMESPACE, 'sh', '-c', 'ip link set lo up && mount --bind /etc/hosts /etc/hosts']).status ===
  0;

const CHILD = `
const [{ createResolver }, { createMeter, DEFAULT_LIMITS }, { startTestDns }, dns] = await Promise.all([
  import(process.argv[2] + '/src/net/resolve.ts'),
  import(process.argv[2] + '/src/limits.ts'),
  import(process.argv[2] + '/test/support/dns.ts'),
  import('node:dns/promises'),
]);
const server = await startTestDns(53);
server.set('good.test', ['192.0.2.1']);
server.set('gone.test.evil.test', ['192.0.2.66']);
const resolver = createResolver({ dns: { mode: 'system' }, limits: DEFAULT_LIMITS, meter: createMeter() });
const results = {
  good: await resolver.resolve('good.test'),
  gone: await resolver.resolve('gone.test'),
  listed: await resolver.resolve('listed.test'),
  trap: (await dns.lookup('gone.test')).address,
};
resolver.close();
await server.close();
console.log(JSON.stringify(results));
`;

describe.skipIf(!isolated)('the real getaddrinfo', () => {
  test('does not let the owner of a search domain answer for a name that does not exist; the hosts file counts', () => {
    const dir = tempDir('resolv');
    const conf = writeFile(join(dir, 'resolv.conf'), 'nameserver 127.0.0.1\nsearch evil.test\n');
    const hosts = writeFile(join(dir, 'hosts'), '192.0.2.7 listed.test\n');
    const child = writeFile(join(dir, 'child.mjs'), CHILD);
    const steps =
      'ip link set lo up && mount --bind "$1" /etc/resolv.conf && mount --bind "$2" /etc/hosts && exec "$3" "$4" "$5"';
    const node = ['sh', conf, hosts, process.execPath, child, process.cwd()];
    const out = execFileSync('unshare', [...NAMESPACE, 'sh', '-c', steps, ...node], { encoding: 'utf8' });
    expect(JSON.parse(out)).toEqual({
      good: ok('192.0.2.1'),
      gone: { ok: false, code: 'dns-failed', detail: 'the name does not exist' },
      listed: ok('192.0.2.7'),
      trap: '192.0.2.66', // what getaddrinfo itself would have given
    });
  });
});
