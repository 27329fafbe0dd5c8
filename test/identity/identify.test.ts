import { describe, expect, it } from 'vitest';
import { ClientBook, identifyClaim, knownClaim } from '../../src/identity/identify.ts';
import { type Cidr, parseCidr } from '../../src/policy/address.ts';
import { ANONYMOUS } from '../../src/policy/record.ts';

const cidr = (text: string): Cidr => {
  const parsed = parseCidr(text);
  if (parsed === null) throw new Error(text);
  return parsed;
};

describe('ClientBook', () => {
  const book = new ClientBook(
    {
      clients: ['127.0.0.0/8', '10.0.0.0/8', 'fd00::/8', 'fe80::/10'].map(cidr),
      proxyProtocol: ['10.9.0.0/16', '::1/128'].map(cidr),
      clientGroups: [
        { from: [cidr('10.1.0.0/16')], attributes: { queue: 'first' } },
        { from: [cidr('10.0.0.0/8'), cidr('fd00::/8')], attributes: { queue: 'second', cluster: 'c' } },
        { from: [cidr('192.0.2.0/24')], attributes: { queue: 'outside' } },
      ],
    },
    4,
  );

  it.each<[string | undefined, string, boolean]>([
    ['127.0.0.1', '127.0.0.1', true],
    ['::ffff:127.0.0.1', '127.0.0.1', true],
    ['::ffff:192.0.2.1', '192.0.2.1', false],
    ['::ffff:a00:1', '10.0.0.1', true],
    ['10.255.255.255', '10.255.255.255', true],
    ['11.0.0.0', '11.0.0.0', false],
    ['::FFFF:10.0.0.1', '10.0.0.1', true],
    ['::ffff:0:a00:1', '::ffff:0:a00:1', false],
    ['fe80::1%eth0', 'fe80::1', true],
    ['FD00:0:0::1', 'fd00::1', true],
    ['::1', '::1', false],
    ['fc00::1', 'fc00::1', false],
    ['', 'unknown', false],
    [undefined, 'unknown', false],
    ['not an address', 'unknown', false],
    ['127.1', 'unknown', false],
    ['::ffff:127.1', 'unknown', false],
  ])('knows %s as %s, allowed: %s', (remote, address, allowed) => {
    expect(book.client(remote)).toMatchObject({ address, allowed });
  });

  it.each<[string | undefined, boolean]>([
    ['10.9.0.1', true],
    ['::ffff:10.9.255.255', true],
    ['::1', true],
    ['10.8.255.255', false],
    ['127.0.0.1', false],
    [undefined, false],
  ])('knows of %s whether it conveys its clients: %s', (remote, conveys) => {
    expect(book.client(remote).conveys).toBe(conveys);
  });

  it.each<[string, string | null]>([
    ['10.1.2.3', 'first'],
    ['::ffff:10.1.2.3', 'first'],
    ['10.2.0.1', 'second'],
    ['fd12::1', 'second'],
    ['192.0.2.7', 'outside'],
    ['127.0.0.1', null],
  ])('puts %s into the first group that has it: %s', (remote, queue) => {
    const { identity } = book.client(remote);
    if (queue === null) expect(identity).toEqual(ANONYMOUS);
    else expect(identity).toMatchObject({ kind: 'address', attributes: { queue }, claimed: {} });
  });

  it('gives the same answer once it is cached, and after it was pushed out', () => {
    const before = book.client('10.1.0.1');
    expect(book.client('10.1.0.1')).toBe(before);
    for (let i = 0; i < 10; i++) book.client(`10.9.0.${i}`);
    expect(book.client('10.1.0.1')).toEqual(before);
  });
});

describe('a claim', () => {
  const client = { address: '127.0.0.1', allowed: true, conveys: false, identity: ANONYMOUS };
  const header = (length: number) => 'Basic '.padEnd(length, 'Y');

  it.each([
    [384, true],
    [385, false],
  ])('is taken from a header of %i characters, which is remembered: %s', (length, remembered) => {
    const identified = identifyClaim(client, header(length), 'web/build');
    expect(identified).toMatchObject({ ok: true, identity: { claimed: { pipeline: 'web', job: 'build' } } });
    const known = knownClaim(client, header(length));
    expect(known).toBe(remembered && identified.ok ? identified.identity : null);
    expect(knownClaim({ ...client, identity: { ...ANONYMOUS } }, header(length))).toBeNull();
  });
});
