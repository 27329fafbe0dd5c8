// Section "DNS" of docs/threat-model.md: a hostile name server answers with addresses that must never be dialled, with too much,
// with nothing, or with another answer the next time. Forbidden answers only ever lead to a refusal: no packet leaves loopback.
import { describe, expect, it } from 'vitest';
import type { DecidedLine } from '../../src/policy/record.ts';
import type { DnsScript } from '../support/dns.ts';
import { ALLOWED, connect, DENIED, isDecided, refused, refusedAfterLookup, useStage, works } from './stage.ts';

const CASE_MS = 10_000;
const stage = useStage({
  policy: (one) => ({
    allow: [
      one.rule(ALLOWED),
      one.rule('*.allowed.test'),
      one.rule('*.public.test', { addresses: [] }),
      one.rule('*.nobody.test', { addresses: ['127.0.0.9/32'] }),
      one.rule('*.wide.test', { addresses: ['127.0.0.1/32', '169.254.0.0/16', '168.63.129.16/32', 'fd00::/8'] }),
    ],
    limits: { dns_timeout_ms: 1_000, dns_negative_ttl_ms: 0 },
  }),
});

let names = 0;
/** A fresh allowed name with these answers, so that no cache is between the cases. */
function name(under: string, a: readonly DnsScript[], aaaa: readonly DnsScript[] = ['nodata']): string {
  names += 1;
  const host = `n${names}.${under}`;
  stage.world.dns.script(host, 'A', ...a);
  stage.world.dns.script(host, 'AAAA', ...aaaa);
  return host;
}
const four = (...addresses: string[]): DnsScript[] => [{ addresses, ttl: 0 }];
const at = (host: string): string => connect(`${host}:{p}`);
const prohibited = refusedAfterLookup(403, 'address-prohibited');
const metadata = refusedAfterLookup(403, 'metadata-prohibited');

/** Refused, and the record names each answer with its class and no address as passed. */
async function dropped(host: string, want: typeof prohibited, ...classes: string[]): Promise<void> {
  const mark = stage.mark();
  await stage.run(at(host), want);
  const line = stage.since(mark).find((one): one is DecidedLine => isDecided(one) && one.host === host);
  expect(line).not.toHaveProperty('addresses');
  for (const each of classes) expect(line?.dropped?.join('\n')).toContain(each);
}

describe('D1 an answer that is not public is not dialled', () => {
  it.each([
    ['private 10', '10.0.0.1', 'private'],
    ['private 172.16', '172.16.0.1', 'private'],
    ['private 192.168', '192.168.1.1', 'private'],
    ['loopback', '127.0.0.2', 'loopback'],
    ['the end of loopback', '127.255.255.254', 'loopback'],
    ['CGNAT', '100.64.0.1', 'cgnat'],
    ['multicast', '224.0.0.251', 'multicast'],
    ['broadcast', '255.255.255.255', 'reserved'],
    ['class E', '240.0.0.1', 'reserved'],
    ['unspecified', '0.0.0.0', 'unspecified'],
    ['this network', '0.1.2.3', 'unspecified'],
    ['documentation', '192.0.2.1', 'reserved'],
    ['benchmarking', '198.18.0.1', 'reserved'],
    ['IETF', '192.0.0.8', 'reserved'],
    ['6to4 relay', '192.88.99.1', 'reserved'],
  ])('A: %s', { timeout: CASE_MS }, (_, address, kind) =>
    dropped(name('public.test', four(address)), prohibited, `${address} ${kind}`),
  );

  it.each([
    ['loopback', '::1', 'loopback'],
    ['unspecified', '::', 'unspecified'],
    ['v4-mapped loopback', '::ffff:127.0.0.1', 'loopback'],
    ['v4-mapped private', '::ffff:10.0.0.1', 'private'],
    ['v4-compatible', '::10.0.0.1', 'private'],
    ['NAT64 of loopback', '64:ff9b::7f00:1', 'loopback'],
    ['NAT64 of private', '64:ff9b::a00:1', 'private'],
    ['NAT64, local prefix, which may be of any length', '64:ff9b:1::a00:1', 'unspecified'],
    ['6to4 of private', '2002:a00:1::', 'private'],
    ['6to4 of loopback', '2002:7f00:1::', 'loopback'],
    ['Teredo with a private client', '2001:0:102:304::f5ff:fffe', 'private'],
    ['unique local', 'fc00::1', 'private'],
    ['unique local, the other half', 'fd12::1', 'private'],
    ['link-local', 'fe80::1', 'link-local'],
    ['site-local', 'fec0::1', 'private'],
    ['multicast', 'ff02::1', 'multicast'],
    ['documentation', '2001:db8::1', 'reserved'],
    ['discard only', '100::1', 'reserved'],
    ['not given out', '4000::1', 'reserved'],
  ])('AAAA: %s', { timeout: CASE_MS }, (_, address, kind) =>
    dropped(name('public.test', ['nodata'], four(address)), prohibited, ` ${kind}`),
  );
});

describe('D2 instance metadata is not dialled, even where the rule lists its range', () => {
  it.each([
    ['EC2, GCE, Azure', ['169.254.169.254'], []],
    ['ECS', ['169.254.170.2'], []],
    ['WireServer', ['168.63.129.16'], []],
    ['EC2 by IPv6', [], ['fd00:ec2::254']],
    ['v4-mapped', [], ['::ffff:169.254.169.254']],
    ['NAT64', [], ['64:ff9b::a9fe:a9fe']],
    ['6to4', [], ['2002:a9fe:a9fe::']],
  ])('%s', { timeout: CASE_MS }, (_, a, aaaa) => {
    const answer = (addresses: string[]): DnsScript[] => (addresses.length > 0 ? four(...addresses) : ['nodata']);
    return dropped(name('wide.test', answer(a), answer(aaaa)), metadata, 'metadata');
  });
});

describe('D3 of good and forbidden answers only the good ones are dialled', () => {
  it.each([
    ['the forbidden one last', four('127.0.0.1', '127.0.0.2'), undefined],
    ['the forbidden one first', four('127.0.0.2', '127.0.0.1'), undefined],
    ['the forbidden one by IPv6', four('127.0.0.1'), four('::1')],
    [
      'one of every class',
      four('10.0.0.1', '127.0.0.1', '100.64.0.1', '169.254.169.254', '0.0.0.0'),
      four('::1', 'fe80::1'),
    ],
  ])('%s', { timeout: CASE_MS }, async (_, a, aaaa) => {
    const host = name('allowed.test', a, aaaa);
    const mark = stage.mark();
    await stage.run(at(host), works(host));
    const line = stage.since(mark).find(isDecided);
    expect(line?.addresses).toEqual(['127.0.0.1']);
    expect(line?.dropped?.length).toBeGreaterThan(0);
  });

  it('not even when the good one does not answer', { timeout: CASE_MS }, async () => {
    const host = name('nobody.test', four('127.0.0.9', '127.0.0.2'), four('::1'));
    await stage.run(at(host), { kind: 'failed', status: 502, code: 'connect-refused' });
  });
});

describe('D4 the checked address is the dialled address', () => {
  it('a name that turns to loopback behind a TTL of 0 is refused the second time', { timeout: CASE_MS }, async () => {
    const host = name('allowed.test', [
      { addresses: ['127.0.0.1'], ttl: 0 },
      { addresses: ['127.0.0.2'], ttl: 0 },
    ]);
    await stage.run(at(host), works(host));
    await dropped(host, prohibited, '127.0.0.2 loopback');
  });

  it('a name is asked for once for each request: there is no second look-up to answer otherwise', {
    timeout: CASE_MS,
  }, async () => {
    const flip = Array.from(
      { length: 20 },
      (_, at): DnsScript => ({ addresses: [at % 2 ? '127.0.0.2' : '127.0.0.1'], ttl: 0 }),
    );
    const host = name('allowed.test', flip);
    for (let round = 0; round < 10; round += 1) {
      await stage.run(at(host), works(host));
      await stage.run(at(host), prohibited);
    }
    expect(stage.world.dns.log.filter((query) => query.name === host && query.type === 'A')).toHaveLength(20);
  });

  it('an answer that is kept for its TTL is checked again at each use', { timeout: CASE_MS }, async () => {
    const host = name('public.test', [{ addresses: ['10.0.0.1'], ttl: 3_600 }]);
    for (let round = 0; round < 3; round += 1) await stage.run(at(host), prohibited);
    expect(stage.world.dns.log.filter((query) => query.name === host && query.type === 'A')).toHaveLength(1);
  });

  it('the record and the dial name the same address', { timeout: CASE_MS }, async () => {
    const host = name('allowed.test', four('127.0.0.1'));
    const mark = stage.mark();
    await stage.run(at(host), works(host));
    expect(stage.since(mark).slice(0, 2)).toMatchObject([
      { addresses: ['127.0.0.1'] },
      { address: `127.0.0.1:${stage.port}` },
    ]);
  });
});

describe('D5 failures are 502 or 504 in bounded time', () => {
  const whole = (reply: DnsScript): [DnsScript[], DnsScript[]] => [[reply], [reply]];
  it.each([
    ['NXDOMAIN', ...whole('nxdomain'), 502, 'dns-failed'],
    ['SERVFAIL', ...whole('servfail'), 502, 'dns-failed'],
    ['REFUSED', ...whole('refused'), 502, 'dns-failed'],
    ['no data', ...whole('nodata'), 502, 'dns-failed'],
    ['no answer', ...whole('silent'), 504, 'dns-timeout'],
    ['a wrong id, as a forger sends it', ...whole('wrong-id'), 504, 'dns-timeout'],
    ['truncated without an end over TCP', ...whole({ addresses: [], truncated: true }), 502, 'dns-failed'],
  ] as const)('%s', { timeout: CASE_MS }, (_, a, aaaa, status, code) =>
    stage.run(at(name('allowed.test', a, aaaa)), refusedAfterLookup(status, code)),
  );

  it('garbage', { timeout: CASE_MS }, async () => {
    const mark = stage.mark();
    const client = await stage.client();
    client.send(stage.bytes(at(name('allowed.test', ['garbage'], ['garbage']))));
    expect([502, 504]).toContain((await client.readHead()).status);
    stage.untouched(mark, true);
    client.close();
    await stage.good(mark, 1);
  });

  it('a truncated answer is asked for again over TCP', { timeout: CASE_MS }, async () => {
    const host = name('allowed.test', [{ addresses: ['127.0.0.1'], truncated: true }]);
    await stage.run(at(host), works(host));
    expect(stage.world.dns.log.filter((query) => query.name === host).map(({ transport }) => transport)).toContain(
      'tcp',
    );
  });

  it('one family fails, the other serves', { timeout: CASE_MS }, async () => {
    const host = name('allowed.test', four('127.0.0.1'), ['servfail']);
    await stage.run(at(host), works(host));
  });

  it('one family is silent, the other serves', { timeout: CASE_MS }, async () => {
    const host = name('allowed.test', four('127.0.0.1'), ['silent']);
    await stage.run(at(host), works(host));
  });

  it('many clients that wait for a silent name are one look-up, and others are served', {
    timeout: CASE_MS,
  }, async () => {
    const host = name('allowed.test', ['silent'], ['silent']);
    const mark = stage.mark();
    const clients = await Promise.all(Array.from({ length: 50 }, () => stage.client()));
    for (const client of clients) client.send(stage.bytes(at(host)));
    await stage.world.dns.queries(mark.queries + 2);
    await stage.good();
    for (const client of clients) {
      expect((await client.readHead()).status).toBe(504);
      client.close();
    }
    // A and AAAA, each tried twice.
    expect(stage.world.dns.log.filter((query) => query.name === host).length).toBeLessThanOrEqual(4);
  });
});

describe('D6 thousands of records are bounded', () => {
  const many = Array.from({ length: 1_900 }, (_, at) => `10.${at >> 8}.${at & 255}.1`);

  it('all forbidden: refused, and the record stays short', { timeout: CASE_MS }, async () => {
    const host = name('allowed.test', four(...many));
    const mark = stage.mark();
    await dropped(host, prohibited, 'private');
    expect(JSON.stringify(stage.since(mark)[0]).length).toBeLessThan(4_096);
  });

  it('a good one first: it is dialled', { timeout: CASE_MS }, async () => {
    const host = name('allowed.test', four('127.0.0.1', ...many));
    await stage.run(at(host), works(host));
  });
});

describe('D7 aliases change nothing: the address is what counts', () => {
  it('an alias of a denied name with a good address works, and no query for that name leaves', {
    timeout: CASE_MS,
  }, async () => {
    const host = name('allowed.test', [{ addresses: ['127.0.0.1'], cname: 'alias.denied.test', ttl: 0 }]);
    await stage.run(at(host), works(host));
    expect(stage.world.dns.log.some((query) => query.name.endsWith('denied.test'))).toBe(false);
  });

  it('an alias with a forbidden address is refused', { timeout: CASE_MS }, () =>
    dropped(name('allowed.test', [{ addresses: ['127.0.0.2'], cname: 'localhost', ttl: 0 }]), prohibited, 'loopback'),
  );

  it('an alias without an address is a failure, and is not followed', { timeout: CASE_MS }, async () => {
    const host = name('allowed.test', [{ addresses: [], cname: 'alias.denied.test', ttl: 0 }]);
    await stage.run(at(host), refusedAfterLookup(502, 'dns-failed'));
    expect(stage.world.dns.log.some((query) => query.name.endsWith('denied.test'))).toBe(false);
  });
});

describe('D8 a denied name is never asked for', () => {
  it('whatever is refused by its name, port or kind leaves no query', { timeout: CASE_MS }, async () => {
    const secret = 'c2VjcmV0LWRhdGE';
    const mark = stage.mark();
    await stage.run(at(`${secret}.${DENIED}`), refused(403, 'host-not-allowed'));
    await stage.run(connect(`${secret}.allowed.test:22`), refused(403, 'port-not-allowed'));
    await stage.run(connect(`${secret}.allowed.test`), refused(400, 'authority-malformed'));
    await stage.run(at('metadata.google.internal'), refused(403, 'metadata-prohibited'));
    const asked = stage.world.dns.log.slice(mark.queries).map((query) => query.name);
    expect(asked.filter((one) => one !== ALLOWED)).toEqual([]);
  });
});
