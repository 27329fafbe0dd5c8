// The conformance suite of the engine contract, part two: tunnels that do not end in order, bounds, and what is left afterwards.
import type net from 'node:net';
import { describe, expect, it, vi } from 'vitest';
import { LIMIT_SPECS } from '../../src/limits.ts';
import { echo, startOrigin } from '../support/origin.ts';
import { RawClient } from '../support/raw-client.ts';
import { Pattern, pump } from './pattern.ts';
import {
  allowing,
  atEnd,
  bareTunnel,
  connectHead,
  ENGINES,
  eventually,
  holdDials,
  KERNEL_BYTES,
  openFds,
  type RawOrigin,
  type Rig,
  rawOrigin,
  startRig,
  turns,
} from './support.ts';

const MB = 1_000_000;
const HOST = 'origin.test';
const IDLE_MS = LIMIT_SPECS.tunnel_idle_ms.default;

describe.each(ENGINES)('the $name engine', ({ make }) => {
  async function world(limits: Record<string, number> = {}): Promise<{ rig: Rig; origin: RawOrigin; target: string }> {
    const origin = await rawOrigin();
    const policy = allowing(HOST, origin.port);
    const rig = await startRig({ policy, names: { [HOST]: ['127.0.0.1'] }, engine: make, limits });
    return { rig, origin, target: `${HOST}:${origin.port}` };
  }

  it('never writes a refusal into an open tunnel: what fails after the 200 breaks it', async () => {
    const { rig, origin, target } = await world();
    const exchanges = vi.spyOn(rig.engine, 'exchange');
    const client = await rig.tunnel(target, 'some');
    const peer = await origin.peer();
    await peer.read(4);
    const result = exchanges.mock.results[0];
    if (result?.type !== 'return') throw new Error('no exchange was made');
    result.value.refuse('HTTP/1.1 500 internal-error\r\n\r\n');
    await eventually(() => client.state !== 'open', 'the client notices');
    expect(client.state).toBe('reset');
    await eventually(() => peer.state !== 'open', 'the origin notices');
    expect(peer.state).toBe('reset');
    expect((await rig.recorder.endedAt(1)).outcome).toBe('internal-error');
    expect(rig.engine.load).toBe(0);
  });

  it('turns the client’s reset into a reset at the origin', async () => {
    const { rig, origin, target } = await world();
    const client = await rig.tunnel(target, 'some');
    const peer = await origin.peer();
    await peer.read(4);
    client.socket.resetAndDestroy();
    await eventually(() => peer.state !== 'open', 'the origin notices');
    expect(peer.state).toBe('reset');
    expect(await rig.recorder.endedAt(1)).toMatchObject({ outcome: 'client-reset', bytes_up: 4, bytes_down: 0 });
    expect(rig.engine.load).toBe(0);
  });

  it('turns the origin’s reset into a reset at the client, never into a clean end', async () => {
    const { rig, origin, target } = await world();
    const client = await rig.tunnel(target);
    const peer = await origin.peer();
    peer.send('half a message');
    await client.read(14);
    peer.socket.resetAndDestroy();
    await eventually(() => client.state !== 'open', 'the client notices');
    expect(client.state).toBe('reset');
    expect(await rig.recorder.endedAt(1)).toMatchObject({ outcome: 'upstream-reset', bytes_up: 0, bytes_down: 14 });
  });

  it('resets also where the other side has ended its half before', async () => {
    const { rig, origin, target } = await world();
    const client = await rig.tunnel(target);
    const peer = await origin.peer();
    client.end();
    await peer.readAll();
    peer.send('a');
    await client.read(1);
    peer.socket.resetAndDestroy();
    await eventually(() => client.state !== 'open', 'the client notices');
    expect(client.state).toBe('reset');
    expect((await rig.recorder.endedAt(1)).outcome).toBe('upstream-reset');
  });

  it('resets the origin when the client goes in the midst of a download that it does not take', async () => {
    const { rig, origin, target } = await world();
    const client = await bareTunnel(rig, target);
    const peer = await origin.peer();
    const flood = pump(peer.socket, new Pattern(1), 100 * MB);
    await eventually(() => rig.engine.tunnels.size === 1 && peer.socket.writableNeedDrain, 'the pipe is full');
    client.resetAndDestroy();
    await expect(flood).rejects.toThrow('closed after');
    expect(peer.state).toBe('reset');
    expect((await rig.recorder.endedAt(1)).outcome).toBe('client-reset');
  });

  it.each([
    ['an origin floods a client', 'down'],
    ['a client floods an origin', 'up'],
  ])('holds little when %s that does not read, and then delivers it all', async (_, way) => {
    const sockets: net.Socket[] = [];
    const server = await startOrigin((socket) => {
      socket.pause();
      sockets.push(socket);
    });
    atEnd(() => server.close());
    const policy = allowing(HOST, server.port);
    const rig = await startRig({ policy, names: { [HOST]: ['127.0.0.1'] }, engine: make });
    const client = await bareTunnel(rig, `${HOST}:${server.port}`);
    await eventually(() => sockets.length === 1, 'the origin has its connection');
    const origin = sockets[0] as net.Socket;
    const [from, to] = way === 'down' ? [origin, client] : [client, origin];
    const most = KERNEL_BYTES + 24 * MB;
    const memoryBefore = process.memoryUsage().arrayBuffers;
    let sent = 0;
    const block = Buffer.alloc(MB, 'x');
    // The sender writes until the kernel takes no more for many turns of the loop.
    for (let still = 0; still < 300; ) {
      if (!from.writableNeedDrain) {
        from.write(block);
        sent += MB;
        still = 0;
      } else still++;
      expect(sent).toBeLessThan(most);
      await turns(1);
    }
    expect(process.memoryUsage().arrayBuffers - memoryBefore).toBeLessThan(8 * MB);
    let got = 0;
    to.on('data', (chunk: Buffer) => {
      got += chunk.length;
    });
    to.resume();
    from.end();
    await new Promise<void>((resolve) => to.once('end', resolve));
    expect(got).toBe(sent);
    to.end();
    from.resume();
    const end = await rig.recorder.endedAt(1);
    expect(end).toMatchObject({
      outcome: 'closed',
      bytes_down: way === 'down' ? sent : 0,
      bytes_up: way === 'up' ? sent : 0,
    });
  });

  it('kills one tunnel by its id and leaves the others alone', async () => {
    const { rig, origin, target } = await world();
    const clients = [await rig.tunnel(target), await rig.tunnel(target)];
    const peers = [await origin.peer(1), await origin.peer(2)];
    const [doomed] = rig.recorder.allDecided;
    rig.engine.tunnels.get(doomed?.id ?? '')?.cut('killed');
    const end = await rig.recorder.endedAt(1);
    expect(end).toMatchObject({ id: doomed?.id, outcome: 'killed' });
    await eventually(() => clients[0]?.state === 'reset' && peers[0]?.state === 'reset', 'both ends are reset');
    clients[1]?.send('still here');
    expect((await peers[1]?.read(10))?.toString()).toBe('still here');
    expect(rig.engine.tunnels.size).toBe(1);
    expect(rig.engine.load).toBe(1);
  });

  it('cuts what is open when it closes, and says so once for each', async () => {
    const { rig, origin, target } = await world();
    const clients = [await rig.tunnel(target), await rig.tunnel(target)];
    await origin.peer(2);
    rig.engine.close();
    await rig.recorder.endedAt(2);
    await eventually(() => clients.every(({ state }) => state === 'reset'), 'both clients are reset');
    expect(rig.recorder.allEnded.map(({ outcome }) => outcome)).toEqual(['drained', 'drained']);
    expect(rig.engine.load).toBe(0);
  });

  it('cuts a tunnel without a byte for the idle limit, and none that has had one', async () => {
    const { rig, origin, target } = await world();
    const quiet = await rig.tunnel(target);
    const busy = await rig.tunnel(target);
    const peers = [await origin.peer(1), await origin.peer(2)];
    rig.engine.cutIdle(1_000);
    rig.engine.cutIdle(1_000 + IDLE_MS - 1);
    expect(rig.recorder.allEnded).toHaveLength(0);
    peers[1]?.send('x');
    await busy.read(1);
    rig.engine.cutIdle(1_000 + IDLE_MS);
    expect(await rig.recorder.endedAt(1)).toMatchObject({ outcome: 'idle' });
    await eventually(() => quiet.state !== 'open' && peers[0]?.state !== 'open', 'both ends are told');
    expect(rig.engine.tunnels.size).toBe(1);
    expect(rig.meter.hits.get('tunnel_idle_ms')).toBe(1);
    busy.send('y');
    await peers[1]?.read(1);
    rig.engine.cutIdle(1_000 + 2 * IDLE_MS);
    expect(rig.engine.tunnels.size).toBe(1);
  });

  it('takes no tunnel for idle that ends in the turn of a sweep, and loses no byte of one that is killed in that turn', async () => {
    const { rig, origin, target } = await world();
    const clients: RawClient[] = [];
    for (let nth = 1; nth <= 20; nth++) {
      const client = await rig.tunnel(target, 'ping');
      const peer = await origin.peer(nth);
      await peer.read(4);
      peer.send('answer');
      await client.read(6);
      peer.end();
      clients.push(client);
    }
    const record = rig.recorder.ended.bind(rig.recorder);
    vi.spyOn(rig.recorder, 'ended').mockImplementationOnce((ended) => {
      record(ended);
      rig.engine.cutIdle(Date.now());
      const [last] = [...rig.engine.tunnels.values()].slice(-1);
      last?.cut('killed');
    });
    for (const client of clients) client.end();
    await rig.recorder.endedAt(clients.length);
    const ends = rig.recorder.allEnded;
    expect(ends.map((end) => [end.bytes_up, end.bytes_down])).toEqual(clients.map(() => [4, 6]));
    expect(ends.filter(({ outcome }) => outcome === 'closed')).toHaveLength(clients.length - 1);
    expect(ends.filter(({ outcome }) => outcome === 'killed')).toHaveLength(1);
    await eventually(() => rig.slots.open === 0 && rig.engine.load === 0, 'all is given back');
  });

  it('keeps nothing of the head while it dials', async () => {
    const { rig, target } = await world();
    const exchanges = vi.spyOn(rig.engine, 'exchange');
    const client = await rig.client();
    const held = holdDials(rig.engine);
    client.send(connectHead(target));
    await eventually(() => held.dials.length === 1, 'the dial is under way');
    expect(exchanges.mock.results[0]?.value.head).toEqual({ target: '', version: '', rawHeaders: [] });
    client.close();
    await rig.recorder.endedAt(1);
  });

  it('gives the dial up when the client goes before the answer', async () => {
    const { rig, origin, target } = await world();
    const client = await rig.client();
    const held = holdDials(rig.engine);
    client.send(connectHead(target));
    await eventually(() => held.dials.length === 1, 'the dial is under way');
    client.socket.resetAndDestroy();
    expect(await rig.recorder.endedAt(1)).toMatchObject({ outcome: 'client-gone', bytes_up: 0, bytes_down: 0 });
    await eventually(() => held.dials[0]?.destroyed === true, 'the dial is over');
    expect(rig.engine.load).toBe(0);
    expect(origin.connections()).toBe(0);
  });

  it('dials nothing for a client that has gone while the name was resolved', async () => {
    const { rig, origin, target } = await world();
    const answer = rig.resolver.hold(HOST);
    const client = await rig.send(connectHead(target));
    await eventually(() => rig.resolver.asked.length === 1, 'the name is being resolved');
    client.socket.resetAndDestroy();
    await eventually(() => rig.slots.open === 0, 'the proxy has noticed');
    answer({ ok: true, addresses: ['127.0.0.1'] });
    expect(await rig.recorder.endedAt(1)).toMatchObject({ outcome: 'client-gone' });
    expect(origin.connections()).toBe(0);
    expect(rig.engine.load).toBe(0);
  });

  it('answers 504 where the origin is silent', async () => {
    const { rig, target } = await world({ connect_timeout_ms: 100 });
    const client = await rig.client();
    const held = holdDials(rig.engine);
    client.send(connectHead(target));
    expect(await client.readResponse()).toMatchObject({ status: 504, reason: 'connect-timeout' });
    expect(held.dials[0]?.destroyed).toBe(true);
    expect(await rig.recorder.endedAt(1)).toMatchObject({ verdict: 'allow', outcome: 'connect-timeout' });
    expect(rig.engine.load).toBe(0);
  });

  it('answers 502 where the origin refuses', async () => {
    const closed = await startOrigin(() => {});
    await closed.close();
    const rig = await startRig({
      policy: allowing(HOST, closed.port),
      names: { [HOST]: ['127.0.0.1'] },
      engine: make,
    });
    const client = await rig.send(connectHead(`${HOST}:${closed.port}`));
    expect(await client.readResponse()).toMatchObject({ status: 502, reason: 'connect-refused' });
    expect(await rig.recorder.endedAt(1)).toMatchObject({ verdict: 'allow', outcome: 'connect-refused' });
    expect(rig.engine.load).toBe(0);
  });

  it('survives a hundred clients that reset right behind their CONNECT, and leaves nothing open', async () => {
    const origin = await startOrigin(echo);
    atEnd(() => origin.close());
    const policy = allowing(HOST, origin.port);
    const rig = await startRig({ policy, names: { [HOST]: ['127.0.0.1'] }, engine: make });
    const target = `${HOST}:${origin.port}`;
    await turns();
    const before = openFds();
    for (let i = 0; i < 100; i++) {
      const client = await RawClient.connect(rig.at);
      client.socket.write(connectHead(i % 2 === 0 ? target : 'denied.test:443'));
      if (i % 3 === 0) await turns(1);
      client.socket.resetAndDestroy();
    }
    await eventually(() => rig.slots.open === 0 && rig.engine.load === 0, 'no slot and no load is left');
    await eventually(() => openFds() <= before, 'all descriptors are closed');
    expect(rig.recorder.allEnded.length).toBe(
      rig.recorder.allDecided.filter(({ outcome }) => outcome === undefined).length,
    );
    const good = await rig.tunnel(target);
    expect(good.state).toBe('open');
  });

  it('leaks no descriptor where a kill meets an end that has just been passed on', async () => {
    const { rig, origin, target } = await world();
    await turns();
    const before = openFds();
    for (let i = 1; i <= 5; i++) {
      const answer = rig.resolver.hold(HOST);
      const client = await rig.send(connectHead(target));
      client.end();
      await eventually(() => rig.resolver.asked.length === i, 'the name is being resolved');
      await turns();
      answer({ ok: true, addresses: ['127.0.0.1'] });
      // The client's end is passed on as the tunnel opens; the kill comes in the same turn of the loop.
      await eventually(() => rig.engine.tunnels.size === 1, 'the tunnel is open');
      for (const tunnel of rig.engine.tunnels.values()) tunnel.cut('killed');
      expect(await rig.recorder.endedAt(i)).toMatchObject({ outcome: 'killed' });
      client.close();
      (await origin.peer(i)).close();
    }
    await eventually(() => openFds() <= before && rig.slots.open === 0, 'all is given back');
  });

  it('gives back slot, load and descriptor also for what was refused or failed', async () => {
    const closed = await startOrigin(() => {});
    await closed.close();
    const rig = await startRig({
      policy: allowing(HOST, closed.port),
      names: { [HOST]: ['127.0.0.1'], 'other.test': ['127.0.0.1'] },
      engine: make,
    });
    await turns();
    const before = openFds();
    const heads = ['denied.test:443', `${HOST}:${closed.port}`, 'not an authority', `${HOST}:1`];
    for (const target of heads) {
      const client = await RawClient.connect(rig.at);
      client.send(connectHead(target));
      await client.readResponse();
      client.end();
      await client.readAll();
    }
    await eventually(() => rig.slots.open === 0 && openFds() <= before, 'everything is given back');
    expect(rig.engine.load).toBe(0);
    expect(rig.recorder.allDecided).toHaveLength(heads.length);
  });
});
