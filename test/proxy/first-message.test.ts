// The first message of a checked tunnel: the right one passes byte-exact, any other one never reaches the origin
// (docs/threat-model.md, "First bytes of a tunnel"). Over real sockets, so that what the origin gets is what is proved.
import { describe, expect, it } from 'vitest';
import { appendHeld } from '../../src/proxy/first-message.ts';
import { entry, extension, helloMessage, records, serverName, sni, u16 } from '../net/hello-builder.ts';
import type { RawClient } from '../support/raw-client.ts';
import { allowing, connectHead, eventually, type RawOrigin, type Rig, rawOrigin, startRig, turns } from './support.ts';

const HOST = 'a.test';
const NAMES = { [HOST]: ['127.0.0.1'] };
const RIGHT = records(helloMessage());
const OTHER = records(helloMessage({ extensions: [sni('evil.test')] }));
const ECH_OUTER = records(helloMessage({ extensions: [sni('public.test'), extension(0xfe0d, Buffer.alloc(200, 1))] }));
const padded = (bytes: number, name = HOST): Buffer =>
  records(helloMessage({ extensions: [sni(name), extension(21, Buffer.alloc(bytes))] }));
// RFC 8446 §4.2.10: bytes behind the hello, before the server has said anything.
const EARLY_DATA = Buffer.concat([Buffer.from('1703030400', 'hex'), Buffer.alloc(1_024, 5)]);

interface World {
  readonly rig: Rig;
  readonly origin: RawOrigin;
  readonly target: string;
  open(early?: string | Uint8Array): Promise<RawClient>;
}

async function world(
  protocol: string,
  options: { extra?: string; limits?: Record<string, number> } = {},
): Promise<World> {
  const origin = await rawOrigin();
  const policy = `${options.extra ?? ''}\n${allowing(HOST, origin.port, protocol)}`;
  const rig = await startRig({ policy, names: NAMES, limits: options.limits ?? {} });
  const target = `${HOST}:${origin.port}`;
  return { rig, origin, target, open: (early) => rig.tunnel(target, early) };
}

/** The tunnel is closed, the origin has had a connection and not one byte, and the record says why. */
async function expectCut({ rig, origin }: World, client: RawClient, reason: string): Promise<void> {
  const end = await rig.recorder.endedAt(1);
  expect(end).toMatchObject({ verdict: 'deny', reason, outcome: reason, bytes_up: 0, bytes_down: 0 });
  expect(rig.recorder.allDecided).toHaveLength(1);
  await eventually(() => client.state !== 'open', 'the client is closed');
  expect(client.socket.bytesRead).toBe('HTTP/1.1 200 Connection established\r\n\r\n'.length);
  const peer = await origin.peer();
  await eventually(() => peer.state !== 'open', 'the origin is closed');
  expect(peer.socket.bytesRead).toBe(0);
  expect(rig.engine.load).toBe(0);
}

async function byteByByte(client: RawClient, bytes: Buffer): Promise<void> {
  for (const byte of bytes) {
    client.send(Buffer.from([byte]));
    await turns(1);
  }
}

describe('a tunnel that must be TLS', () => {
  const right: [string, Buffer][] = [
    ['one record', RIGHT],
    ['records of 40 bytes', records(helloMessage(), 40)],
    ['records of one byte', records(helloMessage(), 1)],
    ['12 KiB', padded(12_000)],
    ['40 KB in many records', padded(40_000)],
    ['the name in capitals', records(helloMessage({ extensions: [sni('A.TEST')] }))],
    [
      'an encrypted hello whose outer name is the host',
      records(helloMessage({ extensions: [sni(HOST), extension(0xfe0d, Buffer.alloc(99))] })),
    ],
    ['early data behind it', Buffer.concat([RIGHT, EARLY_DATA])],
  ];

  it.each(right)('passes a hello with the right name byte-exact: %s', async (_, hello) => {
    const w = await world('tls');
    const client = await w.open();
    client.send(hello);
    const peer = await w.origin.peer();
    expect((await peer.read(hello.length)).equals(hello)).toBe(true);
    peer.send('the server speaks');
    expect((await client.read(17)).toString()).toBe('the server speaks');
    client.end();
    peer.end();
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({
      verdict: 'allow',
      reason: 'allowed',
      outcome: 'closed',
      bytes_up: hello.length,
      bytes_down: 17,
    });
  });

  it('passes it byte by byte, and as early data', async () => {
    const w = await world('tls');
    const slow = await w.open();
    await byteByByte(slow, RIGHT);
    expect((await (await w.origin.peer(1)).read(RIGHT.length)).equals(RIGHT)).toBe(true);
    await w.open(RIGHT);
    expect((await (await w.origin.peer(2)).read(RIGHT.length)).equals(RIGHT)).toBe(true);
  });

  it('passes a hello of 16 KiB byte by byte, in records as small as they come', async () => {
    const w = await world('tls');
    const fillers = [extension(21, Buffer.from(Array.from({ length: 2_600 }, (_, i) => i % 251)))];
    for (const hello of [
      padded(16_384 - padded(0).length),
      records(helloMessage({ extensions: [...fillers, sni(HOST)] }), 1),
    ]) {
      expect(hello.length).toBeGreaterThan(16_000);
      const client = await w.open();
      await byteByByte(client, hello);
      const peer = await w.origin.peer(w.rig.recorder.allDecided.length);
      expect((await peer.read(hello.length)).equals(hello)).toBe(true);
    }
  });

  it('holds the origin’s bytes back until the hello has passed, then delivers them', async () => {
    const w = await world('tls');
    const client = await w.open();
    const peer = await w.origin.peer();
    peer.send('too early');
    await turns();
    expect(client.socket.bytesRead).toBe('HTTP/1.1 200 Connection established\r\n\r\n'.length);
    client.send(RIGHT);
    expect((await client.read(9)).toString()).toBe('too early');
  });

  const wrong: [string, string, Buffer][] = [
    ['another name', 'sni-mismatch', OTHER],
    [
      'another name over records of 7 bytes',
      'sni-mismatch',
      records(helloMessage({ extensions: [sni('evil.test')] }), 7),
    ],
    ['another name in 12 KiB', 'sni-mismatch', padded(12_000, 'evil.test')],
    ['a name below the host', 'sni-mismatch', records(helloMessage({ extensions: [sni(`x.${HOST}`)] }))],
    [
      'two names, the right one first',
      'sni-mismatch',
      records(helloMessage({ extensions: [serverName(entry(HOST), entry('evil.test'))] })),
    ],
    ['an encrypted hello with a public outer name', 'sni-mismatch', ECH_OUTER],
    ['no name', 'sni-missing', records(helloMessage({ extensions: [] }))],
    ['an empty name', 'sni-missing', records(helloMessage({ extensions: [sni('')] }))],
    ['an address as name', 'sni-missing', records(helloMessage({ extensions: [sni('127.0.0.1')] }))],
    ['HTTP', 'not-tls', Buffer.from('GET / HTTP/1.1\r\nHost: a.test\r\n\r\n')],
    ['SSH', 'not-tls', Buffer.from('SSH-2.0-OpenSSH_9.9\r\n')],
    ['random bytes', 'not-tls', Buffer.from('8f3c00a1d2e4f5a6b7c8d9eafb0c1d2e', 'hex')],
    ['a hello whose extensions lie about their length', 'not-tls', records(helloMessage({ lie: 9 }))],
  ];

  it.each(wrong)('closes on %s (%s), whole', async (_, reason, hello) => {
    const w = await world('tls');
    const client = await w.open();
    client.send(hello);
    await expectCut(w, client, reason);
  });

  it.each(wrong.slice(0, 2))(
    'closes on %s (%s), byte by byte and with the origin speaking first',
    async (_, reason, hello) => {
      const w = await world('tls');
      const client = await w.open();
      (await w.origin.peer()).send('unasked');
      await byteByByte(client, hello);
      await expectCut(w, client, reason);
    },
  );

  it.each(wrong)('closes on %s (%s), as early data', async (_, reason, hello) => {
    const w = await world('tls');
    const client = await w.rig.send(Buffer.concat([Buffer.from(connectHead(w.target)), hello]));
    await client.readHead();
    await expectCut(w, client, reason);
  });

  it('closes when the client ends before its hello is complete', async () => {
    const w = await world('tls');
    const client = await w.open();
    client.send(RIGHT.subarray(0, 30));
    client.end();
    await expectCut(w, client, 'hello-incomplete');
  });

  it('closes when the hello is not there in time', async () => {
    const w = await world('tls', { limits: { hello_timeout_ms: 100 } });
    const client = await w.open(RIGHT.subarray(0, 30));
    await expectCut(w, client, 'hello-timeout');
    expect(w.rig.meter.hits.get('hello_timeout_ms')).toBe(1);
  });

  it('does not confuse the hello’s time with the tunnel’s', async () => {
    const w = await world('tls', { limits: { hello_timeout_ms: 100 } });
    const late = await w.open(RIGHT.subarray(0, 30));
    const good = await w.open(RIGHT);
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({ verdict: 'deny', reason: 'hello-timeout' });
    await eventually(() => late.state !== 'open', 'the late one is closed');
    good.send('still open');
    const peer = await w.origin.peer(2);
    expect((await peer.read(RIGHT.length + 10)).subarray(RIGHT.length).toString()).toBe('still open');
  });

  it('closes as soon as a hello says that it is larger than hello_bytes', async () => {
    const w = await world('tls', { limits: { hello_bytes: 2_048 } });
    const client = await w.open();
    client.send(padded(4_000).subarray(0, 100));
    await expectCut(w, client, 'hello-too-large');
    expect(w.rig.meter.hits.get('hello_bytes')).toBe(1);
  });

  it('closes on a hello over many records that passes hello_bytes without ever being complete', async () => {
    const w = await world('tls', { limits: { hello_bytes: 2_048 } });
    const client = await w.open();
    client.send(
      records(helloMessage({ extensions: [sni(HOST), extension(21, Buffer.alloc(60_000))] }), 1).subarray(0, 3_000),
    );
    await expectCut(w, client, 'hello-too-large');
  });

  it('does not count what comes behind the hello against hello_bytes', async () => {
    const w = await world('tls', { limits: { hello_bytes: 2_048 } });
    const all = Buffer.concat([RIGHT, EARLY_DATA, EARLY_DATA, EARLY_DATA]);
    expect(all.length).toBeGreaterThan(2_048);
    const client = await w.open();
    client.send(all);
    expect((await (await w.origin.peer()).read(all.length)).equals(all)).toBe(true);
  });

  it('lets a listed address pass without a name, as addresses have none', async () => {
    const origin = await rawOrigin();
    const rig = await startRig({ policy: `allow:\n  - { host: 127.0.0.1, ports: [${origin.port}], protocol: tls }` });
    const hello = records(helloMessage({ extensions: [extension(10, Buffer.concat([u16(2), u16(29)]))] }));
    await rig.tunnel(`127.0.0.1:${origin.port}`, hello);
    expect((await (await origin.peer()).read(hello.length)).equals(hello)).toBe(true);
  });
});

describe('a tunnel that must be SSH', () => {
  const LINE = 'SSH-2.0-OpenSSH_9.9\r\n';

  it('shows the server’s banner before the client has said anything', async () => {
    const w = await world('ssh');
    const client = await w.open();
    const peer = await w.origin.peer();
    peer.send('SSH-2.0-server\r\n');
    expect((await client.read(16)).toString()).toBe('SSH-2.0-server\r\n');
    await byteByByte(client, Buffer.from(LINE));
    client.send('and on');
    expect((await peer.read(LINE.length + 6)).toString()).toBe(`${LINE}and on`);
  });

  it('does not count the key exchange behind the line against hello_bytes', async () => {
    const w = await world('ssh', { limits: { hello_bytes: 2_048 } });
    const all = Buffer.concat([Buffer.from(LINE), Buffer.alloc(3_000, 7)]);
    await w.open(all);
    expect((await (await w.origin.peer()).read(all.length)).equals(all)).toBe(true);
  });

  it.each([
    ['TLS', RIGHT],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['an old version', Buffer.from('SSH-1.5-x\r\n')],
    ['a line without an end', Buffer.from(`SSH-2.0-${'x'.repeat(300)}`)],
  ])('closes on %s', async (_, bytes) => {
    const w = await world('ssh');
    const client = await w.open();
    client.send(bytes);
    await expectCut(w, client, 'not-ssh');
  });

  it('closes when the client ends without a line, or is silent for too long', async () => {
    const w = await world('ssh');
    const client = await w.open('SSH-2');
    client.end();
    await expectCut(w, client, 'hello-incomplete');
    const slow = await world('ssh', { limits: { hello_timeout_ms: 100 } });
    await expectCut(slow, await slow.open(), 'hello-timeout');
  });
});

describe('bytes that are held', () => {
  it('are copied a logarithmic number of times, into no more than twice their size, and the first chunk is not written to', () => {
    const all = Buffer.from(Array.from({ length: 65_536 }, (_, i) => (i * 7) % 256));
    const first = all.subarray(0, 1);
    const copies = new Set<Buffer>();
    let held: Buffer = first;
    for (let length = 1; length < all.length; length++) {
      held = appendHeld(held, length, all.subarray(length, length + 1));
      copies.add(held);
      expect(held.length).toBeLessThanOrEqual(2 * (length + 1));
    }
    expect(held.subarray(0, all.length).equals(all)).toBe(true);
    expect(copies.has(first)).toBe(false);
    expect(copies.size).toBeLessThanOrEqual(16);
  });
});

describe('in observe mode', () => {
  it.each([
    ['another name', 'sni-mismatch', OTHER],
    ['no TLS', 'not-tls', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['a hello larger than the limit', 'hello-too-large', padded(70_000)],
  ])('passes %s (%s) untouched and records what would have been', async (_, reason, bytes) => {
    const w = await world('tls', { extra: 'mode: observe' });
    const client = await w.open(bytes);
    const peer = await w.origin.peer();
    expect((await peer.read(bytes.length)).equals(bytes)).toBe(true);
    client.end();
    peer.end();
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({
      verdict: 'observe',
      reason,
      outcome: 'closed',
      bytes_up: bytes.length,
    });
    expect(w.rig.recorder.allDecided[0]).toMatchObject({ verdict: 'allow', reason: 'allowed' });
  });

  it('never holds a byte back: half a hello is at the origin at once, and the origin’s first word at the client', async () => {
    const w = await world('tls', { extra: 'mode: observe' });
    const client = await w.open();
    const peer = await w.origin.peer();
    peer.send('220 smtp\r\n');
    expect((await client.read(10)).toString()).toBe('220 smtp\r\n');
    for (const byte of RIGHT) {
      client.send(Buffer.from([byte]));
      expect((await peer.read(1))[0]).toBe(byte);
    }
    client.end();
    peer.end();
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({
      verdict: 'allow',
      reason: 'allowed',
      bytes_up: RIGHT.length,
    });
  });

  it('records a client that ended within its hello as one that would be cut, and passes its end on', async () => {
    const w = await world('tls', { extra: 'mode: observe' });
    const client = await w.open(RIGHT.subarray(0, 20));
    client.end();
    const peer = await w.origin.peer();
    expect((await peer.readAll()).equals(RIGHT.subarray(0, 20))).toBe(true);
    peer.end();
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({
      verdict: 'observe',
      reason: 'hello-incomplete',
      outcome: 'closed',
    });
  });
});

describe('a tunnel of protocol any', () => {
  it('is not looked at: the server may speak first, and the client may say what it likes', async () => {
    const w = await world('any', { limits: { hello_timeout_ms: 100, hello_bytes: 2_048 } });
    const client = await w.open(OTHER);
    const peer = await w.origin.peer();
    expect((await peer.read(OTHER.length)).equals(OTHER)).toBe(true);
    peer.send('hello yourself');
    expect((await client.read(14)).toString()).toBe('hello yourself');
    client.end();
    peer.end();
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({ verdict: 'allow', reason: 'allowed', outcome: 'closed' });
  });
});
