// The registry of what was let through: an entry from the decided line to the ended one on every road, and what a cut does at
// each point of a request's life. Whoever ends it, there is one ended record, and nothing is left behind.
import { expect, it, vi } from 'vitest';
import type { OpenRequest } from '../../src/proxy/open-requests.ts';
import type { RawClient } from '../support/raw-client.ts';
import {
  allowing,
  connectHead,
  eventually,
  holdDials,
  type RawOrigin,
  type Rig,
  rawOrigin,
  startRig,
} from './support.ts';

const HOST = 'a.test';
const SWITCH = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';

interface World {
  readonly rig: Rig;
  readonly origin: RawOrigin;
  readonly target: string;
}

async function world(): Promise<World> {
  const origin = await rawOrigin();
  const rig = await startRig({ policy: allowing(HOST, origin.port), names: { [HOST]: ['127.0.0.1'] } });
  return { rig, origin, target: `${HOST}:${origin.port}` };
}

const get = (target: string): string => `GET http://${target}/p?q HTTP/1.1\r\nHost: ${target}\r\n\r\n`;
const handshake = (target: string): string =>
  `GET http://${target}/ws HTTP/1.1\r\nHost: ${target}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`;

const only = ({ rig }: World): OpenRequest => {
  const [open] = rig.ctx.open.values();
  if (!open || rig.ctx.open.size !== 1) throw new Error(`${rig.ctx.open.size} requests are open`);
  return open;
};

/** Nothing is left of the one request: one ended record, no entry, no slot. */
async function gone(w: World, outcome: string): Promise<void> {
  const end = await w.rig.recorder.endedAt(1);
  expect(end).toMatchObject({ outcome, verdict: 'allow' });
  await eventually(() => w.rig.server.idle, 'the slots are given back');
  expect(w.rig.ctx.open.size).toBe(0);
  expect(w.rig.recorder.allEnded).toHaveLength(1);
}

/** Brings a request to the point where its bytes flow both ways. */
type Road = (w: World) => Promise<{ readonly client: RawClient; readonly peer: RawClient }>;
const ROADS: Record<string, Road> = {
  'a CONNECT': async ({ rig, origin, target }) => {
    const client = await rig.tunnel(target, 'up');
    const peer = await origin.peer();
    await peer.read(2);
    peer.send('down!');
    await client.read(5);
    return { client, peer };
  },
  'an upgrade': async ({ rig, origin, target }) => {
    const client = await rig.send(handshake(target));
    const peer = await origin.peer();
    await peer.readUntil('\r\n\r\n');
    peer.send(SWITCH);
    await client.readHead();
    client.send('up');
    await peer.read(2);
    peer.send('down!');
    await client.read(5);
    return { client, peer };
  },
  'a plain request': async ({ rig, origin, target }) => {
    const client = await rig.send(
      `POST http://${target}/p?q HTTP/1.1\r\nHost: ${target}\r\nContent-Length: 9\r\n\r\nup`,
    );
    const peer = await origin.peer();
    await peer.readUntil('\r\n\r\nup');
    peer.send('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ndown!');
    await client.readUntil('\r\n\r\ndown!');
    return { client, peer };
  },
};

it.each(Object.entries(ROADS))('%s is listed with its facts and its bytes while it is open', async (name, road) => {
  const w = await world();
  const { client, peer } = await road(w);
  const open = only(w);
  const connect = name === 'a CONNECT';
  expect(open).toMatchObject({
    id: 'r1',
    kind: connect ? 'connect' : 'forward',
    address: '127.0.0.1',
    identity: { kind: 'anonymous' },
    facts: { client: '127.0.0.1', host: HOST, verdict: 'allow', group: null, policy: w.rig.ctx.policy.digest },
    bytesUp: 2,
    bytesDown: 5,
  });
  expect(open.path === null).toBe(connect);
  expect(open.openedMs === null).toBe(name === 'a plain request');
  if (open.openedMs !== null) expect(open.openedMs).toBeGreaterThanOrEqual(open.startedMs);
  client.socket.resetAndDestroy();
  await eventually(() => peer.state !== 'open', 'the origin sees the end');
  expect((await w.rig.recorder.endedAt(1)).bytes_up).toBe(2);
  expect(w.rig.ctx.open.size).toBe(0);
});

it.each(Object.entries(ROADS))('%s that is cut while bytes flow breaks at both ends', async (_, road) => {
  const w = await world();
  const { client, peer } = await road(w);
  const open = only(w);
  open.cut('killed');
  expect(open.ended).toBe(true);
  await eventually(() => client.state !== 'open' && peer.state !== 'open', 'both ends see it');
  await gone(w, 'killed');
  open.cut('drained');
  expect(w.rig.recorder.allEnded).toHaveLength(1);
});

it('a tunnel that is cut is reset, so that nobody takes it for whole', async () => {
  const w = await world();
  const { client, peer } = await (ROADS['a CONNECT'] as Road)(w);
  only(w).cut('policy-changed', 'host-not-allowed');
  await eventually(() => client.state === 'reset' && peer.state === 'reset', 'both ends are reset');
  await gone(w, 'policy-changed');
});

it.each([
  ['a CONNECT', connectHead],
  ['a plain request', get],
  ['an upgrade', handshake],
])('%s that is cut while its origin is dialled is refused, and its dial leads nowhere', async (_, head) => {
  const w = await world();
  const client = await w.rig.client();
  const held = holdDials(w.rig.engine);
  client.send(head(w.target));
  await eventually(() => held.dials.length === 1, 'it is dialling');
  const open = only(w);
  expect(open).toMatchObject({ openedMs: null, address: undefined, bytesUp: 0, bytesDown: 0 });
  open.cut('policy-changed', 'host-not-allowed');
  expect(w.rig.recorder.allEnded).toMatchObject([{ outcome: 'policy-changed' }]);
  expect(await client.readResponse()).toMatchObject({ status: 403, reason: 'host-not-allowed' });
  client.close();
  await gone(w, 'policy-changed');
  expect(held.dials[0]?.destroyed).toBe(true);
});

it.each([
  ['a CONNECT', connectHead],
  ['a plain request', get],
])('%s that is cut without a refusal while its origin is dialled ends without an answer', async (_, head) => {
  const w = await world();
  const client = await w.rig.client();
  const held = holdDials(w.rig.engine);
  client.send(head(w.target));
  await eventually(() => held.dials.length === 1, 'it is dialling');
  only(w).cut('drained');
  expect((await client.readAll()).length).toBe(0);
  client.close();
  await gone(w, 'drained');
});

it.each([
  ['a CONNECT', connectHead],
  ['a plain request', get],
])('%s that is cut before anything carries it is refused all the same', async (_, head) => {
  const w = await world();
  const { open: registry } = w.rig.ctx;
  vi.spyOn(registry, 'add').mockImplementationOnce((open) => {
    registry.add(open);
    open.cut('policy-changed', 'host-denied');
  });
  const client = await w.rig.send(head(w.target));
  expect(await client.readResponse()).toMatchObject({ status: 403, reason: 'host-denied' });
  client.close();
  await gone(w, 'policy-changed');
  expect(w.origin.connections()).toBe(0);
});

it('what is refused is never listed', async () => {
  const w = await world();
  const { open: registry } = w.rig.ctx;
  const add = vi.spyOn(registry, 'add');
  const denied = await w.rig.send(connectHead('b.test:443'));
  expect((await denied.readHead()).reason).toBe('host-not-allowed');
  expect(add).not.toHaveBeenCalled();
  // What may pass is registered in the turn that decides it; by the end of that turn its line is written, or it is gone again.
  const listed: number[] = [];
  add.mockImplementationOnce((open) => {
    registry.add(open);
    setImmediate(() => listed.push(registry.size));
  });
  w.rig.recorder.failing = 'decided';
  const unrecorded = await w.rig.send(connectHead(w.target));
  expect((await unrecorded.readHead()).reason).toBe('audit-unavailable');
  expect(listed).toEqual([0]);
});

it('a fault of the proxy’s own behind the decided record ends the request with a record', async () => {
  const w = await world();
  vi.spyOn(w.rig.engine.tunnels, 'set').mockImplementationOnce(() => {
    throw new TypeError('a bug');
  });
  const client = await w.rig.send(connectHead(w.target));
  await client.readAll();
  client.close();
  await gone(w, 'internal-error');
});

it('entries may be cut while the registry is gone through', async () => {
  const w = await world();
  const clients = [await w.rig.tunnel(w.target), await w.rig.tunnel(w.target), await w.rig.tunnel(w.target)];
  const visited: string[] = [];
  for (const open of w.rig.ctx.open.values()) {
    visited.push(open.id);
    open.cut('drained');
  }
  expect(visited).toEqual(['r1', 'r2', 'r3']);
  await eventually(() => clients.every(({ state }) => state === 'reset'), 'all are reset');
  expect(w.rig.ctx.open.size).toBe(0);
});
