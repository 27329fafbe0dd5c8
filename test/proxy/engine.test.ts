// The conformance suite of the engine contract, part one: bytes and ends in order (docs/threat-model.md, "Early data" and "Tunnel").
import { once } from 'node:events';
import type net from 'node:net';
import { describe, expect, it } from 'vitest';
import { echo, startOrigin } from '../support/origin.ts';
import type { RawClient } from '../support/raw-client.ts';
import { drainAndCheck, Pattern, pump } from './pattern.ts';
import {
  allowing,
  atEnd,
  bareTunnel,
  connectHead,
  ENGINES,
  eventually,
  openFds,
  type Rig,
  rawOrigin,
  startRig,
  turns,
} from './support.ts';

const MB = 1_000_000;
const MANY = 2_000;
const HOST = 'origin.test';
const NAMES = { [HOST]: ['127.0.0.1'] };

describe.each(ENGINES)('the $name engine', ({ make }) => {
  const rigFor = (port: number): Promise<Rig> =>
    startRig({ policy: allowing(HOST, port), names: NAMES, engine: make, limits: { connect_attempt_delay_ms: 10 } });

  it('carries tens of megabytes both ways at once on several tunnels, each byte in its place, with fast and slow readers', async () => {
    const ups = [1, 2, 3, 4].map((seed) => new Pattern(seed));
    const downs = [11, 12, 13, 14].map((seed) => new Pattern(seed));
    const upBytes = 6 * MB + 17;
    const downBytes = 18 * MB + 5;
    const atOrigin: Promise<number>[] = [];
    const origin = await startOrigin((socket) => {
      // Its first byte says which tunnel it is, and so which patterns are expected.
      socket.once('readable', () => {
        const index = (socket.read(1) as Buffer)[0] as number;
        atOrigin[index] = drainAndCheck(socket, ups[index] as Pattern, index % 2 === 1);
        void pump(socket, downs[index] as Pattern, downBytes);
      });
    });
    atEnd(() => origin.close());
    const rig = await rigFor(origin.port);
    await turns();
    const before = openFds();
    const tunnels = await Promise.all(ups.map(() => bareTunnel(rig, `${HOST}:${origin.port}`)));
    const atClient = tunnels.map((socket, index) => {
      socket.write(Buffer.from([index]));
      const read = drainAndCheck(socket, downs[index] as Pattern, index >= 2);
      void pump(socket, ups[index] as Pattern, upBytes);
      return read;
    });
    expect(await Promise.all(atClient)).toEqual(tunnels.map(() => downBytes));
    expect(await Promise.all(atOrigin)).toEqual(tunnels.map(() => upBytes));
    const last = await rig.recorder.endedAt(tunnels.length);
    expect(last.outcome).toBe('closed');
    for (const end of rig.recorder.allEnded) {
      expect(end).toMatchObject({ outcome: 'closed', bytes_up: upBytes + 1, bytes_down: downBytes });
    }
    expect(rig.engine.load).toBe(0);
    // What an engine keeps for the next bulk goes when there is none for a while.
    for (const socket of tunnels) socket.end();
    await eventually(() => {
      rig.engine.cutIdle(Date.now());
      return rig.slots.open === 0 && openFds() <= before;
    }, 'no descriptor is left');
  });

  it('keeps every byte in its place when bursts and quiet times take turns', async () => {
    const pattern = new Pattern(21);
    const sizes = [
      10, 40_000, 300_000, 5, 1_000_000, 8_191, 8_192, 8_193, 32_767, 32_768, 32_769, 1, 262_144, 262_145, 6_000_007,
    ];
    const rounds = [...sizes, ...sizes.toReversed()];
    const origin = await startOrigin((socket) => {
      let round = 0;
      let sent = 0;
      // Each burst waits until the client has asked for it by one byte.
      socket.on('data', (asked: Buffer) => {
        for (let i = 0; i < asked.length; i++) {
          const size = rounds[round++];
          if (size === undefined) socket.end();
          else socket.write(pattern.slice(sent, size));
          sent += size ?? 0;
        }
      });
    });
    atEnd(() => origin.close());
    const rig = await rigFor(origin.port);
    const clients = await Promise.all([1, 2, 3].map(() => bareTunnel(rig, `${HOST}:${origin.port}`)));
    await Promise.all(clients.map((socket, index) => askInBursts(socket, { pattern, rounds, slow: index === 1 })));
    expect((await rig.recorder.endedAt(3)).bytes_down).toBe(rounds.reduce((sum, size) => sum + size, 0));
  });

  it('holds nothing back of megabytes that an answer waits for', async () => {
    const rounds = [5 * MB + 1, 9 * MB + 70_001, 100, 6 * MB];
    const origin = await startOrigin((socket) => {
      let [round, got] = [0, 0];
      socket.on('data', (chunk: Buffer) => {
        got += chunk.length;
        if (got < (rounds[round] as number)) return;
        round++;
        got = 0;
        socket.write('.');
      });
      socket.once('end', () => socket.end());
    });
    atEnd(() => origin.close());
    const rig = await rigFor(origin.port);
    const client = await bareTunnel(rig, `${HOST}:${origin.port}`);
    for (const bytes of rounds) {
      client.write(Buffer.alloc(bytes));
      expect(String((await once(client, 'data'))[0])).toBe('.');
    }
    client.end();
    expect(await rig.recorder.endedAt(1)).toMatchObject({ outcome: 'closed', bytes_down: rounds.length });
  });

  it('does not overwrite what waits in a busy tunnel when one that was busy has calmed down and reads again', async () => {
    const origin = await rawOrigin();
    const rig = await rigFor(origin.port);
    const calm = await rig.tunnel(`${HOST}:${origin.port}`);
    const calmPeer = await origin.peer(1);
    // Bulk, then a little: the first tunnel gives its big buffer back, and the next one takes it.
    calmPeer.send(Buffer.alloc(2 * MB, 'b'));
    await calm.read(2 * MB);
    calmPeer.send('calm');
    await calm.read(4);
    const busy = await bareTunnel(rig, `${HOST}:${origin.port}`);
    const busyPeer = await origin.peer(2);
    const pattern = new Pattern(22);
    const pumped = pump(busyPeer.socket, pattern, 40 * MB);
    for (let still = 0; still < 100; still = busyPeer.socket.writableNeedDrain ? still + 1 : 0) await turns(1);
    calmPeer.send(Buffer.alloc(4 * MB, 'x'));
    expect((await calm.read(4 * MB)).equals(Buffer.alloc(4 * MB, 'x'))).toBe(true);
    expect(await drainAndCheck(busy, pattern)).toBe(40 * MB);
    await pumped;
  });

  it('does not overwrite what waits in a quiet tunnel when another quiet one reads', async () => {
    const origin = await rawOrigin();
    const rig = await rigFor(origin.port);
    const stuck = await bareTunnel(rig, `${HOST}:${origin.port}`);
    const stuckPeer = await origin.peer(1);
    const pattern = new Pattern(23);
    const [carrier] = [...rig.engine.tunnels.values()];
    // Each piece is far below what earns a buffer of one's own, and goes when the one before has been read: until nothing is read any more.
    let sent = 0;
    for (let still = 0; still < 100; ) {
      if (carrier?.bytesDown === sent) {
        stuckPeer.send(pattern.slice(sent, 20_000));
        sent += 20_000;
        still = 0;
      } else still++;
      await turns(1);
    }
    const other = await rig.tunnel(`${HOST}:${origin.port}`);
    const otherPeer = await origin.peer(2);
    const told = Buffer.alloc(20_000, 'x');
    otherPeer.send(told);
    expect((await other.read(told.length)).equals(told)).toBe(true);
    stuckPeer.end();
    expect(await drainAndCheck(stuck, pattern)).toBe(sent);
  });

  it.each([1, 20, 65_536])(
    'gives the origin %i bytes sent right behind the head, first and in order',
    async (count) => {
      const origin = await rawOrigin();
      const rig = await rigFor(origin.port);
      const early = new Pattern(31).slice(0, count);
      const client = await rig.tunnel(`${HOST}:${origin.port}`, early);
      client.send('then this');
      const peer = await origin.peer();
      expect((await peer.read(count)).equals(early)).toBe(true);
      expect((await peer.read(9)).toString()).toBe('then this');
      client.end();
      peer.end();
      expect(await rig.recorder.endedAt(1)).toMatchObject({ bytes_up: count + 9, bytes_down: 0, outcome: 'closed' });
    },
  );

  it('understands a head that comes in two packets, wherever it is cut, and one that comes byte by byte', async () => {
    const origin = await startOrigin(echo);
    atEnd(() => origin.close());
    const rig = await rigFor(origin.port);
    const head = connectHead(`${HOST}:${origin.port}`);
    for (let at = 1; at < head.length; at++) {
      const client = await rig.send(head.slice(0, at));
      await turns(2);
      client.send(`${head.slice(at)}x`);
      expect((await client.readHead()).status).toBe(200);
      expect((await client.read(1)).toString()).toBe('x');
      client.close();
    }
    const client = await rig.client();
    for (const byte of head) {
      client.send(byte);
      await turns(1);
    }
    expect((await client.readHead()).status).toBe(200);
  });

  it('passes a second CONNECT in the same packet on as payload', async () => {
    const origin = await rawOrigin();
    const rig = await rigFor(origin.port);
    const second = connectHead(`${HOST}:${origin.port}`);
    const client = await rig.tunnel(`${HOST}:${origin.port}`, second);
    const peer = await origin.peer();
    expect((await peer.read(second.length)).toString()).toBe(second);
    client.end();
    peer.end();
    expect((await client.readAll()).length).toBe(0);
    expect(rig.recorder.allDecided).toHaveLength(1);
  });

  it('writes nothing into the stream but the 200, which has no body and no framing', async () => {
    const origin = await startOrigin(echo);
    atEnd(() => origin.close());
    const rig = await rigFor(origin.port);
    const client = await rig.send(`${connectHead(`${HOST}:${origin.port}`)}payload`);
    client.end();
    const all = (await client.readAll()).toString('latin1');
    expect(all).toBe('HTTP/1.1 200 Connection established\r\n\r\npayload');
  });

  it('passes on the client’s end, and then everything the origin still sends', async () => {
    const origin = await rawOrigin();
    const rig = await rigFor(origin.port);
    const client = await bareTunnel(rig, `${HOST}:${origin.port}`);
    const peer = await origin.peer();
    client.end('the question');
    expect((await peer.readAll()).toString()).toBe('the question');
    const answer = new Pattern(41);
    const read = drainAndCheck(client, answer, true);
    void pump(peer.socket, answer, 5 * MB);
    expect(await read).toBe(5 * MB);
    expect(await rig.recorder.endedAt(1)).toMatchObject({ outcome: 'closed', bytes_up: 12, bytes_down: 5 * MB });
  });

  it('passes on the origin’s end, and then everything the client still sends', async () => {
    const received: Promise<number>[] = [];
    const upload = new Pattern(42);
    const half = await startOrigin((socket) => {
      received.push(drainAndCheck(socket, upload, true));
      socket.end('bye');
    });
    atEnd(() => half.close());
    const rig = await rigFor(half.port);
    const client = await bareTunnel(rig, `${HOST}:${half.port}`);
    client.resume();
    await new Promise<void>((resolve) => client.once('end', resolve));
    await pump(client, upload, 5 * MB);
    expect(await received[0]).toBe(5 * MB);
    expect(await rig.recorder.endedAt(1)).toMatchObject({ outcome: 'closed', bytes_up: 5 * MB, bytes_down: 3 });
  });

  it('passes on an end that came before the 200', async () => {
    const origin = await rawOrigin();
    const rig = await rigFor(origin.port);
    const answer = rig.resolver.hold(HOST);
    const client = await rig.send(`${connectHead(`${HOST}:${origin.port}`)}all I have`);
    client.end();
    await turns();
    answer({ ok: true, addresses: ['127.0.0.1'] });
    const peer = await origin.peer();
    expect((await peer.readAll()).toString()).toBe('all I have');
    peer.send('and here is the answer');
    peer.end();
    expect((await client.readHead()).status).toBe(200);
    expect((await client.readAll()).toString()).toBe('and here is the answer');
    expect(await rig.recorder.endedAt(1)).toMatchObject({ outcome: 'closed', bytes_up: 10, bytes_down: 22 });
  });

  it('holds 2,000 tunnels at once, and afterwards no descriptor and no slot', async () => {
    const origin = await startOrigin(echo);
    atEnd(() => origin.close());
    const rig = await startRig({
      policy: allowing(HOST, origin.port),
      names: NAMES,
      engine: make,
      limits: { client_rate_per_s: 10_000 },
    });
    await turns();
    const before = openFds();
    const clients: RawClient[] = [];
    while (clients.length < MANY) {
      const next = Array.from({ length: 200 }, (_, i) =>
        rig.tunnel(`${HOST}:${origin.port}`, `number ${clients.length + i}.`),
      );
      clients.push(...(await Promise.all(next)));
    }
    expect(rig.engine.load).toBe(MANY);
    expect(rig.engine.tunnels.size).toBe(MANY);
    const texts = await Promise.all(clients.map(async (client) => (await client.readUntil('.')).toString()));
    expect(texts).toEqual(clients.map((_, i) => `number ${i}.`));
    rig.engine.cutIdle(Date.now());
    for (const client of clients) client.end();
    await rig.recorder.endedAt(MANY);
    expect(rig.recorder.allEnded.every(({ outcome }) => outcome === 'closed')).toBe(true);
    expect(rig.engine.load).toBe(0);
    await eventually(() => openFds() <= before, 'all descriptors closed');
    await eventually(() => rig.slots.open === 0, 'all slots free');
  });
});

/** Asks for one burst after the other, each when the one before is complete, and checks every byte. */
function askInBursts(
  socket: net.Socket,
  { pattern, rounds, slow }: { pattern: Pattern; rounds: readonly number[]; slow: boolean },
): Promise<void> {
  const total = rounds.reduce((sum, size) => sum + size, 0);
  let round = 0;
  let due = 0;
  let got = 0;
  const next = (): void => {
    due += rounds[round++] ?? 0;
    socket.write('?');
  };
  socket.on('data', (chunk: Buffer) => {
    const wrong = pattern.mismatch(chunk, got);
    if (wrong >= 0) socket.destroy(new Error(`the byte at ${wrong} is wrong`));
    got += chunk.length;
    if (got === due) next();
    else if (slow) {
      socket.pause();
      setImmediate(() => socket.resume());
    }
  });
  next();
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.once('end', () => (got === total ? resolve() : reject(new Error(`${got} of ${total} bytes`))));
    socket.once('end', () => socket.end());
  });
}
