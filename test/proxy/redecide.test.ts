// A new policy and what is open under the old one: every road, every reason to refuse, kept or cut, in slices.
import { describe, expect, it, vi } from 'vitest';
import { ClientBook } from '../../src/identity/identify.ts';
import { parseCidr } from '../../src/policy/address.ts';
import { redecide } from '../../src/proxy/redecide.ts';
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
  turns,
} from './support.ts';

const HOST = 'a.test';
const OTHER = 'b.test';

async function world(): Promise<{ rig: Rig; origin: RawOrigin; both: string }> {
  const origin = await rawOrigin();
  const both = `${allowing(HOST, origin.port)}\n${allowing(OTHER, origin.port).split('\n')[1]}`;
  const rig = await startRig({ policy: both, names: { [HOST]: ['127.0.0.1'], [OTHER]: ['127.0.0.1'] } });
  return { rig, origin, both };
}

async function pingPong(client: RawClient, peer: RawClient): Promise<void> {
  client.send('ping');
  expect((await peer.read(4)).toString()).toBe('ping');
  peer.send('pong');
  expect((await client.read(4)).toString()).toBe('pong');
}

describe('what a new policy refuses', () => {
  it('is cut, and the rest stays', async () => {
    const { rig, origin } = await world();
    const lost = await rig.tunnel(`${HOST}:${origin.port}`);
    const lostPeer = await origin.peer(1);
    const kept = await rig.tunnel(`${OTHER}:${origin.port}`);
    const keptPeer = await origin.peer(2);
    rig.swapPolicy(allowing(OTHER, origin.port));
    expect(await redecide(rig.ctx, 'cut')).toEqual({ decided: 2, refused: 1 });
    await eventually(() => lost.state === 'reset' && lostPeer.state === 'reset', 'both ends are reset');
    await pingPong(kept, keptPeer);
    expect(rig.recorder.allEnded).toMatchObject([{ host: HOST, outcome: 'policy-changed', verdict: 'allow' }]);
  });

  it('is counted and stays open where it is to be kept', async () => {
    const { rig, origin } = await world();
    const client = await rig.tunnel(`${HOST}:${origin.port}`);
    const peer = await origin.peer();
    rig.swapPolicy(allowing(OTHER, origin.port));
    expect(await redecide(rig.ctx, 'keep')).toEqual({ decided: 1, refused: 1 });
    await pingPong(client, peer);
    expect(rig.recorder.allEnded).toEqual([]);
  });

  it.each<[string, (rig: Rig, port: number) => void]>([
    ['a deny rule', (rig, port) => rig.swapPolicy(`${allowing(HOST, port)}\ndeny: [ ${HOST} ]`)],
    ['another port', (rig, port) => rig.swapPolicy(allowing(HOST, port === 1 ? 2 : port - 1))],
    ['a protocol without tunnels', (rig, port) => rig.swapPolicy(allowing(HOST, port, 'http'))],
    ['an expired rule', (rig, port) => rig.swapPolicy(allowing(HOST, port).replace(' }', ', expires: 2020-01-01 }'))],
    ['a rule for others', (rig, port) => rig.swapPolicy(allowing(HOST, port).replace(' }', ', for: { queue: x } }'))],
    [
      'addresses that do not cover what was dialled',
      (rig, port) => rig.swapPolicy(allowing(HOST, port).replace('127.0.0.0/8', '10.0.0.0/8')),
    ],
    [
      'client ranges without the client',
      (rig) => {
        const range = parseCidr('10.0.0.0/8');
        rig.ctx.book = new ClientBook({ clients: range ? [range] : [], proxyProtocol: [], clientGroups: [] }, 1_024);
      },
    ],
  ])('counts: %s', async (_, change) => {
    const { rig, origin } = await world();
    const client = await rig.tunnel(`${HOST}:${origin.port}`);
    change(rig, origin.port);
    expect(await redecide(rig.ctx, 'cut')).toEqual({ decided: 1, refused: 1 });
    await eventually(() => client.state === 'reset', 'it is cut');
  });

  it('of plain HTTP is refused before its answer, and broken in it', async () => {
    const { rig, origin } = await world();
    const get = (path: string): string => `GET http://${HOST}:${origin.port}${path} HTTP/1.1\r\nHost: x\r\n\r\n`;
    const waiting = await rig.send(get('/1'));
    await (await origin.peer(1)).readUntil('\r\n\r\n');
    const reading = await rig.send(get('/2'));
    const peer = await origin.peer(2);
    await peer.readUntil('\r\n\r\n');
    peer.send('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart');
    await reading.readUntil('part');
    rig.swapPolicy(allowing(OTHER, origin.port));
    expect(await redecide(rig.ctx, 'cut')).toEqual({ decided: 2, refused: 2 });
    expect(await waiting.readResponse()).toMatchObject({ status: 403, reason: 'host-not-allowed' });
    expect((await reading.readAll()).length).toBe(0);
    expect(rig.recorder.allEnded.map(({ outcome }) => outcome)).toEqual(['policy-changed', 'policy-changed']);
  });

  it('of plain HTTP is all of it where plain_http is off now', async () => {
    const { rig, origin } = await world();
    const client = await rig.send(`GET http://${HOST}:${origin.port}/ HTTP/1.1\r\nHost: x\r\n\r\n`);
    await (await origin.peer()).readUntil('\r\n\r\n');
    rig.ctx.plainHttp = false;
    expect(await redecide(rig.ctx, 'cut')).toEqual({ decided: 1, refused: 1 });
    expect((await client.readResponse()).status).toBe(405);
  });

  it('is not dialled to an end: one address of several that is not covered any more is enough', async () => {
    const { rig, origin } = await world();
    rig.resolver.scripts.set(HOST, ['127.0.0.1', '127.0.0.2']);
    const client = await rig.client();
    const held = holdDials(rig.engine);
    client.send(connectHead(`${HOST}:${origin.port}`));
    await eventually(() => held.dials.length > 0, 'it is dialling');
    rig.swapPolicy(allowing(HOST, origin.port).replace('127.0.0.0/8', '127.0.0.1/32'));
    expect(await redecide(rig.ctx, 'cut')).toEqual({ decided: 1, refused: 1 });
    expect(await client.readResponse()).toMatchObject({ status: 403, reason: 'address-prohibited' });
  });
});

describe('many open requests', () => {
  /** Each look at the clock is a slice's end. */
  function slowClock(): void {
    let nowMs = 0;
    vi.spyOn(performance, 'now').mockImplementation(() => {
      nowMs += 10;
      return nowMs;
    });
  }

  it('are decided in slices, and those that end or come in between are no matter', async () => {
    const { rig, origin, both } = await world();
    const clients: RawClient[] = [];
    for (let i = 0; i < 40; i++) clients.push(await rig.tunnel(`${HOST}:${origin.port}`));
    const kept: RawClient[] = [];
    rig.swapPolicy(both.replace(`host: ${HOST}`, 'host: c.test'));
    slowClock();
    let slices = 0;
    const done = await redecide(rig.ctx, 'cut', (next) => {
      slices++;
      const last = [...rig.ctx.open.values()].at(-1);
      if (slices === 1) last?.cut('killed');
      void rig.tunnel(`${OTHER}:${origin.port}`).then((client) => {
        kept.push(client);
        next();
      });
    });
    expect(slices).toBe(3);
    expect(done?.refused).toBe(39);
    await eventually(() => clients.every(({ state }) => state === 'reset'), 'all of the old are cut');
    await turns();
    expect(kept.map(({ state }) => state)).toEqual(['open', 'open', 'open']);
    expect(rig.recorder.allEnded).toHaveLength(40);
  });

  it('are left to the next pass where another policy comes in between', async () => {
    const { rig, origin, both } = await world();
    for (let i = 0; i < 20; i++) await rig.tunnel(`${HOST}:${origin.port}`);
    rig.swapPolicy(allowing(OTHER, origin.port));
    slowClock();
    let slices = 0;
    const done = await redecide(rig.ctx, 'cut', (next) => {
      slices++;
      if (slices === 2) rig.swapPolicy(both);
      next();
    });
    expect(done).toBe(null);
    expect(rig.ctx.open.size).toBeLessThan(20);
    const left = rig.ctx.open.size;
    expect(await redecide(rig.ctx, 'cut')).toEqual({ decided: left, refused: 0 });
  });
});
