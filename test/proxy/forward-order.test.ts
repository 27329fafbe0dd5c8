// Plain HTTP over time: pipelined requests, answers before the request is through, ends that come at the wrong moment, and
// WebSocket. Each request has one decided and at most one ended record, whatever comes before and behind it.
import { describe, expect, it } from 'vitest';
import type { RawClient } from '../support/raw-client.ts';
import {
  allowing,
  connectHead,
  eventually,
  openFds,
  type RawOrigin,
  type Rig,
  rawOrigin,
  startRig,
  turns,
} from './support.ts';

const HOST = 'web.test';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

interface World {
  readonly rig: Rig;
  readonly origin: RawOrigin;
  readonly base: string;
  readonly target: string;
}

async function world(limits: Record<string, number> = {}, protocol = 'any'): Promise<World> {
  const origin = await rawOrigin();
  const rig = await startRig({
    policy: allowing(HOST, origin.port, protocol),
    names: { [HOST]: ['127.0.0.1'] },
    limits,
  });
  return { rig, origin, base: `http://${HOST}:${origin.port}`, target: `${HOST}:${origin.port}` };
}

const get = (url: string, fields = ''): string => `GET ${url} HTTP/1.1\r\nHost: x\r\n${fields}\r\n`;
const lineAt = async (peer: RawClient): Promise<string> =>
  (await peer.readUntil('\r\n\r\n')).toString('latin1').split('\r\n')[0] as string;

describe('pipelined requests', () => {
  it('are answered in their order, one at a time, on one connection of the origin', async () => {
    const w = await world();
    const client = await w.rig.send([1, 2, 3].map((n) => get(`${w.base}/${n}`)).join(''));
    const peer = await w.origin.peer();
    for (const n of [1, 2, 3]) {
      expect(await lineAt(peer)).toBe(`GET /${n} HTTP/1.1`);
      await turns(3);
      expect(w.rig.recorder.allDecided).toHaveLength(n);
      peer.send(`HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n${n}`);
    }
    for (const n of [1, 2, 3]) expect((await client.readResponse()).body).toBe(`${n}`);
    await w.rig.recorder.endedAt(3);
    expect(w.origin.connections()).toBe(1);
  });

  it('are decided each for itself: an allowed one is served, the denied one behind it refused', async () => {
    const w = await world();
    const client = await w.rig.send(get(`${w.base}/`) + get('http://denied.test/'));
    const peer = await w.origin.peer();
    await lineAt(peer);
    peer.send(OK);
    expect((await client.readResponse()).status).toBe(200);
    expect(await client.readResponse()).toMatchObject({ status: 403, reason: 'host-not-allowed' });
    expect((await client.readAll()).length).toBe(0);
    expect(w.rig.recorder.allDecided.map(({ verdict }) => verdict)).toEqual(['allow', 'deny']);
    expect(w.rig.resolver.asked).toEqual([HOST]);
  });

  it('end behind a refusal, which closes: what comes after it has no effect', async () => {
    const w = await world();
    const client = await w.rig.send(get('http://denied.test/') + get(`${w.base}/effect`) + connectHead(w.target));
    expect((await client.readResponse()).status).toBe(403);
    expect((await client.readAll()).length).toBe(0);
    await eventually(() => w.rig.slots.open === 0, 'the connection is closed');
    expect(w.origin.connections()).toBe(0);
    expect(w.rig.recorder.allDecided).toHaveLength(1);
    expect(w.rig.server.idle).toBe(true);
  });

  it('end behind a refusal whose request has trailers, which Node reads behind the answer', async () => {
    const w = await world();
    const body = 'Transfer-Encoding: chunked\r\nHost: y\r\n\r\n1\r\nx\r\n0\r\nX-Trailer: 1\r\n\r\n';
    const client = await w.rig.send(`POST ${w.base}/ HTTP/1.1\r\nHost: x\r\n${body}${get(`${w.base}/effect`)}`);
    expect(await client.readResponse()).toMatchObject({ status: 400, reason: 'host-header' });
    await eventually(() => w.rig.slots.open === 0, 'the connection is closed');
    expect(w.rig.recorder.entries).toHaveLength(1);
    expect(w.rig.resolver.asked).toEqual([]);
  });

  it.each([
    ['allowed', ''],
    ['denied', 'denied.test:443'],
  ])('may have a CONNECT (%s) behind them, which waits for its turn', async (_, other) => {
    const w = await world();
    const target = other || w.target;
    const client = await w.rig.send(`${get(`${w.base}/`)}${connectHead(target)}payload`);
    const peer = await w.origin.peer();
    await lineAt(peer);
    await turns();
    expect(w.rig.recorder.allDecided).toHaveLength(1);
    peer.send('HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n');
    peer.send(Buffer.alloc(2_000_000, 'x'));
    expect((await client.readResponse()).body).toBe('x'.repeat(2_000_000));
    const head = await client.readHead();
    if (other) expect(head).toMatchObject({ status: 403, reason: 'host-not-allowed' });
    else {
      expect(head.status).toBe(200);
      const tunnel = await w.origin.peer(2);
      expect((await tunnel.read(7)).toString()).toBe('payload');
      tunnel.send('back');
      expect((await client.read(4)).toString()).toBe('back');
    }
    expect(w.rig.recorder.allDecided.map(({ method }) => method)).toEqual(['GET', 'CONNECT']);
  });

  it('may have an upgrade behind them, which waits for its turn too', async () => {
    const w = await world();
    const upgrade = get(`${w.base}/ws`, 'Connection: Upgrade\r\nUpgrade: websocket\r\n');
    const client = await w.rig.send(get(`${w.base}/`) + upgrade);
    const peer = await w.origin.peer();
    await lineAt(peer);
    await turns();
    peer.send(OK);
    expect((await client.readResponse()).body).toBe('ok');
    expect(await lineAt(peer)).toBe('GET /ws HTTP/1.1');
    peer.send('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    expect((await client.readHead()).status).toBe(101);
  });

  it('survive the client’s reset while a CONNECT waits', async () => {
    const w = await world();
    const client = await w.rig.send(get(`${w.base}/`) + connectHead(w.target));
    const peer = await w.origin.peer();
    await lineAt(peer);
    client.socket.resetAndDestroy();
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({ outcome: 'client-gone' });
    await eventually(() => w.rig.slots.open === 0 && w.rig.server.idle, 'all is given back');
    expect(w.rig.recorder.allDecided).toHaveLength(1);
  });

  it('do not get a refusal of what cannot be parsed into the answer of the one before', async () => {
    const w = await world();
    const client = await w.rig.send(`${get(`${w.base}/`)}complete nonsense\r\n\r\n`);
    const peer = await w.origin.peer();
    await lineAt(peer);
    peer.send('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst');
    await client.readUntil('first');
    await turns();
    peer.send(' half');
    expect((await client.read(5)).toString()).toBe(' half');
    expect((await client.readResponse()).status).toBe(405);
    expect(w.rig.recorder.allDecided.map(({ verdict }) => verdict)).toEqual(['allow', 'deny']);
  });

  it('waiting_requests_max: two wait and are answered; one more closes the connection and is counted', async () => {
    const w = await world({ waiting_requests_max: 2 });
    const served = await w.rig.send(get(`${w.base}/`).repeat(3));
    const peer = await w.origin.peer();
    for (let n = 0; n < 3; n++) {
      await lineAt(peer);
      peer.send('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      expect((await served.readResponse()).body).toBe('ok');
    }
    expect(w.rig.meter.hits.get('waiting_requests_max')).toBeUndefined();
    const flooding = await w.rig.send(get(`${w.base}/`).repeat(4));
    await eventually(() => flooding.state !== 'open', 'it is cut');
    expect(w.rig.meter.hits.get('waiting_requests_max')).toBe(1);
  });

  it('are bounded: a flood on one connection opens one connection to the origin and is cut', async () => {
    const w = await world();
    const client = await w.rig.client();
    const before = openFds();
    client.send(get(`${w.base}/`).repeat(2_000));
    await eventually(() => client.state !== 'open', 'it is cut');
    expect(openFds() - before).toBeLessThan(5);
    await eventually(() => w.rig.server.idle, 'nothing is under way');
    expect(w.origin.connections()).toBeLessThanOrEqual(1);
    expect(w.rig.recorder.allDecided.length).toBeLessThanOrEqual(2);
    expect(w.rig.recorder.allDecided.at(-1)).toMatchObject({ verdict: 'deny', reason: 'request-malformed' });
  });
});

describe('Expect: 100-continue', () => {
  const head = (base: string): string =>
    `POST ${base}/ HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n`;

  it('passes the origin’s 100 on, once, and then the body', async () => {
    const w = await world();
    const client = await w.rig.send(head(w.base));
    const peer = await w.origin.peer();
    expect((await peer.readUntil('\r\n\r\n')).toString()).toContain('Expect: 100-continue');
    peer.send('HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n');
    expect(await client.readHead()).toMatchObject({ status: 100 });
    client.send('body');
    expect((await peer.read(4)).toString()).toBe('body');
    peer.send(OK);
    expect(await client.readResponse()).toMatchObject({ status: 200, body: 'ok' });
  });

  it('works where the origin never sends a 100 and the client goes on', async () => {
    const w = await world();
    const client = await w.rig.send(head(w.base));
    const peer = await w.origin.peer();
    await peer.readUntil('\r\n\r\n');
    client.send('body');
    expect((await peer.read(4)).toString()).toBe('body');
    peer.send(OK);
    expect((await client.readResponse()).status).toBe(200);
  });

  it('passes a final answer on without the body, and closes', async () => {
    const w = await world();
    const client = await w.rig.send(head(w.base));
    const peer = await w.origin.peer();
    await peer.readUntil('\r\n\r\n');
    peer.send('HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno');
    const response = await client.readResponse();
    expect(response).toMatchObject({ status: 417, body: 'no' });
    expect(response.headers['connection']).toBe('close');
    client.end();
    await eventually(() => client.state !== 'open', 'it is closed');
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({ outcome: 'closed', status: 417 });
  });

  it('is refused without a 100 where the host is denied', async () => {
    const w = await world();
    const client = await w.rig.send(head('http://denied.test'));
    expect((await client.readResponse()).status).toBe(403);
  });
});

describe('an answer before the request is through', () => {
  it('arrives whole where the proxy refuses and the client goes on uploading', async () => {
    const w = await world();
    const client = await w.rig.send('POST http://denied.test/ HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n');
    for (let i = 0; i < 9; i++) {
      client.send(Buffer.alloc(100_000));
      await turns(2);
    }
    expect(await client.readResponse()).toMatchObject({ status: 403, reason: 'host-not-allowed' });
    await eventually(() => client.state === 'ended', 'it closes in order');
  });

  it('is cut at last where the client uploads without end', async () => {
    const w = await world();
    const client = await w.rig.send(
      'POST http://denied.test/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n',
    );
    const chunk = `10000\r\n${'x'.repeat(65_536)}\r\n`;
    for (let sent = 0; client.state === 'open' && sent < 40; sent++) {
      client.send(chunk);
      await turns(3);
    }
    await eventually(() => w.rig.slots.open === 0, 'the connection is closed');
    expect((await client.readHead()).status).toBe(403);
  });

  it('arrives whole where the origin refuses an upload that it does not read', async () => {
    const w = await world();
    const client = await w.rig.send(`POST ${w.base}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n`);
    const peer = await w.origin.peer();
    await peer.readUntil('\r\n\r\n');
    peer.send('HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig');
    for (let i = 0; i < 9; i++) {
      client.send(Buffer.alloc(100_000));
      await turns(2);
    }
    expect(await client.readResponse()).toMatchObject({ status: 413, body: 'big' });
    await eventually(() => client.state === 'ended', 'it closes in order');
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({ outcome: 'closed', status: 413 });
  });
});

describe('a client that goes', () => {
  it.each(['reset', 'end'])('frees the origin before the answer (%s)', async (how) => {
    const w = await world();
    const client = await w.rig.send(get(`${w.base}/`));
    const peer = await w.origin.peer();
    await lineAt(peer);
    if (how === 'reset') client.socket.resetAndDestroy();
    else client.close();
    await eventually(() => peer.state !== 'open', 'the origin’s connection is closed');
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({ outcome: 'client-gone' });
    expect(w.rig.server.idle).toBe(true);
  });

  it('frees the origin in the midst of a download', async () => {
    const w = await world();
    const client = await w.rig.send(get(`${w.base}/`));
    const peer = await w.origin.peer();
    await lineAt(peer);
    peer.send('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\npart');
    await client.readUntil('part');
    client.close();
    await eventually(() => peer.state !== 'open', 'the origin’s connection is closed');
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({ outcome: 'client-gone', status: 200, bytes_down: 4 });
  });

  it('frees the origin in the midst of an upload, which never looks whole', async () => {
    const w = await world();
    const client = await w.rig.send(
      `POST ${w.base}/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n`,
    );
    const peer = await w.origin.peer();
    await peer.readUntil('part\r\n');
    client.socket.resetAndDestroy();
    const rest = await peer.readAll();
    expect(rest.toString()).not.toContain('0\r\n');
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({ outcome: 'client-gone', bytes_up: 4 });
  });

  it('is not served where it has gone while the name was resolved', async () => {
    const w = await world();
    const answer = w.rig.resolver.hold(HOST);
    const client = await w.rig.send(get(`${w.base}/`));
    await eventually(() => w.rig.resolver.asked.length === 1, 'the name is being resolved');
    client.socket.resetAndDestroy();
    await eventually(() => w.rig.slots.open === 0, 'the proxy has noticed');
    answer({ ok: true, addresses: ['127.0.0.1'] });
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({ outcome: 'client-gone' });
    expect(w.origin.connections()).toBe(0);
    expect(w.rig.server.idle).toBe(true);
  });
});
