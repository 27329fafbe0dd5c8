// Answers that last until the origin ends its side, over the short road and over the long one: an end is the end of the body and of nothing
// else, whatever the body looks like; everything that is no end is shown to the client, also to one that knows no chunks.
import { describe, expect, it } from 'vitest';
import type { RawClient } from '../support/raw-client.ts';
import { allowing, ENGINES, eventually, type RawOrigin, type Rig, rawOrigin, startRig, turns } from './support.ts';

const HOST = 'web.test';
const SMUGGLED = 'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled';

const HEADS: readonly (readonly [string, string])[] = [
  ['HTTP/1.1', 'HTTP/1.1 200 OK\r\nX: y\r\n\r\n'],
  ['HTTP/1.1 that closes', 'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n'],
  ['HTTP/1.1 that would be kept', 'HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=60\r\n\r\n'],
  ['HTTP/1.0', 'HTTP/1.0 200 OK\r\n\r\n'],
  ['HTTP/1.0 that would be kept', 'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n'],
];
/** What a body may look like. */
const BODIES: readonly (readonly [string, string])[] = [
  ['nothing', ''],
  ['a byte', '\0'],
  ['chunks', '2\r\nok\r\n0\r\n\r\n'],
  ['the last chunk', '0\r\n\r\n'],
  ['another answer', SMUGGLED],
  ['a head that would close', '\r\n\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'],
];

interface World {
  readonly rig: Rig;
  readonly origin: RawOrigin;
  get(path: string, version?: string): string;
}

async function world(make: (typeof ENGINES)[number]['make'], limits: Record<string, number> = {}): Promise<World> {
  const origin = await rawOrigin();
  const rig = await startRig({
    policy: allowing(HOST, origin.port, 'http'),
    names: { [HOST]: ['127.0.0.1'] },
    limits,
    engine: make,
  });
  const get = (path: string, version = '1.1'): string =>
    `GET http://${HOST}:${origin.port}${path} HTTP/${version}\r\nHost: x\r\n\r\n`;
  return { rig, origin, get };
}

async function asked(w: World, version = '1.1'): Promise<{ client: RawClient; peer: RawClient }> {
  const client = await w.rig.send(w.get('/1', version));
  const peer = await w.origin.peer();
  await peer.readUntil('\r\n\r\n');
  return { client, peer };
}

/** Data of chunks, and whether their end is there. */
function dechunked(text: string): { data: string; whole: boolean } {
  let data = '';
  for (let rest = text; ; ) {
    const line = /^(0|[1-9a-f][0-9a-f]*)\r\n/.exec(rest);
    if (!line) {
      expect(rest).toBe('');
      return { data, whole: false };
    }
    const size = Number.parseInt(line[1] as string, 16);
    const from = line[0].length;
    expect(rest.slice(from + size, from + size + 2)).toBe('\r\n');
    data += rest.slice(from, from + size);
    rest = rest.slice(from + size + 2);
    if (size === 0) {
      expect(rest).toBe('');
      return { data, whole: true };
    }
  }
}

const bodyOf = (answer: string): string => answer.slice(answer.indexOf('\r\n\r\n') + 4);

describe.each(ENGINES)('the $name engine', ({ make }) => {
  describe.each(HEADS)('an answer of %s', (_, head) => {
    it.each(BODIES)('is all that came, and the next is its own: %s', async (_, body) => {
      const w = await world(make);
      for (const [nth, packets] of [[head + body], [head, body], [head, ...body]].entries()) {
        const client = await w.rig.send(w.get('/1'));
        const peer = await w.origin.peer(2 * nth + 1);
        await peer.readUntil('\r\n\r\n');
        for (const packet of packets) {
          if (packet) peer.send(packet);
          await turns(3);
        }
        expect(w.rig.recorder.allEnded).toHaveLength(2 * nth);
        peer.end();
        expect(await w.rig.recorder.endedAt(2 * nth + 1)).toMatchObject({
          outcome: 'closed',
          status: 200,
          bytes_down: body.length,
        });
        client.send(w.get('/2'));
        const next = await w.origin.peer(2 * nth + 2);
        expect((await next.readUntil('\r\n\r\n')).toString('latin1')).toMatch(/^GET \/2 /);
        next.send('HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: own\r\n\r\nown');
        next.end();
        const got = (await client.readUntil('\r\n\r\nown')).toString('latin1');
        const second = got.lastIndexOf('HTTP/1.1 200 OK\r\nX: own\r\n');
        expect(dechunked(bodyOf(got.slice(0, second)))).toEqual({ data: body, whole: true });
        await w.rig.recorder.endedAt(2 * nth + 2);
        client.close();
      }
    });

    it('to a client of HTTP/1.0 goes on as it came, and ends in order', async () => {
      const w = await world(make);
      const { client, peer } = await asked(w, '1.0');
      peer.send(`${head}2\r\nok\r\n`);
      await turns(5);
      peer.send(SMUGGLED);
      peer.end();
      const got = (await client.readAll()).toString('latin1');
      expect(client.state).toBe('ended');
      expect(bodyOf(got)).toBe(`2\r\nok\r\n${SMUGGLED}`);
      expect(got).not.toMatch(/transfer-encoding/i);
      expect((await w.rig.recorder.endedAt(1)).outcome).toBe('closed');
    });
  });

  /** What ends an answer that has no end of its own, and as what it is recorded. */
  const BREAKS: readonly (readonly [string, string, (w: World, peer: RawClient) => void])[] = [
    ['a reset', 'upstream-closed', (_, peer) => void peer.socket.resetAndDestroy()],
    ['silence', 'upstream-timeout', () => {}],
    [
      'the policy',
      'policy-changed',
      ({ rig }) => [...rig.ctx.open.values()][0]?.cut('policy-changed', 'host-not-allowed'),
    ],
  ];

  describe.each(['1.1', '1.0'])('a client of HTTP/%s', (version) => {
    it.each(BREAKS)('is shown that it is not all, behind %s', async (_, outcome, how) => {
      const w = await world(make, { upstream_response_timeout_ms: 1_000 });
      const { client, peer } = await asked(w, version);
      peer.send('HTTP/1.1 200 OK\r\n\r\nhalf');
      const got = (await client.readUntil('half')).toString('latin1');
      how(w, peer);
      const rest = (await client.readAll()).toString('latin1');
      expect(await w.rig.recorder.endedAt(1)).toMatchObject({ outcome, status: 200, bytes_down: 4 });
      if (version === '1.1') expect(dechunked(bodyOf(got + rest))).toEqual({ data: 'half', whole: false });
      else expect({ state: client.state, rest }).toEqual({ state: 'reset', rest: '' });
      await eventually(() => w.rig.server.connections === 0, 'its slot is free');
    });
  });

  it('waits for a client that does not read, and brings it all', async () => {
    const w = await world(make);
    const client = await w.rig.send(w.get('/1').replace('Host: x', 'Host: x\r\nConnection: close'));
    const peer = await w.origin.peer();
    await peer.readUntil('\r\n\r\n');
    // By itself: a client of the tests searches all that it has at each packet.
    const parts: Buffer[] = [];
    client.socket
      .removeAllListeners('data')
      .on('data', (part: Buffer) => void parts.push(part))
      .pause();
    const total = 12 * 1_048_576;
    peer.send('HTTP/1.1 200 OK\r\n\r\n');
    peer.send(Buffer.alloc(total, 'abcdefg'));
    peer.end();
    await turns(100);
    expect(w.rig.recorder.allEnded).toEqual([]);
    client.socket.resume();
    await client.readAll();
    const { data, whole } = dechunked(bodyOf(Buffer.concat(parts).toString('latin1')));
    expect({ whole, same: data === 'abcdefg'.repeat(total / 7 + 1).slice(0, total) }).toEqual({
      whole: true,
      same: true,
    });
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({ outcome: 'closed', bytes_down: total });
  });
});
