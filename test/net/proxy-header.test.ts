// The PROXY header by table and by property: the encoder of the tests shares nothing with the reader.

import { describe, expect, it } from 'vitest';
import { type ProxyHeader, parseProxyHeader } from '../../src/net/proxy-header.ts';
import fc from '../support/property.ts';
import { type HeaderParts, localHeader, proxyHeader, SIGNATURE, tlv, u16 } from './proxy-builder.ts';

const MAX = 512;
const parse = (bytes: Buffer, max = MAX): ProxyHeader => parseProxyHeader(bytes, max);

describe('a PROXY header of version 2', () => {
  it.each<[string, HeaderParts, string]>([
    ['IPv4', { from: '203.0.113.9' }, '203.0.113.9'],
    ['IPv4 of a private network', { from: '10.255.0.1' }, '10.255.0.1'],
    ['IPv4 of loopback', { from: '127.0.0.9' }, '127.0.0.9'],
    ['IPv6', { from: '2001:db8:0:0:1:0:0:1' }, '2001:db8::1:0:0:1'],
    ['IPv6 of a link', { from: 'fe80::1' }, 'fe80::1'],
    ['IPv4 mapped into IPv6', { from: '::ffff:a00:1' }, '10.0.0.1'],
    ['TLVs behind the addresses', { tlvs: [tlv(0x20, Buffer.alloc(99, 1)), tlv(0xe0, Buffer.alloc(0))] }, '192.0.2.7'],
    ['bytes behind the addresses that are no TLV', { tlvs: [Buffer.from([1])] }, '192.0.2.7'],
  ])('gives the client: %s', (_, parts, address) => {
    const header = proxyHeader({ fromPort: 65_535, ...parts });
    const expected = { state: 'ok', client: { address, port: 65_535 }, bytes: header.length };
    expect(parse(header)).toMatchObject(expected);
    expect(parse(Buffer.concat([header, Buffer.from('CONNECT')]))).toMatchObject(expected);
  });

  it.each<[string, Buffer]>([
    ['alone', localHeader()],
    ['with a body of any kind', localHeader(Buffer.alloc(7, 255))],
    ['with addresses, which do not count', proxyHeader({ command: 0x20, from: '0.0.0.0' })],
  ])('of command LOCAL conveys nobody: %s', (_, header) => {
    expect(parse(header)).toEqual({ state: 'ok', client: null, bytes: header.length });
  });

  it.each<[string, Buffer, RegExp]>([
    ['version 1', Buffer.from('PROXY TCP4 192.0.2.7 192.0.2.1 40000 3128\r\n'), /version 1.*send-proxy-v2/],
    ['version 1 of an unknown client', Buffer.from('PROXY UNKNOWN\r\n'), /version 1/],
    ['version 3', proxyHeader({ command: 0x31 }), /0x31/],
    ['version 1 in binary', proxyHeader({ command: 0x11 }), /0x11/],
    ['another command', proxyHeader({ command: 0x22 }), /0x22/],
    ['no family', proxyHeader({ family: 0x00, body: Buffer.alloc(0) }), /0x00/],
    ['UDP over IPv4', proxyHeader({ family: 0x12 }), /0x12/],
    ['a datagram over IPv6', proxyHeader({ from: '2001:db8::7', family: 0x22 }), /0x22/],
    ['a UNIX socket', proxyHeader({ family: 0x31, body: Buffer.alloc(216) }), /0x31/],
    ['IPv4 in too few bytes', proxyHeader({ body: Buffer.alloc(11, 1) }), /11 bytes.*12/],
    ['IPv6 in the bytes of IPv4', proxyHeader({ family: 0x21 }), /12 bytes.*36/],
    ['no bytes of addresses', proxyHeader({ body: Buffer.alloc(0) }), /0 bytes/],
    ['the unspecified address', proxyHeader({ from: '0.0.0.0' }), /0\.0\.0\.0 is not one of a host/],
    ['the unspecified address of IPv6', proxyHeader({ from: '::' }), /:: is not/],
    ['a network without hosts', proxyHeader({ from: '0.1.2.3' }), /0\.1\.2\.3/],
    ['multicast', proxyHeader({ from: '224.0.0.1' }), /224/],
    ['multicast of IPv6', proxyHeader({ from: 'ff02::1' }), /ff02/],
    ['multicast mapped into IPv6', proxyHeader({ from: '::ffff:e000:1' }), /224/],
    ['broadcast', proxyHeader({ from: '255.255.255.255' }), /255/],
    ['port 0', proxyHeader({ fromPort: 0 }), /port is 0/],
    ['HTTP', Buffer.from('CONNECT a.test:443 HTTP/1.1\r\n\r\n'), /does not begin/],
    ['TLS', Buffer.from('160301020001', 'hex'), /does not begin/],
    [
      'a signature with one wrong byte',
      Buffer.concat([SIGNATURE.subarray(0, 11), Buffer.from([0x0d])]),
      /does not begin/,
    ],
  ])('is refused: %s', (_, bytes, detail) => {
    const header = parse(bytes);
    expect(header).toMatchObject({ state: 'refused', tooLong: false });
    expect(header.state === 'refused' && header.detail).toMatch(detail);
  });

  it('of as many bytes as the limit passes, one more is too long and known from its length alone', () => {
    const body = (bytes: number): Buffer => Buffer.concat([proxyHeader().subarray(16), Buffer.alloc(bytes - 28)]);
    expect(parse(proxyHeader({ body: body(MAX) }))).toMatchObject({ state: 'ok', bytes: MAX });
    expect(parse(proxyHeader({ body: body(MAX + 1) }).subarray(0, 16))).toMatchObject({
      state: 'refused',
      tooLong: true,
    });
    expect(parse(localHeader(Buffer.alloc(MAX)).subarray(0, 16))).toMatchObject({ state: 'refused', tooLong: true });
    expect(parse(localHeader(Buffer.alloc(65_535)), 65_551)).toMatchObject({ state: 'ok', bytes: 65_551 });
  });

  it('waits for what its length says and takes nothing behind it', () => {
    expect(parse(proxyHeader({ lie: 1 }))).toEqual({ state: 'need-more', atLeast: 29 });
    expect(parse(proxyHeader({ tlvs: [tlv(4, Buffer.alloc(5))], lie: -8 }))).toMatchObject({ state: 'ok', bytes: 28 });
  });
});

const octet = fc.integer({ min: 0, max: 255 });
const host4 = fc
  .tuple(fc.integer({ min: 1, max: 223 }), octet, octet, octet)
  .map((bytes) => ({ text: bytes.join('.'), canonical: bytes.join('.') }));
// Groups without zeros have one spelling, which is the canonical one.
const host6 = fc
  .tuple(
    // Above 2002::/16 (6to4), which holds an IPv4 address, perhaps one that no host has; below what is no host's either.
    fc.integer({ min: 0x2003, max: 0xfbff }),
    ...Array.from({ length: 7 }, () => fc.integer({ min: 1, max: 0xffff })),
  )
  .map((groups) => groups.map((group) => group.toString(16)).join(':'))
  .map((text) => ({ text, canonical: text }));
const mapped = host4.map(({ canonical }) => {
  const [a = 0, b = 0, c = 0, d = 0] = canonical.split('.').map(Number);
  return { text: `::ffff:${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`, canonical };
});
const port = fc.integer({ min: 1, max: 65_535 });
const tlvs = fc.array(
  fc.tuple(octet, fc.uint8Array({ maxLength: 40 })).map(([type, value]) => tlv(type, Buffer.from(value))),
  { maxLength: 5 },
);

describe('whatever is encoded', () => {
  it('is read back, and every beginning of it only asks for more, never for more than there is', () => {
    fc.assert(
      fc.property(
        fc.oneof(host4, host6, mapped),
        port,
        tlvs,
        fc.uint8Array({ maxLength: 30 }),
        (host, fromPort, more, rest) => {
          const header = proxyHeader({ from: host.text, fromPort, tlvs: more });
          const expected = { state: 'ok', client: { address: host.canonical, port: fromPort }, bytes: header.length };
          expect(parse(Buffer.concat([header, rest]))).toEqual(expected);
          for (let length = 0; length < header.length; length++) {
            const part = parse(header.subarray(0, length));
            expect(part.state).toBe('need-more');
            if (part.state !== 'need-more') return;
            expect(part.atLeast).toBeGreaterThan(length);
            expect(part.atLeast).toBeLessThanOrEqual(header.length);
          }
        },
      ),
    );
  });

  it('with one byte changed is never another client without being well-formed', () => {
    fc.assert(
      fc.property(host4, fc.integer({ min: 0, max: 15 }), octet, (host, at, byte) => {
        const header = proxyHeader({ from: host.text });
        fc.pre(header[at] !== byte);
        header[at] = byte;
        const read = parse(header);
        // The fixed part has one right spelling; a shorter or longer length is the only other one, and LOCAL.
        if (read.state === 'ok') expect(read.client).toBe(at === 12 ? null : undefined);
        else expect(['refused', 'need-more']).toContain(read.state);
      }),
    );
  });

  it('or not is answered without a throw, and an answer does not depend on what comes later', () => {
    const start = fc.oneof(fc.constant(Buffer.alloc(0)), fc.constant(SIGNATURE), fc.constant(Buffer.from('PROXY')));
    fc.assert(
      fc.property(start, fc.uint8Array({ maxLength: 80 }), fc.uint8Array({ maxLength: 20 }), (before, bytes, later) => {
        const first = Buffer.concat([before, bytes]);
        const read = parse(first);
        if (read.state !== 'need-more') expect(parse(Buffer.concat([first, later]))).toEqual(read);
      }),
      { numRuns: 2_000 },
    );
  });

  it('is bounded by two bytes of length', () => {
    expect(parse(Buffer.concat([SIGNATURE, Buffer.from([0x21, 0x11]), u16(65_535)]), 70_000)).toEqual({
      state: 'need-more',
      atLeast: 65_551,
    });
  });
});
