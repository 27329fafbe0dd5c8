// The ClientHello reader: hellos of real clients, and hellos built byte by byte, right and wrong.
import { Buffer } from 'node:buffer';
import { beforeAll, describe, expect, test } from 'vitest';
import { type Hello, parseClientHello } from '../../src/net/client-hello.ts';
import fc from '../support/property.ts';
import * as build from './hello-builder.ts';
import { type Attempt, capture, nodeClient, opensslClient } from './hello-capture.ts';

const { entry, extension, helloMessage, record, records, serverName, sni, u8, u16, vector16 } = build;

const ok = (name: string, ech = false): Hello => ({ state: 'ok', serverName: name, ech });

/** Feeds a reader as a patient caller does: it looks again only when `atLeast` bytes are there. */
function feed(bytes: Uint8Array): { hello: Hello; calls: number } {
  let length = Math.min(1, bytes.length);
  let calls = 0;
  for (;;) {
    const hello = parseClientHello(bytes.subarray(0, length));
    calls += 1;
    if (hello.state !== 'need-more' || length === bytes.length) return { hello, calls };
    expect(hello.atLeast).toBeGreaterThan(length);
    length = Math.min(hello.atLeast, bytes.length);
  }
}

describe('real clients', () => {
  const protocols = Array.from({ length: 800 }, (_, i) => `protocol-${i}/1.0`); // some 12 kB

  // Node 22 has an OpenSSL without it.
  const postQuantum =
    Number.parseFloat(process.versions.openssl) < 3.5
      ? null
      : nodeClient({ servername: 'example.test', ecdhCurve: 'X25519MLKEM768' });

  test.each<readonly [string, Attempt, Hello]>([
    ['Node, TLS 1.3', nodeClient({ servername: 'Example.Test' }), ok('example.test')],
    ['Node, TLS 1.2', nodeClient({ servername: 'example.test', maxVersion: 'TLSv1.2' }), ok('example.test')],
    ...(postQuantum === null ? [] : [['Node, post-quantum', postQuantum, ok('example.test')] as const]),
    ['Node, 12 kB of ALPN', nodeClient({ servername: 'example.test', ALPNProtocols: protocols }), ok('example.test')],
    ['openssl', opensslClient('-servername', 'example.test', '-alpn', 'h2,http/1.1'), ok('example.test')],
    ['openssl, TLS 1.2', opensslClient('-servername', 'example.test', '-tls1_2'), ok('example.test')],
    [
      'openssl without a name',
      opensslClient('-noservername'),
      { state: 'refused', reason: 'sni-missing', detail: 'the ClientHello has no server name' },
    ],
  ])('%s', async (_, attempt, expected) => {
    const hello = await capture(attempt);
    expect(parseClientHello(hello)).toEqual(expected);
    for (let length = 0; length < hello.length; length += 1) {
      expect(parseClientHello(hello.subarray(0, length)).state, `cut at ${length}`).toBe('need-more');
    }
    expect(feed(hello).calls).toBeLessThanOrEqual(4);
  });

  test('the sizes are those meant: a post-quantum hello above 1.2 kB, a large one above 12 kB', async () => {
    if (postQuantum !== null) expect((await capture(postQuantum)).length).toBeGreaterThan(1_200);
    const large = await capture(nodeClient({ servername: 'example.test', ALPNProtocols: protocols }));
    expect(large.length).toBeGreaterThan(12_000);
  });
});

describe('fragments', () => {
  let message: Buffer;

  beforeAll(async () => {
    message = (await capture(nodeClient({ servername: 'example.test' }))).subarray(5);
  });

  test('records of every size', () => {
    for (let size = 1; size <= message.length; size += 1) {
      expect(parseClientHello(records(message, size)), `records of ${size}`).toEqual(ok('example.test'));
    }
  });

  test('two records, split at every byte', () => {
    for (let at = 1; at < message.length; at += 1) {
      const bytes = Buffer.concat([record(message.subarray(0, at)), record(message.subarray(at))]);
      expect(parseClientHello(bytes), `split at ${at}`).toEqual(ok('example.test'));
    }
  });

  test('cut anywhere they are need-more, never ok', () => {
    for (const size of [1, 3, 7, 100]) {
      const bytes = records(message, size);
      for (let length = 0; length < bytes.length; length += 1) {
        const hello = parseClientHello(bytes.subarray(0, length));
        expect(hello.state, `records of ${size}, cut at ${length}`).toBe('need-more');
      }
    }
  });

  test('64 KiB in one-byte records is looked at a logarithmic number of times', () => {
    const padded = helloMessage({ extensions: [extension(21, Buffer.alloc(65_000)), sni('a.test')] });
    const { hello, calls } = feed(records(padded, 1));
    expect(hello).toEqual(ok('a.test'));
    expect(calls).toBeLessThan(80);
  });

  test('64 KiB in records of full size', () => {
    const padded = helloMessage({ extensions: [extension(21, Buffer.alloc(65_000)), sni('a.test')] });
    const { hello, calls } = feed(records(padded));
    expect(hello).toEqual(ok('a.test'));
    expect(calls).toBeLessThanOrEqual(4);
  });

  test('a hello that says it has 16 MiB says so early, so that the caller can give up', () => {
    const hello = parseClientHello(record(Buffer.from('01ffffff0303', 'hex'), { lie: 16_000 }));
    expect(hello).toMatchObject({ state: 'need-more' });
    expect(hello.state === 'need-more' && hello.atLeast).toBeGreaterThan(0xffffff);
  });

  test('what follows in other records is not looked at (early data)', () => {
    const bytes = Buffer.concat([records(message), record(Buffer.from('early'), { type: 23, version: 0x0303 })]);
    expect(parseClientHello(bytes)).toEqual(ok('example.test'));
  });

  test('what follows in its own record is refused, before it has come', () => {
    const bytes = record(Buffer.concat([message, u8(1)]));
    const refusal = {
      state: 'refused',
      reason: 'not-tls',
      detail: 'the ClientHello is followed by bytes in its own record',
    };
    expect(parseClientHello(bytes)).toEqual(refusal);
    expect(parseClientHello(bytes.subarray(0, 20))).toEqual(refusal);
    const split = Buffer.concat([
      record(message.subarray(0, 100)),
      record(Buffer.concat([message.subarray(100), u8(1)])),
    ]);
    expect(parseClientHello(split)).toEqual(refusal);
  });
});

describe('not TLS, told by the first bytes', () => {
  test.each<[string, Buffer]>([
    ['SSH', Buffer.from('S')],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n')],
    ['HTTP/2 preface', Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')],
    ['SSL 2 hello', Buffer.from('802e0103', 'hex')],
    ['alert', Buffer.from('15030100020100', 'hex')],
    ['application data', Buffer.from('1703', 'hex')],
    ['change cipher spec', Buffer.from('140303000101', 'hex')],
    ['record version 2', Buffer.from('1602', 'hex')],
    ['record version 4', Buffer.from('1604', 'hex')],
    ['SSL 3 record', Buffer.from('160300', 'hex')],
    ['record version 3.4', Buffer.from('160304', 'hex')],
    ['DTLS', Buffer.from('16fefd', 'hex')],
    ['empty record', Buffer.from('1603010000', 'hex')],
    ['record above 2^14', Buffer.from('1603014001', 'hex')],
    ['ServerHello', Buffer.from('160301004002', 'hex')],
    ['HelloRequest', Buffer.from('16030100040000', 'hex')],
  ])('%s', (_, bytes) => {
    expect(parseClientHello(bytes)).toMatchObject({ state: 'refused', reason: 'not-tls' });
  });

  test.each<[string, Buffer]>([
    ['another type', record(Buffer.from('x'), { type: 23 })],
    ['another version', record(Buffer.from('x'), { version: 0x0200 })],
    ['no bytes', record(Buffer.alloc(0))],
  ])('in a later record: %s', (_, second) => {
    const first = record(helloMessage().subarray(0, 50));
    expect(parseClientHello(Buffer.concat([first, second]))).toMatchObject({ state: 'refused', reason: 'not-tls' });
  });
});

const wrong = (parts: build.HelloParts): Hello => parseClientHello(records(helloMessage(parts)));

describe('a malformed ClientHello', () => {
  test.each<[string, build.HelloParts]>([
    ['version 2', { version: 0x0200 }],
    ['version 4', { version: 0x0400 }],
    ['a session id of 33 bytes', { session: Buffer.alloc(33) }],
    ['no cipher suite', { ciphers: Buffer.alloc(0) }],
    ['half a cipher suite', { ciphers: Buffer.alloc(3) }],
    ['no compression method', { compressions: Buffer.alloc(0) }],
    ['extensions longer than they are', { lie: 1 }],
    ['extensions shorter than they are', { lie: -1 }],
    ['bytes behind the extensions', { after: u8(0) }],
    ['one byte instead of extensions', { extensions: null, after: u8(0) }],
    ['half an extension header', { extensions: [sni('a.test'), Buffer.alloc(3)] }],
    ['an extension longer than what is left', { extensions: [sni('a.test'), extension(21, Buffer.alloc(4), 1)] }],
    ['server_name longer than what is left', { extensions: [extension(0, vector16(entry('a.test')), 1)] }],
    ['a list longer than its extension', { extensions: [extension(0, vector16(entry('a.test'), 1))] }],
    ['a list shorter than its extension', { extensions: [extension(0, vector16(entry('a.test'), -1))] }],
    ['bytes behind the list', { extensions: [extension(0, Buffer.concat([vector16(entry('a.test')), u8(0)]))] }],
    ['half a list length', { extensions: [extension(0, u8(0))] }],
    ['a name longer than its list', { extensions: [serverName(entry('a.test', 0, 1))] }],
    ['half an entry', { extensions: [serverName(u16(0))] }],
  ])('%s', (_, parts) => {
    expect(wrong(parts)).toMatchObject({ state: 'refused', reason: 'not-tls' });
  });

  test('cut inside, with a message length that fits the cut', () => {
    const body = helloMessage().subarray(4);
    for (let length = 0; length < body.length; length += 1) {
      const hello = parseClientHello(records(build.handshake(1, body.subarray(0, length))));
      expect(hello.state, `cut at ${length}`).toBe('refused');
    }
  });
});

describe('the server name', () => {
  test.each<[string, build.HelloParts]>([
    ['no extensions', { extensions: null }],
    ['an empty list of extensions', { extensions: [] }],
    ['other extensions only', { extensions: [extension(21, Buffer.alloc(10))] }],
    ['an empty extension', { extensions: [extension(0, Buffer.alloc(0))] }],
    ['an empty list', { extensions: [serverName()] }],
    ['an empty name', { extensions: [sni('')] }],
    ['an IPv4 address', { extensions: [sni('192.0.2.1')] }],
    ['an IPv6 address', { extensions: [sni('2001:db8::1')] }],
    ['an IPv6 address in brackets', { extensions: [sni('[2001:db8::1]')] }],
  ])('missing: %s', (_, parts) => {
    expect(wrong(parts)).toMatchObject({ state: 'refused', reason: 'sni-missing' });
  });

  test.each<[string, build.HelloParts]>([
    ['two names', { extensions: [serverName(entry('a.test'), entry('b.test'))] }],
    ['the same name twice', { extensions: [serverName(entry('a.test'), entry('a.test'))] }],
    ['an empty name behind it', { extensions: [serverName(entry('a.test'), entry(''))] }],
    ['a byte behind it in the list', { extensions: [serverName(entry('a.test'), u8(0))] }],
    ['two extensions', { extensions: [sni('a.test'), extension(21, Buffer.alloc(1)), sni('a.test')] }],
    ['a second extension that is empty', { extensions: [sni('a.test'), extension(0, Buffer.alloc(0))] }],
    ['another type of name', { extensions: [serverName(entry('a.test', 1))] }],
    ['another type before it', { extensions: [serverName(entry('x', 1), entry('a.test'))] }],
    ['another type behind it', { extensions: [serverName(entry('a.test'), entry('x', 1))] }],
  ])('ambiguous: %s', (_, parts) => {
    expect(wrong(parts)).toMatchObject({ state: 'refused', reason: 'sni-mismatch' });
  });

  test.each([
    'a.test\0.evil.test',
    'a.test\0',
    '\0',
    'a..test',
    '.a.test',
    'a.test..',
    '.',
    'a test',
    'a.test:443',
    'user@a.test',
    '*.test',
    'a/b',
    'b\xfccher.test',
    '127.1',
    '0x7f000001',
    `${'a'.repeat(64)}.test`,
    `${'a.'.repeat(130)}test`,
    'a'.repeat(60_000),
  ])('malformed: %j', (name) => {
    expect(wrong({ extensions: [sni(name)] })).toMatchObject({ state: 'refused', reason: 'sni-mismatch' });
  });

  test('the detail of a malformed name has no control byte, and is short', () => {
    for (const name of ['a\r\nb: c', `${'a'.repeat(60_000)}`]) {
      const hello = wrong({ extensions: [sni(name)] });
      expect(hello.state === 'refused' && hello.detail).toMatch(/^[\x20-\x7e]{10,200}$/);
    }
  });

  test.each([
    ['A.Test', 'a.test'],
    ['a.test.', 'a.test'],
    ['xn--bcher-kva.test', 'xn--bcher-kva.test'],
    ['under_score.test', 'under_score.test'],
    [`${'a.'.repeat(124)}test`, `${'a.'.repeat(124)}test`],
  ])('%s is canonical as %s', (name, host) => {
    expect(wrong({ extensions: [sni(name)] })).toEqual(ok(host));
  });

  test.each([
    ['before', [extension(0xfe0d, Buffer.alloc(200)), sni('outer.test')]],
    ['behind', [sni('outer.test'), extension(0xfe0d, Buffer.alloc(200))]],
  ])('of an encrypted hello is the outer one: extension %s', (_, extensions) => {
    expect(wrong({ extensions })).toEqual(ok('outer.test', true));
  });

  test('an old hello: version 3.1, no session', () => {
    const message = helloMessage({ version: 0x0301, session: Buffer.alloc(0), ciphers: Buffer.alloc(2) });
    for (const version of [0x0301, 0x0302, 0x0303])
      expect(parseClientHello(record(message, { version }))).toEqual(ok('a.test'));
  });
});

describe('properties', () => {
  const label = fc.stringMatching(/^[a-z][a-z0-9-]{0,14}[a-z]$/);
  const name = fc.array(label, { minLength: 1, maxLength: 6 }).map((labels) => labels.join('.'));
  const others = fc.array(
    fc
      .tuple(fc.integer({ min: 1, max: 0xfe0c }), fc.uint8Array({ maxLength: 80 }))
      .map(([type, data]) => extension(type, Buffer.from(data))),
    { maxLength: 12 },
  );
  const well = fc.record({
    name,
    before: others,
    behind: others,
    size: fc.integer({ min: 1, max: 600 }),
    ech: fc.boolean(),
  });

  test('a name goes round through any hello, any extensions, any records', () => {
    fc.assert(
      fc.property(well, ({ name, before, behind, size, ech }) => {
        const extensions = [...before, sni(name), ...(ech ? [extension(0xfe0d, u8(0))] : []), ...behind];
        const bytes = records(helloMessage({ extensions }), size);
        expect(parseClientHello(bytes)).toEqual(ok(name, ech));
        expect(feed(bytes).hello).toEqual(ok(name, ech));
      }),
      { numRuns: 300 },
    );
  });

  test('cut anywhere it is need-more, and atLeast never asks for more than there is', () => {
    fc.assert(
      fc.property(
        well,
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        ({ name, before, size }, share) => {
          const bytes = records(helloMessage({ extensions: [...before, sni(name)] }), size);
          const length = Math.floor(bytes.length * share);
          const hello = parseClientHello(bytes.subarray(0, length));
          expect(hello.state).toBe('need-more');
          const atLeast = hello.state === 'need-more' ? hello.atLeast : 0;
          expect(atLeast).toBeGreaterThan(length);
          expect(atLeast).toBeLessThanOrEqual(bytes.length);
        },
      ),
      { numRuns: 500 },
    );
  });

  test('one changed byte never gives another name than the bytes at its place say', () => {
    const message = helloMessage({
      extensions: [extension(21, Buffer.alloc(5)), sni('good.test'), extension(16, Buffer.alloc(3))],
    });
    const bytes = records(message);
    const at = bytes.indexOf('good.test');
    const says = (text: string): string => text.toLowerCase().replace(/\.$/, '');
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.nat(255), (place, value) => {
        const changed = Buffer.from(bytes);
        changed[place] = value;
        const hello = parseClientHello(changed);
        if (hello.state === 'ok') expect(hello.serverName).toBe(says(changed.toString('latin1', at, at + 9)));
      }),
      { numRuns: 1_000 },
    );
  });

  test('random bytes, with and without a right beginning, never throw and are never ok', () => {
    const starts = ['', '16', '160301', '1603010040', '160301004001', '16030100400100003c0303'].map((hex) =>
      Buffer.from(hex, 'hex'),
    );
    fc.assert(
      fc.property(fc.constantFrom(...starts), fc.uint8Array({ maxLength: 200 }), (start, rest) => {
        expect(parseClientHello(Buffer.concat([start, rest])).state).not.toBe('ok');
      }),
      { numRuns: 1_000 },
    );
  });
});
