// Section "Request line" of docs/threat-model.md: what is not exactly `CONNECT host:port HTTP/1.0|1.1` is refused, never guessed.
import { describe, expect, it } from 'vitest';
import { ALLOWED, badTarget, connect, malformed, notListed, refused, row, useStage, works } from './stage.ts';

const stage = useStage();
const badRequest = refused(400, 'request-malformed');
const badVersion = refused(400, 'http-version');
const badMethod = refused(405, 'method-not-allowed');
const TARGET = `${ALLOWED}:{p}`;
const HOST = `Host: ${TARGET}\r\n`;
const line = (text: string): string => `${text}\r\n${HOST}\r\n`;

row('R1 HTTP/1.0 and HTTP/1.1, with and without Host', stage, [
  ['1.1 with Host', connect(TARGET), works()],
  ['1.1 without Host', `CONNECT ${TARGET} HTTP/1.1\r\n\r\n`, works()],
  ['1.0 with Host', `CONNECT ${TARGET} HTTP/1.0\r\n${HOST}\r\n`, works()],
  ['1.0 without Host', `CONNECT ${TARGET} HTTP/1.0\r\n\r\n`, works()],
]);

row('R2 other versions are refused', stage, [
  ['none', line(`CONNECT ${TARGET}`), badVersion],
  ['HTTP/2.0', line(`CONNECT ${TARGET} HTTP/2.0`), badVersion],
  ['HTTP/3.0', line(`CONNECT ${TARGET} HTTP/3.0`), badVersion],
  ['HTTP/9.9', line(`CONNECT ${TARGET} HTTP/9.9`), badVersion],
  ['HTTP/0.9', line(`CONNECT ${TARGET} HTTP/0.9`), badVersion],
  ['HTTP/1.10', line(`CONNECT ${TARGET} HTTP/1.10`), badVersion],
  ['HTTP/1.2', line(`CONNECT ${TARGET} HTTP/1.2`), badVersion],
  ['HTTP/1.', line(`CONNECT ${TARGET} HTTP/1.`), badVersion],
  ['HTTP/1', line(`CONNECT ${TARGET} HTTP/1`), badVersion],
  ['HTTP/01.1', line(`CONNECT ${TARGET} HTTP/01.1`), badVersion],
  ['HTTP/+1.1', line(`CONNECT ${TARGET} HTTP/+1.1`), badVersion],
  ['http/1.1 in lower case', line(`CONNECT ${TARGET} http/1.1`), badRequest],
  ['letters behind it', line(`CONNECT ${TARGET} HTTP/1.1x`), badVersion],
  ['another protocol', line(`CONNECT ${TARGET} ICE/1.0`), badRequest],
  ['RTSP', line(`CONNECT ${TARGET} RTSP/1.0`), badRequest],
  ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', badVersion],
]);

row('R3 methods are case-sensitive', stage, [
  ['lower case', line(`connect ${TARGET} HTTP/1.1`), badMethod],
  ['capitalised', line(`Connect ${TARGET} HTTP/1.1`), badMethod],
  ['a letter behind it', line(`CONNECTX ${TARGET} HTTP/1.1`), badMethod],
  ['a letter missing', line(`CONNEC ${TARGET} HTTP/1.1`), badMethod],
  ['a NUL in it', line(`CON\0NECT ${TARGET} HTTP/1.1`), badMethod],
  ['a method of our own', line(`TUNNEL ${TARGET} HTTP/1.1`), badMethod],
]);

row('R4 white space is one space between three words', stage, [
  ['two spaces before the target, which RFC 9112 §3 lets pass', line(`CONNECT  ${TARGET} HTTP/1.1`), works()],
  ['two spaces before the version, the same', line(`CONNECT ${TARGET}  HTTP/1.1`), works()],
  ['two spaces before a denied target', line('CONNECT  denied.test:{p} HTTP/1.1'), notListed],
  ['a tab before the target', line(`CONNECT\t${TARGET} HTTP/1.1`), badMethod],
  ['a tab before the version', line(`CONNECT ${TARGET}\tHTTP/1.1`), badTarget],
  ['a leading space', line(` CONNECT ${TARGET} HTTP/1.1`), badRequest],
  ['a space behind the version', line(`CONNECT ${TARGET} HTTP/1.1 `), badVersion],
  ['a form feed between', line(`CONNECT\f${TARGET} HTTP/1.1`), badMethod],
  ['a no-break space between', line(`CONNECT\xa0${TARGET} HTTP/1.1`), badMethod],
  ['a fourth word', line(`CONNECT ${TARGET} denied.test:{p} HTTP/1.1`), badRequest],
  ['an empty line first, as RFC 9112 §2.2 lets pass', `\r\n${connect(TARGET)}`, works()],
  ['bare line feeds', `CONNECT ${TARGET} HTTP/1.1\nHost: ${TARGET}\n\n`, badVersion],
  ['a bare line feed at the end alone', `CONNECT ${TARGET} HTTP/1.1\r\nHost: ${TARGET}\r\n\n`, badRequest],
]);

row('R5 a bare CR ends no line', stage, [
  ['all lines', `CONNECT ${TARGET} HTTP/1.1\rHost: ${TARGET}\r\r`, badRequest],
  ['the request line', `CONNECT ${TARGET} HTTP/1.1\r${HOST}\r\n`, badRequest],
  ['in the target', line(`CONNECT ${ALLOWED}\r:{p} HTTP/1.1`), badTarget],
  ['two before the line feed', `CONNECT ${TARGET} HTTP/1.1\r\r\n${HOST}\r\n`, badRequest],
]);

row('R6 the target of CONNECT is an authority and nothing else', stage, [
  ['an http URL', connect(`http://${TARGET}/`), malformed],
  ['an https URL', connect(`https://${TARGET}`), malformed],
  ['an authority with a slash', connect(`${TARGET}/`), malformed],
  ['an authority with a path', connect(`${TARGET}/x`), malformed],
  ['two slashes before it', connect(`//${TARGET}`), malformed],
  ['a denied host and an allowed fragment', connect(`denied.test:{p}#${TARGET}`), badTarget],
  ['a denied host and an allowed query', connect(`denied.test:{p}?${TARGET}`), malformed],
  ['an allowed host and a denied one behind a comma', connect(`${TARGET},denied.test:{p}`), malformed],
  ['a scheme without slashes', connect(`tcp:${TARGET}`), malformed],
]);

row('R7 the Host header never stands in for the target', stage, [
  ['a path', `CONNECT / HTTP/1.1\r\n${HOST}\r\n`, malformed],
  ['a star', `CONNECT * HTTP/1.1\r\n${HOST}\r\n`, malformed],
  ['an empty target', `CONNECT  HTTP/1.1\r\n${HOST}\r\n`, badVersion],
  ['a URL with user information', `CONNECT http://user:secret@${TARGET}/ HTTP/1.1\r\n${HOST}\r\n`, malformed],
  ['only a port', `CONNECT :{p} HTTP/1.1\r\n${HOST}\r\n`, malformed],
]);

// A TLS 1.2 ClientHello's first bytes, and the greetings of SOCKS.
const HELLO = Buffer.from('160301020001000001fc0303', 'hex');

row('R8 other protocols on the proxy port are refused at once', stage, [
  ['a TLS ClientHello', Buffer.concat([HELLO, Buffer.alloc(505, 7)]), badRequest],
  ['SOCKS5', Buffer.from('050100', 'hex'), badRequest],
  ['SOCKS4', Buffer.from('040101bb7f00000100', 'hex'), badRequest],
  ['SSH', 'SSH-2.0-OpenSSH_9.9\r\n', badMethod],
  ['a response instead of a request', 'HTTP/1.1 200 OK\r\n\r\n', badMethod],
  ['the PROXY protocol, version 1', 'PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n', badMethod],
  ['the PROXY protocol, version 2', Buffer.from('0d0a0d0a000d0a515549540a', 'hex'), badRequest],
  ['random bytes', Buffer.from('8f0e1d2c3b4a59687786950f', 'hex'), badRequest],
]);

describe('R9 a line that never ends is cut off, and memory is bounded', () => {
  it.each([
    ['in the target', `CONNECT ${'a'.repeat(1 << 20)}`],
    ['in the method', 'C'.repeat(1 << 20)],
    ['in the version', `CONNECT ${ALLOWED}:443 HTTP/1.1${'1'.repeat(1 << 20)}`],
  ])('1 MiB %s', { timeout: 10_000 }, async (_, bytes) => {
    const mark = stage.mark();
    const client = await stage.client();
    client.send(bytes);
    const got = await client.readAll();
    if (got.length > 0) expect(got.toString('latin1')).toMatch(/^HTTP\/1\.1 4\d\d /);
    stage.untouched(mark);
    client.close();
    const lines = stage.since(mark);
    expect(lines.length).toBeLessThanOrEqual(1);
    await stage.good();
  });
});
