// Section "TLS inside the tunnel" of docs/threat-model.md: the server name is the host that was asked for, or not one byte
// reaches the origin and not one byte of the proxy's own reaches the client.
import { describe, expect, it } from 'vitest';
import {
  entry,
  extension,
  handshake,
  helloMessage,
  record,
  records,
  serverName,
  sni,
  u8,
  u16,
} from '../net/hello-builder.ts';
import { ALLOWED, connect, flushed, isEnded, useStage } from './stage.ts';

const CASE_MS = 10_000;
const received: Buffer[] = [];
const stage = useStage({
  policy: (one) => ({
    allow: [
      one.rule(ALLOWED),
      one.rule('tls.allowed.test', { protocol: 'tls' }),
      one.rule('ssh.allowed.test', { protocol: 'ssh' }),
      one.rule('127.0.0.1', { protocol: 'tls' }),
    ],
    limits: { hello_timeout_ms: 1_000 },
  }),
  names: { 'tls.allowed.test': ['127.0.0.1'], 'ssh.allowed.test': ['127.0.0.1'] },
  origin: (socket) => {
    socket.on('data', (chunk: Buffer) => void received.push(chunk));
    socket.pipe(socket);
  },
});

const HOST = 'tls.allowed.test';
const ECH = 0xfe0d;
const padding = (bytes: number): Buffer => extension(21, Buffer.alloc(bytes));
const hello = (...extensions: Buffer[]): Buffer => helloMessage({ extensions });
const named = (name: string): Buffer => records(hello(sni(name)));

type Way = (bytes: Buffer) => readonly Buffer[];
const WAYS: readonly (readonly [string, Way])[] = [
  ['whole', (bytes) => [bytes]],
  ['byte by byte', (bytes) => Array.from(bytes, (byte) => Buffer.from([byte]))],
  ['cut in the middle', (bytes) => [bytes.subarray(0, bytes.length >> 1), bytes.subarray(bytes.length >> 1)]],
];

/** Sends the pieces behind the 200 (or, with `early`, the first with the head) and expects all of them back. */
async function passes(bytes: Buffer, pieces: readonly Buffer[], host = HOST): Promise<void> {
  const mark = stage.mark();
  const client = await stage.tunnel(host);
  for (const piece of pieces) await flushed(client, piece);
  expect((await client.read(bytes.length)).equals(bytes)).toBe(true);
  client.send('rest');
  expect((await client.read(4)).toString()).toBe('rest');
  client.end();
  await client.readAll();
  const lines = await stage.lines(mark, 2);
  expect(lines.filter(isEnded)).toMatchObject([{ verdict: 'allow', outcome: 'closed', bytes_up: bytes.length + 4 }]);
  await stage.good(mark, 2);
}

interface Cut {
  readonly reason: string;
  readonly host?: string;
  readonly early?: boolean;
  /** Whether the client ends its side behind the bytes. */
  readonly end?: boolean;
}

/** Expects a tunnel that is cut without a byte in either direction, recorded as denied with this reason. */
async function cut(pieces: readonly Buffer[], { reason, host = HOST, early = false, end = false }: Cut): Promise<void> {
  const mark = stage.mark();
  const seen = received.length;
  const client = await stage.tunnel(host, early ? Buffer.concat(pieces) : '');
  if (!early) for (const piece of pieces) client.send(piece);
  if (end) client.end();
  expect((await client.readAll()).length).toBe(0);
  const lines = await stage.lines(mark, 2);
  expect(lines.filter(isEnded)).toMatchObject([
    { verdict: 'deny', reason, outcome: reason, bytes_up: 0, bytes_down: 0 },
  ]);
  expect(received.slice(seen)).toEqual([]);
  expect(stage.dialled(mark)).toEqual([1, 0, 0, 0]);
  client.close();
  await stage.good(mark, 2);
}

describe('S1 the right server name passes byte-exact, however it is cut', () => {
  const right: readonly (readonly [string, Buffer])[] = [
    ['a plain hello', named(HOST)],
    ['in capitals', named(HOST.toUpperCase())],
    ['with a trailing dot, the same name', named(`${HOST}.`)],
    ['over records of 40 bytes', records(hello(sni(HOST)), 40)],
    ['of post-quantum size', records(hello(padding(1_600), sni(HOST)))],
    ['of 12 KiB', records(hello(padding(12_000), sni(HOST)))],
    [
      'with the name as the last extension of many',
      records(hello(...Array(50).fill(extension(0x3a3a, u8(1))), sni(HOST))),
    ],
    ['with early application data behind it', Buffer.concat([named(HOST), record(Buffer.alloc(500, 3), { type: 23 })])],
    ['with a change of cipher behind it', Buffer.concat([named(HOST), record(u8(1), { type: 20 })])],
  ];
  const cases = right.flatMap(([name, bytes]) => WAYS.map(([how, way]) => [`${name}, ${how}`, bytes, way] as const));
  it.each(cases)('%s', { timeout: CASE_MS }, (_, bytes, way) => passes(bytes, way(bytes)));

  it('over records of one byte each', { timeout: CASE_MS }, async () => {
    const bytes = records(hello(sni(HOST)), 1);
    await passes(bytes, [bytes]);
  });

  it('of 60 KiB, just below hello_bytes', { timeout: CASE_MS }, async () => {
    const bytes = records(hello(padding(60_000), sni(HOST)));
    await passes(bytes, [bytes]);
  });
});

describe('S2 another server name is cut before a byte reaches the origin', () => {
  const wrong: readonly (readonly [string, Buffer])[] = [
    ['a denied name', named('denied.test')],
    ['another allowed name', named(ALLOWED)],
    ['a name below', named(`a.${HOST}`)],
    ['the parent', named('allowed.test')],
    ['the name as a prefix', named(`${HOST}.evil.test`)],
    ['the name as a suffix', named(`evil${HOST}`)],
    ['the name and a NUL', named(`${HOST}\0`)],
    ['the name, a NUL and another', named(`${HOST}\0.denied.test`)],
    ['the name and a space', named(`${HOST} `)],
    ['the name and a port', named(`${HOST}:443`)],
    ['two trailing dots', named(`${HOST}..`)],
    ['a star', named('*.allowed.test')],
    ['Latin-1 in the name', named('tls.\xe9llowed.test')],
    ['UTF-8 in the name', records(hello(sni(Buffer.from('tls.аllowed.test'))))],
    ['a name of 300 bytes', named(`${'a'.repeat(50)}.`.repeat(6) + HOST)],
    ['over many records', records(hello(sni('denied.test')), 30)],
    ['of 12 KiB', records(hello(padding(12_000), sni('denied.test')))],
  ];
  const cases = wrong.flatMap(([name, bytes]) => WAYS.map(([how, way]) => [`${name}, ${how}`, way(bytes)] as const));
  it.each(cases)('%s', { timeout: CASE_MS }, (_, pieces) => cut(pieces, { reason: 'sni-mismatch' }));
  it.each(wrong)('%s, as early data', { timeout: CASE_MS }, (_, bytes) =>
    cut([bytes], { reason: 'sni-mismatch', early: true }),
  );
});

describe('S3 no server name is cut, where a name was asked for', () => {
  it.each([
    ['no such extension', records(hello(padding(10)))],
    ['no extensions at all', records(helloMessage({ extensions: null }))],
    ['an empty list', records(hello(serverName()))],
    ['an empty extension', records(hello(extension(0, Buffer.alloc(0))))],
    ['an empty name', named('')],
    ['an IPv4 literal', named('127.0.0.1')],
    ['an IPv6 literal', named('::1')],
    ['an IPv6 literal in brackets', named('[::1]')],
  ])('%s', { timeout: CASE_MS }, (_, bytes) => cut([bytes], { reason: 'sni-missing' }));

  it('but a listed address, for which RFC 6066 knows no name, passes without one', { timeout: CASE_MS }, async () => {
    const bytes = records(hello(padding(10)));
    await passes(bytes, [bytes], '127.0.0.1');
  });

  it('and with a name instead it is cut', { timeout: CASE_MS }, () =>
    cut([named(HOST)], { reason: 'sni-mismatch', host: '127.0.0.1' }),
  );
});

describe('S4 two names are cut, whichever stands first', () => {
  it.each([
    ['in one list, allowed first', hello(serverName(entry(HOST), entry('denied.test')))],
    ['in one list, denied first', hello(serverName(entry('denied.test'), entry(HOST)))],
    ['the same twice', hello(serverName(entry(HOST), entry(HOST)))],
    ['in two extensions, allowed first', hello(sni(HOST), sni('denied.test'))],
    ['in two extensions, denied first', hello(sni('denied.test'), sni(HOST))],
    ['a second one of another type', hello(serverName(entry(HOST), entry('denied.test', 1)))],
    ['a first one of another type', hello(serverName(entry('denied.test', 1), entry(HOST)))],
  ])('%s', { timeout: CASE_MS }, (_, message) => cut([records(message)], { reason: 'sni-mismatch' }));
});

describe('S5 an encrypted hello counts by its outer name', () => {
  it('a public outer name is cut', { timeout: CASE_MS }, () =>
    cut([records(hello(extension(ECH, Buffer.alloc(300, 1)), sni('public.test')))], { reason: 'sni-mismatch' }),
  );

  it('an outer name equal to the host passes, as documented', { timeout: CASE_MS }, async () => {
    const bytes = records(hello(extension(ECH, Buffer.alloc(300, 1)), sni(HOST)));
    await passes(bytes, [bytes]);
  });
});

describe('S6 a hello that never ends is cut in bounded time and size', () => {
  const whole = named(HOST);
  it.each([
    ['nothing at all', Buffer.alloc(0), 'hello-timeout', false],
    ['one byte', whole.subarray(0, 1), 'hello-timeout', false],
    ['all but the last byte', whole.subarray(0, -1), 'hello-timeout', false],
    ['nothing, then the end', Buffer.alloc(0), 'hello-incomplete', true],
    ['half of it, then the end', whole.subarray(0, 50), 'hello-incomplete', true],
    ['a length of 16 MiB', record(handshake(1, Buffer.alloc(100), 0xffff00)), 'hello-too-large', false],
    ['more than hello_bytes', Buffer.concat(Array(5).fill(record(Buffer.alloc(16_384, 1)))), 'hello-too-large', false],
  ] as const)('%s', { timeout: CASE_MS }, (_, bytes, reason, end) => cut([bytes], { reason, end }));
});

describe('S7 lengths that lie are cut', () => {
  it.each([
    ['a record that is longer than its hello', record(hello(sni(HOST)), { lie: 5 }), 'not-tls'],
    ['a record of no bytes', Buffer.concat([record(Buffer.alloc(0)), named(HOST)]), 'not-tls'],
    ['a record of 64 KiB', record(Buffer.alloc(0), { lie: 65_535 }), 'not-tls'],
    ['a handshake that is shorter than its body', record(handshake(1, hello(sni(HOST)).subarray(4), -3)), 'not-tls'],
    ['extensions that say more', records(helloMessage({ extensions: [sni(HOST)], lie: 1 })), 'not-tls'],
    ['extensions that say less', records(helloMessage({ extensions: [sni(HOST)], lie: -1 })), 'not-tls'],
    ['bytes behind the extensions', records(helloMessage({ extensions: [sni(HOST)], after: u16(7) })), 'not-tls'],
    ['a name that says more', records(hello(serverName(entry(HOST, 0, 1)))), 'not-tls'],
    ['a name that says less', records(hello(serverName(entry(HOST, 0, -1)))), 'sni-mismatch'],
    ['an extension that says more', records(hello(extension(0, sni(HOST).subarray(4), 3))), 'not-tls'],
    ['two messages in one record', record(Buffer.concat([hello(sni(HOST)), hello(sni('denied.test'))])), 'not-tls'],
  ])('%s', { timeout: CASE_MS }, (_, bytes, reason) => cut([bytes], { reason }));
});

describe('S8 what is not TLS is cut where TLS is required', () => {
  it.each([
    ['SSH', 'SSH-2.0-OpenSSH_9.9\r\n'],
    ['HTTP', `GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`],
    ['a second CONNECT', connect(`${ALLOWED}:443`)],
    ['random bytes', '\x8f\x0e\x1d\x2c\x3b\x4a'],
    ['a record of SSL 2', '\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10'],
    ['a TLS alert', '\x15\x03\x01\x00\x02\x02\x28'],
    ['application data', '\x17\x03\x03\x00\x05hello'],
    ['a ServerHello', '\x16\x03\x01\x00\x04\x02\x00\x00\x00'],
    ['a record of another major version', '\x16\x04\x01\x00\x05\x01\x00\x00\x01\x00'],
    ['SOCKS', '\x05\x01\x00'],
    ['DNS over TCP', '\x00\x1d\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example'],
    ['a line end', '\r\n'],
  ])('%s', { timeout: CASE_MS }, (_, text) => cut([Buffer.from(text, 'latin1')], { reason: 'not-tls' }));
});

describe('S9 on a port for SSH only SSH passes', () => {
  const host = 'ssh.allowed.test';
  it('an identification line passes, and all behind it', { timeout: CASE_MS }, async () => {
    const bytes = Buffer.from('SSH-2.0-OpenSSH_9.9\r\n\0\0\0\x14');
    await passes(bytes, [bytes], host);
    await passes(
      bytes,
      Array.from(bytes, (byte) => Buffer.from([byte])),
      host,
    );
  });

  it.each([
    ['HTTP', 'GET / HTTP/1.1\r\n'],
    ['TLS', '\x16\x03\x01\x00\x05'],
    ['SSH version 1', 'SSH-1.5-old\r\n'],
    ['a line before it', 'hello\r\nSSH-2.0-x\r\n'],
    ['a line without end', `SSH-2.0-${'a'.repeat(300)}`],
  ])('%s is cut', { timeout: CASE_MS }, (_, text) => cut([Buffer.from(text, 'latin1')], { reason: 'not-ssh', host }));
});
