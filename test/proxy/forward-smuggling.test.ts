// Messages that two parsers could read differently (RFC 9112 §6; http-garden transducer bugs): refused, or at the origin one
// well-framed request. The origin takes all bytes raw, so that a second request smuggled inside the first would be seen.
import { describe, expect, it } from 'vitest';
import type { RawClient } from '../support/raw-client.ts';
import { AMBIGUOUS_BODY, AMBIGUOUS_HEADS, CHUNKED, MALFORMED_CHUNKS, SMUGGLED } from './smuggling-cases.ts';
import { allowing, eventually, type RawOrigin, type Rig, rawOrigin, startRig, turns } from './support.ts';

const HOST = 'web.test';

async function world(): Promise<{ rig: Rig; origin: RawOrigin; base: string }> {
  const origin = await rawOrigin();
  const rig = await startRig({ policy: allowing(HOST, origin.port, 'http'), names: { [HOST]: ['127.0.0.1'] } });
  return { rig, origin, base: `http://${HOST}:${origin.port}` };
}

const post = (base: string, fields: string, body: string, version = '1.1'): string =>
  `POST ${base}/ HTTP/${version}\r\nHost: x\r\n${fields}\r\n${body}`;

describe('a request head with ambiguous framing', () => {
  it.each(AMBIGUOUS_HEADS)('is refused: %s', async (_, fields, version) => {
    const w = await world();
    const client = await w.rig.send(post(w.base, fields, AMBIGUOUS_BODY, version));
    expect((await client.readResponse()).status).toBe(400);
    expect(w.origin.connections()).toBe(0);
    expect(w.rig.recorder.allDecided).toHaveLength(1);
    expect(w.rig.recorder.allDecided[0]).toMatchObject({ verdict: 'deny' });
    expect(w.rig.recorder.allEnded).toHaveLength(0);
    await eventually(() => w.rig.slots.open === 0 || client.state === 'ended', 'the connection is closed');
  });
});

describe('a chunked upload that is malformed', () => {
  it.each(MALFORMED_CHUNKS)('is cut, never completed: %s', async (_, body) => {
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

  it.each(MALFORMED_CHUNKS)('reaches nothing where that is known before the name is resolved: %s', async (_, body) => {
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
