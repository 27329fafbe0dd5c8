// Section "Plain HTTP forwarding" of docs/threat-model.md, from the origin: whatever it answers, the client gets one clean
// message, a refusal of ours, or a visibly broken message; and never the next client what was meant for nobody.
import type net from 'node:net';
import { describe, expect, it } from 'vitest';
import type { SocketHandler } from '../support/origin.ts';
import { isDecided, isEnded, useStage } from './stage.ts';
import { field, type Message, messages, recording, type Visit } from './web.ts';

const CASE_MS = 10_000;
const visits: Visit[] = [];
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const EVIL = 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil';

let reply = OK;
const slam: SocketHandler = (socket) => socket.resetAndDestroy();
const webSocket: SocketHandler = (socket) => {
  socket.once('data', () => {
    socket.write(
      'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nfirst',
    );
    socket.on('data', (chunk: Buffer) => void socket.write(chunk));
    socket.on('end', () => socket.end());
  });
};
const late: net.Socket[] = [];
const stage = useStage({
  origins: {
    'late.test': (socket) => {
      late.push(socket);
      socket.on('data', () => void socket.write(OK));
    },
    'web.test': recording(visits, (message) => (message.start.includes('/ok') ? OK : reply)),
    'slam.test': slam,
    'socket.test': webSocket,
    'expect.test': (socket) => {
      let sent = false;
      socket.on('data', (chunk: Buffer) => {
        if (chunk.includes('body')) socket.write(OK);
        else if (!sent) socket.write('HTTP/1.1 100 Continue\r\n\r\n');
        sent = true;
      });
    },
  },
});

type Then = 'stay' | 'end' | 'reset';

interface Got {
  readonly bytes: Buffer;
  readonly state: 'open' | 'ended' | 'reset';
  readonly outcome: string;
}

/** One request whose origin answers `raw` and then stays, ends or resets. */
async function answered(
  raw: string,
  then: Then = 'stay',
  request?: { method?: string; version?: string },
): Promise<Got> {
  reply = raw;
  const mark = stage.mark();
  const client = await stage.client();
  client.send(
    stage.bytes(
      `${request?.method ?? 'GET'} http://{web.test}/x HTTP/${request?.version ?? '1.1'}\r\nHost: x\r\nConnection: close\r\nX-Then: ${then}\r\n\r\n`,
    ),
  );
  const bytes = await client.readAll();
  const { state } = client;
  client.close();
  const lines = await stage.lines(mark, 2);
  expect(lines.filter(isDecided)).toHaveLength(1);
  const [ended] = lines.filter(isEnded);
  await stage.good(mark, 2);
  return { bytes, state, outcome: ended?.outcome ?? 'none' };
}

/** The next client of the same origin gets its own answer, and nothing else. */
async function nextClient(): Promise<void> {
  const mark = stage.mark();
  const client = await stage.client();
  client.send(stage.bytes('GET http://{web.test}/ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'));
  const got = messages(await client.readAll(), { closed: true });
  client.close();
  expect(got.map(({ body }) => body.toString())).toEqual(['ok']);
  // Its ended line is no part of the next test.
  await stage.lines(mark, 2);
}

/** Refused by the proxy: a whole 502, and not a byte of the origin's. */
async function refusedWhole(raw: string, then: Then, code = 'upstream-malformed'): Promise<void> {
  const { bytes, outcome } = await answered(raw, then);
  const got = messages(bytes, { closed: true });
  expect(got.map(({ start }) => start)).toEqual([`HTTP/1.1 502 ${code}`]);
  expect(field(got[0] as Message, 'sallyport-code')).toEqual([code]);
  expect(got[0]?.complete).toBe(true);
  expect(outcome).toBe(code);
  await nextClient();
}

const ok = (fields: string, body = ''): string => `HTTP/1.1 200 OK\r\n${fields}\r\n${body}`;

describe('Y1 an answer that two readers could frame differently is a 502', () => {
  it.each<[string, string, Then?]>([
    [
      'Content-Length, then Transfer-Encoding',
      ok('Content-Length: 2\r\nTransfer-Encoding: chunked\r\n', `2\r\nok\r\n0\r\n\r\n`),
    ],
    [
      'Transfer-Encoding, then Content-Length',
      ok('Transfer-Encoding: chunked\r\nContent-Length: 2\r\n', `2\r\nok\r\n0\r\n\r\n`),
    ],
    ['two different lengths', ok('Content-Length: 2\r\nContent-Length: 3\r\n', 'okk')],
    ['two equal lengths', ok('Content-Length: 2\r\nContent-Length: 2\r\n', 'ok')],
    ['a list of lengths', ok('Content-Length: 2, 2\r\n', 'ok')],
    ['a length with a sign', ok('Content-Length: +2\r\n', 'ok')],
    ['a negative length', ok('Content-Length: -2\r\n', 'ok')],
    ['an empty length', ok('Content-Length: \r\n', 'ok'), 'end'],
    ['a hexadecimal length', ok('Content-Length: 0x2\r\n', 'ok')],
    ['a length with a leading zero', ok('Content-Length: 02\r\n', 'ok')],
    ['xchunked', ok('Transfer-Encoding: xchunked\r\n', '2\r\nok\r\n0\r\n\r\n'), 'end'],
    ['a comma before chunked', ok('Transfer-Encoding: ,chunked\r\n', '2\r\nok\r\n0\r\n\r\n'), 'end'],
    ['chunked twice', ok('Transfer-Encoding: chunked, chunked\r\n', '2\r\nok\r\n0\r\n\r\n'), 'end'],
    ['gzip, chunked', ok('Transfer-Encoding: gzip, chunked\r\n', '2\r\nok\r\n0\r\n\r\n'), 'end'],
    ['identity', ok('Transfer-Encoding: identity\r\n', 'ok'), 'end'],
    [
      'two Transfer-Encoding fields',
      ok('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n', '2\r\nok\r\n0\r\n\r\n'),
      'end',
    ],
    ['chunked on HTTP/1.0', 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n', 'end'],
    ['a space before the colon', ok('Content-Length : 2\r\n', 'ok'), 'end'],
  ])('%s', { timeout: CASE_MS }, (_, raw, then = 'stay') => refusedWhole(raw, then));
});

describe('Y2 an answer that is no HTTP/1 response is a 502', () => {
  it.each<[string, string]>([
    ['garbage', 'garbage\r\n\r\n'],
    ['TLS', '\x16\x03\x03\x00\x05hello'],
    ['SSH', 'SSH-2.0-x\r\n'],
    ['a request', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['HTTP/2.0', 'HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok'],
    ['HTTP/0.9', 'HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nok'],
    ['a status of two digits', 'HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok'],
    ['a status of four digits', 'HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok'],
    ['a status with letters', 'HTTP/1.1 2x0 OK\r\nContent-Length: 2\r\n\r\nok'],
    ['a status below 100', 'HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok'],
    ['a NUL in a value', ok('X: a\0b\r\nContent-Length: 2\r\n', 'ok')],
    ['a NUL in a name', ok('X\0: b\r\nContent-Length: 2\r\n', 'ok')],
    ['a bare CR in a value', ok('X: a\rSet-Cookie: evil=1\r\nContent-Length: 2\r\n', 'ok')],
    ['a line without a colon', ok('broken\r\nContent-Length: 2\r\n', 'ok')],
    ['a space in a name', ok('X Y: z\r\nContent-Length: 2\r\n', 'ok')],
    ['a header of 1 MiB', ok(`X: ${'a'.repeat(1 << 20)}\r\nContent-Length: 2\r\n`, 'ok')],
    ['20,000 header lines', ok(`${'A: b\r\n'.repeat(20_000)}Content-Length: 2\r\n`, 'ok')],
    [
      'a switch of protocols unasked',
      'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    ],
    ['interim responses without end', 'HTTP/1.1 100 Continue\r\n\r\n'.repeat(200)],
  ])('%s', { timeout: CASE_MS }, (_, raw) => refusedWhole(raw, 'stay'));
});

describe('Y3 an origin that goes before its answer is a 502', () => {
  it.each<[string, string, Then]>([
    ['it closes', '', 'end'],
    ['it resets', '', 'reset'],
    ['it closes in its head', 'HTTP/1.1 200 OK\r\nContent-Le', 'end'],
    ['it resets in its head', 'HTTP/1.1 200 OK\r\nContent-Le', 'reset'],
  ])('%s', { timeout: CASE_MS }, (_, raw, then) => refusedWhole(raw, then, 'upstream-closed'));

  it('it resets at accept', { timeout: CASE_MS }, async () => {
    const mark = stage.mark();
    const client = await stage.client();
    client.send(stage.bytes('GET http://{slam.test}/ HTTP/1.1\r\nHost: x\r\n\r\n'));
    const got = messages(await client.readAll(), { closed: true });
    expect(got.map(({ start }) => start.slice(0, 12))).toEqual(['HTTP/1.1 502']);
    client.close();
    await stage.lines(mark, 2);
    await stage.good(mark, 2);
  });
});

describe('Y4 a body that breaks off is a visibly broken message', () => {
  const rows: readonly (readonly [string, string, Then])[] = [
    ['shorter than its length, closed', ok('Content-Length: 10\r\n', 'half'), 'end'],
    ['shorter than its length, reset', ok('Content-Length: 10\r\n', 'half'), 'reset'],
    ['chunks without an end, closed', ok('Transfer-Encoding: chunked\r\n', '4\r\nhalf\r\n'), 'end'],
    ['chunks without an end, reset', ok('Transfer-Encoding: chunked\r\n', '4\r\nhalf\r\n'), 'reset'],
    ['a chunk with 0x', ok('Transfer-Encoding: chunked\r\n', '4\r\nhalf\r\n0x0\r\n\r\n'), 'stay'],
    ['a chunk with a bare LF', ok('Transfer-Encoding: chunked\r\n', '4\r\nhalf\r\n4\nmore\r\n0\r\n\r\n'), 'stay'],
    [
      'a bare LF in a chunk extension',
      ok('Transfer-Encoding: chunked\r\n', '4\r\nhalf\r\n4;a\nb\r\nmore\r\n0\r\n\r\n'),
      'stay',
    ],
    [
      'a chunk longer than it says',
      ok('Transfer-Encoding: chunked\r\n', '4\r\nhalf\r\n2\r\nmore\r\n0\r\n\r\n'),
      'stay',
    ],
    ['a trailer without a colon', ok('Transfer-Encoding: chunked\r\n', '4\r\nhalf\r\n0\r\nbroken\r\n\r\n'), 'stay'],
  ];
  it.each(rows)('%s', { timeout: CASE_MS }, async (_, raw, then) => {
    const { bytes, state, outcome } = await answered(raw, then);
    const got = messages(bytes, { closed: true });
    // A 502 where nothing of it had been sent, else a torso that says of itself that it is one.
    expect(got.length).toBeLessThanOrEqual(1);
    if (got[0]?.start.startsWith('HTTP/1.1 200')) expect(got[0].complete).toBe(false);
    else if (got[0]) expect(got[0].start).toMatch(/^HTTP\/1\.1 502 /);
    else expect(state).not.toBe('open');
    expect(outcome).toMatch(/^upstream-(?:closed|malformed|reset)$/);
    await nextClient();
  });

  it('without a length, reset: the client sees a reset, not an end', { timeout: CASE_MS }, async () => {
    const { bytes, state } = await answered('HTTP/1.0 200 OK\r\n\r\nhalf', 'reset', { version: '1.0' });
    if (bytes.toString('latin1').startsWith('HTTP/1.1 200')) expect(state).toBe('reset');
    await nextClient();
  });
});

describe('Y5 what an origin sends unasked is nobody’s answer', () => {
  it.each<[string, string]>([
    ['a second response in the same packet', OK + EVIL],
    ['bytes behind the body', `${OK}trailing`],
    ['a body behind a 204', `HTTP/1.1 204 No Content\r\n\r\n${EVIL}`],
    ['a body behind a 304', `HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n${EVIL}`],
    ['a second response behind chunks', `${ok('Transfer-Encoding: chunked\r\n', '2\r\nok\r\n0\r\n\r\n')}${EVIL}`],
  ])('%s', { timeout: CASE_MS }, async (_, raw) => {
    const { bytes } = await answered(raw);
    expect(bytes.toString('latin1')).not.toContain('evil');
    for (let i = 0; i < 3; i += 1) await nextClient();
  });

  it('a body behind the answer to HEAD', { timeout: CASE_MS }, async () => {
    const { bytes } = await answered(EVIL, 'stay', { method: 'HEAD' });
    expect(bytes.toString('latin1')).not.toContain('\r\n\r\nevil');
    for (let i = 0; i < 3; i += 1) await nextClient();
  });
});

describe('Y5 what an origin sends unasked is nobody’s answer: on an idle connection', () => {
  it('a response that comes after the exchange is dropped with its connection', { timeout: CASE_MS }, async () => {
    const ask = async (): Promise<string> => {
      const client = await stage.client();
      client.send(stage.bytes('GET http://{late.test}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'));
      const [message] = messages(await client.readAll(), { closed: true });
      client.close();
      return message?.body.toString() ?? '';
    };
    expect(await ask()).toBe('ok');
    const idle = late.at(-1) as net.Socket;
    await new Promise<void>((resolve) => void idle.write(EVIL, () => resolve()));
    // The proxy has served others since, and so has read what lay in its sockets before.
    for (let i = 0; i < 5; i += 1) await stage.good();
    for (let i = 0; i < 3; i += 1) expect(await ask()).toBe('ok');
  });
});

describe('Y6 answers of every sound kind are whole and rightly framed', () => {
  it('a body that ends with the connection, for a client of HTTP/1.1 and of 1.0', { timeout: CASE_MS }, async () => {
    for (const version of ['1.1', '1.0']) {
      const { bytes, outcome } = await answered('HTTP/1.1 200 OK\r\n\r\nall of it', 'end', { version });
      const [message] = messages(bytes, { closed: true });
      expect(message?.body.toString()).toBe('all of it');
      expect(field(message as Message, 'transfer-encoding')).toEqual(version === '1.1' ? ['chunked'] : []);
      expect(outcome).toBe('closed');
    }
  });

  it('1 MiB in chunks with extensions and a trailer', { timeout: CASE_MS }, async () => {
    const chunk = `4000;x=y\r\n${'x'.repeat(0x4000)}\r\n`;
    const { bytes } = await answered(ok('Transfer-Encoding: chunked\r\n', `${chunk.repeat(64)}0\r\nX-T: y\r\n\r\n`));
    expect(messages(bytes)[0]?.body.length).toBe(1 << 20);
  });

  it('an early hint, then the answer', { timeout: CASE_MS }, async () => {
    const { bytes } = await answered(`HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n${OK}`);
    expect(messages(bytes, { closed: true }).at(-1)?.body.toString()).toBe('ok');
  });

  it('hop-by-hop fields of the origin end here, others pass in order and as often as they came', {
    timeout: CASE_MS,
  }, async () => {
    const { bytes } = await answered(
      ok(
        'Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nProxy-Connection: close\r\n' +
          'Upgrade: h2c\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n',
        'ok',
      ),
    );
    const [message] = messages(bytes) as [Message];
    const names = message.fields.map(([name]) => name);
    for (const gone of ['x-hop', 'proxy-authenticate', 'proxy-connection', 'upgrade'])
      expect(names).not.toContain(gone);
    expect(field(message, 'keep-alive')).not.toContain('timeout=5');
    expect(field(message, 'set-cookie')).toEqual(['a=1', 'b=2']);
  });
});

describe('Y6 answers of every sound kind are whole and rightly framed: with an interim one', () => {
  it('a client that waits for 100 before its body gets it from the origin, and then the answer', {
    timeout: CASE_MS,
  }, async () => {
    const client = await stage.client();
    client.send(
      stage.bytes(
        'POST http://{expect.test}/ HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n',
      ),
    );
    expect((await client.readHead()).status).toBe(100);
    client.send('body');
    expect(await client.readResponse()).toMatchObject({ status: 200, body: 'ok' });
    client.close();
    await stage.good();
  });
});

describe('Y7 WebSocket', () => {
  const handshake = (host: string): string =>
    `GET http://{${host}}/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n`;

  it('an origin that agrees gets and sends every byte', { timeout: CASE_MS }, async () => {
    const mark = stage.mark();
    const client = await stage.client();
    client.send(stage.bytes(`${handshake('socket.test')}early`));
    const head = await client.readHead();
    expect(head.status).toBe(101);
    expect((await client.read(10)).toString()).toBe('firstearly');
    client.send('more');
    expect((await client.read(4)).toString()).toBe('more');
    client.end();
    await client.readAll();
    expect((await stage.lines(mark, 2)).filter(isEnded)).toMatchObject([{ outcome: 'closed', status: 101 }]);
    await stage.good(mark, 2);
  });

  it('an origin that does not agree gives its own answer, and the connection ends', { timeout: CASE_MS }, async () => {
    reply = OK;
    const mark = stage.mark();
    const client = await stage.client();
    client.send(stage.bytes(`${handshake('web.test')}GET http://denied.test/smuggled HTTP/1.1\r\nHost: x\r\n\r\n`));
    const got = messages(await client.readAll(), { closed: true });
    expect(got.map(({ body }) => body.toString())).toEqual(['ok']);
    client.close();
    expect((await stage.lines(mark, 2)).filter(isDecided)).toHaveLength(1);
    await stage.good(mark, 2);
    expect(visits.map(({ bytes }) => bytes.toString('latin1')).join('')).not.toContain('smuggled');
  });
});

describe('Y8 an origin that floods a client that does not read is held back', () => {
  it('and others are served', { timeout: 20_000 }, async () => {
    reply = ok(`Content-Length: ${64 << 20}\r\n`, 'x'.repeat(64 << 20));
    const client = await stage.client();
    client.socket.pause();
    client.send(stage.bytes('GET http://{web.test}/x HTTP/1.1\r\nHost: x\r\n\r\n'));
    for (let i = 0; i < 20; i += 1) await stage.good();
    client.socket.resetAndDestroy();
    reply = OK;
    await nextClient();
    await stage.good();
  });
});
