// The resolver against a scripted name server on loopback. Time is a number that the tests move; deadlines are real events.
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { createMeter, DEFAULT_LIMITS, type Limits } from '../../src/limits.ts';
import { createResolver, type Resolution, type Resolver, type ResolverOptions } from '../../src/net/resolve.ts';
import { type DnsReply, type DnsServer, startTestDns } from '../support/dns.ts';

const closers: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function nameServer(): Promise<DnsServer> {
  const server = await startTestDns();
  closers.push(() => server.close());
  return server;
}

interface World {
  readonly dns: DnsServer;
  readonly resolver: Resolver;
  readonly meter: ReturnType<typeof createMeter>;
  /** Moves the clock. */
  pass(ms: number): void;
}

async function world(limits: Partial<Limits> = {}, options: Partial<ResolverOptions> = {}): Promise<World> {
  const dns = await nameServer();
  const meter = createMeter();
  let now = 0;
  const resolver = createResolver({
    dns: { mode: 'servers', servers: [dns.address] },
    limits: { ...DEFAULT_LIMITS, ...limits },
    meter,
    now: () => now,
    ipv6: () => true,
    ...options,
  });
  closers.push(() => resolver.close());
  return {
    dns,
    resolver,
    meter,
    pass: (ms) => {
      now += ms;
    },
  };
}

const ok = (...addresses: string[]): Resolution => ({ ok: true, addresses });
const hits = (meter: World['meter']): Record<string, number> => Object.fromEntries(meter.hits);

/** A reply that waits until the test lets it go. */
function held(): { reply: Promise<DnsReply>; release: (reply: DnsReply) => void } {
  const { promise, resolve } = Promise.withResolvers<DnsReply>();
  return { reply: promise, release: resolve };
}

describe('addresses', () => {
  test('of both families stand in turn, IPv6 first where this host has it', async () => {
    const { dns, resolver } = await world();
    dns.set('a.test', ['192.0.2.1', '192.0.2.2', '192.0.2.3', '2001:db8::1', '2001:db8::2']);
    const addresses = ['2001:db8::1', '192.0.2.1', '2001:db8::2', '192.0.2.2', '192.0.2.3'];
    expect(await resolver.resolve('a.test')).toEqual(ok(...addresses));
  });

  test('IPv4 first where this host has no public IPv6 address', async () => {
    const { dns, resolver } = await world({}, { ipv6: () => false });
    dns.set('a.test', ['192.0.2.1', '2001:db8::1', '2001:db8::2']);
    expect(await resolver.resolve('a.test')).toEqual(ok('192.0.2.1', '2001:db8::1', '2001:db8::2'));
  });

  test('one family alone is enough', async () => {
    const { dns, resolver } = await world();
    dns.set('four.test', ['192.0.2.1']);
    dns.set('six.test', ['2001:db8::1']);
    expect(await resolver.resolve('four.test')).toEqual(ok('192.0.2.1'));
    expect(await resolver.resolve('six.test')).toEqual(ok('2001:db8::1'));
  });

  test('are canonical and without doubles; forbidden ones are left for the policy to judge', async () => {
    const { dns, resolver } = await world();
    dns.set('a.test', ['127.0.0.1', '192.0.2.1', '127.0.0.1', '2001:DB8:0:0::1', '::1']);
    expect(await resolver.resolve('a.test')).toEqual(ok('2001:db8::1', '127.0.0.1', '::1', '192.0.2.1'));
  });

  test('an alias is followed', async () => {
    const { dns, resolver } = await world();
    dns.script('a.test', 'A', { cname: 'b.test', addresses: ['192.0.2.1'] });
    expect(await resolver.resolve('a.test')).toEqual(ok('192.0.2.1'));
  });

  test('a truncated answer is asked for again over TCP', async () => {
    const { dns, resolver } = await world();
    dns.script('a.test', 'A', { addresses: ['192.0.2.1', '192.0.2.2'], truncated: true });
    expect(await resolver.resolve('a.test')).toEqual(ok('192.0.2.1', '192.0.2.2'));
    expect(dns.log.map(({ type, transport }) => `${type} ${transport}`).sort()).toEqual(['A tcp', 'A udp', 'AAAA udp']);
  });

  test('thousands of records are cut to the limit, both families kept', async () => {
    const { dns, resolver, meter } = await world({ dns_addresses_max: 4 });
    const many = Array.from({ length: 2_000 }, (_, i) => `192.0.${i >> 8}.${i & 255}`);
    // The short answer waits until the long one is on its way: the resolver gives the other family 50 ms, which encoding may take.
    const last = dns.queries(3).then(() => turn());
    dns.script('a.test', 'A', { addresses: many });
    dns.script(
      'a.test',
      'AAAA',
      last.then(() => ({ addresses: ['2001:db8::1', '2001:db8::2', '2001:db8::3'] })),
    );
    expect(await resolver.resolve('a.test')).toEqual(ok('2001:db8::1', '192.0.0.0', '2001:db8::2', '192.0.0.1'));
    expect(hits(meter)).toEqual({ dns_addresses_max: 1 });
  });

  test.each(['192.0.2.1', '2001:db8::1', '127.0.0.1'])(
    'the literal %s stands for itself, and nothing is asked',
    async (host) => {
      const { dns, resolver } = await world();
      expect(resolver.resolve(host)).toEqual(ok(host));
      expect(dns.log).toEqual([]);
    },
  );

  test('only the name itself is asked: no search domain, even where it does not exist', async () => {
    const { dns, resolver } = await world();
    await Promise.all([resolver.resolve('a.test'), resolver.resolve('single')]);
    expect([...new Set(dns.log.map(({ name }) => name))].sort()).toEqual(['a.test', 'single']);
  });

  test('each look-up has a source port of its own', async () => {
    const { dns, resolver } = await world();
    const names = Array.from({ length: 20 }, (_, i) => `n${i}.test`);
    for (const name of names) dns.set(name, ['192.0.2.1']);
    await Promise.all(names.map((name) => resolver.resolve(name)));
    expect(new Set(dns.log.map(({ port }) => port)).size).toBeGreaterThanOrEqual(names.length);
  });
});

describe('failures', () => {
  test.each<[DnsReply, string]>([
    ['nxdomain', 'the name does not exist'],
    ['nodata', 'the name has no address'],
    ['servfail', 'the name server failed (SERVFAIL)'],
    ['refused', 'the name server refused the query (REFUSED)'],
  ])('%s', async (reply, detail) => {
    const { dns, resolver } = await world();
    dns.script('a.test', 'A', reply);
    dns.script('a.test', 'AAAA', reply);
    expect(await resolver.resolve('a.test')).toEqual({ ok: false, code: 'dns-failed', detail });
  });

  test('a failing family says more than one without data', async () => {
    const { dns, resolver } = await world();
    dns.script('a.test', 'A', 'servfail');
    dns.script('a.test', 'AAAA', 'nodata');
    expect(await resolver.resolve('a.test')).toMatchObject({ ok: false, detail: 'the name server failed (SERVFAIL)' });
  });

  test.each<DnsReply>(['silent', 'wrong-id'])(
    '%s ends at the deadline, after a bounded number of queries',
    async (reply) => {
      const { dns, resolver, meter } = await world({ dns_timeout_ms: 200 });
      dns.script('a.test', 'A', reply);
      dns.script('a.test', 'AAAA', reply);
      const ended = await resolver.resolve('a.test');
      expect(ended).toMatchObject({ ok: false, code: 'dns-timeout' });
      expect(dns.log.length).toBeLessThanOrEqual(4);
      expect(resolver.stats()).toMatchObject({ failures: 1 });
      expect(Object.keys(hits(meter)).filter((name) => name !== 'dns_timeout_ms')).toEqual([]);
    },
  );

  test('garbage is a failure', async () => {
    const { dns, resolver } = await world({ dns_timeout_ms: 200 });
    dns.script('a.test', 'A', 'garbage');
    dns.script('a.test', 'AAAA', 'garbage');
    expect(await resolver.resolve('a.test')).toMatchObject({ ok: false });
  });

  test('nobody listens at the name server', async () => {
    const gone = await startTestDns();
    await gone.close();
    const { resolver } = await world({}, { dns: { mode: 'servers', servers: [gone.address] } });
    const detail = 'the name server cannot be reached';
    expect(await resolver.resolve('a.test')).toEqual({ ok: false, code: 'dns-failed', detail });
  });

  test('a silent server is passed over for the next one', async () => {
    const silent = await nameServer();
    const good = await nameServer();
    for (const type of ['A', 'AAAA'] as const) silent.script('a.test', type, 'silent');
    good.set('a.test', ['192.0.2.1']);
    const servers = [silent.address, good.address];
    const { resolver } = await world({ dns_timeout_ms: 1_500 }, { dns: { mode: 'servers', servers } });
    expect(await resolver.resolve('a.test')).toEqual(ok('192.0.2.1'));
  });

  test('a name that no query can hold fails without one', async () => {
    const { dns, resolver } = await world();
    expect(await resolver.resolve(`${'a'.repeat(64)}.test`)).toMatchObject({ ok: false, code: 'dns-failed' });
    expect(dns.log).toEqual([]);
  });

  test('a server that is no address is refused when the resolver is made', () => {
    const dns = { mode: 'servers', servers: ['ns.example'] } as const;
    expect(() => createResolver({ dns, limits: DEFAULT_LIMITS, meter: createMeter() })).toThrow();
  });
});

describe('one family is silent', () => {
  test.each([
    ['A', 'AAAA', '192.0.2.1'],
    ['AAAA', 'A', '2001:db8::1'],
  ] as const)('%s answers and %s does not: go on with what is there', async (good, silent, address) => {
    const { dns, resolver, meter } = await world();
    dns.script('a.test', good, { addresses: [address] });
    dns.script('a.test', silent, 'silent');
    expect(await resolver.resolve('a.test')).toEqual(ok(address));
    expect(hits(meter)).toEqual({});
  });

  test('such a half answer is kept no longer than a failure', async () => {
    const { dns, resolver, pass } = await world({ dns_negative_ttl_ms: 2_000 });
    dns.script('a.test', 'AAAA', { addresses: ['2001:db8::1'], ttl: 300 });
    dns.script('a.test', 'A', 'silent', { addresses: ['192.0.2.1'], ttl: 300 });
    expect(await resolver.resolve('a.test')).toEqual(ok('2001:db8::1'));
    pass(1_999);
    expect(resolver.resolve('a.test')).toEqual(ok('2001:db8::1'));
    pass(1);
    expect(await resolver.resolve('a.test')).toEqual(ok('2001:db8::1', '192.0.2.1'));
    pass(299_999);
    expect(resolver.resolve('a.test')).toEqual(ok('2001:db8::1', '192.0.2.1'));
  });

  test('a family without data does not hurry the other one', async () => {
    const { dns, resolver } = await world();
    const answer = held();
    dns.script('a.test', 'AAAA', 'nodata');
    dns.script('a.test', 'A', answer.reply);
    const ended = resolver.resolve('a.test');
    await dns.queries(2);
    // Another name, from a second look-up with its own 50 ms of patience, is through before the answer comes.
    dns.script('b.test', 'A', { addresses: ['192.0.2.2'] });
    dns.script('b.test', 'AAAA', 'silent');
    await resolver.resolve('b.test');
    answer.release({ addresses: ['192.0.2.1'] });
    expect(await ended).toEqual(ok('192.0.2.1'));
  });
});

describe('the cache', () => {
  test('answers at once, without a promise, until the TTL is over', async () => {
    const { dns, resolver, pass } = await world();
    dns.script('a.test', 'A', { addresses: ['192.0.2.1'], ttl: 10 }, { addresses: ['192.0.2.2'], ttl: 10 });
    expect(await resolver.resolve('a.test')).toEqual(ok('192.0.2.1'));
    pass(9_999);
    expect(resolver.resolve('a.test')).toEqual(ok('192.0.2.1'));
    expect(dns.log.length).toBe(2);
    pass(1);
    expect(resolver.resolve('a.test')).toBeInstanceOf(Promise);
    expect(await resolver.resolve('a.test')).toEqual(ok('192.0.2.2'));
    expect(resolver.stats()).toEqual({ hits: 1, misses: 2, merged: 1, failures: 0, pending: 0, entries: 1 });
  });

  test('the shortest TTL of all records counts', async () => {
    const { dns, resolver, pass } = await world();
    dns.script('a.test', 'A', { addresses: ['192.0.2.1'], ttl: 300 });
    dns.script('a.test', 'AAAA', { addresses: ['2001:db8::1'], ttl: 5 });
    await resolver.resolve('a.test');
    pass(5_000);
    expect(resolver.resolve('a.test')).toBeInstanceOf(Promise);
  });

  test('a TTL of years is capped', async () => {
    const { dns, resolver, pass } = await world({ dns_cache_ttl_max_ms: 60_000 });
    dns.script('a.test', 'A', { addresses: ['192.0.2.1'], ttl: 2 ** 31 - 1 });
    await resolver.resolve('a.test');
    pass(59_999);
    expect(resolver.resolve('a.test')).toEqual(ok('192.0.2.1'));
    pass(1);
    expect(resolver.resolve('a.test')).toBeInstanceOf(Promise);
  });

  test('TTL 0 is never kept: the next request sees the next answer (rebinding)', async () => {
    const { dns, resolver } = await world();
    dns.script('a.test', 'A', { addresses: ['192.0.2.1'], ttl: 0 }, { addresses: ['127.0.0.1'], ttl: 0 });
    expect(await resolver.resolve('a.test')).toEqual(ok('192.0.2.1'));
    expect(await resolver.resolve('a.test')).toEqual(ok('127.0.0.1'));
    expect(resolver.stats().entries).toBe(0);
  });

  test('an answer of TTL 0 takes the place of one that has expired', async () => {
    const { dns, resolver, pass } = await world();
    dns.script('a.test', 'A', { addresses: ['192.0.2.1'], ttl: 1 }, { addresses: ['192.0.2.2'], ttl: 0 });
    await resolver.resolve('a.test');
    pass(1_000);
    await resolver.resolve('a.test');
    expect(resolver.stats().entries).toBe(0);
  });

  test('a failure is kept for its own short time', async () => {
    const { dns, resolver, pass } = await world({ dns_negative_ttl_ms: 2_000 });
    const failure = { ok: false, code: 'dns-failed', detail: 'the name does not exist' };
    dns.script('a.test', 'A', 'nxdomain', { addresses: ['192.0.2.1'] });
    dns.script('a.test', 'AAAA', 'nxdomain', 'nodata');
    expect(await resolver.resolve('a.test')).toEqual(failure);
    pass(1_999);
    expect(resolver.resolve('a.test')).toEqual(failure);
    pass(1);
    expect(await resolver.resolve('a.test')).toEqual(ok('192.0.2.1'));
  });

  test('holds no more names than its limit; the least used goes first', async () => {
    const { dns, resolver } = await world({ dns_cache_entries: 2 });
    for (const name of ['a.test', 'b.test', 'c.test']) dns.set(name, ['192.0.2.1']);
    await resolver.resolve('a.test');
    await resolver.resolve('b.test');
    expect(resolver.resolve('a.test')).toEqual(ok('192.0.2.1'));
    await resolver.resolve('c.test');
    expect(resolver.stats().entries).toBe(2);
    expect(resolver.resolve('a.test')).toEqual(ok('192.0.2.1'));
    expect(resolver.resolve('b.test')).toBeInstanceOf(Promise);
  });

  test('0 entries switch it off', async () => {
    const { dns, resolver } = await world({ dns_cache_entries: 0 });
    dns.set('a.test', ['192.0.2.1']);
    await resolver.resolve('a.test');
    expect(await resolver.resolve('a.test')).toEqual(ok('192.0.2.1'));
    expect(dns.log.length).toBe(4);
  });
});

describe('look-ups under way', () => {
  test('of one name are one', async () => {
    const { dns, resolver } = await world();
    const answer = held();
    dns.script('a.test', 'A', answer.reply);
    const all = Array.from({ length: 50 }, () => resolver.resolve('a.test'));
    await dns.queries(2);
    expect(resolver.stats()).toMatchObject({ misses: 1, merged: 49, pending: 1 });
    answer.release({ addresses: ['192.0.2.1'], ttl: 0 });
    expect(await Promise.all(all)).toEqual(all.map(() => ok('192.0.2.1')));
    expect(dns.log.length).toBe(2);
  });

  test('are bounded: one name more fails at once and is not remembered', async () => {
    const { dns, resolver, meter } = await world({ dns_pending_max: 2 });
    const answer = held();
    for (const name of ['a.test', 'b.test']) dns.script(name, 'A', answer.reply);
    dns.set('c.test', ['192.0.2.3']);
    const both = [resolver.resolve('a.test'), resolver.resolve('b.test')];
    expect(resolver.resolve('c.test')).toEqual({
      ok: false,
      code: 'dns-failed',
      detail: '2 names are being resolved already (limits.dns_pending_max)',
    });
    expect(hits(meter)).toEqual({ dns_pending_max: 1 });
    answer.release({ addresses: ['192.0.2.1'] });
    await Promise.all(both);
    expect(await resolver.resolve('c.test')).toEqual(ok('192.0.2.3'));
  });

  test('are bounded for each client: its share full, it is told at once, joins what is under way, and others go on', async () => {
    const { dns, resolver, meter } = await world({ client_dns_pending_max: 2, dns_pending_max: 4 });
    const answer = held();
    for (const name of ['a.test', 'b.test', 'd.test']) dns.script(name, 'A', answer.reply);
    dns.set('c.test', ['192.0.2.3']);
    const greedy = [resolver.resolve('a.test', '10.0.0.1'), resolver.resolve('b.test', '10.0.0.1')];
    const full = '2 names are being resolved already for this client (limits.client_dns_pending_max)';
    for (let i = 0; i < 1_000; i++)
      expect(resolver.resolve(`c${i}.test`, '10.0.0.1')).toEqual({ ok: false, code: 'dns-failed', detail: full });
    expect(hits(meter)).toEqual({ client_dns_pending_max: 1_000 });
    expect(resolver.resolve('a.test', '10.0.0.1')).toBe(greedy[0]);
    const joined = resolver.resolve('a.test', '10.0.0.2');
    expect(joined).toBe(greedy[0]);
    // What 10.0.0.2 joined does not count against it: it has its two.
    const others = [resolver.resolve('d.test', '10.0.0.2'), resolver.resolve('c.test', '10.0.0.2')];
    expect(await others[1]).toEqual(ok('192.0.2.3'));
    answer.release({ addresses: ['192.0.2.1'] });
    await Promise.all([...greedy, ...others]);
    expect(await resolver.resolve('e.test', '10.0.0.1')).toMatchObject({ ok: false });
    expect(hits(meter)).toEqual({ client_dns_pending_max: 1_000 });
  });

  test('a deadline frees the slot, since a query can be cancelled', async () => {
    const { dns, resolver } = await world({ dns_timeout_ms: 200, dns_pending_max: 1, dns_negative_ttl_ms: 0 });
    for (const type of ['A', 'AAAA'] as const) dns.script('a.test', type, 'silent');
    dns.set('b.test', ['192.0.2.2']);
    expect(await resolver.resolve('a.test')).toMatchObject({ ok: false, code: 'dns-timeout' });
    await new Promise(setImmediate);
    expect(await resolver.resolve('b.test')).toEqual(ok('192.0.2.2'));
  });

  test('end with close(), and nothing is asked after it', async () => {
    const { dns, resolver } = await world();
    for (const type of ['A', 'AAAA'] as const) dns.script('a.test', type, 'silent');
    dns.set('b.test', ['192.0.2.2']);
    await resolver.resolve('b.test');
    const ended = resolver.resolve('a.test');
    await dns.queries(4);
    resolver.close();
    const closed = { ok: false, code: 'dns-failed', detail: 'the resolver is closed' };
    expect(await ended).toEqual(closed);
    expect(resolver.resolve('b.test')).toEqual(closed);
    expect(resolver.stats()).toMatchObject({ pending: 0, entries: 0 });
    expect(dns.log.length).toBe(4);
  });
});
