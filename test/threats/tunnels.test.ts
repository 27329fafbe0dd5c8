// Section "Tunnel" of docs/threat-model.md: a pipe with back-pressure, half-close and reset, both ways, and no leak.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type net from 'node:net';
import { describe, expect, it } from 'vitest';
import { source } from '../support/origin.ts';
import type { RawClient } from '../support/raw-client.ts';
import { ALLOWED, connect, DENIED, flushed, isDecided, isEnded, useStage } from './stage.ts';

const MIB = 1 << 20;
const CASE_MS = 30_000;

/** Connections of the origin `hold`, newest last; each test takes what it has opened. */
const held: net.Socket[] = [];
let arrived: () => void = () => {};
const stage = useStage({
  origins: {
    'source.test': source(MIB),
    'banner.test': (socket) => void socket.write('SSH-2.0-test\r\n'),
    // Answers only when the client has ended, as `nc -N` and old HTTP do.
    'after.test': (socket) => {
      const got: Buffer[] = [];
      socket.on('data', (chunk) => void got.push(chunk));
      socket.on('end', () => void socket.end(`got ${Buffer.concat(got).length}`));
    },
    'hold.test': (socket) => {
      held.push(socket);
      arrived();
    },
  },
});

/** A tunnel whose origin end is in the test's hands. */
async function both(): Promise<{ client: RawClient; origin: net.Socket }> {
  const came = new Promise<void>((resolve) => {
    arrived = resolve;
  });
  const client = await stage.tunnel('hold.test');
  await came;
  return { client, origin: held.at(-1) as net.Socket };
}

const residentMiB = (): number => {
  const status = readFileSync(`/proc/${stage.world.proxy.pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1_024;
};

/** Serves good requests until `sent` has not moved over ten of them: the sender is held back. */
async function heldBack(sent: () => number): Promise<number> {
  for (let still = 0, before = -1; ; ) {
    await stage.good();
    const now = sent();
    still = now === before ? still + 1 : 0;
    before = now;
    if (still === 10) return now;
  }
}

/** Writes `total` bytes as fast as the socket takes them; gives what the kernel has taken so far. */
function flood(socket: net.Socket, total: number): () => number {
  const chunk = Buffer.alloc(65_536, 'x');
  let left = total;
  const more = (): void => {
    while (left > 0) {
      left -= chunk.length;
      if (!socket.write(chunk)) return void socket.once('drain', more);
    }
    socket.end();
  };
  more();
  return () => socket.bytesWritten - socket.writableLength;
}

describe('T1 bytes pass exactly', () => {
  it('4 MiB back and forth', { timeout: CASE_MS }, async () => {
    const mark = stage.mark();
    const bytes = randomBytes(4 * MIB);
    const client = await stage.tunnel();
    client.send(bytes);
    expect((await client.read(bytes.length)).equals(bytes)).toBe(true);
    client.end();
    expect((await client.readAll()).length).toBe(0);
    expect((await stage.lines(mark, 2)).filter(isEnded)).toMatchObject([
      { outcome: 'closed', bytes_up: bytes.length, bytes_down: bytes.length },
    ]);
    await stage.good(mark, 2);
  });

  it('1 MiB from an origin that then closes', { timeout: CASE_MS }, async () => {
    const client = await stage.tunnel('source.test');
    expect((await client.readAll()).equals(Buffer.alloc(MIB, 'x'))).toBe(true);
    expect(client.state).toBe('ended');
    client.close();
    await stage.good();
  });
});

describe('T2 a side that does not read slows the other, and memory is bounded', () => {
  const TOTAL = 256 * MIB;

  it('the origin floods, the client does not read', { timeout: CASE_MS }, async () => {
    const { client, origin } = await both();
    client.socket.pause();
    const before = residentMiB();
    const stopped = await heldBack(flood(origin, TOTAL));
    expect(stopped).toBeLessThan(64 * MIB);
    expect(residentMiB() - before).toBeLessThan(64);
    let got = 0;
    client.socket.removeAllListeners('data').on('data', (chunk: Buffer) => {
      got += chunk.length;
    });
    client.socket.resume();
    await once(client.socket, 'end');
    expect(got).toBe(TOTAL);
    expect(residentMiB() - before).toBeLessThan(96);
    client.close();
    origin.destroy();
  });

  it('the client floods, the origin does not read', { timeout: CASE_MS }, async () => {
    const { client, origin } = await both();
    const before = residentMiB();
    const stopped = await heldBack(flood(client.socket, TOTAL));
    expect(stopped).toBeLessThan(64 * MIB);
    expect(residentMiB() - before).toBeLessThan(64);
    let got = 0;
    origin.on('data', (chunk: Buffer) => {
      got += chunk.length;
    });
    await once(origin, 'end');
    expect(got).toBe(TOTAL);
    client.close();
    origin.destroy();
  });
});

describe('T3 half-close goes through', () => {
  it('of the client: the origin sees the end, and its answer arrives', { timeout: CASE_MS }, async () => {
    const client = await stage.tunnel('after.test');
    client.send('x'.repeat(1_000));
    client.end();
    expect((await client.readAll()).toString()).toBe('got 1000');
    client.close();
    await stage.good();
  });

  it('of the origin: the client sees the end and can still send', { timeout: CASE_MS }, async () => {
    const { client, origin } = await both();
    const got: Buffer[] = [];
    origin.on('data', (chunk) => void got.push(chunk));
    origin.end('bye');
    expect((await client.readAll()).toString()).toBe('bye');
    const end = once(origin, 'end');
    client.send('still here');
    client.end();
    await end;
    expect(Buffer.concat(got).toString()).toBe('still here');
    await stage.good();
  });
});

describe('T4 a reset of one side ends the other, visibly', () => {
  it('of the client', { timeout: 10_000 }, async () => {
    const mark = stage.mark();
    const { client, origin } = await both();
    const closed = new Promise<void>((resolve) => void origin.once('close', () => resolve()));
    origin.resume();
    client.send('some bytes');
    client.socket.resetAndDestroy();
    await closed;
    expect((await stage.lines(mark, 2)).filter(isEnded)).toMatchObject([{ outcome: 'client-reset' }]);
    await stage.good(mark, 2);
  });

  it('of the origin', { timeout: 10_000 }, async () => {
    const mark = stage.mark();
    const { client, origin } = await both();
    origin.resetAndDestroy();
    await client.readAll();
    expect(client.state).toBe('reset');
    expect((await stage.lines(mark, 2)).filter(isEnded)).toMatchObject([{ outcome: 'upstream-reset' }]);
    await stage.good(mark, 2);
  });

  it('of a client whose origin floods', { timeout: 10_000 }, async () => {
    const { client, origin } = await both();
    const closed = new Promise<void>((resolve) => void origin.once('close', () => resolve()));
    origin.resume();
    flood(origin, 64 * MIB);
    await client.read(MIB);
    client.socket.resetAndDestroy();
    await closed;
    await stage.good();
  });
});

describe('T5 a hundred resets right behind the request crash nothing and leave one decision each', () => {
  it.each([
    ['to an allowed host', ALLOWED],
    ['to a denied host', DENIED],
  ])('%s', { timeout: CASE_MS }, async (_, host) => {
    const mark = stage.mark();
    for (let i = 0; i < 100; i += 1) {
      const client = await stage.client();
      await flushed(client, stage.bytes(connect(`${host}:{p}`)));
      client.socket.resetAndDestroy();
    }
    // How many of the hundred the origin still meets in its queue nobody knows, so only the bytes of a good one are looked at.
    const good = await stage.tunnel();
    good.send('ping');
    expect((await good.read(4)).toString()).toBe('ping');
    good.close();
    const lines = stage.since(mark);
    const ids = lines.filter(isDecided).map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    // A reset may destroy a request before it is read, never double one.
    expect(ids.length).toBeLessThanOrEqual(101);
    const open = lines.filter(isDecided).filter(({ outcome }) => outcome === undefined);
    await stage.lines(mark, ids.length + open.length);
    expect(stage.since(mark).filter(isEnded)).toHaveLength(open.length);
  });
});

describe('T6 two hundred tunnels at once all work', () => {
  it('each carries its own bytes', { timeout: CASE_MS }, async () => {
    const mark = stage.mark();
    const clients = await Promise.all(Array.from({ length: 200 }, () => stage.tunnel()));
    await Promise.all(
      clients.map(async (client, at) => {
        const own = Buffer.alloc(5_000, String(at));
        client.send(own);
        expect((await client.read(own.length)).equals(own)).toBe(true);
      }),
    );
    for (const client of clients) client.close();
    await stage.lines(mark, 400);
    await stage.good(mark, 400);
  });
});

describe('T7 a server that speaks first is heard where the rule needs no TLS', () => {
  it('its banner arrives before the client has said anything', { timeout: CASE_MS }, async () => {
    const client = await stage.tunnel('banner.test');
    expect((await client.read(14)).toString()).toBe('SSH-2.0-test\r\n');
    client.close();
    await stage.good();
  });
});
