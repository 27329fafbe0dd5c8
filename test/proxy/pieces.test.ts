// A head in several packets, with and without a PROXY header before it: wherever it is cut, walk, records and bytes are those of the head
// in one piece, on every engine; a plain one goes the native road; and who does not send the rest is cut as he always was.
import { describe, expect, it, vi } from 'vitest';
import { NativeConnection } from '../../src/proxy/engine-native.ts';
import { helloMessage, records, sni } from '../net/hello-builder.ts';
import { localHeader, proxyHeader, tlv } from '../net/proxy-builder.ts';
import { startOrigin } from '../support/origin.ts';
import fc from '../support/property.ts';
import { RawClient } from '../support/raw-client.ts';
import { atEnd, ENGINES, eventually, type Rig, startRig, turns } from './support.ts';

const BALANCER = '127.0.0.50';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
/** A request of which nothing is to come. */
const WHOLE = /\r\n\r\n(?:body|.*\r\n0\r\n\r\n)$|^[GH].*\r\n\r\n$/s;
const NAMES = ['any.test', 'tls.test', 'web.test'];

type Make = (typeof ENGINES)[number]['make'];

interface World {
  readonly rig: Rig;
  readonly port: number;
  /** All that the origin was sent. */
  readonly got: { readonly text: string };
}

/** An origin that answers what is HTTP and echoes what is not; it ends what has ended. */
async function world(make: Make, limits: Record<string, number> = {}): Promise<World> {
  const got = { text: '' };
  const origin = await startOrigin((socket) => {
    let asked = '';
    socket.on('data', (chunk: Buffer) => {
      asked += chunk.toString('latin1');
      got.text += chunk.toString('latin1');
      const http = /^[A-Z]+ \//.test(asked);
      if (http && !WHOLE.test(asked)) return;
      asked = '';
      socket.write(http ? OK : chunk);
    });
    socket.on('end', () => socket.end());
  });
  atEnd(() => origin.close());
  const rule = (host: string, protocol: string): string =>
    `  - { host: ${host}, ports: [${origin.port}], protocol: ${protocol}, addresses: [127.0.0.0/8] }`;
  const policy = [
    `proxy_protocol: { from: [${BALANCER}/32] }`,
    'clients: { from: [127.0.0.0/8, 192.0.2.0/24] }',
    'allow:',
    ...NAMES.map((name, at) => rule(name, ['any', 'tls', 'http'][at] as string)),
  ].join('\n');
  const names = Object.fromEntries(NAMES.map((name) => [name, ['127.0.0.1']]));
  return { rig: await startRig({ policy, names, limits, engine: make }), port: origin.port, got };
}

async function connect(rig: Rig, localAddress = '127.0.0.1'): Promise<RawClient> {
  const client = await RawClient.connect(rig.at, { localAddress });
  atEnd(() => client.close());
  return client;
}

async function send(client: RawClient, bytes: Buffer, cuts: readonly number[]): Promise<void> {
  let from = 0;
  for (const to of [...cuts, bytes.length]) {
    if (to > from) client.send(bytes.subarray(from, to));
    from = Math.max(from, to);
    await turns(3);
  }
}

const FIELDS = 'User-Agent: test\r\nProxy-Connection: close\r\n\r\n';
const hello = (name: string): string => records(helloMessage({ extensions: [sni(name)] })).toString('latin1');
/** What a client sends, `PORT` being the origin's. */
const REQUESTS = {
  tunnel: `CONNECT any.test:PORT HTTP/1.1\r\nHost: any.test:PORT\r\n${FIELDS}early data`,
  'checked tunnel': `CONNECT tls.test:PORT HTTP/1.0\r\n\r\n${hello('tls.test')}`,
  'tunnel with another name': `CONNECT tls.test:PORT HTTP/1.1\r\n\r\n${hello('other.test')}`,
  'refused tunnel': `CONNECT no.test:443 HTTP/1.1\r\nHost: no.test\r\n${FIELDS}`,
  'malformed tunnel': 'CONNECT any..test:PORT HTTP/1.1\r\nHost: x\r\n\r\n',
  'tunnel of HTTP/2': 'CONNECT any.test:PORT HTTP/2.0\r\nHost: x\r\n\r\n',
  get: `GET http://web.test:PORT/a?b HTTP/1.1\r\nHost: web.test:PORT\r\n${FIELDS}`,
  'get of HTTP/1.0': 'GET http://web.test:PORT/ HTTP/1.0\r\n\r\n',
  post: `POST http://web.test:PORT/ HTTP/1.1\r\nHost: web.test\r\nContent-Length: 4\r\n${FIELDS}body`,
  'two gets': `GET http://web.test:PORT/1 HTTP/1.1\r\nHost: x\r\n\r\nGET http://web.test:PORT/2 HTTP/1.1\r\nHost: x\r\n${FIELDS}`,
  upload: `PUT http://web.test:PORT/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n${FIELDS}3\r\nabc\r\n0\r\n\r\n`,
  'refused get': `GET http://no.test/ HTTP/1.1\r\nHost: no.test\r\nProxy-Authorization: Basic eDp5\r\n${FIELDS}`,
  'get of a path': `GET /a HTTP/1.1\r\nHost: web.test\r\n${FIELDS}`,
  'two lengths': `GET http://web.test:PORT/ HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\nHost: x\r\n${FIELDS}`,
} as const;
const HEADERS = {
  none: Buffer.alloc(0),
  ipv4: proxyHeader({ from: '192.0.2.7' }),
  stranger: proxyHeader({ from: '2001:db8::7', tlvs: [tlv(4, Buffer.alloc(40))] }),
  local: localHeader(),
  'version 1': Buffer.from('PROXY TCP4 192.0.2.7 192.0.2.1 40000 3128\r\n'),
  'other family': proxyHeader({ family: 0x31, body: Buffer.alloc(216) }),
} as const;

interface Case {
  readonly request: keyof typeof REQUESTS;
  readonly header: keyof typeof HEADERS;
  /** As parts of the length. */
  readonly cuts: readonly number[];
}

/** All that anybody sees of it. */
async function play({ rig, port, got }: World, { request, header, cuts }: Case): Promise<unknown> {
  const before = { records: rig.recorder.entries.length, sent: got.text.length };
  const plain = (text: string): string =>
    text
      .replaceAll(String(port), 'PORT')
      .replace(/\br\d+\b/g, 'id')
      .replace(/Date: [^\r]*\r\n/g, '');
  const head = Buffer.from(REQUESTS[request].replaceAll('PORT', String(port)), 'latin1');
  const bytes = Buffer.concat([HEADERS[header], head]);
  const client = await connect(rig, header === 'none' ? '127.0.0.1' : BALANCER);
  const places = cuts.map((part) => Math.floor(part * bytes.length)).sort((a, b) => a - b);
  await send(client, bytes, places);
  if (request.includes('tunnel')) client.end();
  const answer = await client.readAll();
  client.end();
  await eventually(() => rig.slots.open === 0 && rig.server.idle, 'its slot is free, and all is recorded');
  const lines = rig.recorder.entries.slice(before.records).map((entry) => {
    const { event, client: who, host, port: to, method, verdict, reason, outcome } = entry;
    const counts = entry.event === 'ended' ? `${entry.bytes_up} ${entry.bytes_down} ${entry.status}` : '';
    const target = entry.event === 'decided' ? entry.target : '';
    const what = [event, who, method, host, to, target, verdict, reason, outcome, counts];
    return plain(what.join(' '));
  });
  return {
    client: plain(answer.toString('latin1')),
    lines,
    origin: plain(got.text.slice(before.sent)),
  };
}

const cases: fc.Arbitrary<Case> = fc.record({
  request: fc.constantFrom(...(Object.keys(REQUESTS) as (keyof typeof REQUESTS)[])),
  header: fc.constantFrom('none', ...(Object.keys(HEADERS) as (keyof typeof HEADERS)[])),
  cuts: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 6 }),
});

it('is the same wherever it is cut, on every engine', async () => {
  const worlds = await Promise.all(ENGINES.map(({ make }) => world(make)));
  await fc.assert(
    fc.asyncProperty(cases, async (drawn) => {
      const [first, ...others] = worlds as [World, ...World[]];
      const seen = await play(first, { ...drawn, cuts: [] });
      for (const one of others) expect(await play(one, { ...drawn, cuts: [] })).toEqual(seen);
      for (const one of worlds) expect(await play(one, drawn)).toEqual(seen);
    }),
    { numRuns: 100 },
  );
}, 120_000);

const GET = REQUESTS.get.replace('Proxy-Connection: close', 'X: y');
const everyByte = (bytes: Buffer): number[] => Array.from(bytes, (_, at) => at);

describe.each(ENGINES)('the $name engine', ({ name, make }) => {
  const bytesOf = (w: World, text: string): Buffer => Buffer.from(text.replaceAll('PORT', String(w.port)), 'latin1');

  it('serves a tunnel that comes byte by byte, and one request behind another', async () => {
    const adopted = vi.spyOn(NativeConnection.prototype, 'adopt');
    const w = await world(make);
    const tunnel = await connect(w.rig);
    const head = bytesOf(w, REQUESTS.tunnel);
    await send(tunnel, head, everyByte(head));
    expect((await tunnel.readHead()).status).toBe(200);
    expect((await tunnel.read(10)).toString()).toBe('early data');
    const plain = await connect(w.rig);
    for (let nth = 0; nth < 3; nth++) {
      const get = bytesOf(w, GET);
      await send(plain, get, nth === 1 ? everyByte(get) : [nth + 1, 60]);
      expect(await plain.readResponse()).toMatchObject({ status: 200, body: 'ok' });
    }
    if (name === 'native') expect(adopted).not.toHaveBeenCalled();
  });

  it('takes a head of head_bytes in pieces; of a larger one it waits for no more than that', async () => {
    const w = await world(make, { head_bytes: 1_024 });
    const sized = (bytes: number): Buffer => {
      const head = bytesOf(w, REQUESTS['refused tunnel']);
      return Buffer.concat([head.subarray(0, -2), Buffer.from(`X: ${'y'.repeat(bytes - head.length - 5)}\r\n\r\n`)]);
    };
    const fits = await connect(w.rig);
    await send(fits, sized(1_024), [10, 500, 1_023]);
    expect(await fits.readResponse()).toMatchObject({ status: 403, reason: 'host-not-allowed' });
    const large = await connect(w.rig);
    await send(large, sized(2_048).subarray(0, 2_000), [10, 500, 1_023]);
    expect(await large.readResponse()).toMatchObject({ status: 431, reason: 'head-too-large' });
    expect(w.rig.meter.hits.get('head_bytes')).toBe(1);
    expect(w.rig.recorder.allDecided).toMatchObject([{ reason: 'host-not-allowed' }, { reason: 'head-too-large' }]);
  });

  it.each([
    ['resets', 0],
    ['ends', 1],
  ] as const)('notices a client that %s in the midst of its head', async (how, decided) => {
    const w = await world(make);
    const client = await connect(w.rig);
    await send(client, bytesOf(w, REQUESTS.tunnel).subarray(0, 50), [20]);
    await eventually(() => w.rig.slots.open === 1, 'it is there');
    if (how === 'resets') client.socket.resetAndDestroy();
    else client.end();
    if (how === 'ends') expect(await client.readResponse()).toMatchObject({ status: 400, reason: 'request-malformed' });
    await eventually(() => w.rig.slots.open === 0, 'its slot is free');
    expect(w.rig.recorder.entries).toHaveLength(decided);
  });

  // Node has a clock of its own.
  describe.runIf(name === 'native')('by the time of the first byte', () => {
    /** So much of a head's minute passes behind the first piece. */
    async function late(spentMs: number, pieces: readonly [string, string]): Promise<{ w: World; client: RawClient }> {
      const w = await world(make, { head_timeout_ms: 60_000 });
      const now = performance.now.bind(performance);
      let later = 0;
      vi.spyOn(performance, 'now').mockImplementation(() => now() + later);
      const client = await connect(w.rig);
      client.send(pieces[0]);
      await turns(5);
      later = spentMs;
      client.send(pieces[1].replaceAll('PORT', String(w.port)));
      return { w, client };
    }

    it.each([
      ['a plain beginning', ['CONNECT any.test:443 HT', 'TP/1.1\r\nProxy-Authorization: Basic eDp5']],
      ['a beginning that turns odd', ['GET http://web.test/', '{x}']],
    ] as const)('cuts who does not send the rest: %s', async (_, pieces) => {
      const { w, client } = await late(59_900, pieces);
      expect(await client.readResponse()).toMatchObject({ status: 408, reason: 'head-timeout' });
      expect(w.rig.recorder.entries).toMatchObject([{ reason: 'head-timeout', method: '', target: '', host: null }]);
      expect(w.rig.meter.hits.get('head_timeout_ms')).toBe(1);
    });

    it('lets who sends it have an answer', async () => {
      const started = vi.spyOn(globalThis, 'setTimeout');
      const cleared = vi.spyOn(globalThis, 'clearTimeout');
      const { client } = await late(30_000, ['GET http://web.test:', 'PORT/{x} HTTP/1.1\r\nHost: web.test\r\n\r\n']);
      expect((await client.readResponse()).status).not.toBe(408);
      const at = started.mock.calls.findIndex(([, ms]) => ms !== undefined && ms > 20_000 && ms <= 30_000);
      expect(cleared).toHaveBeenCalledWith(started.mock.results[at]?.value);
    });
  });
});
