// Hostile and broken origins behind plain HTTP: the client gets one clean message, a 502, or a message that is visibly cut;
// never two, never a part that looks whole, and the connection to the origin is never used again (response splitting).
import { describe, expect, it } from 'vitest';
import type { RawClient } from '../support/raw-client.ts';
import { allowing, eventually, holdDials, type RawOrigin, type Rig, rawOrigin, startRig, turns } from './support.ts';

const HOST = 'web.test';

interface World {
  readonly rig: Rig;
  readonly origin: RawOrigin;
  readonly base: string;
  /** A client whose request is at the origin. */
  asked(head?: string): Promise<{ client: RawClient; peer: RawClient }>;
}

async function world(limits: Record<string, number> = {}): Promise<World> {
  const origin = await rawOrigin();
  const rig = await startRig({ policy: allowing(HOST, origin.port, 'http'), names: { [HOST]: ['127.0.0.1'] }, limits });
  const base = `http://${HOST}:${origin.port}`;
  return {
    rig,
    origin,
    base,
    asked: async (head = `GET ${base}/ HTTP/1.1\r\nHost: x\r\n\r\n`) => {
      const client = await rig.send(head);
      const peer = await origin.peer(origin.connections() + 1);
      await peer.readUntil('\r\n\r\n');
      return { client, peer };
    },
  };
}

const SECOND = 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Split: 1\r\n\r\nsplit';

describe('a response head that two readers could read differently', () => {
  it.each([
    [
      'Content-Length and Transfer-Encoding',
      'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
    [
      'Transfer-Encoding and Content-Length',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n',
    ],
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!'],
    ['the same length twice', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello'],
    ['a list of lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello'],
    ['a signed length', 'HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello'],
    ['an unknown coding', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\nhello'],
    ['chunked twice', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['gzip, chunked', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n'],
    ['chunked in HTTP/1.0', 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['a bare CR in a field', 'HTTP/1.1 200 OK\r\nX: a\rContent-Length: 5\r\n\r\nhello'],
    ['a NUL in a field', 'HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 5\r\n\r\nhello'],
    ['a line without a colon', 'HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 5\r\n\r\nhello'],
    ['a space before the colon', 'HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello'],
    ['HTTP/2.0', 'HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello'],
    ['HTTP/0.9', 'HTTP/0.9 200 OK\r\nContent-Length: 5\r\n\r\nhello'],
    ['HTTP/9.9', 'HTTP/9.9 200 OK\r\nContent-Length: 5\r\n\r\nhello'],
    ['a status of two digits', 'HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nhello'],
    ['a status of 099', 'HTTP/1.1 099 Odd\r\nContent-Length: 5\r\n\r\nhello'],
    ['garbage', 'garbage\r\n\r\nmore garbage'],
    ['a TLS alert', Buffer.from('15030300020228', 'hex').toString('latin1')],
    [
      '101 without being asked',
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nframes',
    ],
    ['101 without Upgrade', 'HTTP/1.1 101 Switching Protocols\r\n\r\n'],
  ])('is a 502: %s', async (_, response) => {
    const w = await world();
    const { client, peer } = await w.asked();
    peer.send(response);
    expect(await client.readResponse()).toMatchObject({ status: 502, reason: 'upstream-malformed' });
    expect((await client.readAll()).length).toBe(0);
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({ verdict: 'allow', outcome: 'upstream-malformed' });
    expect(w.rig.recorder.entries).toHaveLength(2);
    await eventually(() => peer.state !== 'open', 'the origin’s connection is closed');
  });

  it('is a 502 where it is a header of a megabyte, and little of it is held', async () => {
    const w = await world();
    const { client, peer } = await w.asked();
    peer.send(`HTTP/1.1 200 OK\r\nX: ${'a'.repeat(1_048_576)}\r\n\r\n`);
    expect(await client.readResponse()).toMatchObject({ status: 502, reason: 'upstream-malformed' });
  });
});

describe('an origin that goes', () => {
  it.each([
    ['resets before a byte', '', 'reset'],
    ['ends before a byte', '', 'end'],
    ['resets within the head', 'HTTP/1.1 200 OK\r\nConte', 'reset'],
    ['ends within the head', 'HTTP/1.1 200 OK\r\nConte', 'end'],
  ])('is a 502 where it %s', async (_, bytes, how) => {
    const w = await world();
    const { client, peer } = await w.asked();
    if (bytes) peer.send(bytes);
    await turns();
    if (how === 'end') peer.end();
    else peer.socket.resetAndDestroy();
    const response = await client.readResponse();
    expect(response.status).toBe(502);
    expect(['upstream-closed', 'upstream-malformed']).toContain(response.reason);
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({ outcome: response.reason });
  });

  it.each([
    ['a length, by an end', 'Content-Length: 100', 'part', 'end'],
    ['a length, by a reset', 'Content-Length: 100', 'part', 'reset'],
    ['chunks, by an end', 'Transfer-Encoding: chunked', '4\r\npart\r\n', 'end'],
    ['chunks, by a reset', 'Transfer-Encoding: chunked', '4\r\npart\r\n', 'reset'],
    ['neither, by a reset', 'X: y', 'part', 'reset'],
  ])('leaves a visibly broken message where it cuts a body with %s', async (_, framing, body, how) => {
    const w = await world();
    const { client, peer } = await w.asked();
    peer.send(`HTTP/1.1 200 OK\r\n${framing}\r\n\r\n${body}`);
    await client.readUntil('part');
    if (how === 'end') peer.end();
    else peer.socket.resetAndDestroy();
    const rest = await client.readAll();
    expect(rest.toString()).not.toContain('0\r\n\r\n');
    expect(rest.toString()).not.toContain('HTTP/1.1');
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({ outcome: 'upstream-closed', status: 200, bytes_down: 4 });
  });

  it('leaves no whole message where a reset stands right behind what only the end of the connection would end', async () => {
    const w = await world();
    const { client, peer } = await w.asked();
    peer.socket.write('HTTP/1.1 200 OK\r\n\r\npart', () => peer.socket.resetAndDestroy());
    expect((await client.readAll()).toString()).not.toContain('0\r\n\r\n');
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({ outcome: 'upstream-closed' });
  });

  it('resets an HTTP/1.0 client whose body would look whole at an orderly end', async () => {
    const w = await world();
    const { client, peer } = await w.asked(`GET ${w.base}/ HTTP/1.0\r\n\r\n`);
    peer.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n');
    await client.readUntil('part');
    peer.socket.resetAndDestroy();
    await eventually(() => client.state !== 'open', 'the client is told');
    expect(client.state).toBe('reset');
  });

  it('breaks the message where a chunk is malformed', async () => {
    const w = await world();
    const { client, peer } = await w.asked();
    peer.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n');
    await client.readUntil('part');
    peer.send('0x0\r\n\r\n');
    expect((await client.readAll()).toString()).not.toContain('0\r\n\r\n');
    expect((await w.rig.recorder.endedAt(1)).outcome).toBe('upstream-malformed');
  });
});

describe('an origin that says too much', () => {
  it('does not get a second response to the client, in the same packet or later', async () => {
    const w = await world();
    const client = await w.rig.send(`GET ${w.base}/ HTTP/1.1\r\nHost: x\r\n\r\n`);
    const peer = await w.origin.peer();
    await peer.readUntil('\r\n\r\n');
    peer.send(`HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok${SECOND}`);
    expect(await client.readResponse()).toMatchObject({ status: 200, body: 'ok' });
    await turns();
    client.send(`GET ${w.base}/next HTTP/1.1\r\nHost: x\r\n\r\n`);
    const second = await w.origin.peer(2);
    expect((await second.readUntil('\r\n\r\n')).toString()).toContain('GET /next');
    second.send('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nown');
    expect(await client.readResponse()).toMatchObject({ status: 200, body: 'own' });
  });

  it.each(['GET', 'HEAD'])(
    'ends its own connection by junk behind an answer to %s, and not the answer',
    async (method) => {
      const w = await world();
      const client = await w.rig.send(`${method} ${w.base}/ HTTP/1.1\r\nHost: x\r\n\r\n`);
      const peer = await w.origin.peer();
      await peer.readUntil('\r\n\r\n');
      peer.send(`HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n${method === 'GET' ? 'ok' : ''}junk`);
      expect((await client.readHead()).status).toBe(200);
      if (method === 'GET') expect((await client.read(2)).toString()).toBe('ok');
      expect((await w.rig.recorder.endedAt(1)).outcome).toBe('closed');
      await peer.readAll();
      client.send(`GET ${w.base}/next HTTP/1.1\r\nHost: x\r\n\r\n`);
      const second = await w.origin.peer(2);
      await second.readUntil('\r\n\r\n');
      second.send('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nown');
      expect(await client.readResponse()).toMatchObject({ status: 200, body: 'own' });
    },
  );

  it('has its interim responses dropped, and its final one passed on', async () => {
    const w = await world();
    const { client, peer } = await w.asked();
    peer.send(
      'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n',
    );
    peer.send('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    expect(await client.readResponse()).toMatchObject({ status: 200, body: 'ok' });
  });

  it('is given up where it sends interim responses without end', async () => {
    const w = await world();
    const { client, peer } = await w.asked();
    for (let i = 0; i < 40; i++) peer.send('HTTP/1.1 102 Processing\r\n\r\n');
    expect(await client.readResponse()).toMatchObject({ status: 502, reason: 'upstream-malformed' });
  });
});

describe('an origin that cannot be had', () => {
  it('is a 504 where it does not answer the connection', async () => {
    const w = await world({ connect_timeout_ms: 100 });
    const client = await w.rig.client();
    holdDials(w.rig.engine);
    client.send(`GET ${w.base}/ HTTP/1.1\r\nHost: x\r\n\r\n`);
    expect(await client.readResponse()).toMatchObject({ status: 504, reason: 'connect-timeout' });
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({ outcome: 'connect-timeout' });
  });

  it.each(['leaves', 'is cut'])('is not dialled any more for a request that %s', async (how) => {
    const w = await world();
    const client = await w.rig.client();
    const held = holdDials(w.rig.engine);
    client.send(`POST ${w.base}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe`);
    await eventually(() => held.dials.length === 1, 'it is being dialled');
    if (how === 'leaves') client.close();
    else for (const open of w.rig.ctx.open.values()) open.cut('policy-changed', 'host-not-allowed');
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({
      outcome: how === 'leaves' ? 'client-gone' : 'policy-changed',
    });
    expect(held.dials[0]?.destroyed).toBe(true);
    if (how === 'is cut') expect(await client.readResponse()).toMatchObject({ status: 403 });
    expect(w.origin.connections()).toBe(0);
  });

  it('is a 502 where it refuses', async () => {
    const w = await world();
    await w.origin.close();
    const client = await w.rig.send(`GET ${w.base}/ HTTP/1.1\r\nHost: x\r\n\r\n`);
    expect(await client.readResponse()).toMatchObject({ status: 502, reason: 'connect-refused' });
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({ outcome: 'connect-refused' });
  });

  it('is a 504 where it takes the request and says nothing', async () => {
    const w = await world({ upstream_response_timeout_ms: 50 });
    const { client, peer } = await w.asked();
    expect(await client.readResponse()).toMatchObject({ status: 504, reason: 'upstream-timeout' });
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({ outcome: 'upstream-timeout' });
    expect(w.rig.meter.hits.get('upstream_response_timeout_ms')).toBe(1);
    await eventually(() => peer.state !== 'open', 'its connection is closed');
  });
});
