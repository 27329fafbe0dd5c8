// How a client of plain HTTP's short road is left: who goes is noticed, and whose answer is cut is closed in order, on every engine.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { RawClient } from '../support/raw-client.ts';
import { allowing, ENGINES, eventually, type RawOrigin, type Rig, rawOrigin, startRig } from './support.ts';

const HOST = 'web.test';
const OK = 'HTTP/1.1 200 OK\r\n';

async function world(
  make: (typeof ENGINES)[number]['make'],
): Promise<{ rig: Rig; origin: RawOrigin; get(path?: string): string }> {
  const origin = await rawOrigin();
  const policy = allowing(HOST, origin.port, 'http');
  const rig = await startRig({ policy, names: { [HOST]: ['127.0.0.1'] }, engine: make });
  const get = (path = '/'): string => `GET http://${HOST}:${origin.port}${path} HTTP/1.1\r\nHost: x\r\n\r\n`;
  return { rig, origin, get };
}

/** Bytes of a client that lie unread at the proxy, as the kernel says. */
function unread(rig: Rig, client: RawClient): number {
  const port = (of: number): string => of.toString(16).toUpperCase().padStart(4, '0');
  const { localPort = 0 } = client.socket;
  const ends = new RegExp(`: [0-9A-F]+:${port(rig.at.port)} [0-9A-F]+:${port(localPort)} .. [0-9A-F]+:([0-9A-F]+)`);
  return Number.parseInt(ends.exec(readFileSync('/proc/net/tcp', 'latin1'))?.[1] ?? '0', 16);
}

describe.each(ENGINES)('the $name engine', ({ name, make }) => {
  it.each(['half', 'half, with more behind its request', 'whole'])(
    'ends the request where its client leaves (%s)',
    async (how) => {
      const w = await world(make);
      const client = await w.rig.send(w.get());
      const peer = await w.origin.peer();
      await peer.readUntil('\r\n\r\n');
      if (how.includes('more')) client.send(w.get('/more'));
      if (how !== 'whole') {
        client.end();
        expect(await client.readAll()).toHaveLength(0);
        expect(client.state).toBe('ended');
      } else client.close();
      expect(await w.rig.recorder.endedAt(1)).toMatchObject({ outcome: 'client-gone' });
      await peer.readAll();
      expect(w.rig.server.idle).toBe(true);
    },
  );

  it('ends in order where an answer is cut, whatever the client has sent behind its request', async () => {
    const w = await world(make);
    const client = await w.rig.send(w.get());
    const peer = await w.origin.peer();
    await peer.readUntil('\r\n\r\n');
    const more = w.get('/more');
    client.send(more);
    // Node reads it.
    if (name === 'native') await eventually(() => unread(w.rig, client) === more.length, 'it is at the proxy');
    peer.send(`${OK}Content-Length: 5\r\n\r\nhe`);
    await client.readUntil('he');
    [...w.rig.ctx.open.values()][0]?.cut('policy-changed', null);
    await client.readAll();
    expect(client.state).toBe('ended');
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({ outcome: 'policy-changed', bytes_down: 2 });
  });

  it('takes a client that resets in the turn of an odd answer for one that is gone', async () => {
    const w = await world(make);
    const client = await w.rig.send(w.get());
    const peer = await w.origin.peer();
    await peer.readUntil('\r\n\r\n');
    peer.send(`${OK}Trailer: X\r\nContent-Length: 5\r\n\r\nhello`);
    client.socket.resetAndDestroy();
    await w.rig.recorder.endedAt(1);
    await eventually(() => w.rig.server.connections === 0, 'its slot is free');
    expect(w.rig.logText()).toBe('');
    if (name === 'native') {
      expect(w.rig.recorder.allEnded).toMatchObject([{ outcome: 'client-gone' }]);
      await peer.readAll();
    }
    expect(w.rig.server.idle).toBe(true);
  });
});
