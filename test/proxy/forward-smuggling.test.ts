// Messages that two parsers could read differently (RFC 9112 §6; http-garden transducer bugs): refused, or at the origin one
// well-framed request. The origin takes all bytes raw, so that a second request smuggled inside the first would be seen.
import { describe, expect, it } from 'vitest';
import type { RawClient } from '../support/raw-client.ts';
import { allowing, eventually, type RawOrigin, type Rig, rawOrigin, startRig, turns } from './support.ts';

const HOST = 'web.test';
const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n';

async function world(): Promise<{ rig: Rig; origin: RawOrigin; base: string }> {
  const origin = await rawOrigin();
  const rig = await startRig({ policy: allowing(HOST, origin.port, 'http'), names: { [HOST]: ['127.0.0.1'] } });
  return { rig, origin, base: `http://${HOST}:${origin.port}` };
}

const post = (base: string, fields: string, body: string, version = '1.1'): string =>
  `POST ${base}/ HTTP/${version}\r\nHost: x\r\n${fields}\r\n${body}`;

describe('a request head with ambiguous framing', () => {
  const body = `0\r\n\r\n${SMUGGLED}`;
  it.each([
    [
      'Content-Length, then Transfer-Encoding',
      `Content-Length: ${body.length}\r\nTransfer-Encoding: chunked\r\n`,
      '1.1',
    ],
    [
      'Transfer-Encoding, then Content-Length',
      `Transfer-Encoding: chunked\r\nContent-Length: ${body.length}\r\n`,
      '1.1',
    ],
    ['",chunked"', 'Transfer-Encoding: ,chunked\r\n', '1.1'],
    ['"xchunked"', 'Transfer-Encoding: xchunked\r\n', '1.1'],
    ['"chunked, identity"', 'Transfer-Encoding: chunked, identity\r\n', '1.1'],
    ['"gzip, chunked"', 'Transfer-Encoding: gzip, chunked\r\n', '1.1'],
    ['"identity"', 'Transfer-Encoding: identity\r\n', '1.1'],
    ['chunked twice', 'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n', '1.1'],
    ['a space before the colon', 'Transfer-Encoding : chunked\r\n', '1.1'],
    ['a folded Transfer-Encoding', 'Transfer-Encoding:\r\n chunked\r\n', '1.1'],
    ['a vertical tab before chunked', 'Transfer-Encoding: \x0bchunked\r\n', '1.1'],
    ['a chunked body in HTTP/1.0', 'Transfer-Encoding: chunked\r\n', '1.0'],
    ['two lengths', `Content-Length: 5\r\nContent-Length: ${body.length}\r\n`, '1.1'],
    ['the same length twice', 'Content-Length: 5\r\nContent-Length: 5\r\n', '1.1'],
    ['a list of lengths', 'Content-Length: 5, 5\r\n', '1.1'],
    ['+0', 'Content-Length: +0\r\n', '1.1'],
    ['0x5', 'Content-Length: 0x5\r\n', '1.1'],
    ['an empty length', 'Content-Length:\r\n', '1.1'],
    ['a negative length', 'Content-Length: -1\r\n', '1.1'],
    ['a length of thirty digits', `Content-Length: ${'9'.repeat(30)}\r\n`, '1.1'],
    ['a bare CR in a field', 'X-A: b\rContent-Length: 5\r\n', '1.1'],
    ['a NUL in a field', 'X-A: b\0c\r\n', '1.1'],
    ['a line without a colon', 'X-A\r\n', '1.1'],
    ['an empty field name', ': a\r\n', '1.1'],
    ['two Host fields', 'Host: y\r\n', '1.1'],
  ])('is refused: %s', async (_, fields, version) => {
    const w = await world();
    const client = await w.rig.send(post(w.base, fields, body, version));
    expect((await client.readResponse()).status).toBe(400);
    expect(w.origin.connections()).toBe(0);
    expect(w.rig.recorder.allDecided).toHaveLength(1);
    expect(w.rig.recorder.allDecided[0]).toMatchObject({ verdict: 'deny' });
    expect(w.rig.recorder.allEnded).toHaveLength(0);
    await eventually(() => w.rig.slots.open === 0 || client.state === 'ended', 'the connection is closed');
  });
});

describe('a chunked upload that is malformed', () => {
  const malformed: [string, string][] = [
    ['a size of 0x0', '0x0\r\n\r\n'],
    ['a size with a sign', '+5\r\nhello\r\n0\r\n\r\n'],
    ['a size with a space before it', ' 5\r\nhello\r\n0\r\n\r\n'],
    ['an empty size', '\r\nhello\r\n'],
    ['a size of twenty digits', `${'f'.repeat(20)}\r\nhello\r\n`],
    ['a bare LF behind the size', '5\nhello\r\n0\r\n\r\n'],
    ['a bare LF behind the data', '5\r\nhello\n0\r\n\r\n'],
    ['an LF in an extension', `5;a\nb\r\nhello\r\n0\r\n\r\n`],
    ['data longer than its size', '5\r\nhello you\r\n0\r\n\r\n'],
    ['a bare CR behind the size', '5\rX\nhello\r\n0\r\n\r\n'],
  ];
  const CHUNKED = 'Transfer-Encoding: chunked\r\n';

  it.each(malformed)('is cut, never completed: %s', async (_, body) => {
    const w = await world();
    const client = await w.rig.send(post(w.base, CHUNKED, '3\r\nabc\r\n'));
    const peer = await w.origin.peer();
    await peer.readUntil('3\r\nabc\r\n');
    client.send(body + SMUGGLED);
    expect(await client.readResponse()).toMatchObject({ status: 400, reason: 'request-malformed' });
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({ verdict: 'allow', outcome: 'request-malformed' });
    expect(w.rig.recorder.entries).toHaveLength(2);
    const rest = (await peer.readAll()).toString('latin1');
    expect(rest).not.toContain('smuggled');
    expect(rest).not.toMatch(/^0\r\n/m);
  });

  it.each(malformed)('reaches nothing where that is known before the name is resolved: %s', async (_, body) => {
    const w = await world();
    const answer = w.rig.resolver.hold(HOST);
    const client = await w.rig.send(post(w.base, CHUNKED, `3\r\nabc\r\n${body}${SMUGGLED}`));
    await eventually(() => w.rig.resolver.asked.length === 1, 'the name is being resolved');
    await turns();
    answer({ ok: true, addresses: ['127.0.0.1'] });
    expect(await client.readResponse()).toMatchObject({ status: 400, reason: 'request-malformed' });
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({ verdict: 'allow', outcome: 'request-malformed' });
    expect(w.rig.recorder.entries).toHaveLength(2);
    expect(w.origin.connections()).toBe(0);
  });

  it('does not write a second answer into one that has begun', async () => {
    const w = await world();
    const client = await w.rig.send(post(w.base, 'Transfer-Encoding: chunked\r\n', '3\r\nabc\r\n'));
    const peer = await w.origin.peer();
    await peer.readUntil('abc');
    peer.send('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nthe first part');
    await client.readUntil('the first part');
    client.send('broken\r\n');
    const rest = await client.readAll();
    expect(rest.toString()).toBe('');
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({ outcome: 'request-malformed', status: 200 });
    expect(w.rig.recorder.entries).toHaveLength(2);
  });

  it('is one record where its packets go on coming, and the answer arrives whole', async () => {
    const w = await world();
    const client = await w.rig.send('GET /bad request HTTP/1.1\r\n');
    for (let i = 0; i < 20; i++) {
      client.send('more garbage\r\n');
      await turns(2);
    }
    const response = await client.readResponse();
    expect(response.status).toBe(400);
    expect(w.rig.recorder.allDecided).toHaveLength(1);
  });
});

describe('a well-formed body', () => {
  it.each([
    ['chunk extensions', 'Transfer-Encoding: chunked\r\n', '5;a=b;c="d"\r\nhello\r\n0\r\n\r\n'],
    ['trailers', 'Transfer-Encoding: chunked\r\n', '5\r\nhello\r\n0\r\nX-Trailer: evil\r\n\r\n'],
    ['capitals', 'Transfer-Encoding: Chunked\r\n', '5\r\nhello\r\n0\r\n\r\n'],
  ])('is framed anew: %s', async (_, fields, body) => {
    const w = await world();
    await w.rig.send(post(w.base, fields, body));
    const peer = await w.origin.peer();
    const head = (await peer.readUntil('\r\n\r\n')).toString().toLowerCase();
    expect(head.match(/transfer-encoding: chunked/g)).toHaveLength(1);
    expect(head).not.toContain('content-length');
    const got = (await peer.readUntil('0\r\n\r\n')).toString();
    expect(got).toBe('5\r\nhello\r\n0\r\n\r\n');
  });

  it('keeps its length, and what looks like a request inside it stays inside', async () => {
    const w = await world();
    const client: RawClient = await w.rig.send(post(w.base, `Content-Length: ${SMUGGLED.length}\r\n`, SMUGGLED));
    const peer = await w.origin.peer();
    expect((await peer.readUntil('\r\n\r\n')).toString()).toContain(`Content-Length: ${SMUGGLED.length}`);
    expect((await peer.read(SMUGGLED.length)).toString()).toBe(SMUGGLED);
    peer.send('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    await client.readHead();
    expect(w.rig.recorder.allDecided).toHaveLength(1);
  });
});

describe('what is recorded of bytes that are no request', () => {
  it.each([
    ['a TLS hello', Buffer.from('160301020001000001fc0303', 'hex')],
    ['a SOCKS5 greeting', Buffer.from('050100', 'hex')],
    ['the HTTP/2 preface', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['lower case', 'get http://web.test/ HTTP/1.1\r\n\r\n'],
    ['HTTP/2.0 in the line', 'GET http://web.test/ HTTP/2.0\r\nHost: x\r\n\r\n'],
    ['no version', 'GET http://web.test/\r\n\r\n'],
  ])('is one refusal: %s', async (_, bytes) => {
    const w = await world();
    const client = await w.rig.send(bytes);
    const response = await client.readResponse().catch(() => null);
    expect([400, 405, 505, undefined]).toContain(response?.status);
    await eventually(() => client.state !== 'open', 'it is closed');
    expect(w.rig.recorder.allDecided).toHaveLength(1);
  });

  it('never holds what came in a later packet of the head, which may be credentials', async () => {
    const w = await world();
    const client = await w.rig.send(`GET ${w.base}/ HTTP/1.1\r\nProxy-Authorization: Basic `);
    await turns();
    client.send('c2VjcmV0OnNlY3JldA==\r\nbroken line\r\n\r\n');
    expect((await client.readResponse()).status).toBe(400);
    const text = JSON.stringify(w.rig.recorder.entries) + w.rig.logText();
    expect(text).not.toContain('c2VjcmV0');
    expect(w.rig.recorder.allDecided[0]).toMatchObject({ method: '', target: '' });
  });
});
