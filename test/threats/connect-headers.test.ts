// Section "Headers on CONNECT" of docs/threat-model.md: no header decides, no header gives CONNECT a body, none is forwarded.
import { describe, expect, it } from 'vitest';
import { ALLOWED, connect, DENIED, notListed, refused, row, useStage, whole, works } from './stage.ts';

const stage = useStage();
const TARGET = `${ALLOWED}:{p}`;
const badRequest = refused(400, 'request-malformed');
const withBody = refused(400, 'connect-with-body');
const badHost = refused(400, 'host-header');
const tooLarge = refused(431, 'head-too-large');
const head = (fields: string, target = TARGET): string => `CONNECT ${target} HTTP/1.1\r\n${fields}\r\n`;
const basic = (text: string): string => `Proxy-Authorization: Basic ${Buffer.from(text).toString('base64')}\r\n`;

row('C1 the target decides, whatever Host says', stage, [
  ['a denied Host on an allowed target', head(`Host: ${DENIED}:{p}\r\n`), works()],
  ['an allowed Host on a denied target', head(`Host: ${TARGET}\r\n`, `${DENIED}:{p}`), notListed],
  ['an empty Host', head('Host: \r\n'), works()],
  ['no Host', head(''), works()],
  ['garbage in Host', head('Host: a b/c@d\r\n'), works()],
  ['two Hosts', head(`Host: ${TARGET}\r\nHost: ${TARGET}\r\n`), badHost],
  ['two Hosts in different case', head(`Host: ${TARGET}\r\nhOST: ${DENIED}\r\n`), badHost],
  ['two Hosts on a denied target', head(`Host: ${TARGET}\r\nHost: ${TARGET}\r\n`, `${DENIED}:{p}`), badHost],
]);

row('C2 no other header names the destination', stage, [
  ['X-Forwarded-Host', head(`X-Forwarded-Host: ${TARGET}\r\n`, `${DENIED}:{p}`), notListed],
  ['Forwarded', head(`Forwarded: host=${TARGET}\r\n`, `${DENIED}:{p}`), notListed],
  ['X-Original-URL', head(`X-Original-URL: ${TARGET}\r\nX-Rewrite-URL: ${TARGET}\r\n`, `${DENIED}:{p}`), notListed],
  [':authority', head(`:authority: ${TARGET}\r\n`, `${DENIED}:{p}`), badRequest],
  ['denied names in all of them', head(`X-Forwarded-Host: ${DENIED}\r\nForwarded: host=${DENIED}\r\n`), works()],
]);

row('C3 a CONNECT that announces a body is refused (RFC 9110 §9.3.6)', stage, [
  ['Content-Length and its bytes', `${head('Content-Length: 4\r\n')}body`, withBody],
  ['Content-Length 0', head('Content-Length: 0\r\n'), withBody],
  ['chunked', `${head('Transfer-Encoding: chunked\r\n')}4\r\nbody\r\n0\r\n\r\n`, withBody],
  ['both', head('Content-Length: 0\r\nTransfer-Encoding: chunked\r\n'), badRequest],
  ['a coding that is none', head('Transfer-Encoding: xchunked\r\n'), withBody],
  ['identity', head('Transfer-Encoding: identity\r\n'), withBody],
  ['chunked in capitals', head('TRANSFER-ENCODING: CHUNKED\r\n'), withBody],
  ['on a denied target', `${head('Content-Length: 4\r\n', `${DENIED}:{p}`)}body`, withBody],
]);

row('C4 a length that two readers could read differently is refused', stage, [
  ['not a number', head('Content-Length: x\r\n'), badRequest],
  ['two different ones', head('Content-Length: 1\r\nContent-Length: 2\r\n'), badRequest],
  ['two equal ones', head('Content-Length: 0\r\nContent-Length: 0\r\n'), badRequest],
  ['a list', head('Content-Length: 0, 0\r\n'), badRequest],
  ['a sign', head('Content-Length: +0\r\n'), badRequest],
  ['negative', head('Content-Length: -1\r\n'), badRequest],
  ['an empty one', head('Content-Length: \r\n'), badRequest],
  ['hexadecimal', head('Content-Length: 0x0\r\n'), badRequest],
  ['beyond 64 bits', head('Content-Length: 18446744073709551616\r\n'), badRequest],
]);

row('C5 a line that is no header field is refused', stage, [
  ['without a colon', head('nonsense\r\n'), badRequest],
  ['a colon first', head(': value\r\n'), badRequest],
  ['a space before the colon', head(`Host : ${TARGET}\r\n`), badRequest],
  ['a tab before the colon', head(`Host\t: ${TARGET}\r\n`), badRequest],
  ['a space in the name', head('X Y: z\r\n'), badRequest],
  ['a leading space on the first line', head(` Host: ${TARGET}\r\n`), badRequest],
  ['a folded value', head('X: a\r\n b\r\n'), badRequest],
  ['a folded Host', head(`Host:\r\n ${TARGET}\r\n`), badRequest],
  ['a NUL in the value', head('X: a\0b\r\n'), badRequest],
  ['a NUL in the name', head('X\0Y: b\r\n'), badRequest],
  ['a bare CR in the value', head('X: a\rb\r\n'), badRequest],
  ['a bare CR and a field behind it', head('X: a\rHost: b\r\n'), badRequest],
  ['a bare LF in the value', head('X: a\nHost: b\r\n'), badRequest],
  ['a control byte in the value', head('X: a\x01b\r\n'), badRequest],
  ['a DEL in the value', head('X: a\x7fb\r\n'), badRequest],
  ['a non-ASCII byte in the name', head('X\xe9: b\r\n'), badRequest],
]);

row('C6 a head beyond its size or its count is refused', stage, [
  ['one header of 1 MiB', head(`X: ${'a'.repeat(1 << 20)}\r\n`), tooLarge],
  ['20,000 header lines', head('A: b\r\n'.repeat(20_000)), tooLarge],
  ['101 header lines of a byte', head('A: b\r\n'.repeat(101)), tooLarge],
  ['a header name of 64 KiB', head(`${'a'.repeat(65_536)}: b\r\n`), tooLarge],
  ['100 header lines, the limit', head('A: b\r\n'.repeat(100)), works()],
]);

row('C7 credentials that cannot be read are asked for again', stage, [
  ['not base64', head('Proxy-Authorization: Basic ???\r\n'), refused(407, 'credentials-malformed')],
  ['an unknown scheme', head('Proxy-Authorization: Zork abc\r\n'), refused(407, 'credentials-malformed')],
  ['no value', head('Proxy-Authorization: \r\n'), refused(407, 'credentials-malformed')],
  ['non-ASCII bytes', head('Proxy-Authorization: Basic \xff\xfe\xfd\r\n'), refused(407, 'credentials-malformed')],
  ['bytes that are no UTF-8', head('Proxy-Authorization: Basic //79\r\n'), refused(407, 'credentials-malformed')],
  ['no colon inside', head('Proxy-Authorization: Basic YWJj\r\n'), refused(407, 'credentials-malformed')],
  ['a CR LF inside', head(basic('a\r\nSet-Cookie: x:')), refused(407, 'credentials-malformed')],
  ['a password that nobody knows', head(basic('user:secret')), refused(407, 'credentials-invalid')],
  ['two of them', head(`${basic('a:')}${basic('b:')}`), badRequest],
  [
    '10 KiB of base64',
    head(`Proxy-Authorization: Basic ${'QUFB'.repeat(2_500)}\r\n`),
    refused(407, 'credentials-malformed'),
  ],
  ['a claim', head(basic('pipeline/job:')), works()],
  ['a claim on a denied host', head(basic('pipeline/job:'), `${DENIED}:{p}`), notListed],
]);

row('C8 headers that mean something on other methods do not disturb the tunnel', stage, [
  ['Upgrade', head('Connection: Upgrade\r\nUpgrade: websocket\r\n'), works()],
  [
    'Upgrade to h2c',
    head('Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n'),
    works(),
  ],
  ['Expect', head('Expect: 100-continue\r\n'), works()],
  ['Expect of something else', head('Expect: the-unexpected\r\n'), works()],
  ['Connection: close', head('Connection: close\r\n'), works()],
  ['Proxy-Connection: keep-alive', head('Proxy-Connection: keep-alive\r\n'), works()],
  ['Connection: Host', head(`Connection: Host\r\nHost: ${TARGET}\r\n`), works()],
  ['Max-Forwards: 0', head('Max-Forwards: 0\r\n'), works()],
  ['Trailer and TE', head('Trailer: X\r\nTE: trailers\r\n'), works()],
]);

describe('C9 the answers of the proxy itself', () => {
  const ask = async (bytes: string) => {
    const client = await stage.client();
    client.send(stage.bytes(bytes));
    const answer = whole(await client.readAll());
    client.close();
    return answer;
  };

  it('the 200 has no Content-Length and no Transfer-Encoding', async () => {
    const client = await stage.client();
    client.send(stage.bytes(connect(TARGET)));
    expect((await client.readHead()).headers).toEqual({});
    client.close();
  });

  it('a refusal says the code in the status line, a header and the body, and asks for no password', async () => {
    const answer = await ask(connect(`${DENIED}:{p}`));
    expect(answer.headers).toMatchObject({
      'sallyport-code': 'host-not-allowed',
      'proxy-status': 'sallyport; error=http_request_denied; details="host-not-allowed"',
      connection: 'close',
    });
    expect(answer.headers).not.toHaveProperty('proxy-authenticate');
    expect(answer.body).toContain('host-not-allowed');
    expect(answer.body).toContain(DENIED);
  });

  it('a 407 says how to authenticate', async () => {
    const answer = await ask(head('Proxy-Authorization: Basic ???\r\n'));
    expect(answer.headers['proxy-authenticate']).toBe('Basic realm="sallyport", charset="UTF-8"');
  });

  it('no answer repeats bytes of the request that could split it', async () => {
    for (const target of ['x\r\nSet-Cookie: a=b', '<script>alert(1)</script>.test:443', '\xe2\x80\xae.test:443']) {
      const answer = await ask(head('', target));
      expect(answer.headers).not.toHaveProperty('set-cookie');
      expect(answer.headers['content-type']).toBe('text/plain; charset=utf-8');
      expect(answer.headers['x-content-type-options']).toBe('nosniff');
    }
  });
});
