// The short road's readers of plain HTTP: what they take they read exactly, what is odd in any way they leave to llhttp, and where they
// say yes llhttp says the same, of requests and of answers.
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readPlainAnswer, readPlainRequest } from '../../src/proxy/plain-head.ts';
import fc from '../support/property.ts';
import { RawClient } from '../support/raw-client.ts';

const BYTES_MAX = 1_024;
const request = (text: string, max = BYTES_MAX) => readPlainRequest(Buffer.from(text, 'latin1'), max);
const answer = (text: string, method = 'GET', max = BYTES_MAX) =>
  readPlainAnswer(Buffer.from(text, 'latin1'), method, max);

describe('a plain request', () => {
  it('gives method, target, fields and body as they stand', () => {
    const text =
      'POST http://a.test:80/x?y=%2e HTTP/1.1\r\nHost: a.test\r\nX-Odd:\t a  \xe9 \t\r\nContent-Length: 3\r\n\r\n\x00\xffz';
    expect(request(text)).toEqual({
      head: {
        method: 'POST',
        target: 'http://a.test:80/x?y=%2e',
        version: '1.1',
        rawHeaders: ['Host', 'a.test', 'X-Odd', 'a  \xe9', 'Content-Length', '3'],
      },
      text,
      end: text.length - 3,
      closes: false,
    });
  });

  it('is taken up to the limit and not beyond', () => {
    const text = 'GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n';
    expect(request(text, text.length)).not.toBeNull();
    expect(request(text, text.length - 1)).toBeNull();
  });

  it.each([
    'Connection: keep-alive',
    'connection:Keep-Alive',
    'Proxy-Connection: Keep-Alive',
    'Upgrade-Insecure-Requests: 1',
    'X-Transfer-Encoding: chunked',
  ])('may say %s', (field) => {
    expect(request(`GET http://a.test/ HTTP/1.1\r\n${field}\r\n\r\n`)).not.toBeNull();
  });

  it.each([
    ['HTTP/1.1', 'Connection: close', true],
    ['HTTP/1.1', 'proxy-connection:\tCLOSE ', true],
    ['HTTP/1.1', 'Connection: keep-alive\r\nProxy-Connection: close', true],
    ['HTTP/1.1', 'Connection: keep-alive', false],
    ['HTTP/1.0', 'X: y', true],
    ['HTTP/1.0', 'Connection: close', true],
  ])('of %s with "%s" says whether it is the last', (version, field, closes) => {
    expect(request(`GET http://a.test/ ${version}\r\n${field}\r\n\r\n`)).toMatchObject({ closes });
  });

  const line = 'GET http://a.test/ HTTP/1.1\r\n';
  it.each([
    ['nothing', ''],
    ['CONNECT', 'CONNECT a.test:443 HTTP/1.1\r\n\r\n'],
    ['TRACE', 'TRACE http://a.test/ HTTP/1.1\r\n\r\n'],
    ['a method in lower case', 'get http://a.test/ HTTP/1.1\r\n\r\n'],
    ['HTTP/1.0 that is kept', 'GET http://a.test/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n'],
    ['HTTP/0.9', 'GET http://a.test/ HTTP/0.9\r\n\r\n'],
    ['HTTP/2.0', 'GET http://a.test/ HTTP/2.0\r\n\r\n'],
    ['a path', 'GET / HTTP/1.1\r\nHost: a.test\r\n\r\n'],
    ['https', 'GET https://a.test/ HTTP/1.1\r\n\r\n'],
    ['no path', 'GET http://a.test HTTP/1.1\r\n\r\n'],
    ['user information', 'GET http://u@a.test/ HTTP/1.1\r\n\r\n'],
    ['an IPv6 address', 'GET http://[::1]/ HTTP/1.1\r\n\r\n'],
    ['a fragment', 'GET http://a.test/#x HTTP/1.1\r\n\r\n'],
    ['a backslash', 'GET http://a.test/\\x HTTP/1.1\r\n\r\n'],
    ['two spaces', 'GET  http://a.test/ HTTP/1.1\r\n\r\n'],
    ['an empty line first', `\r\n${line}\r\n`],
    ['a head that is not whole', line],
    ['another request behind', `${line}\r\n${line}\r\n`],
    ['bytes behind', `${line}\r\nx`],
    ['a body that is not whole', `${line}Content-Length: 3\r\n\r\nab`],
    ['bytes behind the body', `${line}Content-Length: 3\r\n\r\nabcd`],
    ['two lengths', `${line}Content-Length: 1\r\nContent-Length: 1\r\n\r\na`],
    ['a length with a zero first', `${line}Content-Length: 01\r\n\r\na`],
    ['a signed length', `${line}Content-Length: +1\r\n\r\na`],
    ['an empty length', `${line}Content-Length:\r\n\r\n`],
    ['Transfer-Encoding', `${line}Transfer-Encoding: chunked\r\n\r\n`],
    ['Expect', `${line}Expect: 100-continue\r\n\r\n`],
    ['Upgrade', `${line}upgrade: websocket\r\n\r\n`],
    ['Connection with close and a name', `${line}Connection: close, X\r\n\r\n`],
    ['Connection with a name', `${line}Connection: keep-alive, X\r\n\r\n`],
    ['a folded line', `${line}X: a\r\n b\r\n\r\n`],
    ['a space before the colon', `${line}X : a\r\n\r\n`],
    ['a bare LF', `${line}X: a\nY: b\r\n\r\n`],
    ['a NUL', `${line}X: a\0\r\n\r\n`],
  ])('is not: %s', (_, text) => {
    expect(request(text)).toBeNull();
  });
});

describe('a plain answer', () => {
  const ok = 'HTTP/1.1 200 OK\r\n';
  it('gives status, reason, fields and the length of its body', () => {
    expect(answer(`${ok}X: y\r\nContent-Length: 5\r\n\r\nhel`)).toEqual({
      status: 200,
      reason: 'OK',
      rawHeaders: ['X', 'y', 'Content-Length', '5'],
      end: 44,
      length: 5,
      keeps: true,
    });
  });

  it.each([
    ['an answer to HEAD', 'HEAD', `${ok}Content-Length: 5\r\n\r\n`],
    ['an answer to HEAD without a length', 'HEAD', `${ok}\r\n`],
    ['an answer to HEAD that would be chunked', 'HEAD', `${ok}Transfer-Encoding: chunked\r\n\r\n`],
    ['204', 'GET', 'HTTP/1.1 204 No Content\r\n\r\n'],
    ['304', 'GET', 'HTTP/1.1 304 \r\nContent-Length: 5\r\n\r\n'],
  ])('has no body: %s', (_, method, text) => {
    expect(answer(text, method)).toMatchObject({ length: 0 });
  });

  it.each(['Transfer-Encoding: chunked', 'transfer-encoding:\t Chunked '])('may come in chunks: %s', (field) => {
    expect(answer(`${ok}${field}\r\n\r\n0\r\n\r\n`)).toMatchObject({ length: 'chunked' });
  });

  it.each([
    [`${ok}\r\nbody`, 'GET'],
    [`${ok}Connection: keep-alive\r\n\r\n`, 'POST'],
    ['HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n', 'GET'],
  ])('may last until the origin ends its side, which then keeps nothing: %j', (text, method) => {
    expect(answer(text, method)).toMatchObject({ length: 'end', keeps: false });
  });

  it('of HTTP/1.0 is kept only where it says so', () => {
    const old = (field: string): string => `HTTP/1.0 200 OK\r\n${field}Content-Length: 0\r\n\r\n`;
    expect(answer(old(''))).toMatchObject({ length: 0, keeps: false });
    expect(answer(old('Connection: keep-alive\r\n'))?.keeps).toBe(true);
    expect(answer(old('Connection: keep-alive\r\nProxy-Connection: close\r\n'))?.keeps).toBe(false);
  });

  it('says whether the origin keeps the connection', () => {
    expect(answer(`${ok}Content-Length: 0\r\nConnection: close\r\n\r\n`)?.keeps).toBe(false);
    expect(answer(`${ok}Content-Length: 0\r\nProxy-Connection: close\r\n\r\n`)?.keeps).toBe(false);
    expect(answer(`${ok}Content-Length: 0\r\nConnection: Keep-Alive\r\n\r\n`)?.keeps).toBe(true);
  });

  it.each([
    ['another coding', `${ok}Transfer-Encoding: gzip, chunked\r\n\r\n`],
    ['chunked twice', `${ok}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n`],
    ['chunked and a length', `${ok}Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n`],
    ['an empty coding', `${ok}Transfer-Encoding:\r\n\r\n`],
    ['Trailer', `${ok}Trailer: X\r\nTransfer-Encoding: chunked\r\n\r\n`],
    ['two lengths', `${ok}Content-Length: 1\r\nContent-Length: 1\r\n\r\na`],
    ['a list of lengths', `${ok}Content-Length: 1, 1\r\n\r\na`],
    ['chunked in HTTP/1.0', 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'],
    ['HTTP/2.0', 'HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n'],
    ['an interim one', 'HTTP/1.1 100 Continue\r\n\r\n'],
    ['101', 'HTTP/1.1 101 Switching Protocols\r\n\r\n'],
    ['a status of two digits', 'HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n'],
    ['no space behind the status', 'HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n'],
    ['Upgrade', `${ok}Upgrade: h2c\r\nContent-Length: 0\r\n\r\n`],
    ['Connection with a name', `${ok}Connection: X\r\nContent-Length: 0\r\n\r\n`],
    ['a head that is not whole', `${ok}Content-Length: 0\r\n`],
    ['a folded line', `${ok}X: a\r\n b\r\nContent-Length: 0\r\n\r\n`],
  ])('is not: %s', (_, text) => {
    expect(answer(text)).toBeNull();
  });
});

const piece = fc.constantFrom(
  ...[' ', '\t', '\r', '\n', '\r\n', '\0', ':', 'a', '\xff', ',', '"', 'X: y\r\n', 'HTTP/1.1', '\r\n\r\n', '#', '/'],
  ...['Content-Length: 1\r\n', 'Transfer-Encoding: chunked\r\n', 'Connection: close\r\n', '0', '1', 'GET '],
);
const fields = fc.array(
  fc.oneof(
    fc.tuple(fc.stringMatching(/^[A-Za-z!#-]{1,12}$/), fc.stringMatching(/^[\t -~]{0,20}$/)),
    fc.constantFrom<[string, string]>(
      ['Content-Length', '2'],
      ['Connection', 'keep-alive'],
      ['Connection', 'X'],
      ['Host', 'a.test'],
    ),
  ),
  { maxLength: 4 },
);
const damage = fc.record({ cut: fc.nat(90), insert: fc.option(piece, { freq: 1 }) });
const lines = (list: readonly (readonly [string, string])[]): string =>
  list.map(([name, value]) => `${name}:${value}\r\n`).join('');
const damaged = (text: string, { cut, insert }: { cut: number; insert: string | null }): string =>
  insert === null ? text : text.slice(0, cut) + insert + text.slice(cut);
/** Fields of a body, and the body; mostly they fit. */
const framed = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(['', ''], ['Content-Length: 2\r\n', 'ab'], ['content-length:0\r\n', '']) },
  fc.tuple(
    fc.constantFrom('', 'Content-Length: 2\r\n', 'Transfer-Encoding: chunked\r\n'),
    fc.constantFrom('', 'a', 'abc'),
  ),
);

describe('beside llhttp', () => {
  let server: http.Server;
  let seen: { method: string; target: string; version: string; rawHeaders: string[]; body: string }[] = [];
  beforeAll(async () => {
    server = http.createServer({ requireHostHeader: false, insecureHTTPParser: false }, (req, res) => {
      let text = '';
      req.setEncoding('latin1').on('data', (chunk: string) => {
        text += chunk;
      });
      req.on('end', () => {
        const { method = '', url: target = '', httpVersion: version, rawHeaders } = req;
        seen.push({ method, target, version, rawHeaders, body: text });
        res.end();
      });
    });
    server.on('clientError', (_, socket) => socket.destroy());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });

  it('a request that is taken is one request there too, and reads the same', async () => {
    const requests = fc
      .record({
        method: fc.constantFrom('GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'),
        path: fc.oneof(
          { weight: 3, arbitrary: fc.stringMatching(/^[\w./?=&%~:@-]{0,20}$/) },
          fc.stringMatching(/^[!-~]{0,20}$/),
        ),
        fields,
        framed,
        damage,
      })
      .map((one) =>
        damaged(
          `${one.method} http://a.test/${one.path} HTTP/1.1\r\n${lines(one.fields)}${one.framed.join('\r\n')}`,
          one.damage,
        ),
      );
    let taken = 0;
    await fc.assert(
      fc.asyncProperty(requests, async (text) => {
        const plain = request(text);
        if (plain === null) return;
        taken++;
        seen = [];
        const client = await RawClient.connect({ host: '127.0.0.1', port: (server.address() as AddressInfo).port });
        client.send(text);
        await client.readUntil('\r\n\r\n');
        client.end();
        await client.readAll();
        client.close();
        expect(seen).toEqual([{ ...plain.head, body: text.slice(plain.end) }]);
      }),
      { numRuns: 400 },
    );
    expect(taken).toBeGreaterThan(20);
  });

  it('an answer that is taken ends there where it ends here, and reads the same', async () => {
    let answering = '';
    const origin = net.createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => void socket.end(answering, 'latin1'));
    });
    await new Promise<void>((resolve) => origin.listen(0, '127.0.0.1', resolve));
    const { port } = origin.address() as AddressInfo;
    const ask = (method: string): Promise<unknown> =>
      new Promise((resolve, reject) => {
        const req = http.request({ host: '127.0.0.1', port, method, agent: false }, (res) => {
          let text = '';
          res.setEncoding('latin1').on('data', (chunk: string) => {
            text += chunk;
          });
          res.on('end', () =>
            resolve({ status: res.statusCode, reason: res.statusMessage, rawHeaders: res.rawHeaders, body: text }),
          );
          res.on('error', () => resolve({ cut: true }));
        });
        req.on('error', reject);
        req.end();
      });
    const answers = fc
      .record({
        method: fc.constantFrom('GET', 'HEAD'),
        version: fc.constantFrom('1.1', '1.1', '1.0'),
        status: fc.constantFrom('200 OK', '204 No Content', '304 ', '404 caf\xe9', '599 x', '299 a b'),
        fields,
        framed,
        damage,
      })
      .map((one) => ({
        method: one.method,
        text: damaged(
          `HTTP/${one.version} ${one.status}\r\n${lines(one.fields)}${one.framed.join('\r\n')}`,
          one.damage,
        ),
      }));
    let taken = 0;
    try {
      await fc.assert(
        fc.asyncProperty(answers, async ({ method, text }) => {
          const plain = answer(text, method);
          if (plain === null) return;
          taken++;
          const { status, reason, rawHeaders, end, length } = plain;
          // Where chunks end is another reader's (chunked-body.test.ts).
          if (length === 'chunked') return;
          // What stands behind it is another matter (forward-origin.test.ts).
          const last = length === 'end' ? text.length : end + length;
          answering = text.slice(0, last);
          const whole = text.slice(end, last);
          const read = text.length < last ? { cut: true } : { status, reason, rawHeaders, body: whole };
          expect(await ask(method)).toEqual(read);
        }),
        { numRuns: 400 },
      );
      expect(taken).toBeGreaterThan(20);
    } finally {
      origin.close();
    }
  });
});
