// Plain HTTP's short road beside the long one: whatever an origin answers, client, origin and records see the same on every engine; and
// what only the short road has: kept origins, requests that come later, answers larger than a read, connections between two requests.
import type net from 'node:net';
import { describe, expect, it, vi } from 'vitest';
import { NativeConnection, type NativeEngine } from '../../src/proxy/engine-native.ts';
import { NativeOrigin } from '../../src/proxy/native-origin.ts';
import { startOrigin } from '../support/origin.ts';
import {
  allowing,
  atEnd,
  ENGINES,
  eventually,
  KERNEL_BYTES,
  type RawOrigin,
  type Rig,
  rawOrigin,
  startRig,
  turns,
} from './support.ts';

const HOST = 'web.test';
const OK = 'HTTP/1.1 200 OK\r\n';

const SMUGGLED = `${OK}Content-Length: 8\r\n\r\nsmuggled`;

interface World {
  readonly rig: Rig;
  readonly origin: RawOrigin;
  readonly base: string;
  get(path?: string, fields?: string): string;
}

async function world(make: (typeof ENGINES)[number]['make'], limits: Record<string, number> = {}): Promise<World> {
  const origin = await rawOrigin();
  const policy = allowing(HOST, origin.port, 'http');
  const rig = await startRig({ policy, names: { [HOST]: ['127.0.0.1'] }, limits, engine: make });
  const base = `http://${HOST}:${origin.port}`;
  const get = (path = '/', fields = ''): string => `GET ${base}${path} HTTP/1.1\r\nHost: x\r\n${fields}\r\n`;
  return { rig, origin, base, get };
}

interface Case {
  readonly request?: (base: string) => string;
  /** What the origin sends, packet by packet. */
  readonly answer: readonly string[];
  readonly end?: 'ends' | 'resets';
}

const CHUNKED = `${OK}Transfer-Encoding: chunked\r\n\r\n`;

/** Clients that ask for one thing. */
const CLOSING = [
  ['a client that closes', 'GET BASE/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'],
  ['HEAD that closes', 'HEAD BASE/ HTTP/1.1\r\nHost: x\r\nProxy-Connection: close\r\n\r\n'],
  ['a POST that closes', 'POST BASE/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nab'],
  ['a client of HTTP/1.0', 'GET BASE/ HTTP/1.0\r\n\r\n'],
  ['a client of HTTP/1.0 that stays', 'GET BASE/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n'],
] as const;
const ANSWERS: readonly (readonly [string, readonly string[], boolean])[] = [
  ['a length', [`${OK}Content-Length: 2\r\n\r\n`, 'ok'], false],
  ['chunks', [`${CHUNKED}2\r\nok\r\n`, '0\r\n\r\n'], false],
  ['no framing', [`${OK}\r\n`, 'ok'], true],
  ['204', ['HTTP/1.1 204 No Content\r\n\r\n'], false],
];

const cases: readonly (readonly [string, Case])[] = [
  ['with a length', { answer: [`${OK}Content-Length: 5\r\nX: caf\xe9\r\n\r\nhello`] }],
  ['without a body', { answer: [`${OK}Content-Length: 0\r\n\r\n`] }],
  ['in two packets of the body', { answer: [`${OK}Content-Length: 5\r\n\r\nhe`, 'llo'] }],
  ['in two packets of the head', { answer: [OK, 'Content-Length: 5\r\n\r\nhello'] }],
  ['204', { answer: ['HTTP/1.1 204 No Content\r\n\r\n'] }],
  ['204 with a length', { answer: ['HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n'] }],
  ['304 with a length', { answer: ['HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n'] }],
  ['without a reason', { answer: ['HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok'] }],
  ['chunked', { answer: [`${OK}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n`, '0\r\n\r\n'] }],
  ['chunked in one packet', { answer: [`${OK}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n`] }],
  [
    'chunked, each chunk in two packets',
    { answer: [CHUNKED, '0A\r\nabcd', 'efghij\r', '\n3\r\nk', 'lm\r\n0\r\n', '\r\n'] },
  ],
  ['chunked that closes', { answer: [`${OK}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`] }],
  ['204 that would be chunked', { answer: ['HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n'] }],
  ['304 that would be chunked', { answer: ['HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n'] }],
  ['chunked with bytes behind it', { answer: [CHUNKED, `2\r\nok\r\n0\r\n\r\n${OK}Content-Length: 1\r\n\r\nx`] }],
  ['chunked, cut short by an end', { answer: [CHUNKED, '2\r\nok\r\n'], end: 'ends' }],
  ['chunked, cut short by a reset', { answer: [CHUNKED, '2\r\nok\r\n'], end: 'resets' }],
  ['chunked, then garbage', { answer: [CHUNKED, '2\r\nok\r\n', 'garbage'] }],
  ['chunked with a trailer', { answer: [`${OK}Transfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\nX: y\r\n\r\n`] }],
  ['until the end', { answer: [`${OK}\r\nuntil`, ' the end'], end: 'ends' }],
  ['until the end, in HTTP/1.0', { answer: ['HTTP/1.0 200 OK\r\nServer: x\r\n\r\nuntil', ' the end'], end: 'ends' }],
  ['until the end, with nothing', { answer: [`${OK}\r\n`], end: 'ends' }],
  ['until the end, that would be kept', { answer: [`${OK}Connection: keep-alive\r\n\r\n`, 'x'], end: 'ends' }],
  ['until a reset', { answer: [`${OK}\r\nuntil`], end: 'resets' }],
  [
    'of HTTP/1.0 that is kept',
    { answer: ['HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok'] },
  ],
  ['of HTTP/1.0 in chunks', { answer: ['HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'] }],
  ['of HTTP/1.0', { answer: ['HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok'], end: 'ends' }],
  ['behind 103', { answer: ['HTTP/1.1 103 Early Hints\r\n\r\n', `${OK}Content-Length: 2\r\n\r\nok`] }],
  ['that closes', { answer: [`${OK}Connection: close\r\nContent-Length: 2\r\n\r\nok`], end: 'ends' }],
  ['with hop-by-hop fields', { answer: [`${OK}Connection: X-One\r\nX-One: 1\r\nContent-Length: 2\r\n\r\nok`] }],
  ['that offers h2c', { answer: [`${OK}Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nok`] }],
  ['with bytes behind it', { answer: [`${OK}Content-Length: 2\r\n\r\nok${OK}Content-Length: 1\r\n\r\nx`] }],
  ['cut short by an end', { answer: [`${OK}Content-Length: 5\r\n\r\nhe`], end: 'ends' }],
  ['cut short by a reset', { answer: [`${OK}Content-Length: 5\r\n\r\nhe`], end: 'resets' }],
  ['with two lengths', { answer: [`${OK}Content-Length: 1\r\nContent-Length: 1\r\n\r\na`] }],
  ['that is none', { answer: ['garbage\r\n\r\n'] }],
  ['that never comes', { answer: [], end: 'ends' }],
  [
    'to HEAD',
    {
      request: (base) => `HEAD ${base}/ HTTP/1.1\r\nHost: x\r\n\r\n`,
      answer: [`${OK}Content-Length: 5\r\n\r\n`],
    },
  ],
  [
    'to a POST with its body',
    {
      request: (base) =>
        `POST ${base}/p?q HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nX-Latin: \xe9\r\nProxy-Authorization: Basic eDo=\r\n\r\n\xff\x00b`,
      answer: [`${OK}Content-Length: 2\r\n\r\nok`],
    },
  ],
  [
    'chunked, to a POST with its body',
    {
      request: (base) => `POST ${base}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc`,
      answer: [`${OK}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n`],
    },
  ],
  ...CLOSING.flatMap(([who, head]) =>
    ANSWERS.map(([what, answer, end]): readonly [string, Case] => [
      `${what}, to ${who}`,
      { request: (base) => head.replace('BASE', base), answer, ...(end ? { end: 'ends' } : {}) },
    ]),
  ),
  [
    'to a POST without a length',
    {
      request: (base) => `POST ${base}/ HTTP/1.1\r\nHost: x\r\n\r\n`,
      answer: [`${OK}Content-Length: 2\r\n\r\nok`],
    },
  ],
];

interface Seen {
  readonly client: string;
  readonly state: string;
  readonly origin: string;
  readonly records: readonly string[];
}

async function play(make: (typeof ENGINES)[number]['make'], drawn: Case): Promise<Seen> {
  const w = await world(make);
  const text = drawn.request?.(w.base) ?? w.get();
  const client = await w.rig.send(Buffer.from(text, 'latin1'));
  const peer = await w.origin.peer();
  await eventually(() => peer.socket.bytesRead > 0, 'the request is at the origin');
  await turns();
  for (const packet of drawn.answer) {
    peer.send(Buffer.from(packet, 'latin1'));
    await turns();
  }
  if (drawn.end === 'ends') peer.end();
  if (drawn.end === 'resets') peer.socket.resetAndDestroy();
  await w.rig.recorder.endedAt(1);
  await turns();
  const state = client.state;
  client.end();
  const got = await client.readAll();
  peer.end();
  const asked = await peer.readAll();
  const records = w.rig.recorder.entries.map((entry) => {
    const { event, method, verdict, outcome } = entry;
    const counts = entry.event === 'ended' ? ` ${entry.bytes_up} ${entry.bytes_down} ${entry.status}` : '';
    return `${event} ${method} ${verdict} ${outcome}${counts}`;
  });
  const plain = (bytes: Buffer): string => bytes.toString('latin1').replaceAll(String(w.origin.port), 'port');
  return { client: plain(got).replace(/Date: [^\r]*\r\n/, ''), state, origin: plain(asked), records };
}

describe('an answer', () => {
  it.skipIf(ENGINES.length < 2).each(cases)('%s is the same on every road', async (_, drawn) => {
    const [first, ...others] = ENGINES;
    const seen = await play(first.make, drawn);
    for (const { make } of others) expect(await play(make, drawn)).toEqual(seen);
    expect(seen.records).toHaveLength(2);
  });
});

/** A client whose first request is answered, and the origin's connection that was kept. */
async function keptOrigin(w: World) {
  const client = await w.rig.send(w.get('/1'));
  const peer = await w.origin.peer();
  await peer.readUntil('\r\n\r\n');
  peer.send(`${OK}Content-Length: 1\r\n\r\na`);
  expect(await client.readResponse()).toMatchObject({ status: 200, body: 'a' });
  await w.rig.recorder.endedAt(1);
  await turns();
  return { client, peer };
}

/** What the client asks next is answered by a connection of its own. */
async function expectSecondOrigin(w: World, client: Awaited<ReturnType<typeof keptOrigin>>['client']): Promise<void> {
  const second = await w.origin.peer(2);
  await second.readUntil('\r\n\r\n');
  second.send(`${OK}Content-Length: 1\r\n\r\nb`);
  expect(await client.readResponse()).toMatchObject({ status: 200, body: 'b' });
}

describe.each(ENGINES)('the $name engine', ({ name, make }) => {
  it('asks again on the connection that the origin has kept, for another client too', async () => {
    const w = await world(make);
    const { peer } = await keptOrigin(w);
    const other = await w.rig.send(w.get('/2'));
    expect((await peer.readUntil('\r\n\r\n')).toString()).toMatch(/^GET \/2 HTTP\/1\.1\r\n/);
    peer.send(`${OK}Content-Length: 1\r\n\r\nb`);
    expect(await other.readResponse()).toMatchObject({ status: 200, body: 'b' });
    expect(w.origin.connections()).toBe(1);
  });

  it.each(['ends it', 'says something unasked'])('asks on a new connection where the origin %s', async (how) => {
    const w = await world(make);
    const { client, peer } = await keptOrigin(w);
    if (how === 'ends it') peer.end();
    else peer.send(SMUGGLED);
    await turns();
    client.send(w.get('/2'));
    await expectSecondOrigin(w, client);
  });

  // Node's agent has no such look: there, what comes in the turn of the request is its answer.
  it.runIf(name === 'native')(
    'gives nobody what a kept origin says unasked in the turn that it is taken in',
    async () => {
      const w = await world(make);
      const { client, peer } = await keptOrigin(w);
      client.send(w.get('/2'));
      peer.send(SMUGGLED);
      await expectSecondOrigin(w, client);
    },
  );

  it.runIf(name === 'native')(
    'lets no origin have another request while it owes the body of the last; an odd answer waits for it',
    async () => {
      const said = vi.spyOn(NativeOrigin.prototype, 'say');
      atEnd(() => said.mockRestore());
      const sockets: net.Socket[] = [];
      const origin = await startOrigin((socket) => {
        socket.pause();
        sockets.push(socket);
      });
      atEnd(() => origin.close());
      const policy = allowing(HOST, origin.port, 'http');
      const rig = await startRig({ policy, names: { [HOST]: ['127.0.0.1'] }, engine: make });
      const body = 'x'.repeat(50_000);
      const post = `POST http://${HOST}:${origin.port}/ HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
      const client = await rig.client();
      // Nobody reads at the origin: at some request the kernel takes no more.
      const sent = (): boolean => (said.mock.contexts.at(-1) as NativeOrigin).sent;
      let posts = 0;
      for (;;) {
        client.send(post);
        posts++;
        await eventually(() => said.mock.calls.length === posts, 'the request is on its way');
        if (!sent()) break;
        sockets[0]?.write(`${OK}Content-Length: 1\r\n\r\na`);
        expect((await client.readResponse()).body).toBe('a');
        expect(posts * body.length).toBeLessThan(KERNEL_BYTES);
      }
      expect(sockets).toHaveLength(1);
      sockets[0]?.write('HTTP/1.1 102 Processing\r\n\r\n');
      await turns();
      sockets[0]?.write(`${CHUNKED}2\r\nok\r\n0\r\n\r\n`);
      await turns();
      sockets[0]?.resume();
      const head = await client.readHead();
      expect(head).toMatchObject({ status: 200, headers: { 'transfer-encoding': 'chunked' } });
      expect((await rig.recorder.endedAt(posts)).outcome).toBe('closed');
    },
  );

  it.runIf(name === 'native')('gives Node no answers that end with the connection', async () => {
    const given = vi.spyOn(NativeConnection.prototype, 'adopt');
    const w = await world(make);
    const client = await w.rig.client();
    for (const [nth, version] of ['1.1', '1.0'].entries()) {
      client.send(w.get());
      const peer = await w.origin.peer(nth + 1);
      await peer.readUntil('\r\n\r\n');
      peer.send(`HTTP/${version} 200 OK\r\n\r\nok`);
      peer.end();
      await client.readUntil('2\r\nok\r\n0\r\n\r\n');
      expect(await w.rig.recorder.endedAt(nth + 1)).toMatchObject({ outcome: 'closed', bytes_down: 2 });
    }
    expect(given).not.toHaveBeenCalled();
  });

  it.runIf(name === 'native')('gives Node neither answers in chunks nor clients that close', async () => {
    const given = vi.spyOn(NativeConnection.prototype, 'adopt');
    const w = await world(make);
    for (const [nth, request] of [
      w.get(),
      w.get('/', 'Connection: close\r\n'),
      w.get().replace(' HTTP/1.1', ' HTTP/1.0'),
    ].entries()) {
      const client = await w.rig.send(request);
      const peer = await w.origin.peer();
      await peer.readUntil('\r\n\r\n');
      peer.send(request.includes('HTTP/1.0') ? `${OK}Content-Length: 2\r\n\r\nok` : `${CHUNKED}2\r\nok\r\n0\r\n\r\n`);
      await client.readUntil('ok');
      await w.rig.recorder.endedAt(nth + 1);
    }
    expect(given).not.toHaveBeenCalled();
    expect(w.origin.connections()).toBe(1);
  });

  it('takes an odd request behind plain ones, and a plain one behind that', async () => {
    const asked: string[] = [];
    const origin = await startOrigin((socket) => {
      socket.on('data', (chunk: Buffer) => {
        asked.push(chunk.toString('latin1').split(' HTTP')[0] ?? '');
        socket.write(`${OK}Content-Length: 1\r\n\r\na`);
      });
    });
    atEnd(() => origin.close());
    const policy = allowing(HOST, origin.port, 'http');
    const rig = await startRig({ policy, names: { [HOST]: ['127.0.0.1'] }, engine: make });
    const get = (path: string, version: string): string =>
      `GET http://${HOST}:${origin.port}${path} ${version}\r\nHost: x\r\nConnection: keep-alive\r\n\r\n`;
    const client = await rig.client();
    for (const [path, version] of [
      ['/1', 'HTTP/1.1'],
      ['/2', 'HTTP/1.1'],
      ['/3', 'HTTP/1.0'],
      ['/4', 'HTTP/1.1'],
    ] as const) {
      client.send(get(path, version));
      expect(await client.readResponse()).toMatchObject({ status: 200, body: 'a' });
    }
    expect(asked).toEqual(['GET /1', 'GET /2', 'GET /3', 'GET /4']);
    expect((await rig.recorder.endedAt(4)).outcome).toBe('closed');
  });

  it('brings an answer larger than any read whole through a client that reads slowly', async () => {
    const w = await world(make);
    const client = await w.rig.send(w.get());
    client.socket.pause();
    const peer = await w.origin.peer();
    await peer.readUntil('\r\n\r\n');
    const total = 16 * 1_048_576;
    peer.send(`${OK}Content-Length: ${total}\r\n\r\n`);
    peer.send(Buffer.alloc(total, 'abcdefg'));
    await turns(100);
    expect(w.rig.recorder.allEnded).toEqual([]);
    client.socket.resume();
    const head = await client.readHead();
    expect(head.headers['content-length']).toBe(String(total));
    const body = await client.read(total);
    expect(body.equals(Buffer.alloc(total, 'abcdefg'))).toBe(true);
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({ outcome: 'closed', bytes_down: total });
  });

  it.runIf(name === 'native')(
    'gives the origin back when it has said all; a client that does not read is let go, and it is not the origin that was late',
    async () => {
      const w = await world(make, { upstream_response_timeout_ms: 1_000 });
      const { core } = w.rig.engine as NativeEngine;
      const { say } = core;
      // The kernel of a client that reads takes all; of this one nothing more, as far as it says.
      core.say = (handle, head, body) =>
        head.includes('slow') ? say.call(core, handle, head, body) * 0 : say.call(core, handle, head, body);
      const slow = await w.rig.send(w.get('/1'));
      const peer = await w.origin.peer();
      await peer.readUntil('\r\n\r\n');
      peer.send(`${OK}X: slow\r\nContent-Length: 1\r\n\r\na`);
      await slow.readResponse();
      const next = await w.rig.send(w.get('/next'));
      expect((await peer.readUntil('\r\n\r\n')).toString('latin1')).toMatch(/^GET \/next /);
      peer.send(`${OK}Content-Length: 1\r\n\r\nb`);
      expect(await next.readResponse()).toMatchObject({ status: 200, body: 'b' });
      await slow.readAll();
      expect(await w.rig.recorder.endedAt(2)).toMatchObject({ outcome: 'client-gone', bytes_down: 1 });
    },
  );

  it('loses nothing of the answer to a client that closes, asks nothing that it sends behind its last request, and ends in order', async () => {
    const w = await world(make);
    const client = await w.rig.send(w.get('/', 'Connection: close\r\n'));
    client.socket.pause();
    const peer = await w.origin.peer();
    await peer.readUntil('\r\n\r\n');
    client.send(w.get('/more').repeat(20));
    await turns();
    const total = 4 * 1_048_576;
    peer.send(CHUNKED);
    for (let sent = 0; sent < total; sent += 65_536) peer.send(`10000\r\n${'x'.repeat(65_536)}\r\n`);
    peer.send('0\r\n\r\n');
    await turns();
    client.socket.resume();
    const got = (await client.readAll()).toString('latin1');
    expect(client.state).toBe('ended');
    expect(got).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(got.endsWith('\r\n0\r\n\r\n')).toBe(true);
    expect(got.match(/HTTP\/1\.1/g)).toHaveLength(1);
    expect(got.match(/x/g)).toHaveLength(total);
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({ outcome: 'closed', bytes_down: total });
    expect(w.rig.recorder.entries).toHaveLength(2);
    client.end();
    await eventually(() => w.rig.server.connections === 0, 'the connection is closed');
  });

  it('ends the connection behind an answer that is under way when the listener stops', async () => {
    const w = await world(make);
    const client = await w.rig.send(w.get());
    const peer = await w.origin.peer();
    await peer.readUntil('\r\n\r\n');
    w.rig.ctx.closing = true;
    w.rig.server.stopListening();
    peer.send(`${OK}Content-Length: 1\r\n\r\na`);
    const answer = await client.readResponse();
    expect(answer.headers['connection']).toBe('close');
    client.end();
    expect((await client.readAll()).toString()).toBe('');
    await eventually(() => w.rig.server.connections === 0, 'the connection is closed');
  });

  it('closes a connection between two requests when the listener stops, or after its time', async () => {
    const w = await world(make, { keep_alive_idle_ms: 1_000 });
    for (const how of ['stops', 'time']) {
      const client = await w.rig.send(w.get());
      const peer = await w.origin.peer(w.origin.connections() || 1);
      await peer.readUntil('\r\n\r\n');
      peer.send(`${OK}Content-Length: 1\r\n\r\na`);
      await client.readResponse();
      await turns();
      if (how === 'stops') w.rig.server.closeIdle();
      await client.readAll();
      expect(client.state).toBe('ended');
    }
  });
});
