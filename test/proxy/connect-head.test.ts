// The short road of a CONNECT head: what it takes it reads exactly, what is odd in any way it leaves to llhttp, and where it
// says yes llhttp says the same.
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readPlainConnect } from '../../src/proxy/connect-head.ts';
import fc from '../support/property.ts';
import { RawClient } from '../support/raw-client.ts';

const BYTES_MAX = 1_024;
const read = (text: string, max = BYTES_MAX) => readPlainConnect(Buffer.from(text, 'latin1'), max);

describe('a plain CONNECT head', () => {
  it('gives target, version and fields as they stand, and where the tunnel’s bytes begin', () => {
    const text = 'CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nX-Odd:\t a  b \t\r\nEmpty:\r\n\r\n\x16\x03';
    expect(read(text)).toEqual({
      head: {
        target: 'a.test:443',
        version: '1.1',
        rawHeaders: ['Host', 'a.test:443', 'X-Odd', 'a  b', 'Empty', ''],
      },
      end: text.length - 2,
    });
  });

  it('may be HTTP/1.0 without a field', () => {
    expect(read('CONNECT a.test:443 HTTP/1.0\r\n\r\n')).toEqual({
      head: { target: 'a.test:443', version: '1.0', rawHeaders: [] },
      end: 31,
    });
  });

  it('does not judge the target: that is the grammar’s work', () => {
    expect(read('CONNECT [::1]:..:x HTTP/1.1\r\n\r\n')?.head.target).toBe('[::1]:..:x');
  });

  it('is taken up to the limit and not beyond', () => {
    const text = `CONNECT a.test:443 HTTP/1.1\r\nX: ${'y'.repeat(100)}\r\n\r\n`;
    expect(read(text, text.length)?.end).toBe(text.length);
    expect(read(text, text.length - 1)).toBeNull();
    expect(read(`${text}early`, text.length)?.end).toBe(text.length);
  });

  it.each([
    ['nothing', ''],
    ['another method', 'GET http://a.test/ HTTP/1.1\r\n\r\n'],
    ['a method in lower case', 'connect a.test:443 HTTP/1.1\r\n\r\n'],
    ['a head that is not whole', 'CONNECT a.test:443 HTTP/1.1\r\nHost: x\r\n'],
    ['two spaces', 'CONNECT  a.test:443 HTTP/1.1\r\n\r\n'],
    ['a tab', 'CONNECT\ta.test:443 HTTP/1.1\r\n\r\n'],
    ['a space behind the version', 'CONNECT a.test:443 HTTP/1.1 \r\n\r\n'],
    ['no version', 'CONNECT a.test:443\r\n\r\n'],
    ['another version', 'CONNECT a.test:443 HTTP/2.0\r\n\r\n'],
    ['a long version', 'CONNECT a.test:443 HTTP/1.10\r\n\r\n'],
    ['an empty line first', '\r\nCONNECT a.test:443 HTTP/1.1\r\n\r\n'],
    ['bare LF', 'CONNECT a.test:443 HTTP/1.1\n\n\r\n\r\n'],
    ['bare CR in a value', 'CONNECT a.test:443 HTTP/1.1\r\nX: a\rb\r\n\r\n'],
    ['NUL in a value', 'CONNECT a.test:443 HTTP/1.1\r\nX: a\0b\r\n\r\n'],
    ['a folded line', 'CONNECT a.test:443 HTTP/1.1\r\nX: a\r\n b\r\n\r\n'],
    ['a line without a colon', 'CONNECT a.test:443 HTTP/1.1\r\nX\r\n\r\n'],
    ['a space before the colon', 'CONNECT a.test:443 HTTP/1.1\r\nX : a\r\n\r\n'],
    ['no name', 'CONNECT a.test:443 HTTP/1.1\r\n: a\r\n\r\n'],
    ['Content-Length', 'CONNECT a.test:443 HTTP/1.1\r\ncontent-LENGTH: 0\r\n\r\n'],
    ['Transfer-Encoding', 'CONNECT a.test:443 HTTP/1.1\r\nX: y\r\nTransfer-encoding:chunked\r\n\r\n'],
    ['a URL as the target', 'CONNECT http://a.test/ HTTP/1.1\r\n\r\n'],
    ['user information', 'CONNECT a@b.test:443 HTTP/1.1\r\n\r\n'],
    ['percent-encoding', 'CONNECT a%2etest:443 HTTP/1.1\r\n\r\n'],
    ['a Latin-1 byte in the target', 'CONNECT \xe4.test:443 HTTP/1.1\r\n\r\n'],
    ['a TLS hello', '\x16\x03\x01\x00\x05CONNECT a.test:443 HTTP/1.1\r\n\r\n'],
  ])('is not: %s', (_, text) => {
    expect(read(text)).toBeNull();
  });
});

describe('beside llhttp', () => {
  let server: http.Server;
  let seen: { target: string; version: string; rawHeaders: string[]; early: string } | null = null;

  beforeAll(async () => {
    server = http.createServer({ requireHostHeader: false, insecureHTTPParser: false });
    server.on('connect', (req, socket, early) => {
      seen = {
        target: req.url ?? '',
        version: req.httpVersion,
        rawHeaders: req.rawHeaders,
        early: early.toString('latin1'),
      };
      socket.end('seen');
    });
    server.on('clientError', (_, socket) => socket.destroy());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  afterAll(() => server.close());

  const piece = fc.constantFrom(
    ' ',
    '\t',
    '\r',
    '\n',
    '\r\n',
    '\0',
    ':',
    'a',
    '\xff',
    'X: y\r\n',
    'HTTP/1.1',
    ',',
    '"',
  );
  const head = fc
    .record({
      target: fc.stringMatching(/^[A-Za-z0-9._:[\]-]{1,30}$/),
      version: fc.constantFrom('1.0', '1.1'),
      fields: fc.array(fc.tuple(fc.stringMatching(/^[A-Za-z!#-]{1,12}$/), fc.stringMatching(/^[\t -~]{0,20}$/)), {
        maxLength: 5,
      }),
      cut: fc.nat(60),
      insert: fc.option(piece),
    })
    .map(({ target, version, fields, cut, insert }) => {
      const lines = fields.map(([name, value]) => `${name}:${value}\r\n`).join('');
      const text = `CONNECT ${target} HTTP/${version}\r\n${lines}\r\nearly`;
      return insert === null ? text : text.slice(0, cut) + insert + text.slice(cut);
    });

  it('what it takes, llhttp takes too, and reads the same', async () => {
    await fc.assert(
      fc.asyncProperty(head, async (text) => {
        const plain = read(text);
        if (plain === null) return;
        seen = null;
        const client = await RawClient.connect({ host: '127.0.0.1', port: (server.address() as AddressInfo).port });
        client.send(text);
        expect((await client.read(4)).toString()).toBe('seen');
        client.close();
        expect(seen).toEqual({ ...plain.head, early: text.slice(plain.end) });
      }),
      { numRuns: 300 },
    );
  });
});
