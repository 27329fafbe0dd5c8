import { describe, expect, it } from 'vitest';
import { type Client, ClientBook, identify } from '../../src/identity/identify.ts';
import { type Cidr, parseCidr } from '../../src/policy/address.ts';
import { ANONYMOUS } from '../../src/policy/record.ts';

const cidr = (text: string): Cidr => {
  const parsed = parseCidr(text);
  if (parsed === null) throw new Error(text);
  return parsed;
};
const basic = (text: string): string => `Basic ${Buffer.from(text).toString('base64')}`;

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

describe('identify', () => {
  const stranger: Client = { address: '127.0.0.1', allowed: true, conveys: false, identity: ANONYMOUS };
  const known: Client = {
    address: '10.0.0.1',
    allowed: true,
    conveys: false,
    identity: { kind: 'address', attributes: { queue: 'q' }, claimed: {} },
  };

  it('is the address without credentials', () => {
    expect(identify(stranger, undefined)).toEqual({ ok: true, identity: ANONYMOUS });
    expect(identify(known, undefined)).toEqual({ ok: true, identity: known.identity });
  });

  it.each([
    ['pipeline', { pipeline: 'pipeline' }],
    ['pipeline/job', { pipeline: 'pipeline', job: 'job' }],
    ['pipeline%2Fjob', { pipeline: 'pipeline', job: 'job' }],
    ['pipeline/job/with/slashes', { pipeline: 'pipeline', job: 'job/with/slashes' }],
    ['a%20b/c%C3%BC', { pipeline: 'a b', job: 'cü' }],
    ['x'.repeat(256), { pipeline: 'x'.repeat(256) }],
  ])('takes %s without a password for a claim, which proves nothing', (username, claimed) => {
    const found = identify(stranger, basic(`${username}:`));
    expect(found).toEqual({ ok: true, identity: { kind: 'claimed', attributes: {}, claimed } });
  });

  it('keeps what the address proves beside what is claimed', () => {
    const found = identify(known, basic('p/j:'));
    expect(found).toEqual({
      ok: true,
      identity: { kind: 'address', attributes: { queue: 'q' }, claimed: { pipeline: 'p', job: 'j' } },
    });
    // The same header from elsewhere proves nothing, though it was seen before.
    expect(identify(stranger, basic('p/j:'))).toMatchObject({ identity: { kind: 'claimed', attributes: {} } });
    expect(identify(known, basic('p/j:'))).toMatchObject({ identity: { kind: 'address' } });
  });

  it.each([
    ['an empty name', ':'],
    ['an empty pipeline', '/job:'],
    ['an empty job', 'pipeline/:'],
    ['a broken escape', 'a%zz:'],
    ['half an escape', 'a%2:'],
    ['an escape that is no UTF-8', 'a%ff:'],
    ['an escaped line end', 'p%0d%0aSet-Cookie%3a x/j:'],
    ['an escaped NUL', 'p%00/j:'],
    ['an escaped terminal sequence', 'p%1b[31m:'],
    ['a name that is too long', `${'x'.repeat(257)}:`],
  ])('refuses %s', (_, text) => {
    expect(identify(stranger, basic(text))).toEqual({ ok: false, code: 'credentials-malformed' });
  });

  it('refuses what cannot be read, and any password, since none can be verified', () => {
    expect(identify(stranger, 'Bearer x')).toEqual({ ok: false, code: 'credentials-malformed' });
    expect(identify(stranger, basic('pipeline/job:secret'))).toEqual({ ok: false, code: 'credentials-invalid' });
    expect(identify(known, basic('pipeline/job:secret'))).toEqual({ ok: false, code: 'credentials-invalid' });
  });
});
