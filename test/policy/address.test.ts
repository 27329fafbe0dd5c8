// Address classes, ranges and canonical text, against tables and against independent oracles: BigInt arithmetic over a
// table of its own, and Node's net module for the spelling.
import { BlockList, isIP, isIPv4, isIPv6 } from 'node:net';
import { describe, expect, test } from 'vitest';
import {
  type AddressClass,
  canonicalAddress,
  cidrContains,
  classifyAddress,
  parseCidr,
  reachableAddresses,
  touchesAny,
} from '../../src/policy/address.ts';
import fc from '../support/property.ts';
import { cidr } from './support.ts';

describe('the class of an address', () => {
  const cases: [address: string, expected: AddressClass][] = [
    ['8.8.8.8', 'public'],
    ['1.0.0.0', 'public'],
    ['0.0.0.0', 'unspecified'],
    ['0.255.255.255', 'unspecified'],
    ['9.255.255.255', 'public'],
    ['10.0.0.0', 'private'],
    ['10.255.255.255', 'private'],
    ['11.0.0.0', 'public'],
    ['100.63.255.255', 'public'],
    ['100.64.0.0', 'cgnat'],
    ['100.100.100.199', 'cgnat'],
    ['100.100.100.200', 'metadata'],
    ['100.127.255.255', 'cgnat'],
    ['100.128.0.0', 'public'],
    ['127.0.0.1', 'loopback'],
    ['127.255.255.255', 'loopback'],
    ['168.63.129.15', 'public'],
    ['168.63.129.16', 'metadata'],
    ['169.253.255.255', 'public'],
    ['169.254.0.0', 'metadata'],
    ['169.254.169.254', 'metadata'],
    ['169.254.170.2', 'metadata'],
    ['169.255.0.0', 'public'],
    ['172.15.255.255', 'public'],
    ['172.16.0.0', 'private'],
    ['172.31.255.255', 'private'],
    ['172.32.0.0', 'public'],
    ['192.0.0.1', 'reserved'],
    ['192.0.0.192', 'metadata'],
    ['192.0.1.0', 'public'],
    ['192.0.2.1', 'reserved'],
    ['192.88.99.1', 'reserved'],
    ['192.167.255.255', 'public'],
    ['192.168.0.1', 'private'],
    ['192.169.0.0', 'public'],
    ['198.17.255.255', 'public'],
    ['198.18.0.0', 'reserved'],
    ['198.19.255.255', 'reserved'],
    ['198.20.0.0', 'public'],
    ['198.51.100.7', 'reserved'],
    ['203.0.113.7', 'reserved'],
    ['223.255.255.255', 'public'],
    ['224.0.0.1', 'multicast'],
    ['239.255.255.255', 'multicast'],
    ['240.0.0.1', 'reserved'],
    ['255.255.255.255', 'reserved'],
    ['::', 'unspecified'],
    ['::1', 'loopback'],
    ['::8.8.8.8', 'reserved'],
    ['::10.0.0.1', 'private'],
    ['::127.0.0.1', 'loopback'],
    ['::169.254.169.254', 'metadata'],
    ['::ffff:8.8.8.8', 'public'],
    ['::ffff:10.0.0.1', 'private'],
    ['::ffff:7f00:1', 'loopback'],
    ['::ffff:169.254.169.254', 'metadata'],
    ['::ffff:0:8.8.8.8', 'reserved'],
    ['::ffff:0:127.0.0.1', 'loopback'],
    ['64:ff9b::8.8.8.8', 'public'],
    ['64:ff9b::10.0.0.1', 'private'],
    ['64:ff9b::169.254.169.254', 'metadata'],
    ['64:ff9b:0:0:0:1::', 'reserved'],
    ['64:ff9b:1::8.8.8.8', 'unspecified'],
    ['64:ff9b:1:808:8:800:808:808', 'reserved'],
    ['64:ff9b:1:a9fe:a9:fe00::', 'metadata'],
    ['64:ff9b:1::169.254.169.254', 'metadata'],
    ['100::', 'reserved'],
    ['100:0:0:1::1', 'reserved'],
    ['2001::1', 'unspecified'],
    ['2001:0:808:808:0:0:f7f7:f7f7', 'reserved'],
    ['2001:0:a9fe:a9fe:0:0:f7f7:f7f7', 'metadata'],
    ['2001:0:808:808:0:0:80ff:fffe', 'loopback'],
    ['2001:2::1', 'reserved'],
    ['2001:20::1', 'reserved'],
    ['2001:1ff:ffff::', 'reserved'],
    ['2001:200::1', 'public'],
    ['2001:db8::1', 'reserved'],
    ['2001:4860:4860::8888', 'public'],
    ['2002:808:808::1', 'public'],
    ['2002:7f00:1::1', 'loopback'],
    ['2002:a00:1::1', 'private'],
    ['2002:a9fe:a9fe::1', 'metadata'],
    ['2606:4700::1111', 'public'],
    ['3ffe:ffff::', 'public'],
    ['3fff::1', 'reserved'],
    ['3fff:fff:ffff::', 'reserved'],
    ['3fff:1000::', 'public'],
    ['4000::', 'reserved'],
    ['5f00::1', 'reserved'],
    ['fbff::1', 'reserved'],
    ['fc00::1', 'private'],
    ['fd00:ec2::254', 'metadata'],
    ['fd20:ce::254', 'metadata'],
    ['fd20:ce::253', 'private'],
    ['fdff:ffff::1', 'private'],
    ['fe00::1', 'reserved'],
    ['fe80::1', 'link-local'],
    ['febf:ffff::1', 'link-local'],
    ['fec0::1', 'private'],
    ['feff::1', 'private'],
    ['ff02::1', 'multicast'],
  ];
  test.each(cases)('%s is %s', (address, expected) => {
    expect(classifyAddress(address)).toBe(expected);
  });

  test.each([
    '',
    'api.test',
    '127.1',
    '0x7f.0.0.1',
    '8.8.8.8 ',
    '8.8.8.8%eth0',
    'fe80::1%eth0',
    '[::1]',
    '8.8.8',
    '08.8.8.8',
  ])('garbage is reserved: %j', (text) => {
    expect(classifyAddress(text)).toBe('reserved');
  });
});

/** The IANA registries once more, by hand and by number: [first, last]. Everything in them is not public. */
const SPECIAL_4: [first: string, last: string][] = [
  ['0.0.0.0', '0.255.255.255'],
  ['10.0.0.0', '10.255.255.255'],
  ['100.64.0.0', '100.127.255.255'],
  ['127.0.0.0', '127.255.255.255'],
  ['168.63.129.16', '168.63.129.16'],
  ['169.254.0.0', '169.254.255.255'],
  ['172.16.0.0', '172.31.255.255'],
  ['192.0.0.0', '192.0.0.255'],
  ['192.0.2.0', '192.0.2.255'],
  ['192.88.99.0', '192.88.99.255'],
  ['192.168.0.0', '192.168.255.255'],
  ['198.18.0.0', '198.19.255.255'],
  ['198.51.100.0', '198.51.100.255'],
  ['203.0.113.0', '203.0.113.255'],
  ['224.0.0.0', '255.255.255.255'],
];

const quadNumber = (text: string): bigint => text.split('.').reduce((sum, octet) => sum * 256n + BigInt(octet), 0n);
const quadOf = (value: bigint): string => [24n, 16n, 8n, 0n].map((shift) => String((value >> shift) & 255n)).join('.');
const hexOf = (value: bigint): string =>
  value
    .toString(16)
    .padStart(32, '0')
    .replace(/(.{4})(?=.)/g, '$1:');

const isSpecial4 = (value: bigint): boolean =>
  SPECIAL_4.some(([first, last]) => value >= quadNumber(first) && value <= quadNumber(last));

/** Public by the oracle: in 2000::/3 without its special parts, or NAT64 and 6to4 around a public quad. */
function isPublic6(value: bigint): boolean {
  const low = value & 0xffff_ffffn;
  const top = (bits: bigint): bigint => value >> (128n - bits);
  if (value >> 32n === 0xffffn) return !isSpecial4(low);
  if (top(96n) === 0x0064_ff9b_0000_0000_0000_0000n) return !isSpecial4(low);
  if (top(16n) === 0x2002n) return !isSpecial4((value >> 80n) & 0xffff_ffffn);
  if (top(3n) !== 1n) return false;
  return top(23n) !== 0x2001_0000n >> 9n && top(32n) !== 0x2001_0db8n && top(20n) !== 0x3fff_0n;
}

const uint32 = fc.bigInt({ min: 0n, max: 0xffff_ffffn });
/** Around the borders of the ranges as well as anywhere. */
const quads = fc.oneof(
  uint32,
  fc
    .tuple(fc.constantFrom(...SPECIAL_4.flat()), fc.integer({ min: -1, max: 1 }))
    .map(([text, step]) => (quadNumber(text) + BigInt(step)) & 0xffff_ffffn),
);
const prefixes6 = fc.constantFrom(
  0n,
  0xffffn << 32n,
  0xffff_0000n << 32n,
  0x64_ff9bn << 96n,
  0x64_ff9b_0001n << 80n,
  0x2001n << 112n,
  0x2001_0db8n << 96n,
  0x2001_01ffn << 96n,
  0x2001_0200n << 96n,
  0x2002n << 112n,
  0x3fffn << 112n,
  0xfcn << 120n,
  0xfe80n << 112n,
  0xfec0n << 112n,
  0xffn << 120n,
);
const sixes = fc.oneof(
  fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }),
  fc.tuple(prefixes6, quads).map(([prefix, quad]) => prefix | quad),
  fc.tuple(quads, uint32).map(([quad, rest]) => (0x2002n << 112n) | (quad << 80n) | rest),
);

describe('properties against independent oracles', () => {
  test('an IPv4 address is public exactly when no registry names it', () => {
    fc.assert(
      fc.property(quads, (value) => {
        expect(classifyAddress(quadOf(value)) === 'public').toBe(!isSpecial4(value));
      }),
      { numRuns: 1_000 },
    );
  });

  test('an IPv6 address is public exactly when the oracle says so, however it is spelt', () => {
    fc.assert(
      fc.property(sixes, (value) => {
        const spelt = hexOf(value);
        expect(classifyAddress(spelt) === 'public', spelt).toBe(isPublic6(value));
        expect(classifyAddress(canonicalAddress(spelt) ?? '')).toBe(classifyAddress(spelt));
      }),
      { numRuns: 1_000 },
    );
  });

  test('wrapping an IPv4 address never makes it better', () => {
    const wraps: ((quad: string, value: bigint) => string)[] = [
      (quad) => `::ffff:${quad}`,
      (quad) => `::${quad}`,
      (quad) => `::ffff:0:${quad}`,
      (quad) => `64:ff9b::${quad}`,
      (quad) => `64:ff9b:1::${quad}`,
      (_quad, value) => hexOf((0x2002n << 112n) | (value << 80n) | 1n),
      (_quad, value) => hexOf((0x2001n << 112n) | (value << 64n) | 0xf7f7_f7f7n),
      (_quad, value) => hexOf((0x2001n << 112n) | (0x0808_0808n << 64n) | (value ^ 0xffff_ffffn)),
    ];
    fc.assert(
      fc.property(quads, fc.constantFrom(...wraps), (value, wrap) => {
        const quad = quadOf(value);
        const wrapped = wrap(quad, value);
        if (isSpecial4(value)) expect(classifyAddress(wrapped), wrapped).not.toBe('public');
        if (classifyAddress(quad) === 'metadata') expect(classifyAddress(wrapped), wrapped).toBe('metadata');
      }),
      { numRuns: 1_000 },
    );
  });

  const nearAddress = fc.oneof(
    fc.ipV4(),
    fc.ipV6(),
    sixes.map(hexOf),
    fc.tuple(fc.ipV6(), fc.nat(38)).map(([text, at]) => text.slice(0, at) + text.slice(at + 1)),
    fc
      .array(fc.constantFrom('0', '1', 'ffff', 'F', ':', '::', '.', '1.2.3.4', '01', '256'), { maxLength: 12 })
      .map((parts) => parts.join('')),
  );

  test('what is an address is what Node says, zone ids aside', () => {
    fc.assert(
      fc.property(nearAddress, (text) => {
        fc.pre(!text.includes('%'));
        expect(canonicalAddress(text) !== null, text).toBe(isIP(text) !== 0);
      }),
      { numRuns: 2_000 },
    );
  });

  test('the canonical text is a fixed point and the same address to Node', () => {
    fc.assert(
      fc.property(nearAddress, (text) => {
        const canonical = canonicalAddress(text);
        if (canonical === null) return;
        expect(canonicalAddress(canonical)).toBe(canonical);
        expect(canonicalAddress(canonical.toUpperCase())).toBe(canonical);
        if (isIPv4(text)) expect(canonical).toBe(text);
        // The WHATWG serialiser writes the same form, but for the mixed one.
        else if (!canonical.includes('.')) expect(`[${canonical}]`).toBe(new URL(`http://[${text}]/`).hostname);
      }),
      { numRuns: 1_000 },
    );
  });

  test('a range contains what a BlockList contains', () => {
    fc.assert(
      fc.property(sixes, fc.integer({ min: 0, max: 128 }), sixes, fc.boolean(), (base, length, other, near) => {
        const network = (base >> BigInt(128 - length)) << BigInt(128 - length);
        const probe = near ? network | (other & ((1n << BigInt(128 - length)) - 1n)) : other;
        // Mapped addresses are another family here, and BlockList has its own rules for them.
        fc.pre(network >> 32n !== 0xffffn && probe >> 32n !== 0xffffn);
        const list = new BlockList();
        list.addSubnet(hexOf(network), length, 'ipv6');
        expect(cidrContains(cidr(`${hexOf(network)}/${length}`), hexOf(probe))).toBe(list.check(hexOf(probe), 'ipv6'));
      }),
      { numRuns: 500 },
    );
    fc.assert(
      fc.property(quads, fc.integer({ min: 0, max: 32 }), quads, (base, length, probe) => {
        const network = (base >> BigInt(32 - length)) << BigInt(32 - length);
        const list = new BlockList();
        list.addSubnet(quadOf(network), length, 'ipv4');
        const expected = list.check(quadOf(probe), 'ipv4');
        expect(cidrContains(cidr(`${quadOf(network)}/${length}`), quadOf(probe))).toBe(expected);
        expect(cidrContains(cidr(`${quadOf(network)}/${length}`), `::ffff:${quadOf(probe)}`)).toBe(expected);
      }),
      { numRuns: 500 },
    );
  });
});

describe('canonical text', () => {
  test.each([
    ['2001:DB8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['1:0:0:0:0:0:0:0', '1::'],
    ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
    ['::FFFF:102:304', '::ffff:1.2.3.4'],
    ['::1.2.3.4', '::102:304'],
    ['64:ff9b::1.2.3.4', '64:ff9b::102:304'],
    ['192.0.2.1', '192.0.2.1'],
  ])('%s is written %s', (text, canonical) => {
    expect(canonicalAddress(text)).toBe(canonical);
  });

  test.each([
    ['a gap beside eight groups, at the end', '1:2:3:4:5:6:7:8::'],
    ['at the front', '::1:2:3:4:5:6:7:8'],
    ['inside', '1:2:3:4::5:6:7:8'],
    ['a quad that makes nine', '1:2:3:4:5:6:7:1.2.3.4'],
    ['a gap and a quad that make nine', '::1:2:3:4:5:6:7:1.2.3.4'],
  ])('`::` stands for one group at least: %s', (_why, text) => {
    expect(canonicalAddress(text)).toBeNull();
  });

  test('IPv6 stays IPv6', () => {
    expect(isIPv6(canonicalAddress('::ffff:1.2.3.4') ?? '')).toBe(true);
  });
});

describe('a range', () => {
  test.each([
    ['10.0.0.0/8', '10.0.0.0/8'],
    ['10.1.2.3', '10.1.2.3/32'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['FD00::/8', 'fd00::/8'],
    ['::/0', '::/0'],
    ['::1', '::1/128'],
    ['::ffff:10.0.0.0/104', '10.0.0.0/8'],
  ])('%s reads as %s', (text, canonical) => {
    expect(parseCidr(text)?.text).toBe(canonical);
  });

  test.each([
    ['host bits', '10.0.0.5/8'],
    ['host bits in IPv6', 'fd00::1/8'],
    ['a length above 32', '10.0.0.0/33'],
    ['a length above 128', '::/129'],
    ['a leading zero', '10.0.0.0/08'],
    ['a sign', '10.0.0.0/+8'],
    ['an empty length', '10.0.0.0/'],
    ['a netmask', '10.0.0.0/255.0.0.0'],
    ['two slashes', '10.0.0.0/8/8'],
    ['a short address', '10/8'],
    ['a name', 'api.test/8'],
    ['nothing', ''],
    ['brackets', '[::1]/128'],
  ])('%s is refused: %s', (_why, text) => {
    expect(parseCidr(text)).toBeNull();
  });

  test('the family counts: ::/0 holds no IPv4 address, in either spelling', () => {
    expect(cidrContains(cidr('::/0'), '10.0.0.1')).toBe(false);
    expect(cidrContains(cidr('::/0'), '::ffff:10.0.0.1')).toBe(false);
    expect(cidrContains(cidr('0.0.0.0/0'), '::1')).toBe(false);
    expect(cidrContains(cidr('10.0.0.0/8'), '64:ff9b::10.0.0.1')).toBe(false);
    expect(cidrContains(cidr('10.0.0.0/8'), 'garbage')).toBe(false);
  });
});

describe('hidden addresses', () => {
  test('a list that forbids sees through embeddings', () => {
    const list = [cidr('198.51.100.7')];
    for (const address of ['198.51.100.7', '::ffff:198.51.100.7', '64:ff9b::198.51.100.7', '2002:c633:6407::1']) {
      expect(touchesAny(list, address), address).toBe(true);
    }
    expect(touchesAny(list, '198.51.100.8')).toBe(false);
    expect(touchesAny([], '198.51.100.7')).toBe(false);
    expect(touchesAny(list, 'garbage')).toBe(false);
  });

  test('all ends of an address are named', () => {
    expect(reachableAddresses('::ffff:10.0.0.1')).toEqual(['10.0.0.1']);
    expect(reachableAddresses('64:ff9b::10.0.0.1')).toEqual(['64:ff9b::a00:1', '10.0.0.1']);
    expect(reachableAddresses('2001:0:102:304::f5ff:fffe')).toEqual([
      '2001:0:102:304::f5ff:fffe',
      '1.2.3.4',
      '10.0.0.1',
    ]);
    expect(reachableAddresses('garbage')).toEqual([]);
  });
});
