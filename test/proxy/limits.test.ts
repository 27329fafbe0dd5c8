// Every limit of the listener at its edge: n pass, one more is refused and counted, and what was freed can be had again
// (docs/threat-model.md, "Headers on CONNECT", "Request line", "Slow clients").
import { describe, expect, it, vi } from 'vitest';
import { createMeter, DEFAULT_LIMITS, type LimitName } from '../../src/limits.ts';
import { Slots } from '../../src/proxy/slots.ts';
import { RawClient } from '../support/raw-client.ts';
import {
  allowing,
  atEnd,
  connectHead,
  eventually,
  type RawOrigin,
  type Rig,
  rawOrigin,
  startRig,
  turns,
} from './support.ts';

const HOST = 'a.test';

interface World {
  readonly rig: Rig;
  readonly origin: RawOrigin;
  readonly target: string;
}

async function world(limits: Partial<Record<LimitName, number>> = {}): Promise<World> {
  const origin = await rawOrigin();
  const rig = await startRig({ policy: allowing(HOST, origin.port), names: { [HOST]: ['127.0.0.1'] }, limits });
  return { rig, origin, target: `${HOST}:${origin.port}` };
}

async function clients(rig: Rig, count: number): Promise<RawClient[]> {
  const made: RawClient[] = [];
  for (let i = 0; i < count; i++) made.push(await rig.client());
  await eventually(() => rig.slots.open >= count, 'all are admitted');
  return made;
}

/** Another client: another address of loopback. */
async function elsewhere(rig: Rig, bytes: string): Promise<RawClient> {
  const client = await RawClient.connect(rig.at, { localAddress: '127.0.0.9' });
  atEnd(() => client.close());
  client.send(bytes);
  return client;
}

describe('connections', () => {
  it.each([
    ['connections_max', 'connections-full'],
    ['client_connections_max', 'client-full'],
  ] as const)('%s: three pass, the fourth is told, and one that closes makes room', async (limit, code) => {
    const w = await world({ [limit]: 3 });
    const held = await clients(w.rig, 3);
    const fourth = await w.rig.send(connectHead(w.target));
    expect(await fourth.readResponse()).toMatchObject({ status: 503, reason: code });
    expect(w.rig.meter.hits.get(limit)).toBe(1);
    // It was asked and not heard: nothing is recorded, and nothing dialled.
    await turns();
    expect(w.rig.recorder.entries).toHaveLength(0);
    expect(w.origin.connections()).toBe(0);
    held[0]?.close();
    await eventually(() => w.rig.slots.open === 2, 'one is free');
    expect((await w.rig.tunnel(w.target)).state).toBe('open');
  });

  it('client_rate_per_s: no more than that many at once', async () => {
    const w = await world({ client_rate_per_s: 3 });
    await clients(w.rig, 3);
    const fourth = await w.rig.client();
    expect(await fourth.readResponse()).toMatchObject({ status: 503, reason: 'client-full' });
    expect(w.rig.meter.hits.get('client_rate_per_s')).toBe(1);
  });

  it('tunnels_max: two pass, the third is refused and recorded, and one that ends makes room', async () => {
    const w = await world({ tunnels_max: 2 });
    const first = await w.rig.tunnel(w.target);
    await w.rig.tunnel(w.target);
    const third = await w.rig.send(connectHead(w.target));
    expect(await third.readResponse()).toMatchObject({ status: 503, reason: 'tunnels-full' });
    expect(w.rig.meter.hits.get('tunnels_max')).toBe(1);
    expect(w.rig.recorder.allDecided.at(-1)).toMatchObject({ verdict: 'deny', reason: 'tunnels-full', host: HOST });
    first.socket.resetAndDestroy();
    await w.rig.recorder.endedAt(1);
    await w.rig.tunnel(w.target);
    expect(w.rig.engine.load).toBe(2);
  });

  it.each([
    ['CONNECT', (target: string) => connectHead(target)],
    [
      'a WebSocket',
      (target: string) =>
        `GET http://${target}/ HTTP/1.1\r\nHost: ${target}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n`,
    ],
  ])(
    'client_tunnels_max: two pass, the third is refused and recorded (%s); another client’s passes, and one that ends makes room',
    async (_, head) => {
      const w = await world({ client_tunnels_max: 2 });
      const first = await w.rig.tunnel(w.target);
      const second = await w.rig.tunnel(w.target);
      const third = await w.rig.send(head(w.target));
      expect(await third.readResponse()).toMatchObject({ status: 503, reason: 'client-full' });
      expect(w.rig.meter.hits.get('client_tunnels_max')).toBe(1);
      expect(w.rig.recorder.allDecided.at(-1)).toMatchObject({ verdict: 'deny', reason: 'client-full', host: HOST });
      const other = await elsewhere(w.rig, connectHead(w.target));
      expect((await other.readHead()).status).toBe(200);
      third.close();
      for (const one of [first, second]) one.socket.resetAndDestroy();
      await w.rig.recorder.endedAt(2);
      await eventually(() => w.rig.slots.open === 1, 'the slots are free');
      await w.rig.tunnel(w.target);
      await w.rig.tunnel(w.target);
    },
  );

  it('client_dns_pending_max is counted for the client that asked', async () => {
    const w = await world();
    const resolve = vi.spyOn(w.rig.ctx.resolver, 'resolve');
    expect((await (await elsewhere(w.rig, connectHead(w.target))).readHead()).status).toBe(200);
    expect(resolve.mock.calls).toEqual([[HOST, '127.0.0.9']]);
  });

  it('clients_tracked_max: idle addresses are forgotten, and one more than can be held is told', async () => {
    const limits = { ...DEFAULT_LIMITS, clients_tracked_max: 2 };
    const meter = createMeter();
    const slots = new Slots(limits, meter);
    expect([slots.admit('a', 0), slots.admit('b', 0), slots.admit('c', 0)]).toEqual([
      null,
      null,
      'clients_tracked_max',
    ]);
    expect([...meter.hits]).toEqual([['clients_tracked_max', 1]]);
    expect(slots.open).toBe(2);
    slots.release('a');
    expect(slots.admit('c', 0)).toBeNull();
    expect(slots.open).toBe(2);
  });

  it('one client at each of its limits, beside 300 silent ones, does not keep another one waiting', async () => {
    const w = await world({
      client_connections_max: 310,
      client_rate_per_s: 320,
      client_tunnels_max: 3,
      connections_max: 400,
    });
    await clients(w.rig, 300);
    for (let i = 0; i < 3; i++) await w.rig.tunnel(w.target);
    const more = [];
    for (let i = 0; i < 30; i++) more.push((await (await w.rig.send(connectHead(w.target))).readResponse()).reason);
    expect(new Set(more)).toEqual(new Set(['client-full']));
    for (const limit of ['client_tunnels_max', 'client_connections_max'] as const)
      expect(w.rig.meter.hits.get(limit)).toBeGreaterThan(0);
    const good = await elsewhere(w.rig, `${connectHead(w.target)}through`);
    expect((await good.readHead()).status).toBe(200);
    expect((await (await w.origin.peer(4)).read(7)).toString()).toBe('through');
  });

  it('300 silent ones do not keep a good request waiting', async () => {
    const w = await world();
    await clients(w.rig, 300);
    const good = await w.rig.tunnel(w.target, 'through');
    expect((await (await w.origin.peer()).read(7)).toString()).toBe('through');
    expect(good.state).toBe('open');
  });
});

describe('a head', () => {
  // The parser counts target and fields, not every separator: a head whose bytes in all are the limit must pass.
  const head = (target: string, padding: number): string =>
    `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\nX: ${'p'.repeat(padding)}\r\n\r\n`;

  it('of head_bytes is taken, a larger one is 431 and recorded', async () => {
    const w = await world({ head_bytes: 2_048 });
    const fits = await w.rig.send(head(w.target, 2_048 - head(w.target, 0).length));
    expect((await fits.readHead()).status).toBe(200);
    const over = await w.rig.send(head(w.target, 2_048));
    expect(await over.readResponse()).toMatchObject({ status: 431, reason: 'head-too-large' });
    expect(w.rig.meter.hits.get('head_bytes')).toBe(1);
    expect(w.rig.recorder.allDecided).toHaveLength(2);
    expect(w.rig.recorder.allDecided[1]).toMatchObject({ verdict: 'deny', reason: 'head-too-large', host: null });
  });

  it.each([
    ['a line without an end', 'CONNECT ', 'a'],
    ['a field without an end', 'CONNECT a.test:443 HTTP/1.1\r\nX: ', 'a'],
  ])('is cut within bounds: a megabyte of %s', async (_, start, filling) => {
    const w = await world();
    const client = await w.rig.send(start);
    client.send(filling.repeat(1_048_576));
    expect((await client.readResponse()).status).toBe(431);
    expect(w.rig.recorder.allDecided).toHaveLength(1);
    await eventually(() => client.state !== 'open', 'it is closed');
  });

  it.each([
    ['CONNECT', (target: string) => `CONNECT ${target}`],
    ['GET', (target: string) => `GET http://${target}/`],
  ])('of head_fields lines is taken, one more is 431 (%s)', async (_, line) => {
    const w = await world({ head_fields: 10 });
    const lines = (count: number): string =>
      `${line(w.target)} HTTP/1.1\r\nHost: x\r\n${'X: y\r\n'.repeat(count - 1)}\r\n`;
    await w.rig.send(lines(10));
    await w.origin.peer();
    const over = await w.rig.send(lines(11));
    expect(await over.readResponse()).toMatchObject({ status: 431, reason: 'head-too-large' });
    expect(w.rig.meter.hits.get('head_fields')).toBe(1);
  });

  it('of twenty thousand lines is refused, not silently shortened', async () => {
    const w = await world({ head_bytes: 262_144 });
    const client = await w.rig.send(`CONNECT ${w.target} HTTP/1.1\r\n${'X: y\r\n'.repeat(20_000)}\r\n`);
    expect((await client.readResponse()).status).toBe(431);
    expect(w.origin.connections()).toBe(0);
  });

  it('that is not there in time is a 408 and recorded', async () => {
    const w = await world({ head_timeout_ms: 100 });
    const client = await w.rig.send(`CONNECT ${w.target} HTTP/1.1\r\nHost: x\r\n`);
    expect(await client.readResponse()).toMatchObject({ status: 408, reason: 'head-timeout' });
    expect(w.rig.recorder.allDecided).toMatchObject([
      { verdict: 'deny', reason: 'head-timeout', outcome: 'head-timeout' },
    ]);
    expect(w.rig.meter.hits.get('head_timeout_ms')).toBe(1);
  });

  it('of which nothing ever came leaves no record, only a closed connection', async () => {
    const w = await world({ head_timeout_ms: 100 });
    const client = await w.rig.client();
    await eventually(() => client.state !== 'open', 'it is closed');
    expect(client.socket.bytesRead).toBe(0);
    expect(w.rig.recorder.entries).toHaveLength(0);
    expect(w.rig.meter.hits.get('head_timeout_ms')).toBe(1);
    await eventually(() => w.rig.slots.open === 0, 'its slot is free');
  });

  it('of which nothing ever came is not held by a clock that is set back', async () => {
    const w = await world({ head_timeout_ms: 100 });
    const client = await w.rig.client();
    await eventually(() => w.rig.slots.open === 1, 'it is accepted');
    const clock = vi.spyOn(Date, 'now').mockReturnValue(0);
    try {
      await eventually(() => client.state !== 'open', 'it is closed');
    } finally {
      clock.mockRestore();
    }
  });

  it('has its time, and the tunnel another', async () => {
    const w = await world({ head_timeout_ms: 100 });
    const tunnel = await w.rig.tunnel(w.target);
    const silent = await w.rig.client();
    await eventually(() => silent.state !== 'open', 'the time of a head is over');
    tunnel.send('still here');
    expect((await (await w.origin.peer()).read(10)).toString()).toBe('still here');
  });
});

describe('what a CONNECT may be', () => {
  it.each([
    ['HTTP/1.0 without Host', (target: string) => `CONNECT ${target} HTTP/1.0\r\n\r\n`],
    ['HTTP/1.0 with Host', (target: string) => `CONNECT ${target} HTTP/1.0\r\nHost: ${target}\r\n\r\n`],
    ['HTTP/1.1 without Host', (target: string) => `CONNECT ${target} HTTP/1.1\r\n\r\n`],
    ['another Host', (target: string) => `CONNECT ${target} HTTP/1.1\r\nHost: denied.test\r\n\r\n`],
    ['an empty Host', (target: string) => `CONNECT ${target} HTTP/1.1\r\nHost:\r\n\r\n`],
    [
      'Expect and Upgrade',
      (target: string) =>
        `CONNECT ${target} HTTP/1.1\r\nExpect: 100-continue\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n`,
    ],
    ['Connection: close', (target: string) => `CONNECT ${target} HTTP/1.1\r\nConnection: close\r\n\r\n`],
  ])('a tunnel: %s', async (_, request) => {
    const w = await world();
    const client = await w.rig.send(`${request(w.target)}x`);
    expect((await client.readHead()).status).toBe(200);
    expect((await (await w.origin.peer()).read(1)).toString()).toBe('x');
  });

  it.each<[string, (target: string) => string, number[]]>([
    ['HTTP/1.2', (target) => `CONNECT ${target} HTTP/1.2\r\n\r\n`, [400]],
    ['HTTP/2.0', (target) => `CONNECT ${target} HTTP/2.0\r\n\r\n`, [400]],
    ['HTTP/0.9', (target) => `CONNECT ${target} HTTP/0.9\r\n\r\n`, [400]],
    ['HTTP/1.10', (target) => `CONNECT ${target} HTTP/1.10\r\n\r\n`, [400]],
    ['lower case version', (target) => `CONNECT ${target} http/1.1\r\n\r\n`, [400]],
    ['no version', (target) => `CONNECT ${target}\r\n\r\n`, [400]],
    ['lower case method', (target) => `connect ${target} HTTP/1.1\r\n\r\n`, [400, 405]],
    ['two Hosts', (target) => `CONNECT ${target} HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n`, [400]],
    ['Content-Length: 0', (target) => `CONNECT ${target} HTTP/1.1\r\nContent-Length: 0\r\n\r\n`, [400]],
    ['Content-Length and a body', (target) => `CONNECT ${target} HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc`, [400]],
    ['chunked', (target) => `CONNECT ${target} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, [400]],
    ['a scheme', (target) => `CONNECT http://${target}/ HTTP/1.1\r\n\r\n`, [400]],
    ['a path', (target) => `CONNECT ${target}/ HTTP/1.1\r\n\r\n`, [400]],
    ['userinfo', (target) => `CONNECT u@${target} HTTP/1.1\r\n\r\n`, [400]],
    ['no port', () => `CONNECT ${HOST} HTTP/1.1\r\n\r\n`, [400]],
    ['a port beyond 65535', () => `CONNECT ${HOST}:83979 HTTP/1.1\r\n\r\n`, [400]],
    ['bare CR as line end', (target) => `CONNECT ${target} HTTP/1.1\rHost: x\r\r\n\r\n`, [400]],
  ])('no tunnel, and one record: %s', async (_, request, statuses) => {
    const w = await world();
    const client = await w.rig.send(request(w.target));
    expect(statuses).toContain((await client.readResponse()).status);
    expect(w.rig.recorder.entries).toHaveLength(1);
    expect(w.rig.recorder.allDecided[0]).toMatchObject({ verdict: 'deny' });
    expect(w.rig.resolver.asked).toEqual([]);
    expect(w.origin.connections()).toBe(0);
  });
});
