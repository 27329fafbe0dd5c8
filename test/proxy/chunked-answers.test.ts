// Hostile chunks from an origin, over the short road and over the long one: what is malformed never ends like a whole answer, is recorded as
// what it is, and leaves nothing for the next request; what is sound is whole, whoever reads it.
import { describe, expect, it } from 'vitest';
import type { RawClient } from '../support/raw-client.ts';
import { HOSTILE_CHUNKS, SOUND_CHUNKS } from './chunk-cases.ts';
import { allowing, ENGINES, eventually, type RawOrigin, type Rig, rawOrigin, startRig, turns } from './support.ts';

const HOST = 'web.test';
const HEAD = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';
const GOOD = '3\r\nabc\r\n';

const LAST = '\r\n0\r\n\r\n';

/** How the same bytes come, and what data comes before them. */
const WAYS: readonly { how: string; before: string; packets: (body: string) => readonly string[] }[] = [
  { how: 'with the head', before: '', packets: (body) => [HEAD + body] },
  { how: 'behind a good chunk', before: 'abc', packets: (body) => [HEAD + GOOD, body] },
  {
    how: 'byte by byte',
    before: 'abc',
    packets: (body) => [HEAD + GOOD, ...body.slice(0, BYTE_BY_BYTE), body.slice(BYTE_BY_BYTE)],
  },
];
const BYTE_BY_BYTE = 60;

async function say(peer: RawClient, packets: readonly string[]): Promise<void> {
  for (const packet of packets) {
    peer.send(Buffer.from(packet, 'latin1'));
    await turns(3);
  }
}

interface World {
  readonly rig: Rig;
  readonly origin: RawOrigin;
  get(path: string, fields?: string): string;
}

async function world(make: (typeof ENGINES)[number]['make']): Promise<World> {
  const origin = await rawOrigin();
  const rig = await startRig({
    policy: allowing(HOST, origin.port, 'http'),
    names: { [HOST]: ['127.0.0.1'] },
    engine: make,
  });
  const get = (path: string, fields = ''): string =>
    `GET http://${HOST}:${origin.port}${path} HTTP/1.1\r\nHost: x\r\n${fields}\r\n`;
  return { rig, origin, get };
}

/** Data of the chunks, and whether their end is there; throws on what no server may send. */
function dechunked(text: string): { data: string; whole: boolean } {
  let data = '';
  for (let at = 0; ; ) {
    const line = text.indexOf('\r\n', at);
    if (line < 0) return { data, whole: false };
    const size = text.slice(at, line);
    expect(size).toMatch(/^(?:0|[1-9a-f][0-9a-f]*)$/);
    const end = line + 2 + Number.parseInt(size, 16);
    if (text.length < end + 2) return { data, whole: false };
    expect(text.slice(end, end + 2)).toBe('\r\n');
    data += text.slice(line + 2, end);
    at = end + 2;
    if (size === '0') {
      expect(text.length).toBe(at);
      return { data, whole: true };
    }
  }
}

describe.each(ENGINES)('the $name engine', ({ make }) => {
  it.each(HOSTILE_CHUNKS)('shows that an answer is broken: %s', async (_, body) => {
    const w = await world(make);
    for (const [nth, { packets }] of WAYS.entries()) {
      const client = await w.rig.send(w.get('/'));
      const peer = await w.origin.peer(nth + 1);
      await peer.readUntil('\r\n\r\n');
      await say(peer, packets(body));
      expect(await w.rig.recorder.endedAt(nth + 1)).toMatchObject({ outcome: 'upstream-malformed', status: 200 });
      const got = (await client.readAll()).toString('latin1');
      if (got.startsWith('HTTP/1.1 200 ')) {
        const { data, whole } = dechunked(got.slice(got.indexOf('\r\n\r\n') + 4));
        expect(whole).toBe(false);
        expect(['', 'abc', 'abcok', 'abcok\r\n'].some((good) => good.startsWith(data))).toBe(true);
      } else if (got !== '') {
        // Nothing of it had been said.
        expect(got).toMatch(/^HTTP\/1\.1 502 upstream-malformed\r\n/);
      }
      await peer.readAll();
    }
    expect(w.rig.recorder.entries).toHaveLength(2 * WAYS.length);
    expect(w.rig.server.idle).toBe(true);
  });

  describe.each(WAYS)('$how', ({ before, packets }) => {
    it.each(SOUND_CHUNKS)('takes a whole answer, and the next one is its own: %s', async (_, body, data) => {
      const w = await world(make);
      const client = await w.rig.send(w.get('/1'));
      const peer = await w.origin.peer();
      await peer.readUntil('\r\n\r\n');
      await say(peer, packets(body));
      const count = before.length + data.length;
      expect(await w.rig.recorder.endedAt(1)).toMatchObject({ outcome: 'closed', bytes_down: count });
      const head = (await client.readUntil('\r\n\r\n')).toString('latin1');
      expect(head.startsWith('HTTP/1.1 200 OK\r\n')).toBe(true);
      expect(head.endsWith('Transfer-Encoding: chunked\r\n\r\n')).toBe(true);
      const asked = peer.socket.bytesRead;
      client.send(w.get('/2'));
      const kept = (): boolean => peer.socket.bytesRead > asked;
      await eventually(() => kept() || w.origin.peers.length === 2, 'the next request is at the origin');
      // Where the last chunk was the last byte, the connection is as good as new.
      if (body.endsWith(LAST) && body.indexOf(LAST) === body.length - LAST.length) expect(kept()).toBe(true);
      if (body.endsWith('evil')) expect(kept()).toBe(false);
      const next = kept() ? peer : await w.origin.peer(2);
      expect((await next.readUntil('\r\n\r\n')).toString('latin1')).toMatch(/^GET \/2 /);
      next.send('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nown');
      const rest = (await client.readUntil('\r\n\r\nown')).toString('latin1');
      expect(dechunked(rest.slice(0, rest.indexOf('HTTP/1.1 200 OK')))).toEqual({ data: before + data, whole: true });
    });
  });
});
