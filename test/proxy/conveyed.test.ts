// A listener behind a load balancer: the PROXY header decides who the client is, for rules, limits and records alike; whoever
// must send one and does not is closed, and whoever may not is malformed. docs/threat-model.md, "Who asks".
import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { LimitName } from '../../src/limits.ts';
import { conveyedProblem } from '../../src/proxy/conveyed.ts';
import { NativeConnection } from '../../src/proxy/engine-native.ts';
import { helloMessage, records } from '../net/hello-builder.ts';
import { localHeader, proxyHeader, tlv } from '../net/proxy-builder.ts';
import { RawClient } from '../support/raw-client.ts';
import {
  allowing,
  atEnd,
  connectHead,
  ENGINES,
  eventually,
  type RawOrigin,
  type Rig,
  rawOrigin,
  startRig,
  turns,
} from './support.ts';

const HOST = 'a.test';
const BALANCER = '127.0.0.50';
const CLIENT = '192.0.2.7';

let make = ENGINES[0].make;

interface World {
  readonly rig: Rig;
  readonly origin: RawOrigin;
  readonly head: Buffer;
  /** A connection from the load balancer, or from another address, that has sent this. */
  from(bytes: Uint8Array, address?: string): Promise<RawClient>;
}

async function world(limits: Partial<Record<LimitName, number>> = {}, more = ''): Promise<World> {
  const origin = await rawOrigin();
  const policy = [
    `proxy_protocol: { from: [${BALANCER}/32] }`,
    'clients: { from: [192.0.2.0/24, 127.0.0.1/32, 10.0.0.0/8, "2001:db8::/32"], groups: [{ from: [192.0.2.8/32], set: { queue: eight } }] }',
    more,
    allowing(HOST, origin.port),
  ].join('\n');
  const rig = await startRig({ policy, names: { [HOST]: ['127.0.0.1'] }, limits, engine: make });
  const from = async (bytes: Uint8Array, address = BALANCER): Promise<RawClient> => {
    const client = await RawClient.connect(rig.at, { localAddress: address });
    atEnd(() => client.close());
    if (bytes.length > 0) client.send(bytes);
    return client;
  };
  return { rig, origin, head: Buffer.from(connectHead(`${HOST}:${origin.port}`)), from };
}

const join = (...parts: readonly (Buffer | string)[]): Buffer =>
  Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)));

async function inPieces(client: RawClient, bytes: Buffer, at: readonly number[]): Promise<void> {
  let start = 0;
  for (const end of [...at, bytes.length]) {
    client.send(bytes.subarray(start, end));
    await turns(3);
    start = end;
  }
}

/** Closed without a byte, nothing asked of anybody; recorded and said. */
async function expectClosed(w: World, client: RawClient, detail: RegExp): Promise<void> {
  expect(await client.readAll()).toHaveLength(0);
  await eventually(() => w.rig.slots.open === 0, 'its slot is free');
  expect(w.rig.recorder.entries).toMatchObject([
    { event: 'decided', client: BALANCER, host: null, method: '', verdict: 'deny', reason: 'proxy-header-invalid' },
  ]);
  expect(w.rig.logText()).toMatch(detail);
  expect(w.rig.logText()).toContain('a connection without a valid PROXY header was closed');
  expect(w.rig.resolver.asked).toEqual([]);
  expect(w.origin.connections()).toBe(0);
}

describe.each(ENGINES)('the $name engine', (engine) => {
  beforeEach(() => {
    make = engine.make;
  });

  describe('a connection of a load balancer', () => {
    it.each<[string, Buffer, string]>([
      ['IPv4', proxyHeader({ from: CLIENT }), CLIENT],
      ['IPv6', proxyHeader({ from: '2001:db8::7' }), '2001:db8::7'],
      ['IPv4 mapped into IPv6', proxyHeader({ from: '::ffff:c000:207' }), CLIENT],
      ['with TLVs', proxyHeader({ from: CLIENT, tlvs: [tlv(5, Buffer.alloc(128, 65))] }), CLIENT],
      ['loopback, from a sender on loopback', proxyHeader({ from: '127.0.0.1' }), '127.0.0.1'],
    ])('is its client’s: %s', async (_, header, address) => {
      const w = await world();
      const client = await w.from(join(header, w.head, 'early'));
      expect((await client.readHead()).status).toBe(200);
      const peer = await w.origin.peer();
      expect((await peer.read(5)).toString()).toBe('early');
      peer.send('answer');
      expect((await client.read(6)).toString()).toBe('answer');
      client.end();
      peer.end();
      expect(await w.rig.recorder.endedAt(1)).toMatchObject({ client: address, bytes_up: 5, bytes_down: 6 });
      expect(w.rig.recorder.allDecided).toMatchObject([{ client: address, verdict: 'allow' }]);
      await eventually(() => w.rig.slots.open === 0, 'its slot is free');
    });

    it('is served wherever header and head are cut, and with the end of its side in the same breath', async () => {
      const w = await world();
      const bytes = join(proxyHeader({ from: CLIENT }), w.head, 'x');
      let served = 0;
      for (let at = 1; at < bytes.length; at++) {
        const client = await w.from(Buffer.alloc(0));
        await inPieces(client, bytes, [at]);
        client.end();
        expect((await client.readHead()).status).toBe(200);
        const peer = await w.origin.peer(++served);
        expect((await peer.readAll()).toString()).toBe('x');
        peer.end();
      }
      await w.rig.recorder.endedAt(served);
      expect(w.rig.recorder.allDecided.every(({ client }) => client === CLIENT)).toBe(true);
    });

    it('is served byte by byte, a checked tunnel and a second request on its connection too', async () => {
      const w = await world();
      const client = await w.from(Buffer.alloc(0));
      const bytes = join(proxyHeader({ from: CLIENT }), w.head, records(helloMessage()));
      await inPieces(
        client,
        bytes,
        Array.from({ length: bytes.length - 1 }, (_, at) => at + 1),
      );
      expect((await client.readHead()).status).toBe(200);
      const get = `GET http://${HOST}:${w.origin.port}/ HTTP/1.1\r\nHost: ${HOST}:${w.origin.port}\r\n\r\n`;
      const plain = await w.from(join(proxyHeader({ from: CLIENT }), get));
      const peer = await w.origin.peer(2);
      for (const again of [get, '']) {
        await peer.readUntil('\r\n\r\n');
        peer.send('HTTP/1.1 204 No Content\r\n\r\n');
        expect((await plain.readHead()).status).toBe(204);
        if (again) plain.send(again);
      }
      expect(w.rig.recorder.allDecided.map((one) => one.client)).toEqual([CLIENT, CLIENT, CLIENT]);
    });

    it('has its client’s rules: range and group', async () => {
      const w = await world();
      const stranger = await w.from(join(proxyHeader({ from: '198.51.100.1' }), w.head));
      expect(await stranger.readResponse()).toMatchObject({ status: 403, reason: 'client-not-allowed' });
      await (await w.from(join(proxyHeader({ from: '192.0.2.8' }), w.head))).readHead();
      expect(w.rig.recorder.allDecided).toMatchObject([
        { client: '198.51.100.1', reason: 'client-not-allowed' },
        { client: '192.0.2.8', identity: { kind: 'address', attributes: { queue: 'eight' } } },
      ]);
    });

    it('of command LOCAL is its own, with its own rules', async () => {
      const w = await world();
      const client = await w.from(join(localHeader(), w.head));
      expect(await client.readResponse()).toMatchObject({ status: 403, reason: 'client-not-allowed' });
      expect(w.rig.recorder.allDecided).toMatchObject([{ client: BALANCER }]);
    });

    it('counts for its client: one client at its limit is told, another of the same load balancer is served', async () => {
      const w = await world({ client_connections_max: 1, client_rate_per_s: 2 });
      const first = await w.from(join(proxyHeader({ from: CLIENT }), w.head));
      expect((await first.readHead()).status).toBe(200);
      const second = await w.from(join(proxyHeader({ from: CLIENT }), w.head));
      expect(await second.readResponse()).toMatchObject({ status: 503, reason: 'client-full' });
      expect(w.rig.meter.hits.get('client_connections_max')).toBe(1);
      const other = await w.from(join(proxyHeader({ from: '192.0.2.9' }), w.head));
      expect((await other.readHead()).status).toBe(200);
      for (const one of [first, second, other, ...w.origin.peers]) one.close();
      await eventually(() => w.rig.slots.open === 0, 'all are free');
      expect((await (await w.from(join(proxyHeader({ from: CLIENT }), w.head))).readHead()).status).toBe(200);
    });

    it('counts in all before its header is there', async () => {
      const w = await world({ connections_max: 2 });
      const held = [await w.from(Buffer.alloc(0)), await w.from(proxyHeader().subarray(0, 20))];
      await eventually(() => w.rig.slots.open === 2, 'both are counted');
      const third = await w.from(Buffer.alloc(0), '127.0.0.1');
      expect(await third.readResponse()).toMatchObject({ status: 503, reason: 'connections-full' });
      expect(await (await w.from(Buffer.alloc(0))).readResponse()).toMatchObject({ reason: 'connections-full' });
      for (const one of held) one.close();
      await eventually(() => w.rig.slots.open === 0, 'both are free');
    });
  });

  describe('a load balancer that does not say who its client is', () => {
    it.each<[string, (head: Buffer) => Buffer, RegExp]>([
      ['no header', (head) => head, /does not begin with a PROXY header/],
      ['version 1', (head) => join('PROXY TCP4 192.0.2.7 127.0.0.1 40000 3128\r\n', head), /version 1 \(text\)/],
      ['a UNIX socket', (head) => join(proxyHeader({ family: 0x31, body: Buffer.alloc(216) }), head), /0x31/],
      ['the unspecified address', (head) => join(proxyHeader({ from: '0.0.0.0' }), head), /not one of a host/],
      ['two signatures', () => join(proxyHeader().subarray(0, 12), proxyHeader()), /0x0d/],
    ])('is closed: %s', async (_, bytes, detail) => {
      const w = await world();
      await expectClosed(w, await w.from(bytes(w.head)), detail);
    });

    it('is closed when the client would be this proxy itself', async () => {
      const w = await world();
      const header = proxyHeader({ from: '127.0.0.1', fromPort: w.rig.at.port });
      await expectClosed(w, await w.from(join(header, w.head)), /127\.0\.0\.1 is this proxy itself/);
    });

    it.each<[string, number, string, RegExp | null]>([
      ['10.1.1.1', 3128, '10.0.0.9', /itself/],
      ['10.1.1.1', 50_000, '10.0.0.9', /itself/],
      ['10.1.1.2', 3128, '10.0.0.9', null],
      ['127.0.0.1', 3128, '127.0.0.1', /itself/],
      ['127.0.0.1', 50_000, '127.0.0.1', null],
      ['127.0.0.2', 3128, '::1', null],
      ['127.0.0.2', 50_000, '10.0.0.9', /another machine/],
      ['::1', 50_000, 'unknown', /another machine/],
    ])('cannot say that its client is %s port %i when it is %s itself: %s', (address, port, sender, problem) => {
      const self = [
        { address: '10.1.1.1', port: 3128 },
        { address: '127.0.0.1', port: 3128 },
      ];
      const found = conveyedProblem({ address, port }, sender, self);
      if (problem === null) expect(found).toBeNull();
      else expect(found).toMatch(problem);
    });

    it('is closed at the end of its side, and with a reset, within the header', async () => {
      const w = await world();
      const client = await w.from(proxyHeader().subarray(0, 27));
      client.end();
      await expectClosed(w, client, /ended before its PROXY header did/);
      const reset = await w.from(proxyHeader().subarray(0, 27));
      await eventually(() => w.rig.slots.open === 1, 'it is there');
      reset.socket.resetAndDestroy();
      await eventually(() => w.rig.slots.open === 0, 'it is gone');
      expect(w.rig.recorder.entries).toHaveLength(1);
    });

    it('is closed when the header is not there in time', async () => {
      const w = await world({ head_timeout_ms: 100 });
      await expectClosed(w, await w.from(proxyHeader().subarray(0, 27)), /did not arrive within 100 ms/);
      expect(w.rig.meter.hits.get('head_timeout_ms')).toBe(1);
    });

    it('is closed when the header is larger than proxy_header_bytes; one of that size passes', async () => {
      const w = await world({ proxy_header_bytes: 64 });
      const sized = (bytes: number): Buffer => proxyHeader({ from: CLIENT, tlvs: [Buffer.alloc(bytes - 28)] });
      const fits = await w.from(join(sized(64), w.head));
      expect((await fits.readHead()).status).toBe(200);
      for (const one of [fits, await w.origin.peer()]) one.close();
      await w.rig.recorder.endedAt(1);
      expect(await (await w.from(join(sized(65), w.head))).readAll()).toHaveLength(0);
      expect(w.rig.recorder.allDecided[1]).toMatchObject({ reason: 'proxy-header-invalid' });
      expect(w.rig.meter.hits.get('proxy_header_bytes')).toBe(1);
    });

    it('and says nothing is a health check: neither recorded nor said', async () => {
      const w = await world();
      (await w.from(Buffer.alloc(0))).end();
      const late = await world({ head_timeout_ms: 100 });
      await eventually(() => w.rig.slots.open === 0, 'it is gone');
      expect(await (await late.from(Buffer.alloc(0))).readAll()).toHaveLength(0);
      for (const { rig } of [w, late]) {
        expect(rig.recorder.entries).toEqual([]);
        expect(rig.logText()).toBe('');
      }
    });
  });

  describe('a header from anybody else', () => {
    it('is a malformed request, whole and byte by byte', async () => {
      const w = await world();
      const bytes = join(proxyHeader({ from: CLIENT }), w.head);
      const whole = await w.from(bytes, '127.0.0.1');
      expect(await whole.readResponse()).toMatchObject({ status: 400, reason: 'request-malformed' });
      const slow = await w.from(Buffer.alloc(0), '127.0.0.1');
      await inPieces(slow, bytes, [1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 16, 20]);
      expect(await slow.readResponse()).toMatchObject({ status: 400, reason: 'request-malformed' });
      expect(w.rig.recorder.entries).toMatchObject([
        { client: '127.0.0.1', verdict: 'deny', reason: 'request-malformed' },
        { client: '127.0.0.1', verdict: 'deny', reason: 'request-malformed' },
      ]);
      expect(w.rig.resolver.asked).toEqual([]);
    });

    it('inside a header of the load balancer is a malformed request of its client', async () => {
      const w = await world();
      const client = await w.from(join(proxyHeader({ from: CLIENT }), proxyHeader({ from: '127.0.0.1' }), w.head));
      expect(await client.readResponse()).toMatchObject({ status: 400, reason: 'request-malformed' });
      expect(w.rig.recorder.entries).toMatchObject([{ client: CLIENT, reason: 'request-malformed' }]);
    });
  });

  // Of a native engine Node sees nothing at all of them.
  describe.runIf(engine.name === 'native')('a connection of a load balancer that Node never has', () => {
    it.each([
      ['header and head together', []],
      ['the header alone', [28]],
      ['everything in pieces', [5, 27, 30, 40, 60]],
    ] as const)('%s: a tunnel, a plain request, and a client that is refused', async (_, cuts) => {
      const adopted = vi.spyOn(NativeConnection.prototype, 'adopt');
      const w = await world();
      const header = proxyHeader({ from: CLIENT });
      const send = async (bytes: Buffer): Promise<RawClient> => {
        const client = await w.from(Buffer.alloc(0));
        await inPieces(client, bytes, cuts);
        return client;
      };
      const tunnel = await send(join(header, w.head));
      expect((await tunnel.readHead()).status).toBe(200);
      const plain = await send(
        join(header, `GET http://${HOST}:${w.origin.port}/ HTTP/1.1\r\nHost: ${HOST}\r\nX: y\r\n\r\n`),
      );
      const peer = await w.origin.peer(2);
      await peer.readUntil('\r\n\r\n');
      peer.send('HTTP/1.1 204 No Content\r\n\r\n');
      expect((await plain.readHead()).status).toBe(204);
      const stranger = await send(join(proxyHeader({ from: '198.51.100.1' }), w.head));
      expect(await stranger.readResponse()).toMatchObject({ status: 403, reason: 'client-not-allowed' });
      expect(w.rig.recorder.allDecided.map(({ client }) => client)).toEqual([CLIENT, CLIENT, '198.51.100.1']);
      for (const one of [tunnel, plain, stranger, ...w.origin.peers]) one.close();
      await eventually(() => w.rig.slots.open === 0, 'all are free');
      expect(adopted).not.toHaveBeenCalled();
    });
  });
});
