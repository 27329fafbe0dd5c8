// What a hostile origin answers, byte for byte, through the real forwarder: the client gets what the strict reader reads of it,
// or a refusal of the proxy, or a message that is visibly cut; and never one byte of it as the answer to its next request.
import net from 'node:net';
import { expect } from 'vitest';
import type { Resolution } from '../../src/net/resolve.ts';
import { ENGINES, eventually, type Rig, startRig, turns } from '../proxy/support.ts';
import { startOrigin } from '../support/origin.ts';
import fc from '../support/property.ts';
import { fuzz } from './budget.ts';
import { damaged, edits } from './mutate.ts';
import { type Answer, readAnswer, readRequest, valuesOf } from './strict-http.ts';

const ADDRESS = '127.66.0.2';
const VIA = '1.1 sallyport';
const NEXT = 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext';
const SMUGGLED = 'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled';

const PIECES = [
  ...[
    '\r\n',
    '\n',
    '\r',
    '\r\n\r\n',
    '\n\n',
    '\0',
    ' ',
    '  ',
    '\t',
    '\x0b',
    '\x7f',
    '\xa0',
    '\xff',
    '\r\n ',
    ':',
    ',',
    ';',
    '"',
  ],
  ...[
    'HTTP/1.1',
    'HTTP/1.0',
    'HTTP/2',
    'HTTP/0.9',
    'http/1.1',
    'ICY',
    '100',
    '101',
    '199',
    '204',
    '304',
    '600',
    '+1',
    '-1',
    '00',
  ],
  ...[
    'Content-Length: 5\r\n',
    'Content-Length: 0\r\n',
    'content-length: 5\r\n',
    'Content-Length : 5\r\n',
    'Content-Length: 5, 5\r\n',
  ],
  ...[
    'Transfer-Encoding: chunked\r\n',
    'Transfer-Encoding: gzip, chunked\r\n',
    'Transfer-Encoding: identity\r\n',
    'Upgrade: websocket\r\n',
  ],
  ...[
    'Connection: close\r\n',
    'Connection: upgrade\r\n',
    'Connection: X-One\r\n',
    '0\r\n\r\n',
    '5\r\n',
    'ffffffffffffffff\r\n',
    'x'.repeat(400),
  ],
  SMUGGLED,
];

const status = fc.constantFrom(
  ...[
    'HTTP/1.1 200 OK',
    'HTTP/1.1 200 OK',
    'HTTP/1.1 200 ',
    'HTTP/1.0 200 OK',
    'HTTP/1.1 404 Not Found',
    'HTTP/1.1 204 No Content',
  ],
  ...[
    'HTTP/1.1 304 Not Modified',
    'HTTP/1.1 500 caf\xe9',
    'HTTP/1.1 407 Proxy Authentication Required',
    'HTTP/1.1 101 Switching Protocols',
  ],
);
const field = fc.constantFrom(
  ...[
    'X-One: 1',
    'x-one: 2',
    'Set-Cookie: a=b',
    'Set-Cookie: c=d',
    'X-Latin: caf\xe9',
    'X-Empty:',
    'Date: now',
    'Via: 1.0 other',
  ],
  ...[
    'Proxy-Authenticate: Basic realm="x"',
    'Keep-Alive: timeout=5',
    'Trailer: X-Trailer',
    'X-Long: '.padEnd(2_000, 'y'),
  ],
  ...['Connection: keep-alive', 'Connection: close', 'Connection: X-One, Set-Cookie', 'Upgrade: h2c'],
);
const body = fc.constantFrom(
  ...[
    '\r\n',
    '\r\nuntil the end',
    'Content-Length: 0\r\n\r\n',
    'Content-Length: 5\r\n\r\nhello',
    'Content-Length: 9\r\n\r\nhello',
  ],
  ...[
    'Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
    'Transfer-Encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\nX-Trailer: 1\r\n\r\n',
  ],
  'Transfer-Encoding: chunked\r\n\r\n5\r\nhel',
);
const interim = fc.constantFrom(
  '',
  '',
  '',
  'HTTP/1.1 100 Continue\r\n\r\n',
  'HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n',
);
const behind = fc.constantFrom('', '', '', SMUGGLED, '\r\n', 'junk', `\r\n${SMUGGLED}`);

interface Case {
  readonly method: string;
  readonly bytes: Buffer;
  readonly cuts: readonly number[];
  readonly leaves: 'stays' | 'ends' | 'resets';
}

const cases: fc.Arbitrary<Case> = fc
  .record({
    method: fc.constantFrom('GET', 'GET', 'HEAD', 'POST'),
    interim,
    status,
    fields: fc.array(field, { maxLength: 3 }),
    body,
    behind,
    list: edits(PIECES, 2),
    cuts: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 2 }),
    leaves: fc.constantFrom('stays', 'stays', 'ends', 'resets'),
  })
  .map((one) => {
    const text = `${one.interim}${one.status}\r\n${one.fields.map((each) => `${each}\r\n`).join('')}${one.body}${one.behind}`;
    const { method, cuts, leaves } = one;
    return { method, cuts, leaves, bytes: damaged(Buffer.from(text, 'latin1'), one.list) };
  });

/** A connection's received text and how it stands. */
interface Heard {
  text: string;
  ended: boolean;
  broken: boolean;
}

function listen(socket: net.Socket, heard: Heard): void {
  socket.on('data', (chunk: Buffer) => {
    heard.text += chunk.toString('latin1');
  });
  socket.on('end', () => {
    heard.ended = true;
  });
  socket.on('error', () => {
    heard.broken = true;
  });
  socket.on('close', () => {
    heard.broken ||= !heard.ended;
  });
}

interface Told {
  readonly first: Heard;
  /** What the client got behind the first answer, after it had asked again; null where its connection was over. */
  readonly second: string | null;
}

/** Lets everything happen that follows without a clock. */
async function settle(progress: () => number): Promise<void> {
  for (let before = -1, now = progress(); now !== before; now = progress()) {
    before = now;
    await turns(8);
  }
}

/** One client, two requests on one connection; the first is answered by the case, the second as it should be. */
async function converse(rig: Rig, one: Case): Promise<Told> {
  const asked: { text: string }[] = [];
  let hostile: net.Socket | null = null;
  const origin = await startOrigin(
    (socket) => {
      const own = { text: '' };
      asked.push(own);
      socket.on('error', () => {});
      socket.on('end', () => void socket.end());
      socket.on('data', (chunk: Buffer) => {
        own.text += chunk.toString('latin1');
        if (own.text.includes('/next HTTP/1.1') && readRequest(own.text.slice(own.text.indexOf('GET /next')), 0))
          socket.write(NEXT);
        else if (hostile === null && readRequest(own.text, 0)?.complete) hostile = socket;
      });
    },
    { host: ADDRESS },
  );
  if (origin.port === rig.at.port) {
    // A request to the proxy's own port is a loop, whatever the loopback address.
    await origin.close();
    return converse(rig, one);
  }
  const client = net.connect({ ...rig.at, noDelay: true, allowHalfOpen: true });
  try {
    const first: Heard = { text: '', ended: false, broken: false };
    listen(client, first);
    const progress = (): number =>
      first.text.length +
      rig.recorder.entries.length +
      asked.reduce((sum, { text }) => sum + text.length + 1, 0) +
      Number(first.ended || first.broken);
    const base = `http://a.test:${origin.port}`;
    const length = one.method === 'POST' ? 'Content-Length: 0\r\n' : '';
    client.write(`${one.method} ${base}/ HTTP/1.1\r\nHost: x\r\n${length}\r\n`);
    await eventually(() => hostile !== null || first.text !== '', 'the request is at the origin');
    // A kept connection to an origin of an earlier case, which had the same port.
    if (hostile === null) return { first, second: null };
    const socket = hostile as unknown as net.Socket;
    const places = [
      0,
      ...one.cuts.map((cut) => Math.floor(cut * one.bytes.length)).sort((a, b) => a - b),
      one.bytes.length,
    ];
    for (const [index, end] of places.slice(1).entries()) {
      if (end > (places[index] ?? 0)) socket.write(one.bytes.subarray(places[index], end));
      await turns(2);
    }
    await settle(progress);
    if (one.leaves === 'ends') socket.end();
    else if (one.leaves === 'resets') socket.resetAndDestroy();
    await settle(progress);
    let whole = readAnswer(first.text, 0, one.method, first.ended);
    if (one.leaves === 'stays' && !whole?.complete) {
      socket.end();
      await settle(progress);
      whole = readAnswer(first.text, 0, one.method, first.ended);
    }
    if (!whole?.complete || first.ended || first.broken) return { first, second: null };
    const before = first.text.length;
    client.write(`GET ${base}/next HTTP/1.1\r\nHost: x\r\n\r\n`);
    await settle(progress);
    const second = first.text.slice(before);
    return { first: { ...first, text: first.text.slice(0, before) }, second };
  } finally {
    client.destroy();
    await eventually(() => rig.server.idle, 'the proxy is idle again');
    await origin.close();
  }
}

const HOP_BY_HOP = new Set([
  ...[
    'connection',
    'keep-alive',
    'proxy-connection',
    'proxy-authenticate',
    'te',
    'trailer',
    'transfer-encoding',
    'upgrade',
    'content-length',
  ],
]);

/** What of an answer is to arrive at the client, whatever the hop changes. */
function essence({ status: code, reason, fields }: Answer): unknown {
  const listed = new Set(
    valuesOf(fields, 'connection').flatMap((value) => value.split(',').map((text) => text.trim().toLowerCase())),
  );
  const kept = fields.filter(
    ([name, value]) => !HOP_BY_HOP.has(name) && !listed.has(name) && !(name === 'via' && value === VIA),
  );
  return { code, reason, kept };
}

function isOwn(answer: Answer): boolean {
  return valuesOf(answer.fields, 'proxy-status').some((value) => value.startsWith('sallyport'));
}

/** The first final response in the origin's bytes. */
function final(one: Case): Answer | null {
  const text = one.bytes.toString('latin1');
  for (let at = 0; ; ) {
    // llhttp passes over empty lines before a status line too; there is nothing that they could mean.
    while (text[at] === '\r' || text[at] === '\n') at += 1;
    const answer = readAnswer(text, at, one.method, one.leaves !== 'resets');
    if (answer === null || answer.status >= 200 || answer.status === 101) return answer;
    at = answer.end;
  }
}

function judge(one: Case, { first, second }: Told): 'passed' | 'refused' | 'cut' {
  // Where the answer breaks in the packet of its head, nothing of it has gone on: the client sees its connection end.
  if (first.text === '' && (first.ended || first.broken)) return 'cut';
  const got = readAnswer(first.text, 0, one.method, first.ended && !first.broken);
  expect(got, `not a response: ${JSON.stringify(first)}`).not.toBeNull();
  const answer = got as Answer;
  if (answer.complete) expect(first.text.slice(answer.end), 'bytes behind the first answer').toBe('');
  else expect(first.ended || first.broken, 'neither whole nor over').toBe(true);
  if (second !== null) {
    const next = readAnswer(second, 0, 'GET', false);
    expect(next?.complete && next.end === second.length, `the second answer: ${JSON.stringify(second)}`).toBe(true);
    if (!isOwn(next as Answer)) expect(next).toMatchObject({ status: 200, body: 'next' });
  }
  if (isOwn(answer)) {
    expect([502, 504], JSON.stringify(first.text)).toContain(answer.status);
    expect(answer.complete).toBe(true);
    return 'refused';
  }
  const sent = final(one);
  expect(sent, `passed on, but not sent: ${JSON.stringify(first.text)}`).not.toBeNull();
  expect(essence(answer)).toEqual(essence(sent as Answer));
  if (answer.complete) expect(answer.body).toBe((sent as Answer).body);
  else expect((sent as Answer).body.startsWith(answer.body)).toBe(true);
  // An answer that the origin has not finished must not look like a whole one.
  if (!(sent as Answer).complete) expect(answer.complete, 'a cut answer looks whole').toBe(false);
  return answer.complete ? 'passed' : 'cut';
}

fuzz('responses', 150, async ({ check, whole }) => {
  const everywhere: Resolution = { ok: true, addresses: [ADDRESS] };
  const policy = `mode: observe\nobserve: { addresses: ["${ADDRESS}/32"] }`;
  const rigs = await Promise.all(ENGINES.map(({ make }) => startRig({ policy, engine: make })));
  for (const { resolver } of rigs) resolver.resolve = () => everywhere;
  const sums = { passed: 0, refused: 0, cut: 0 };
  await check(
    fc.asyncProperty(cases, fc.nat(rigs.length - 1), async (one, engine) => {
      const rig = rigs[engine] as Rig;
      rig.recorder.entries.length = 0;
      const came = judge(one, await converse(rig, one));
      sums[came] += 1;
      const { allDecided, allEnded } = rig.recorder;
      if (came !== 'passed') expect(allEnded[0]?.outcome).toMatch(/^upstream-/);
      expect(allEnded.map(({ id }) => id).sort()).toEqual(allDecided.map(({ id }) => id).sort());
      expect(rig.logText()).not.toContain('failed inside');
    }),
  );
  // A run in which nothing passed has compared nothing.
  if (whole)
    expect(
      Object.values(sums).every((sum) => sum > 0),
      JSON.stringify(sums),
    ).toBe(true);
});
