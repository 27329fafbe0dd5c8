// Upgrade over plain HTTP: WebSocket becomes a tunnel once the origin agrees; anything else is an ordinary request, since the
// proxy speaks for itself on each hop (RFC 9110 §7.8).
import { describe, expect, it } from 'vitest';
import type { RawClient } from '../support/raw-client.ts';
import { Pattern } from './pattern.ts';
import { allowing, eventually, openFds, type RawOrigin, type Rig, rawOrigin, startRig, turns } from './support.ts';

const HOST = 'web.test';
const SWITCH =
  'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: k\r\n\r\n';

async function world(limits: Record<string, number> = {}): Promise<{ rig: Rig; origin: RawOrigin; base: string }> {
  const origin = await rawOrigin();
  const rig = await startRig({ policy: allowing(HOST, origin.port, 'http'), names: { [HOST]: ['127.0.0.1'] }, limits });
  return { rig, origin, base: `http://${HOST}:${origin.port}` };
}

const handshake = (base: string, fields = 'Upgrade: websocket\r\n'): string =>
  `GET ${base}/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, keep-alive\r\n${fields}Sec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n\r\n`;

const headAt = async (peer: RawClient): Promise<string> => (await peer.readUntil('\r\n\r\n')).toString('latin1');

describe('a WebSocket', () => {
  it('carries bytes both ways, those right behind the request and right behind the 101 first', async () => {
    const w = await world();
    const client = await w.rig.send(`${handshake(w.base)}early frame`);
    const peer = await w.origin.peer();
    const head = await headAt(peer);
    expect(head).toContain('GET /ws HTTP/1.1\r\n');
    expect(head.toLowerCase()).toContain('connection: upgrade\r\nupgrade: websocket\r\n');
    expect(head).toContain('Sec-WebSocket-Key: k\r\n');
    peer.send(`${SWITCH}first frame`);
    const answer = await client.readHead();
    expect(answer).toMatchObject({ status: 101, reason: 'Switching Protocols' });
    expect(answer.headers).toMatchObject({ connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-accept': 'k' });
    expect((await client.read(11)).toString()).toBe('first frame');
    expect((await peer.read(11)).toString()).toBe('early frame');
    const bytes = new Pattern(5).slice(0, 2_000_000);
    client.send(bytes);
    peer.send(bytes);
    expect((await peer.read(bytes.length)).equals(bytes)).toBe(true);
    expect((await client.read(bytes.length)).equals(bytes)).toBe(true);
    expect(w.rig.engine.tunnels.size).toBe(1);
    client.end();
    expect((await peer.readAll()).length).toBe(0);
    peer.send('last words');
    peer.end();
    expect((await client.readAll()).toString()).toBe('last words');
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({
      verdict: 'allow',
      outcome: 'closed',
      status: 101,
      bytes_up: bytes.length + 11,
      bytes_down: bytes.length + 21,
    });
    expect(w.rig.recorder.entries).toHaveLength(2);
    expect(w.rig.engine.load).toBe(0);
  });

  it('resets one side where the other is reset', async () => {
    const w = await world();
    const client = await w.rig.send(handshake(w.base));
    const peer = await w.origin.peer();
    await headAt(peer);
    peer.send(SWITCH);
    await client.readHead();
    peer.socket.resetAndDestroy();
    await eventually(() => client.state === 'reset', 'the client is reset');
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({ outcome: 'upstream-reset', status: 101 });
  });

  it.each(['reset', 'end'])('is given up where the client goes before the 101 (%s)', async (how) => {
    const w = await world();
    await turns();
    const before = openFds();
    const client = await w.rig.send(handshake(w.base));
    const peer = await w.origin.peer();
    await headAt(peer);
    if (how === 'reset') client.socket.resetAndDestroy();
    else {
      client.close();
      await turns();
      peer.send(`${SWITCH}frame`);
    }
    await eventually(() => peer.state !== 'open', 'the origin’s connection is closed');
    peer.close();
    const end = await w.rig.recorder.endedAt(1);
    expect(['client-gone', 'client-reset']).toContain(end.outcome);
    expect(w.rig.recorder.entries).toHaveLength(2);
    await eventually(() => openFds() <= before && w.rig.server.idle, 'all is given back');
  });

  it('gets the origin’s refusal as an ordinary response, and the connection closes', async () => {
    const w = await world();
    const client = await w.rig.send(handshake(w.base));
    const peer = await w.origin.peer();
    await headAt(peer);
    peer.send('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno');
    expect(await client.readResponse()).toMatchObject({ status: 403, reason: 'Forbidden', body: 'no' });
    await eventually(() => client.state === 'ended', 'it closes');
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({ outcome: 'closed', status: 403 });
    expect(w.rig.engine.load).toBe(0);
  });

  it('is refused where the host is denied, where it has a body, and where the tunnels are full', async () => {
    const w = await world({ tunnels_max: 1 });
    const denied = await w.rig.send(handshake('http://denied.test'));
    expect((await denied.readResponse()).status).toBe(403);
    const body = await w.rig.send(handshake(w.base, 'Upgrade: websocket\r\nContent-Length: 3\r\n').concat('abc'));
    expect(await body.readResponse()).toMatchObject({ status: 400, reason: 'request-malformed' });
    await eventually(() => w.rig.engine.load === 0, 'both are gone');
    const first = await w.rig.send(handshake(w.base));
    const peer = await w.origin.peer();
    await headAt(peer);
    peer.send(SWITCH);
    await first.readHead();
    const second = await w.rig.send(handshake(w.base));
    expect(await second.readResponse()).toMatchObject({ status: 503, reason: 'tunnels-full' });
    first.close();
    peer.close();
    await eventually(() => w.rig.engine.load === 0, 'it is free again');
    await w.rig.send(handshake(w.base));
    await headAt(await w.origin.peer(2));
  });
});

describe('another protocol', () => {
  it.each(['h2c', 'TLS/1.0', 'websocket2'])('is not taken up: Upgrade: %s is an ordinary request', async (protocol) => {
    const w = await world();
    const client = await w.rig.send(handshake(w.base, `Upgrade: ${protocol}\r\nHTTP2-Settings: AAA\r\n`));
    const peer = await w.origin.peer();
    const head = (await headAt(peer)).toLowerCase();
    expect(head).not.toContain('upgrade');
    expect(head).toContain('get /ws http/1.1');
    peer.send('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    expect(await client.readResponse()).toMatchObject({ status: 200, body: 'ok' });
    await eventually(() => client.state === 'ended', 'it closes');
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({ outcome: 'closed', status: 200 });
  });

  it('gets a large response whole through a slow client', async () => {
    const w = await world();
    const client = await w.rig.send(handshake(w.base, 'Upgrade: h2c\r\n'));
    client.socket.pause();
    const peer = await w.origin.peer();
    await headAt(peer);
    const bytes = new Pattern(6).slice(0, 12_000_000);
    peer.send(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes.length}\r\n\r\n`);
    peer.send(bytes);
    await turns(50);
    client.socket.resume();
    await client.readHead();
    expect((await client.read(bytes.length)).equals(bytes)).toBe(true);
  });
});
