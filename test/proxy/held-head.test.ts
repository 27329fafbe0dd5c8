// The beginning of a head: what it keeps is exactly what came, every beginning of a plain head is waited for, and what llhttp would refuse
// at once is not.
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readPlainConnect } from '../../src/proxy/connect-head.ts';
import { HeldHead } from '../../src/proxy/held-head.ts';
import { readPlainRequest } from '../../src/proxy/plain-head.ts';
import fc from '../support/property.ts';
import { RawClient } from '../support/raw-client.ts';

const BYTES_MAX = 1_024;
const bytesOf = (text: string): Buffer => Buffer.from(text, 'latin1');

/** What it says after each piece, until it says something else than `more`. */
function look(...pieces: readonly string[]): string {
  const head = new HeldHead();
  for (const piece of pieces) {
    const state = head.look(bytesOf(piece));
    if (state !== 'more') return state;
    head.keep(bytesOf(piece));
  }
  return 'more';
}

const CONNECT = 'CONNECT a.test:443 HTTP/1.1\r\n';
const GET = 'GET http://a.test:80/x?y HTTP/1.1\r\n';

describe('the beginning of a head', () => {
  it('is kept in memory of exactly its size, whatever it was lent from', () => {
    const lent = bytesOf(`${CONNECT}Host: a.test`);
    const head = new HeldHead();
    for (let at = 0; at < lent.length; at += 7) {
      const piece = lent.subarray(at, at + 7);
      expect(head.look(piece)).toBe('more');
      head.keep(piece);
      expect(head.bytes.buffer.byteLength).toBe(head.size);
    }
    const sent = lent.toString('latin1');
    lent.fill(0);
    expect(head.bytes.toString('latin1')).toBe(sent);
  });

  it('is whole with its blank line, whatever stands behind that', () => {
    expect(look(CONNECT, 'Host: x\r\n\r', '\n\x16\x03')).toBe('whole');
    expect(look('G', 'ET http://a.test/ HTTP/1.0\r\n\r\n\0')).toBe('whole');
  });

  it.each([
    ['another method', ['T']],
    ['a method in lower case', ['c']],
    ['a method that goes on', ['GETS']],
    ['part of a method', ['GE ']],
    ['an empty line first', ['\r']],
    ['a hello', ['\x16']],
    ['no target of CONNECT', ['CONNECT  ']],
    ['a path as the target of CONNECT', ['CONNECT /']],
    ['a path', ['GET /']],
    ['https', ['GET https']],
    ['no host', ['GET http:///']],
    ['a capital in the host', ['GET http://A']],
    ['user information', ['GET http://u@']],
    ['no path', ['GET http://a.test ']],
    ['an empty port', ['GET http://a.test:/']],
    ['a fragment', ['GET http://a.test/#']],
    ['another version', ['CONNECT a.test:443 HTTP/1.2']],
    ['HTTP/2', ['CONNECT a.test:443 HTTP/2']],
    ['a long version', ['CONNECT a.test:443 HTTP/1.10']],
    ['a bare LF', ['CONNECT a.test:443 HTTP/1.1\n']],
    ['a CR that is none', [CONNECT, 'X: y\rz']],
    ['a NUL in a value', [CONNECT, 'X: \0']],
    ['a folded line', [CONNECT, 'X: y\r\n ']],
    ['a space before the colon', [CONNECT, 'X ']],
    ['no name', [CONNECT, ':']],
    ['a length of CONNECT', [CONNECT, 'content-LENGTH:']],
    ['chunks of CONNECT', [CONNECT, 'Transfer-Encoding:']],
    ['chunks', [GET, 'Transfer-Encoding:']],
    ['an expectation', [GET, 'Expect:']],
    ['an upgrade', [GET, 'upgrade:']],
    ['trailers', [GET, 'Trailer:']],
    ['a second length', [GET, 'Content-Length: 1\r\nContent-Length:']],
    ['a length that is no number', [GET, 'Content-Length: 1x']],
    ['a length of two numbers', [GET, 'Content-Length: 1 1']],
    ['a length with a leading zero', [GET, 'Content-Length: 01']],
    ['an empty length', [GET, 'Content-Length: \r']],
    ['a length of sixteen digits', [GET, `Content-Length: ${'1'.repeat(16)}`]],
  ])('is not waited for: %s', (_, pieces) => {
    expect(look(...pieces.slice(0, -1), (pieces.at(-1) as string).slice(0, -1))).toBe('more');
    expect(look(...pieces)).toBe('odd');
  });

  it.each([
    [CONNECT, 'Expect: x\r\nUpgrade: y\r\nTrailer: z\r\n'],
    [GET, 'Content-Length: \t0\t\r\nConnection: close\r\n'],
    [GET, `X-Transfer-Encoding: y\r\nContent-Lengths: x\r\n${'n'.repeat(30)}: \xff\r\n`],
    [GET, `Content-Length: ${'1'.repeat(15)} \r\n`],
  ])('is waited for: %s%s', (...lines) => {
    expect(look(...lines)).toBe('more');
    expect(look(...lines, '\r\n')).toBe('whole');
  });
});

const field = fc.oneof(
  fc.tuple(fc.stringMatching(/^[A-Za-z!#-]{1,20}$/), fc.stringMatching(/^[\t -~]{0,20}$/)),
  fc.tuple(
    fc.constantFrom('Content-Length', 'Host', 'Connection', 'Expect'),
    fc.constantFrom(' 0', '', ' close', '7 '),
  ),
);
const head = fc
  .record({
    line: fc.constantFrom(CONNECT, 'CONNECT [::1]:..: HTTP/1.0\r\n', GET, 'POST http://a.test/%2e HTTP/1.0\r\n'),
    fields: fc.array(field, { maxLength: 5 }),
    at: fc.nat(80),
    insert: fc.option(fc.constantFrom(' ', '\t', '\r', '\n', '\r\n', '\0', ':', 'a', '\xff', '\x7f', 'HTTP/1.1', '"')),
  })
  .map(({ line, fields, at, insert }) => {
    const text = `${line}${fields.map(([name, value]) => `${name}:${value}\r\n`).join('')}\r\n`;
    return insert === null ? text : text.slice(0, at) + insert + text.slice(at);
  });

it('waits for the rest of every plain head, wherever it is cut', () => {
  fc.assert(
    fc.property(head, (text) => {
      const end = text.indexOf('\r\n\r\n') + 4;
      const whole = bytesOf(text.slice(0, end));
      if (!readPlainConnect(whole, BYTES_MAX) && !readPlainRequest(whole, BYTES_MAX)) return;
      expect(look(...text.slice(0, end - 1))).toBe('more');
      expect(look(...text.slice(0, end))).toBe('whole');
    }),
    { numRuns: 500 },
  );
});

describe('beside llhttp', () => {
  let server: http.Server;
  const refused: string[] = [];

  beforeAll(async () => {
    server = http.createServer({ requireHostHeader: false, insecureHTTPParser: false });
    server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
      if (error.code?.startsWith('HPE_') && error.code !== 'HPE_INVALID_EOF_STATE') refused.push(error.code);
      socket.destroy();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  afterAll(() => server.close());

  it('what it waits for, llhttp has not refused', async () => {
    let waited = 0;
    await fc.assert(
      fc.asyncProperty(head, fc.nat(120), async (text, length) => {
        const cut = text.slice(0, length);
        if (cut === '' || look(cut) !== 'more') return;
        waited++;
        const client = await RawClient.connect({ host: '127.0.0.1', port: (server.address() as AddressInfo).port });
        client.send(cut);
        client.end();
        await client.readAll();
        client.close();
        expect(refused, JSON.stringify(cut)).toEqual([]);
      }),
      { numRuns: 400 },
    );
    expect(waited).toBeGreaterThan(100);
  });
});
