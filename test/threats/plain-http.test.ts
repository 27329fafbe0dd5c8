// Section "Plain HTTP forwarding" of docs/threat-model.md, towards the origin: the URL decides, each request is decided anew,
// and a request that two readers could frame differently reaches no origin.
import { describe, expect, it } from 'vitest';
import {
  ALLOWED,
  badTarget,
  connect,
  DENIED,
  isDecided,
  isEnded,
  notListed,
  refused,
  refusedAfterLookup,
  row,
  useStage,
} from './stage.ts';
import { field, type Message, messages, recording, type Visit } from './web.ts';

const CASE_MS = 10_000;
const WEB = 'web.test';
const visits: Visit[] = [];
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

const stage = useStage({
  origins: {
    [WEB]: recording(visits, (message) => {
      if (message.start.startsWith('HEAD')) return 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n';
      return message.start.includes('/echo') ? echoed(message) : OK;
    }),
  },
  policy: (one) => ({ allow: [one.rule(ALLOWED), one.rule('tls.test', { protocol: 'tls' }), one.rule('nat.test')] }),
  names: { 'tls.test': ['127.0.0.1'], 'nat.test': ['127.0.0.2'] },
});
const echoed = (message: Message): Buffer =>
  Buffer.concat([Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${message.body.length}\r\n\r\n`), message.body]);

const badRequest = refused(400, 'request-malformed');
const get = (url: string, host = '{web.test}'): string => `GET ${url} HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
const post = (fields: string, body: string): string =>
  `POST http://{web.test}/echo HTTP/1.1\r\nHost: {web.test}\r\n${fields}\r\n${body}`;
const SMUGGLED = 'GET http://denied.test/smuggled HTTP/1.1\r\nHost: denied.test\r\n\r\n';

/** How many requests have come on each of the origin's connections: the proxy keeps some for the next one. */
const counts = (): number[] => visits.map((visit) => messages(visit.bytes).length);

/** Sends one request, which must be answered whole; gives what the origin and the client saw. */
async function through(bytes: string | Buffer): Promise<{ request: Message; response: Message }> {
  const mark = stage.mark();
  const seen = counts();
  const client = await stage.client();
  const text = typeof bytes === 'string' ? bytes.replace('\r\n', '\r\nConnection: close\r\n') : bytes;
  client.send(stage.bytes(text));
  const got = messages(await client.readAll(), { closed: true, bodiless: text.toString('latin1').startsWith('HEAD') });
  expect(got).toHaveLength(1);
  const lines = await stage.lines(mark, 2);
  expect(lines.filter(isDecided)).toMatchObject([{ host: WEB, verdict: 'allow' }]);
  expect(lines.filter(isEnded)).toMatchObject([{ outcome: 'closed' }]);
  const sent = visits.flatMap((visit, nth) => messages(visit.bytes).slice(seen[nth]));
  expect(sent).toHaveLength(1);
  client.close();
  await stage.good(mark, 2);
  return { request: sent[0] as Message, response: got[0] as Message };
}

describe('X1 an allowed absolute-form request goes on in origin-form, its Host rebuilt from the URL', () => {
  it.each([
    ['a path', 'http://{web.test}/a/b?c=d', '/a/b?c=d'],
    ['no path', 'http://{web.test}', '/'],
    ['a query alone', 'http://{web.test}?q', '/?q'],
    ['capitals', 'HTTP://{web.test}/x', '/x'],
    ['a path that looks like a host', 'http://{web.test}//denied.test/x', '//denied.test/x'],
    ['dots and encodings, raw', 'http://{web.test}/a/../b/%2e%2E/%00', '/a/../b/%2e%2E/%00'],
    ['an at sign in the path', 'http://{web.test}/@denied.test', '/@denied.test'],
    ['a URL in the query', 'http://{web.test}/?u=http://denied.test/', '/?u=http://denied.test/'],
  ])('%s', { timeout: CASE_MS }, async (_, url, path) => {
    const { request } = await through(get(url, 'denied.test'));
    expect(request.start).toBe(`GET ${path} HTTP/1.1`);
    expect(field(request, 'host')).toEqual([`${WEB}:${stage.at(WEB).port}`]);
  });
});

row('X2 the URL decides, whatever Host says', stage, [
  ['a denied URL and an allowed Host', get('http://denied.test:{p}/'), notListed],
  ['a denied URL and no port', get('http://denied.test/'), notListed],
  ['an allowed host on another port', get(`http://${WEB}:1/`), refused(403, 'port-not-allowed')],
  [
    'an allowed URL and two Hosts',
    'GET http://{web.test}/ HTTP/1.1\r\nHost: {web.test}\r\nHost: denied.test\r\n\r\n',
    refused(400, 'host-header'),
  ],
  ['an allowed URL and no Host', 'GET http://{web.test}/ HTTP/1.1\r\n\r\n', refused(400, 'host-header')],
  ['a host for TLS alone', get('http://tls.test:{p}/'), refused(403, 'protocol-not-allowed')],
  ['a name with a forbidden address', get('http://nat.test:{p}/'), refusedAfterLookup(403, 'address-prohibited')],
]);

row('X3 other forms and other schemes are refused', stage, [
  ['a path', get('/'), badTarget],
  ['a path that looks like a host', get('//web.test/'), badTarget],
  ['a star', 'OPTIONS * HTTP/1.1\r\nHost: {web.test}\r\n\r\n', badTarget],
  ['an authority', get('{web.test}'), badTarget],
  ['https', get('https://{web.test}/'), badTarget],
  ['ftp', get('ftp://{web.test}/'), badTarget],
  ['file', get('file:///etc/passwd'), badTarget],
  ['gopher', get('gopher://{web.test}/'), badTarget],
  ['unix', get('unix:/var/run/docker.sock:/info'), badTarget],
  ['ws', get('ws://{web.test}/'), badTarget],
  ['data', get('data:text/plain,x'), badTarget],
  ['javascript', get('javascript:alert(1)'), badTarget],
  [
    'TRACE, which would answer with the request',
    'TRACE http://{web.test}/ HTTP/1.1\r\nHost: {web.test}\r\n\r\n',
    refused(405, 'method-not-allowed'),
  ],
  [
    'a method that is none',
    'FOO http://{web.test}/ HTTP/1.1\r\nHost: {web.test}\r\n\r\n',
    refused(405, 'method-not-allowed'),
  ],
]);

row('X4 what a URL parser would repair is refused', stage, [
  ['user information before a denied host', get('http://web.test@denied.test:{p}/'), badTarget],
  ['user information before an allowed host', get('http://denied.test@{web.test}/'), badTarget],
  ['an empty user', get('http://@{web.test}/'), badTarget],
  ['one slash', get('http:/{web.test}/'), badTarget],
  ['no slash', get('http:{web.test}/'), badTarget],
  ['three slashes', get('http:///{web.test}/'), badTarget],
  ['backslashes', get('http:\\\\{web.test}\\'), badTarget],
  ['a backslash before an at sign', get('http://denied.test\\@{web.test}/'), badTarget],
  ['a fragment', get('http://denied.test:{p}#@{web.test}/'), badTarget],
  ['a fragment behind the path', get('http://{web.test}/x#y'), badTarget],
  ['an IPv4 literal', get('http://127.0.0.1:{p}/'), refused(403, 'ip-literal-not-allowed')],
  ['a decimal address', get('http://2130706433:{p}/'), badTarget],
  ['a hexadecimal address', get('http://0x7f000001:{p}/'), badTarget],
  ['an octal address', get('http://0177.0.0.1:{p}/'), badTarget],
  ['a v4-mapped address', get('http://[::ffff:127.0.0.1]:{p}/'), refused(403, 'ip-literal-not-allowed')],
  ['instance metadata', get('http://169.254.169.254/latest/meta-data/'), refused(403, 'metadata-prohibited')],
  ['instance metadata by name', get('http://metadata.google.internal/'), refused(403, 'metadata-prohibited')],
  ['percent-encoding in the host', get('http://web%2etest:{p}/'), badTarget],
  ['an empty host', get('http:///x'), badTarget],
  ['an empty port', get(`http://${WEB}:/`), badTarget],
  ['port 0', get(`http://${WEB}:0/`), badTarget],
  ['a port beyond 65535', get(`http://${WEB}:65616/`), badTarget],
  ['a tab in the host', get('http://web\t.test:{p}/'), badTarget],
  ['UTF-8 in the host', get('http://w\xd0\xb5b.test:{p}/'), badTarget],
  ['UTF-8 in the path', get('http://{web.test}/\xc3\xa9'), badTarget],
  ['a control byte in the path', get('http://{web.test}/\x01'), badTarget],
]);

describe('X5 hop-by-hop fields end here', () => {
  it('those that are known, and those that Connection names', { timeout: CASE_MS }, async () => {
    const { request } = await through(
      'GET http://{web.test}/ HTTP/1.1\r\nHost: x\r\nConnection: X-Secret, keep-alive\r\nX-Secret: 1\r\nx-secret: 2\r\n' +
        'Proxy-Authorization: Basic cDo=\r\nProxy-Connection: keep-alive\r\nKeep-Alive: 5\r\nTE: trailers\r\nTrailer: X\r\n' +
        'Upgrade-Insecure-Requests: 1\r\nAuthorization: Basic eA==\r\nCookie: a=b\r\nX-Kept: yes\r\n\r\n',
    );
    const names = request.fields.map(([name]) => name);
    for (const gone of ['x-secret', 'proxy-authorization', 'proxy-connection', 'keep-alive', 'te', 'trailer'])
      expect(names).not.toContain(gone);
    for (const kept of ['authorization', 'cookie', 'x-kept', 'upgrade-insecure-requests', 'via'])
      expect(names.filter((name) => name === kept)).toHaveLength(1);
  });

  it('Connection cannot take away Host or the framing', { timeout: CASE_MS }, async () => {
    const { request } = await through(post('Connection: Host, Content-Length\r\nContent-Length: 4\r\n', 'body'));
    expect(field(request, 'host')).toHaveLength(1);
    expect(request.body.toString()).toBe('body');
  });
});

row('X6 framing that two readers could read differently reaches no origin', stage, [
  [
    'Content-Length, then Transfer-Encoding',
    post('Content-Length: 4\r\nTransfer-Encoding: chunked\r\n', `0\r\n\r\n${SMUGGLED}`),
    badRequest,
  ],
  [
    'Transfer-Encoding, then Content-Length',
    post('Transfer-Encoding: chunked\r\nContent-Length: 4\r\n', `0\r\n\r\n${SMUGGLED}`),
    badRequest,
  ],
  ['a comma before chunked', post('Transfer-Encoding: ,chunked\r\n', `0\r\n\r\n${SMUGGLED}`), badRequest],
  ['xchunked', post('Transfer-Encoding: xchunked\r\n', `0\r\n\r\n${SMUGGLED}`), badRequest],
  ['chunked twice', post('Transfer-Encoding: chunked, chunked\r\n', `0\r\n\r\n${SMUGGLED}`), badRequest],
  [
    'two Transfer-Encoding fields',
    post('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n', `0\r\n\r\n${SMUGGLED}`),
    badRequest,
  ],
  ['chunked, then identity', post('Transfer-Encoding: chunked, identity\r\n', `0\r\n\r\n${SMUGGLED}`), badRequest],
  ['identity', post('Transfer-Encoding: identity\r\nContent-Length: 0\r\n', SMUGGLED), badRequest],
  ['gzip, chunked', post('Transfer-Encoding: gzip, chunked\r\n', `0\r\n\r\n${SMUGGLED}`), badRequest],
  ['chunked in quotes', post('Transfer-Encoding: "chunked"\r\n', `0\r\n\r\n${SMUGGLED}`), badRequest],
  ['chunked with a parameter', post('Transfer-Encoding: chunked;q=1\r\n', `0\r\n\r\n${SMUGGLED}`), badRequest],
  ['a vertical tab before chunked', post('Transfer-Encoding: \x0bchunked\r\n', `0\r\n\r\n${SMUGGLED}`), badRequest],
  ['a space before the colon', post('Transfer-Encoding : chunked\r\n', `0\r\n\r\n${SMUGGLED}`), badRequest],
  ['an empty Transfer-Encoding', post('Transfer-Encoding: \r\nContent-Length: 0\r\n', SMUGGLED), badRequest],
  ['folded', post('Transfer-Encoding:\r\n chunked\r\n', `0\r\n\r\n${SMUGGLED}`), badRequest],
  [
    'folded into the field before it',
    post('X: y\r\n Transfer-Encoding: chunked\r\n', `0\r\n\r\n${SMUGGLED}`),
    badRequest,
  ],
  ['two different lengths', post('Content-Length: 0\r\nContent-Length: 4\r\n', SMUGGLED), badRequest],
  ['two equal lengths', post('Content-Length: 0\r\nContent-Length: 0\r\n', SMUGGLED), badRequest],
  ['a list of lengths', post('Content-Length: 0, 0\r\n', SMUGGLED), badRequest],
  ['a length with a sign', post('Content-Length: +0\r\n', SMUGGLED), badRequest],
  ['a negative length', post('Content-Length: -1\r\n', SMUGGLED), badRequest],
  ['an empty length', post('Content-Length: \r\n', SMUGGLED), badRequest],
  ['a hexadecimal length', post('Content-Length: 0x0\r\n', SMUGGLED), badRequest],
  ['a length with a space inside', post('Content-Length: 1 0\r\n', SMUGGLED), badRequest],
  ['an underscore in a length', post('Content-Length: 1_0\r\n', SMUGGLED), badRequest],
  ['a length beyond 64 bits', post('Content-Length: 18446744073709551616\r\n', SMUGGLED), badRequest],
  ['a length of 16 digits', post('Content-Length: 1000000000000000\r\n', SMUGGLED), badRequest],
  [
    'chunked on HTTP/1.0',
    'POST http://{web.test}/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    badRequest,
  ],
  [
    'a length with a leading zero, which may be read as octal',
    post('Content-Length: 010\r\n', `12345678${SMUGGLED}`),
    badRequest,
  ],
  ['a length of zeros', post('Content-Length: 00\r\n', SMUGGLED), badRequest],
  ['a NUL in a value', post('X: a\0b\r\nContent-Length: 0\r\n', ''), badRequest],
  ['a bare CR in a value', post('X: a\rb\r\nContent-Length: 0\r\n', ''), badRequest],
  ['a bare LF that ends a line', post('X: a\nContent-Length: 0\r\n', ''), badRequest],
  [
    'a body with an Upgrade',
    post('Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\n', 'body'),
    badRequest,
  ],
]);

describe('X7 a chunk that is not strict ends the exchange, and nothing behind it is a request', () => {
  it.each([
    ['a size with 0x', `0x0\r\n\r\n${SMUGGLED}`],
    ['a size with a sign', `+0\r\n\r\n${SMUGGLED}`],
    ['a negative size', `-1\r\n\r\n${SMUGGLED}`],
    ['a size with a space before it', ` 0\r\n\r\n${SMUGGLED}`],
    ['an empty size', `\r\n\r\n${SMUGGLED}`],
    ['a size beyond 64 bits', `10000000000000000\r\n${SMUGGLED}`],
    ['a bare LF behind the size', `4\nbody\r\n0\r\n\r\n${SMUGGLED}`],
    ['a bare LF behind the data', `4\r\nbody\n0\r\n\r\n${SMUGGLED}`],
    ['a bare CR behind the size', `4\rbody\r\n0\r\n\r\n${SMUGGLED}`],
    ['a bare LF in an extension', `4;a\nb\r\nbody\r\n0\r\n\r\n${SMUGGLED}`],
    ['a bare CR in an extension', `4;a\rb\r\nbody\r\n0\r\n\r\n${SMUGGLED}`],
    ['a NUL in an extension', `4;a\0b\r\nbody\r\n0\r\n\r\n${SMUGGLED}`],
    ['data longer than its size', `3\r\nbody\r\n0\r\n\r\n${SMUGGLED}`],
    ['data shorter than its size', `5\r\nbody\r\n0\r\n\r\n${SMUGGLED}`],
    ['an extension of 1 MiB', `4;${'a'.repeat(1 << 20)}\r\nbody\r\n0\r\n\r\n${SMUGGLED}`],
    ['a space behind the size', `4 \r\nbody\r\n0\r\n\r\n${SMUGGLED}`],
    ['a tab before the size', `\t4\r\nbody\r\n0\r\n\r\n${SMUGGLED}`],
    ['a trailer without a colon', `0\r\nbroken\r\n\r\n${SMUGGLED}`],
    ['a trailer of 1 MiB', `0\r\nX: ${'a'.repeat(1 << 20)}\r\n\r\n${SMUGGLED}`],
  ])('%s', { timeout: CASE_MS }, async (_, body) => {
    const mark = stage.mark();
    const seen = visits.length;
    const client = await stage.client();
    client.send(stage.bytes(post('Transfer-Encoding: chunked\r\n', body)));
    const answers = messages(await client.readAll(), { closed: true });
    expect(answers.length).toBeLessThanOrEqual(1);
    for (const { start } of answers) expect(start).toMatch(/^HTTP\/1\.1 4\d\d /);
    client.close();
    await stage.good();
    // The head was let through before the body was seen: one decision, one end, and at most a torso at the origin.
    const lines = stage.since(mark).filter((line) => 'host' in line && line.host !== ALLOWED);
    const decided = lines.filter(isDecided);
    expect(decided).toHaveLength(1);
    expect(lines.filter(isEnded).map(({ id }) => id)).toEqual(decided[0]?.outcome ? [] : [decided[0]?.id]);
    expect(stage.dialled(mark).slice(1)).toEqual([0, 0, 0]);
    for (const visit of visits.slice(seen)) {
      expect(messages(visit.bytes).filter(({ complete }) => complete)).toEqual([]);
      expect(visit.bytes.toString('latin1')).not.toMatch(/^GET .*smuggled/m);
    }
  });

  it('an extension and a trailer that are sound end here, and the body is whole', { timeout: CASE_MS }, async () => {
    const { request, response } = await through(
      post('Transfer-Encoding: chunked\r\n', '4;a=b\r\nbody\r\n0\r\nX-Trailer: y\r\n\r\n'),
    );
    expect(request.body.toString()).toBe('body');
    expect(field(request, 'transfer-encoding')).toEqual(['chunked']);
    expect(field(request, 'x-trailer')).toEqual([]);
    expect(response.body.toString()).toBe('body');
  });
});

describe('X8 each request on a connection is decided by itself', () => {
  /** Sends all at once and reads until the proxy closes. */
  const pipelined = async (...requests: string[]): Promise<Message[]> => {
    const client = await stage.client();
    client.send(Buffer.concat(requests.map((one) => stage.bytes(one))));
    const got = messages(await client.readAll(), { closed: true });
    client.close();
    return got;
  };
  const statuses = (answers: readonly Message[]): string[] => answers.map(({ start }) => start.slice(9, 12));

  it('an allowed one, then a denied one', { timeout: CASE_MS }, async () => {
    const mark = stage.mark();
    expect(statuses(await pipelined(get('http://{web.test}/1'), get('http://denied.test:{p}/2')))).toEqual([
      '200',
      '403',
    ]);
    const lines = await stage.lines(mark, 3);
    expect(lines.filter(isDecided)).toMatchObject([{ host: WEB }, { host: DENIED, outcome: 'host-not-allowed' }]);
    expect(stage.dialled(mark)).toEqual([0, 0, 0, 0]);
    await stage.good(mark, 3);
  });

  it('a denied one, then an allowed one: the refusal closes', { timeout: CASE_MS }, async () => {
    expect(statuses(await pipelined(get('http://denied.test:{p}/1'), get('http://{web.test}/2')))).toEqual(['403']);
    await stage.good();
  });

  it('an allowed one, then a denied CONNECT', { timeout: CASE_MS }, async () => {
    const mark = stage.mark();
    const got = statuses(await pipelined(get('http://{web.test}/1'), connect(`${DENIED}:{p}`)));
    expect(got.at(-1)).not.toBe('200 Connection');
    expect(['200', '400', '403']).toContain(got[0]);
    expect(stage.dialled(mark)).toEqual([0, 0, 0, 0]);
    await stage.good();
  });

  it('an allowed one, then an allowed CONNECT: no answer is written into the tunnel', {
    timeout: CASE_MS,
  }, async () => {
    const mark = stage.mark();
    const client = await stage.client();
    client.send(stage.bytes(`${get('http://{web.test}/1')}${connect(`${ALLOWED}:{p}`)}`));
    client.end();
    const text = (await client.readAll()).toString('latin1');
    const established = text.indexOf('HTTP/1.1 200 Connection established\r\n\r\n');
    if (established >= 0) {
      expect(text.slice(established)).toBe('HTTP/1.1 200 Connection established\r\n\r\n');
      expect(text.slice(0, established)).toMatch(/\r\n\r\nok$/);
    }
    client.close();
    await stage.good();
    const decided = stage.since(mark).filter(isDecided);
    expect(new Set(decided.map(({ id }) => id)).size).toBe(decided.length);
  });

  it('an allowed one, then garbage', { timeout: CASE_MS }, async () => {
    const got = statuses(await pipelined(get('http://{web.test}/1'), 'garbage\r\n\r\n'));
    expect(got).toEqual(['200', '405']);
    await stage.good();
  });

  it('fifty allowed ones, answered in order', { timeout: CASE_MS }, async () => {
    const bodies = Array.from({ length: 50 }, (_, at) => `body ${at}`);
    const client = await stage.client();
    for (const [at, body] of bodies.entries()) {
      const close = at === 49 ? 'Connection: close\r\n' : '';
      client.send(stage.bytes(post(`${close}Content-Length: ${body.length}\r\n`, body)));
    }
    expect(messages(await client.readAll()).map(({ body }) => body.toString())).toEqual(bodies);
    client.close();
    await stage.good();
  });

  it('five thousand at once are too many: the connection is closed, each begun one is recorded once', {
    timeout: CASE_MS,
  }, async () => {
    const mark = stage.mark();
    const client = await stage.client();
    client.send(stage.bytes(get('http://{web.test}/').repeat(5_000)));
    await client.readAll();
    client.close();
    await stage.good();
    const lines = stage.since(mark).filter((line) => 'host' in line && line.host !== ALLOWED);
    const ids = lines.filter(isDecided).map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.length).toBeLessThan(500);
  });
});

describe('X9 bodies and clients of every kind are whole', () => {
  it('1 MiB chunked upload', { timeout: CASE_MS }, async () => {
    const chunk = `4000\r\n${'x'.repeat(0x4000)}\r\n`;
    const { request, response } = await through(post('Transfer-Encoding: chunked\r\n', `${chunk.repeat(64)}0\r\n\r\n`));
    expect(request.body.length).toBe(1 << 20);
    expect(response.body.length).toBe(1 << 20);
  });

  it('1 MiB with a length', { timeout: CASE_MS }, async () => {
    const { request } = await through(post(`Content-Length: ${1 << 20}\r\n`, 'x'.repeat(1 << 20)));
    expect(request.body.length).toBe(1 << 20);
  });

  it('an HTTP/1.0 client, with and without Host', { timeout: CASE_MS }, async () => {
    for (const host of ['', 'Host: web.test\r\n']) {
      const { request, response } = await through(`GET http://{web.test}/ HTTP/1.0\r\n${host}\r\n`);
      expect(field(request, 'host')).toHaveLength(1);
      expect(field(response, 'transfer-encoding')).toEqual([]);
      expect(response.body.toString()).toBe('ok');
    }
  });

  it('HEAD has no body', { timeout: CASE_MS }, async () => {
    const { response } = await through('HEAD http://{web.test}/ HTTP/1.1\r\nHost: x\r\n\r\n');
    expect(response.start).toMatch(/ 200 /);
    expect(response.body.length).toBe(0);
  });

  it('Expect: 100-continue does not dead-lock', { timeout: CASE_MS }, async () => {
    const mark = stage.mark();
    const client = await stage.client();
    client.send(stage.bytes(post('Connection: close\r\nExpect: 100-continue\r\nContent-Length: 4\r\n', 'body')));
    const got = messages(await client.readAll(), { closed: true });
    expect(got.at(-1)?.body.toString()).toBe('body');
    client.close();
    await stage.lines(mark, 2);
    await stage.good(mark, 2);
  });

  it('a client that ends its side before the answer is taken as gone, as documented', {
    timeout: CASE_MS,
  }, async () => {
    const mark = stage.mark();
    const client = await stage.client();
    client.socket.end(stage.bytes(get('http://{web.test}/')));
    for (const { start } of messages(await client.readAll(), { closed: true })) expect(start).toBe('HTTP/1.1 200 OK');
    client.close();
    const lines = await stage.lines(mark, 2);
    expect(lines.filter(isEnded)).toMatchObject([{ outcome: expect.stringMatching(/^(?:client-gone|closed)$/) }]);
    await stage.good(mark, 2);
  });

  it.each([
    ['zeros before the size of a chunk', 'Transfer-Encoding: chunked\r\n', '0000000000000004\r\nbody\r\n000\r\n\r\n'],
    ['chunked in capitals', 'TRANSFER-ENCODING: CHUNKED\r\n', '4\r\nbody\r\n0\r\n\r\n'],
    ['chunked with white space around', 'Transfer-Encoding:  chunked \r\n', '4\r\nbody\r\n0\r\n\r\n'],
    [
      'chunked that Connection names',
      'Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n',
      '4\r\nbody\r\n0\r\n\r\n',
    ],
    ['a length with white space around', 'Content-Length: \t 4 \t\r\n', 'body'],
    [
      'names that a CGI takes for framing',
      'Content_Length: 9\r\nTransfer_Encoding: chunked\r\nContent-Length: 4\r\n',
      'body',
    ],
    ['an expectation that nobody knows', 'Expect: the-unexpected\r\nContent-Length: 4\r\n', 'body'],
  ])('%s: one request, framed once', { timeout: CASE_MS }, async (_, fields, body) => {
    const { request, response } = await through(post(fields, body));
    expect(request.body.toString()).toBe('body');
    expect([...field(request, 'content-length'), ...field(request, 'transfer-encoding')]).toHaveLength(1);
    expect(response.body.toString()).toBe('body');
  });

  it.each([
    ['h2c', 'Upgrade: h2c\r\n'],
    ['a list with websocket in it', 'Upgrade: websocket, h2c\r\n'],
    ['two Upgrade fields', 'Upgrade: websocket\r\nUpgrade: h2c\r\n'],
  ])('Upgrade to %s goes on as a plain request', { timeout: CASE_MS }, async (_, fields) => {
    const { request } = await through(
      `GET http://{web.test}/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n${fields}\r\n`,
    );
    expect(field(request, 'upgrade')).toEqual([]);
  });

  it('a client that disappears in the middle of its body frees the origin', { timeout: CASE_MS }, async () => {
    const mark = stage.mark();
    const seen = visits.length;
    const client = await stage.client();
    client.send(stage.bytes(post('Content-Length: 1000\r\n', 'half')));
    await stage.lines(mark, 1);
    client.socket.resetAndDestroy();
    const lines = await stage.lines(mark, 2);
    expect(lines.filter(isEnded)).toMatchObject([{ outcome: 'client-gone' }]);
    for (const visit of visits.slice(seen))
      expect(messages(visit.bytes).filter(({ complete }) => complete)).toEqual([]);
    await stage.good(mark, 2);
  });

  it('a request cut at any byte is the same request', { timeout: CASE_MS }, async () => {
    const bytes = stage.bytes(post('Connection: close\r\nTransfer-Encoding: chunked\r\n', '4\r\nbody\r\n0\r\n\r\n'));
    for (let cut = 1; cut < bytes.length; cut += 3) {
      const client = await stage.client();
      await new Promise<void>((resolve) => void client.socket.write(bytes.subarray(0, cut), () => resolve()));
      client.send(bytes.subarray(cut));
      expect(messages(await client.readAll(), { closed: true })[0]?.body.toString()).toBe('body');
      client.close();
    }
    await stage.good();
  });
});

describe('X10 with plain_http: false nothing is forwarded', () => {
  const closed = useStage({ origins: { [WEB]: recording(visits, () => OK) }, policy: { plain_http: false } });
  row('any request', closed, [
    ['an allowed URL', get('http://{web.test}/'), refused(405, 'method-not-allowed')],
    ['a denied URL', get('http://denied.test:{p}/'), refused(405, 'method-not-allowed')],
    ['a path', get('/'), badTarget],
  ]);
});
