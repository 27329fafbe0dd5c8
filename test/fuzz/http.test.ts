// Heads and bodies sent raw through the real server (llhttp and our checks) to an origin that keeps every byte, and what arrives
// held against the strict reader: nothing is dialled, tunnelled or forwarded that it does not read the same way, in the same
// order, as often.
import net from 'node:net';
import { expect } from 'vitest';
import type { Resolution } from '../../src/net/resolve.ts';
import { ENGINES, eventually, type Rig, startRig, turns } from '../proxy/support.ts';
import { startOrigin } from '../support/origin.ts';
import fc from '../support/property.ts';
import { fuzz } from './budget.ts';
import { damaged, edits } from './mutate.ts';
import { placeOf, type Reading, readRequest, readRequests, valuesOf } from './strict-http.ts';

/** Stands for the origin's port until there is one; five digits, as every port of the kernel's choice. */
const PORT = '47001';
/** Nothing else listens there. */
const ADDRESS = '127.66.0.1';
const VIA = '1.1 sallyport';

const PIECES = [
  ...[
    '\r\n',
    '\n',
    '\r',
    '\r\n\r\n',
    '\n\n',
    '\r\r\n',
    '\0',
    ' ',
    '  ',
    '\t',
    '\x0b',
    '\x0c',
    '\x7f',
    '\x85',
    '\xa0',
    '\xff',
    '\r\n ',
    '\r\n\t',
    ':',
    '::',
    ',',
    ';',
    '"',
    '\\',
    '#',
    '?',
    '@',
    '%',
    '/',
    '//',
    '..',
    '[',
    ']',
  ],
  ...[
    'HTTP/1.1',
    'HTTP/1.0',
    'HTTP/2.0',
    'HTTP/0.9',
    'http/1.1',
    'ICE/1.0',
    'CONNECT',
    'GET',
    'PRI',
    'M-SEARCH',
    'http://',
    'https://',
    'x'.repeat(300),
  ],
  ...[
    'Host: b.test\r\n',
    'Content-Length: 5\r\n',
    'Content-Length: 0\r\n',
    'Transfer-Encoding: chunked\r\n',
    'Transfer-Encoding : chunked\r\n',
    'Transfer-Encoding: identity\r\n',
    'Connection: close\r\n',
    'Connection: Host\r\n',
    'Upgrade: websocket\r\n',
    'Expect: 100-continue\r\n',
  ],
  ...[
    '0\r\n\r\n',
    '5\r\n',
    ';a=b',
    '0x5',
    '+5',
    '-1',
    '00',
    '5, 5',
    '\r\nGET http://b.test/ HTTP/1.1\r\nHost: b.test\r\n\r\n',
  ],
];

const host = fc.constantFrom('a.test', 'A.Test.', 'b.test', 'a_b.test', '127.66.0.1', '[::1]', '0x7f.1');
const field = fc.constantFrom(
  ...[
    'Accept: */*',
    'X-One: 1',
    'x-one: 2',
    'X-Latin: caf\xe9',
    'X-Empty:',
    'X-Tabs:\t a \t',
    'Cookie: a=b; c=d',
    'Proxy-Authorization: Basic dTpw',
    'Proxy-Connection: keep-alive',
  ],
  ...[
    'Connection: keep-alive',
    'Connection: close, X-One',
    'Connection: TE',
    'TE: trailers',
    'Keep-Alive: timeout=5',
    'Expect: 100-continue',
    'Via: 1.0 other',
    'X-Long: '.padEnd(3_000, 'y'),
  ],
);
const body = fc.constantFrom(
  '',
  ...[
    'Content-Length: 0\r\n\r\n',
    'Content-Length: 5\r\n\r\nhello',
    'Content-Length: 47\r\n\r\nGET http://b.test:47001/in HTTP/1.1\r\nHost: b\r\n\r\n',
  ],
  ...[
    'Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
    'Transfer-Encoding: Chunked\r\n\r\n1;a=b;c="d"\r\nx\r\nA\r\n0123456789\r\n0\r\nX-Trailer: 1\r\n\r\n',
    'Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  ],
  ...[
    'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n',
    'Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n',
  ],
);

const connect = fc
  .record({
    host,
    port: fc.constantFrom(`:${PORT}`, `:${PORT}`, ':80', ''),
    fields: fc.array(field, { maxLength: 3 }),
    early: fc.constantFrom(
      '',
      '\x16\x03\x01',
      'GET / HTTP/1.1\r\nHost: x\r\n\r\n',
      'CONNECT b.test:47001 HTTP/1.1\r\n\r\n',
    ),
  })
  .map(
    (one) =>
      `CONNECT ${one.host}${one.port} HTTP/1.1\r\nHost: ${one.host}${one.port}\r\n${one.fields.map((text) => `${text}\r\n`).join('')}\r\n${one.early}`,
  );

const forward = fc
  .record({
    method: fc.constantFrom('GET', 'POST', 'HEAD', 'PUT', 'OPTIONS', 'DELETE', 'PROPFIND'),
    host,
    port: fc.constantFrom(`:${PORT}`, `:${PORT}`, `:${PORT}`, ''),
    path: fc.constantFrom('/', '', '/a/../b', '//x', '/%2e%2e/', '?q=1', '/a?b#c', '/a|b'),
    version: fc.constantFrom('1.1', '1.1', '1.1', '1.0'),
    fields: fc.array(field, { maxLength: 4 }),
    body,
  })
  .map((one) => {
    const fields = [`Host: ${one.host}${one.port}`, ...one.fields].map((text) => `${text}\r\n`).join('');
    return `${one.method} http://${one.host}${one.port}${one.path} HTTP/${one.version}\r\n${fields}${one.body === '' ? '\r\n' : one.body}`;
  });

const conversation = fc
  .tuple(fc.array(forward, { maxLength: 2 }), fc.oneof(connect, forward))
  .map(([before, last]) => Buffer.from([...before, last].join(''), 'latin1'));

interface Case {
  readonly bytes: Buffer;
  readonly list: Parameters<typeof damaged>[1];
  readonly cuts: readonly number[];
}

const cases: fc.Arbitrary<Case> = fc.record({
  bytes: conversation,
  list: edits(PIECES, 3),
  cuts: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 3 }),
});

/** An origin that answers every request it can read strictly, and keeps the bytes of each connection. */
async function keeper(): Promise<{ port: number; texts: string[]; close: () => Promise<void> }> {
  const texts: string[] = [];
  const origin = await startOrigin(
    (socket) => {
      const place = texts.push('') - 1;
      let read = 0;
      socket.on('end', () => void socket.end());
      socket.on('data', (chunk: Buffer) => {
        texts[place] += chunk.toString('latin1');
        for (let one = readRequest(texts[place]!, read); one?.complete; one = readRequest(texts[place]!, read)) {
          read = one.end;
          if (valuesOf(one.fields, 'upgrade').length === 0)
            socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
          else {
            read = Number.POSITIVE_INFINITY;
            socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
          }
        }
      });
    },
    { host: ADDRESS },
  );
  return { port: origin.port, texts, close: () => origin.close() };
}

/** Sends the bytes in pieces and lets everything that follows from them happen, as far as it does without a clock. */
async function converse(rig: Rig, pieces: readonly Buffer[], progress: () => number): Promise<void> {
  const socket = net.connect({ ...rig.at, noDelay: true, allowHalfOpen: true });
  let received = 0;
  let closed = false;
  socket.on('error', () => {});
  socket.on('close', () => {
    closed = true;
  });
  socket.on('data', (chunk: Buffer) => {
    received += chunk.length;
  });
  await new Promise((resolve) => socket.once('connect', resolve));
  for (const piece of pieces) {
    socket.write(piece);
    await turns(2);
  }
  const settle = async (): Promise<void> => {
    let before = -1;
    for (let now = progress() + received; now !== before && !closed; now = progress() + received) {
      before = now;
      await turns(8);
    }
  };
  await settle();
  socket.end();
  await settle();
  socket.destroy();
}

const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authorization',
  'proxy-authenticate',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'content-length',
  'host',
]);

/** What of a request is to arrive at the origin, whatever the hop changes. */
function essence(one: Reading, path: string): unknown {
  const listed = new Set(
    valuesOf(one.fields, 'connection').flatMap((value) => value.split(',').map((text) => text.trim().toLowerCase())),
  );
  const fields = one.fields.filter(
    ([name, value]) => !HOP_BY_HOP.has(name) && !listed.has(name) && !(name === 'via' && value === VIA),
  );
  return { method: one.method, path, fields };
}

function hostField(one: Reading): string {
  const place = placeOf(one)!;
  return place.port === 80 ? place.host : `${place.host}:${place.port}`;
}

/** What came to the origin on one connection that forwards: whole requests, then perhaps a cut one or the bytes of an upgrade. */
function arrivals(text: string): { requests: Reading[]; rest: string } {
  const requests = readRequests(text);
  const last = requests.at(-1);
  const upgraded = requests.findIndex((one) => valuesOf(one.fields, 'upgrade').length > 0);
  if (upgraded >= 0) return { requests: requests.slice(0, upgraded + 1), rest: text.slice(requests[upgraded]!.end) };
  return { requests, rest: last?.complete === false ? '' : text.slice(last?.end ?? 0) };
}

/** Throws where the origin saw what the strict reading of the client's bytes does not hold. */
function judge(sent: string, texts: readonly string[], rig: Rig): { tunnelled: number; forwarded: number } {
  const read = readRequests(sent);
  const expected = read.map((one) => ({ one, place: placeOf(one) })).filter(({ place }) => place !== null);
  // What the records say was let through is what the strict reader reads, in order.
  let next = 0;
  for (const record of rig.recorder.allDecided.filter(({ verdict }) => verdict !== 'deny')) {
    const found = expected.findIndex(
      ({ one, place }, index) =>
        index >= next &&
        one.method === record.method &&
        place!.host.replace(/^\[(.*)\]$/, '$1') === record.host &&
        place!.port === record.port,
    );
    expect(found, `let through, but not read: ${JSON.stringify(record)}`).toBeGreaterThanOrEqual(next);
    next = found + 1;
  }
  const tunnelAt = read.at(-1)?.method === 'CONNECT' ? read.at(-1)!.end : null;
  const raw = texts.filter((text) => text !== '' && !text.includes(`\r\nVia: ${VIA}\r\n`));
  expect(raw.length).toBeLessThanOrEqual(tunnelAt === null ? 0 : 1);
  if (raw.length > 0) expect(sent.slice(tunnelAt!).startsWith(raw[0]!), 'the tunnel has bytes of its own').toBe(true);
  const seen = texts.filter((text) => text.includes(`\r\nVia: ${VIA}\r\n`)).map(arrivals);
  const forwards = expected.filter(({ one }) => one.method !== 'CONNECT');
  for (const { requests, rest } of seen) {
    if (rest !== '') {
      const upgrade = forwards.find(({ one }) => valuesOf(one.fields, 'upgrade').length > 0);
      expect(
        upgrade && sent.slice(upgrade.one.headEnd).startsWith(rest),
        `the origin got more: ${JSON.stringify(rest)}`,
      ).toBe(true);
    }
    let from = 0;
    for (const one of requests) {
      const at = forwards.findIndex(
        ({ one: own, place }, index) =>
          index >= from && JSON.stringify(essence(own, place!.path!)) === JSON.stringify(essence(one, one.target)),
      );
      expect(at, `forwarded, but not sent: ${JSON.stringify(one)}`).toBeGreaterThanOrEqual(from);
      const own = forwards.splice(at, 1)[0]!.one;
      from = at;
      expect(valuesOf(one.fields, 'host')).toEqual([hostField(own)]);
      if (one.complete) expect({ body: one.body, complete: own.complete }).toEqual({ body: own.body, complete: true });
      else expect(own.body.startsWith(one.body)).toBe(true);
    }
  }
  return { tunnelled: raw.length, forwarded: seen.reduce((sum, { requests }) => sum + requests.length, 0) };
}

/** Each let-through request has one end, and nothing failed inside. */
function judgeRecords(rig: Rig, read: number): void {
  const { allDecided, allEnded } = rig.recorder;
  const through = allDecided.filter(({ outcome }) => outcome === undefined).map(({ id }) => id);
  expect(allEnded.map(({ id }) => id).sort()).toEqual(through.sort());
  expect(allDecided.length).toBeLessThanOrEqual(read + 1);
  expect(rig.logText()).not.toContain('failed inside');
}

fuzz('http', 150, async ({ check, whole }) => {
  const everywhere: Resolution = { ok: true, addresses: [ADDRESS] };
  const policy = `mode: observe\nobserve: { addresses: ["${ADDRESS}/32"] }`;
  const rigs = await Promise.all(ENGINES.map(({ make }) => startRig({ policy, engine: make })));
  for (const { resolver } of rigs)
    resolver.resolve = (host) => {
      resolver.asked.push(host);
      return everywhere;
    };
  const sums = { tunnelled: 0, forwarded: 0, refused: 0 };
  await check(
    fc.asyncProperty(cases, fc.nat(rigs.length - 1), async ({ bytes, list, cuts }, engine) => {
      const rig = rigs[engine] as Rig;
      const origin = await keeper();
      rig.recorder.entries.length = 0;
      rig.resolver.asked.length = 0;
      try {
        const sent = Buffer.from(
          damaged(bytes, list).toString('latin1').replaceAll(PORT, String(origin.port)),
          'latin1',
        );
        const places = [0, ...cuts.map((cut) => Math.floor(cut * sent.length)).sort((a, b) => a - b), sent.length];
        const pieces = places
          .slice(1)
          .map((end, index) => sent.subarray(places[index], end))
          .filter((piece) => piece.length > 0);
        const progress = (): number =>
          rig.recorder.entries.length + origin.texts.reduce((sum, text) => sum + text.length + 1, 0);
        await converse(rig, pieces, progress);
        await eventually(() => rig.server.idle, 'the proxy is idle again');
        const text = sent.toString('latin1');
        const { tunnelled, forwarded } = judge(text, origin.texts, rig);
        judgeRecords(rig, readRequests(text).length);
        sums.tunnelled += tunnelled;
        sums.forwarded += forwarded;
        sums.refused += rig.recorder.allDecided.filter(({ verdict }) => verdict === 'deny').length;
      } finally {
        await origin.close();
      }
    }),
  );
  // A run in which nothing passed has compared nothing.
  if (whole)
    expect(
      Object.values(sums).every((sum) => sum > 0),
      JSON.stringify(sums),
    ).toBe(true);
});
