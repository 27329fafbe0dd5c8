// A damaged PROXY header, a damaged CONNECT and a damaged hello, cut anywhere, through every engine: what is recorded, what the client is sent and
// what reaches the origin are the same on each; and of a first message that is not what the rule demands, no byte reaches it.

import { expect } from 'vitest';
import { parseClientHello } from '../../src/net/client-hello.ts';
import { helloMessage, records, sni } from '../net/hello-builder.ts';
import { localHeader, proxyHeader, SIGNATURE, tlv } from '../net/proxy-builder.ts';
import { ENGINES, type Rig, rawOrigin, startRig, turns } from '../proxy/support.ts';
import fc from '../support/property.ts';
import { RawClient } from '../support/raw-client.ts';
import { fuzz } from './budget.ts';
import { damaged, type Edit, edits } from './mutate.ts';

const HEAD_PIECES = [
  ...['\r\n', '\n', '\r\n\r\n', '\0', ' ', '\t', ':', '\xff', 'HTTP/1.0', 'HTTP/2.0', 'connect', 'X: y\r\n', '\r\n '],
  ...[
    'Host: b.test\r\n',
    'Content-Length: 5\r\n',
    'Transfer-Encoding: chunked\r\n',
    'Proxy-Authorization: Basic dTpw\r\n',
  ],
  ...['Accept: application/json\r\n', `X-Long: ${'y'.repeat(3_000)}\r\n`],
];
const HELLO_PIECES = [
  '\x16\x03\x01',
  '\x16\x03\x03\x00\x01\x01',
  '\x00\x00',
  '\xff\xff',
  'tls.test',
  'a',
  '\x01',
  '\x00\x05',
];

const BALANCER = '127.0.0.50';
const HEADERS = {
  none: Buffer.alloc(0),
  IPv4: proxyHeader({ from: '192.0.2.7' }),
  IPv6: proxyHeader({ from: '2001:db8::7', tlvs: [tlv(4, Buffer.alloc(9))] }),
  local: localHeader(),
  'version 1': Buffer.from('PROXY TCP4 192.0.2.7 192.0.2.1 40000 3128\r\n'),
};
const HEADER_PIECES = [
  SIGNATURE.toString('latin1'),
  '\x21',
  '\x20',
  '\x11',
  '\x00',
  '\x00\x0c',
  '\xff\xff',
  '\x7f',
  'CONNECT',
];

interface Case {
  /** Of a load balancer's connection; `none`: it is no load balancer's. */
  readonly header: keyof typeof HEADERS;
  readonly headerEdits: readonly Edit[];
  readonly host: 'tls.test' | 'any.test' | 'ssh.test' | 'none.test';
  readonly headEdits: readonly Edit[];
  readonly first: 'hello' | 'small records' | 'other' | 'ssh' | 'nothing';
  readonly helloEdits: readonly Edit[];
  /** Where it is cut, as parts of the length. */
  readonly cuts: readonly number[];
}

const cases: fc.Arbitrary<Case> = fc.record({
  header: fc.constantFrom('none', 'none', 'none', 'IPv4', 'IPv4', 'IPv6', 'local', 'version 1'),
  headerEdits: fc.oneof({ weight: 2, arbitrary: fc.constant([]) }, edits(HEADER_PIECES, 2)),
  host: fc.constantFrom('tls.test', 'tls.test', 'any.test', 'ssh.test', 'none.test'),
  headEdits: fc.oneof({ weight: 2, arbitrary: fc.constant([]) }, edits(HEAD_PIECES, 2)),
  first: fc.constantFrom('hello', 'hello', 'small records', 'other', 'ssh', 'nothing'),
  helloEdits: fc.oneof(fc.constant([]), edits(HELLO_PIECES, 3)),
  cuts: fc.oneof(fc.constant([]), fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 6 })),
});

const PAYLOAD = Buffer.from('what comes behind');

function firstBytes({ first, helloEdits }: Case): Buffer {
  const hello = (name: string, size: number): Buffer => records(helloMessage({ extensions: [sni(name)] }), size);
  const whole = {
    hello: () => hello('tls.test', 16_384),
    'small records': () => hello('tls.test', 9),
    other: () => hello('other.test', 16_384),
    ssh: () => Buffer.from('SSH-2.0-fuzz\r\n'),
    nothing: () => Buffer.alloc(0),
  }[first]();
  return damaged(whole, helloEdits);
}

interface Seen {
  readonly client: string;
  readonly origin: string;
  readonly records: readonly string[];
}

async function play(rig: Rig, origins: () => Promise<RawClient>[], port: number, drawn: Case): Promise<Seen> {
  const already = rig.recorder.entries.length;
  const target = `${drawn.host}:${port}`;
  const head = damaged(Buffer.from(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`), drawn.headEdits);
  const conveyed = drawn.header !== 'none';
  const before = conveyed ? damaged(HEADERS[drawn.header], drawn.headerEdits) : HEADERS.none;
  const all = Buffer.concat([before, head, firstBytes(drawn), PAYLOAD]);
  const client = await RawClient.connect(rig.at, { localAddress: conveyed ? BALANCER : '127.0.0.1' });
  const places = [...drawn.cuts.map((part) => Math.floor(part * all.length)), all.length].sort((a, b) => a - b);
  let at = 0;
  for (const place of places) {
    if (place > at) client.send(all.subarray(at, place));
    at = Math.max(at, place);
    await turns(2);
  }
  client.end();
  const answer = await client.readAll();
  client.close();
  const arrived = await Promise.all(origins());
  const got = await Promise.all(arrived.map(async (peer) => (await peer.readAll()).toString('latin1')));
  await waitForEnds(rig, already);
  const lines = rig.recorder.entries.slice(already).map((entry) => {
    const { event, client: who, host, port: to, verdict, reason, outcome } = entry;
    const bytes = entry.event === 'ended' ? ` ${entry.bytes_up} ${entry.bytes_down}` : '';
    return `${event} ${who} ${host}:${to === port ? 'port' : to} ${verdict} ${reason} ${outcome}${bytes}`;
  });
  return {
    client: answer
      .toString('latin1')
      .replaceAll(String(port), 'port')
      .replace(/\br\d+\b/g, 'id')
      .replace(/Content-Length: \d+/, ''),
    origin: got.join('|').replaceAll(String(port), 'port'),
    records: lines,
  };
}

/** Every request that was let through has its end. */
async function waitForEnds(rig: Rig, from: number): Promise<void> {
  for (;;) {
    const entries = rig.recorder.entries.slice(from);
    const open = entries.filter(({ event, outcome }) => event === 'decided' && outcome === undefined).length;
    if (entries.filter(({ event }) => event === 'ended').length >= open && rig.slots.open === 0) return;
    await turns(1);
  }
}

fuzz('engines', 60, async ({ check }) => {
  const rigs = await Promise.all(
    ENGINES.map(async ({ name, make }) => {
      const origin = await rawOrigin();
      let seen = 0;
      const rule = (host: string, protocol: string): string =>
        `  - { host: ${host}, ports: [${origin.port}], protocol: ${protocol}, addresses: [127.0.0.0/8] }`;
      const rig = await startRig({
        policy: [
          `proxy_protocol: { from: [${BALANCER}/32] }`,
          'clients: { from: [127.0.0.0/8, 192.0.2.0/24] }',
          'allow:',
          rule('tls.test', 'tls'),
          rule('any.test', 'any'),
          rule('ssh.test', 'ssh'),
        ].join('\n'),
        names: { 'tls.test': ['127.0.0.1'], 'any.test': ['127.0.0.1'], 'ssh.test': ['127.0.0.1'] },
        engine: make,
      });
      // Answers each connection's end, so that it ends in order.
      const arrived = (): Promise<RawClient>[] => {
        const fresh = origin.peers.slice(seen);
        seen = origin.peers.length;
        return fresh.map((peer) => Promise.resolve(peer));
      };
      const answering = setInterval(() => {
        for (const peer of origin.peers) if (peer.state !== 'open' && !peer.socket.writableEnded) peer.end();
      }, 1);
      return { name, rig, arrived, port: origin.port, stop: () => clearInterval(answering) };
    }),
  );
  try {
    await check(
      fc.asyncProperty(cases, async (drawn) => {
        const seen: Seen[] = [];
        for (const { rig, arrived, port } of rigs) seen.push(await play(rig, arrived, port, drawn));
        for (const other of seen.slice(1)) expect(other).toEqual(seen[0]);
        const [{ origin, client }] = seen as [Seen];
        const first = Buffer.concat([firstBytes(drawn), PAYLOAD]);
        if (
          drawn.host !== 'tls.test' ||
          drawn.headEdits.length > 0 ||
          drawn.headerEdits.length > 0 ||
          !client.includes(' 200 ')
        )
          return;
        const hello = parseClientHello(first);
        const right = hello.state === 'ok' && hello.serverName === 'tls.test';
        expect(origin).toBe(right ? first.toString('latin1') : '');
      }),
    );
  } finally {
    for (const { stop } of rigs) stop();
  }
});
