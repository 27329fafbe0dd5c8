// Plain HTTP forwarding with raw bytes at both ends: what the origin sees of a request, connections that are kept, and bodies
// (docs/threat-model.md, "Plain HTTP"). Smuggling and hostile origins have files of their own.
import { describe, expect, it } from 'vitest';
import { startHttpOrigin } from '../support/origin.ts';
import type { RawClient } from '../support/raw-client.ts';
import { Pattern } from './pattern.ts';
import { allowing, atEnd, eventually, type RawOrigin, type Rig, rawOrigin, startRig, turns } from './support.ts';

const HOST = 'web.test';
const NAMES = { [HOST]: ['127.0.0.1'], 'other.test': ['127.0.0.1'] };
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

interface World {
  readonly rig: Rig;
  readonly origin: RawOrigin;
  readonly base: string;
  readonly host: string;
}

async function world(limits: Record<string, number> = {}, extra = ''): Promise<World> {
  const origin = await rawOrigin();
  const rig = await startRig({ policy: allowing(HOST, origin.port, 'http') + extra, names: NAMES, limits });
  return { rig, origin, base: `http://${HOST}:${origin.port}`, host: `${HOST}:${origin.port}` };
}

const get = (url: string, fields = ''): string => `GET ${url} HTTP/1.1\r\nHost: x\r\n${fields}\r\n`;

/** The next request head at the origin, as lines. */
async function headAt(peer: RawClient): Promise<string[]> {
  return (await peer.readUntil('\r\n\r\n')).toString('latin1').slice(0, -4).split('\r\n');
}

describe('the request at the origin', () => {
  it('is in origin-form, with the Host of the URL and without what belongs to the hop', async () => {
    const w = await world();
    const client = await w.rig.send(
      `GET ${w.base}/a?b=c HTTP/1.1\r\nHost: denied.test\r\nAccept: a/b\r\nX-Twice: 1\r\nX-Twice: 2\r\n` +
        'Proxy-Authorization: Basic am9iOg==\r\nProxy-Connection: keep-alive\r\nKeep-Alive: timeout=9\r\nTE: trailers\r\n' +
        'Connection: close, X-Listed, Accept-Charset\r\nX-Listed: secret\r\naccept-charset: x\r\nTrailer: T\r\nAuthorization: Bearer abc\r\n\r\n',
    );
    const peer = await w.origin.peer();
    const lines = await headAt(peer);
    expect(lines[0]).toBe('GET /a?b=c HTTP/1.1');
    expect(lines.slice(1).toSorted()).toEqual(
      [
        `Host: ${w.host}`,
        'Accept: a/b',
        'X-Twice: 1',
        'X-Twice: 2',
        'Authorization: Bearer abc',
        'Via: 1.1 sallyport',
        'Connection: keep-alive',
      ].toSorted(),
    );
    peer.send(
      'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nX-End: 2\r\n\r\nok',
    );
    const response = await client.readResponse();
    expect(response).toMatchObject({ status: 200, reason: 'OK', body: 'ok' });
    expect(Object.keys(response.headers).toSorted()).toEqual(['connection', 'content-length', 'via', 'x-end']);
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({
      verdict: 'allow',
      outcome: 'closed',
      status: 200,
      bytes_up: 0,
      bytes_down: 2,
      address: `127.0.0.1:${w.origin.port}`,
    });
    expect(w.rig.recorder.allDecided).toHaveLength(1);
  });

  it.each([
    '/',
    '//a',
    '//host/x',
    '/a/../b',
    '/%2e%2e/x',
    '/a%2Fb',
    '/?q',
    '/?',
    '/a?b=http://denied.test/',
    '/;x=1',
    '/a//b/./c',
  ])('has the raw path %s', async (path) => {
    const w = await world();
    await w.rig.send(get(`${w.base}${path}`));
    expect((await headAt(await w.origin.peer()))[0]).toBe(`GET ${path} HTTP/1.1`);
  });

  it.each([
    ['', '/'],
    ['?q=1', '/?q=1'],
  ])('has a path where the URL has none: %j', async (rest, path) => {
    const w = await world();
    await w.rig.send(get(`${w.base}${rest}`));
    expect((await headAt(await w.origin.peer()))[0]).toBe(`GET ${path} HTTP/1.1`);
  });

  it('has a name with the case of the allowlist, and keeps bytes of 0x80 and above in fields both ways', async () => {
    const w = await world();
    const client = await w.rig.send(get(`HTTP://WEB.Test:${w.origin.port}/`, 'X-Latin: caf\xe9\r\n'));
    const peer = await w.origin.peer();
    const lines = await headAt(peer);
    expect(lines).toContain(`Host: ${w.host}`);
    expect(lines).toContain('X-Latin: caf\xe9');
    peer.send('HTTP/1.1 200 Tr\xe8s bien\r\nX-Latin: \xfc\xff\r\nContent-Length: 0\r\n\r\n');
    expect(await client.readHead()).toMatchObject({ reason: 'Tr\xe8s bien', headers: { 'x-latin': '\xfc\xff' } });
  });

  it.each([
    'Content-Length: 1\r\n\r\nx',
    'Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n',
    'Expect: 100-continue\r\n\r\n',
  ])('keeps such bytes where the head goes ahead: %j', async (rest) => {
    const w = await world();
    await w.rig.send(`POST ${w.base}/ HTTP/1.1\r\nHost: x\r\nX-Latin: caf\xe9\r\n${rest}`);
    expect(await headAt(await w.origin.peer())).toContain('X-Latin: caf\xe9');
  });

  it.each(['POST', 'PUT', 'PATCH', 'PROPFIND'])('says of a %s without body that it has none', async (method) => {
    const w = await world();
    await w.rig.send(`${method} ${w.base}/ HTTP/1.1\r\nHost: x\r\n\r\n`);
    const lines = (await headAt(await w.origin.peer())).map((line) => line.toLowerCase());
    expect(lines).toContain('content-length: 0');
    expect(lines.some((line) => line.startsWith('transfer-encoding'))).toBe(false);
  });

  it.each(['GET', 'HEAD', 'DELETE', 'OPTIONS'])('says nothing of a body in a %s without one', async (method) => {
    const w = await world();
    await w.rig.send(`${method} ${w.base}/ HTTP/1.1\r\nHost: x\r\n\r\n`);
    const text = (await headAt(await w.origin.peer())).join('\n').toLowerCase();
    expect(text).not.toContain('content-length');
    expect(text).not.toContain('transfer-encoding');
  });
});

describe('what the URL decides', () => {
  it('refuses a denied URL whatever Host says, and the reverse is no matter', async () => {
    const w = await world();
    const client = await w.rig.send(`GET http://denied.test/ HTTP/1.1\r\nHost: ${w.host}\r\n\r\n`);
    expect(await client.readResponse()).toMatchObject({ status: 403, reason: 'host-not-allowed' });
    expect(w.rig.resolver.asked).toEqual([]);
    expect(w.origin.connections()).toBe(0);
  });

  it.each([
    '/',
    '//web.test/',
    '*',
    'file:///etc/passwd',
    'ftp://web.test/',
    'gopher://web.test/',
    'unix:/run/x',
    'https://web.test/',
    'http:/web.test/',
    'http:web.test/',
    'http://user@web.test/',
    'http://web.test@denied.test/',
    'http://denied.test@web.test/',
    'http://web.test\\@denied.test/',
    'http://web.test:/',
    'http://web.test:0/',
    'http://web.test:99999/',
    'http://web.test/#frag',
    'http://2130706433/',
    'http://0x7f.1/',
    'http://[::ffff:127.0.0.1]/',
    'http://127.0.0.1/',
    'http://web%2etest/',
    'http:///',
  ])('refuses %s and dials nothing', async (url) => {
    const w = await world();
    const client = await w.rig.send(get(url));
    expect([400, 403, 405]).toContain((await client.readResponse()).status);
    expect(w.rig.resolver.asked).toEqual([]);
    expect(w.rig.recorder.allDecided).toHaveLength(1);
    expect(w.rig.recorder.allDecided[0]).toMatchObject({ verdict: 'deny' });
    expect(w.rig.recorder.allEnded).toHaveLength(0);
  });

  it('refuses all of it where forwarding is off', async () => {
    const w = await world({}, '\nplain_http: false');
    const client = await w.rig.send(get(`${w.base}/`));
    expect(await client.readResponse()).toMatchObject({ status: 405, reason: 'method-not-allowed' });
    expect(w.origin.connections()).toBe(0);
  });

  it('refuses TRACE', async () => {
    const w = await world();
    const client = await w.rig.send(`TRACE ${w.base}/ HTTP/1.1\r\nHost: x\r\n\r\n`);
    expect((await client.readResponse()).status).toBe(405);
  });
});

describe('connections', () => {
  it('serves three requests on one of each', async () => {
    const w = await world();
    const client = await w.rig.client();
    for (const path of ['/1', '/2', '/3']) {
      client.send(get(`${w.base}${path}`));
      const peer = await w.origin.peer();
      expect((await headAt(peer))[0]).toBe(`GET ${path} HTTP/1.1`);
      peer.send(OK);
      expect((await client.readResponse()).body).toBe('ok');
    }
    await w.rig.recorder.endedAt(3);
    expect(w.origin.connections()).toBe(1);
    expect(w.rig.recorder.allDecided).toHaveLength(3);
  });

  it('never uses one authority’s connection for another, though the address is the same', async () => {
    const w = await world({}, '');
    w.rig.swapPolicy(
      `${allowing(HOST, w.origin.port, 'http')}\n  - { host: other.test, ports: [${w.origin.port}], protocol: http, addresses: [127.0.0.0/8] }`,
    );
    const client = await w.rig.client();
    for (const [nth, name] of [HOST, 'other.test', HOST].entries()) {
      client.send(get(`http://${name}:${w.origin.port}/${nth}`));
      const peer = await w.origin.peer(name === HOST ? 1 : 2);
      expect(await headAt(peer)).toContain(`Host: ${name}:${w.origin.port}`);
      peer.send(OK);
      await client.readResponse();
    }
    expect(w.origin.connections()).toBe(2);
  });

  it('gives up a kept connection that the origin has ended, so that even a POST goes through', async () => {
    const w = await world();
    const client = await w.rig.send(get(`${w.base}/`));
    const first = await w.origin.peer(1);
    await headAt(first);
    first.send(OK);
    await client.readResponse();
    first.end();
    await first.readAll();
    client.send(`POST ${w.base}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody`);
    const second = await w.origin.peer(2);
    await headAt(second);
    expect((await second.read(4)).toString()).toBe('body');
    second.send(OK);
    expect((await client.readResponse()).status).toBe(200);
  });

  it.each([
    ['GET', '', 2, 200],
    ['HEAD', '', 2, 200],
    ['POST', 'Content-Length: 0\r\n', 1, 502],
    ['DELETE', '', 1, 502],
  ])(
    'sends a %s once more where a kept connection breaks under it, and nothing with an effect',
    async (method, fields, connections, status) => {
      const w = await world();
      const client = await w.rig.send(get(`${w.base}/`));
      const first = await w.origin.peer(1);
      await headAt(first);
      first.send(OK);
      await client.readResponse();
      client.send(`${method} ${w.base}/again HTTP/1.1\r\nHost: x\r\n${fields}\r\n`);
      await headAt(first);
      first.socket.resetAndDestroy();
      if (connections === 2) {
        const second = await w.origin.peer(2);
        expect((await headAt(second))[0]).toBe(`${method} /again HTTP/1.1`);
        second.send('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
      }
      expect((await client.readHead()).status).toBe(status);
      expect(w.origin.connections()).toBe(connections);
      expect(await w.rig.recorder.endedAt(2)).toMatchObject({ outcome: status === 200 ? 'closed' : 'upstream-closed' });
    },
  );

  it('does not send a GET again whose fresh connection breaks', async () => {
    const w = await world();
    const client = await w.rig.send(get(`${w.base}/`));
    const peer = await w.origin.peer();
    await headAt(peer);
    peer.socket.resetAndDestroy();
    expect(await client.readResponse()).toMatchObject({ status: 502, reason: 'upstream-closed' });
    expect(w.origin.connections()).toBe(1);
  });
});

describe('bodies and versions', () => {
  it.each([
    ['HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n', '5000'],
    ['GET', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nETag: "x"\r\n\r\n', '77'],
    ['GET', 'HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n', undefined],
    ['GET', 'HTTP/1.1 204 No Content\r\n\r\n', undefined],
  ])('passes a %s whose response has no body (%j) and serves the next request', async (method, response, length) => {
    const w = await world();
    const client = await w.rig.send(`${method} ${w.base}/ HTTP/1.1\r\nHost: x\r\n\r\n`);
    const peer = await w.origin.peer();
    await headAt(peer);
    peer.send(response);
    const head = await client.readHead();
    expect(head.headers['content-length']).toBe(length);
    expect(head.headers['transfer-encoding']).toBeUndefined();
    client.send(get(`${w.base}/next`));
    const again = await (w.origin.connections() > 1 ? w.origin.peer(2) : w.origin.peer(1));
    expect((await headAt(again))[0]).toBe('GET /next HTTP/1.1');
    again.send(OK);
    expect((await client.readResponse()).body).toBe('ok');
  });

  it('gives an HTTP/1.0 client a chunked response without chunks, whole, and closes', async () => {
    const w = await world();
    const client = await w.rig.send(`GET ${w.base}/ HTTP/1.0\r\n\r\n`);
    const peer = await w.origin.peer();
    expect((await headAt(peer))[0]).toBe('GET / HTTP/1.1');
    peer.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n there\r\n0\r\n\r\n');
    const response = await client.readResponse();
    expect(response).toMatchObject({ status: 200, body: 'hello there' });
    expect(response.headers['transfer-encoding']).toBeUndefined();
    expect(client.state).toBe('ended');
  });

  it('gives an HTTP/1.1 client a close-delimited response in chunks, and keeps its connection', async () => {
    const w = await world();
    const client = await w.rig.send(get(`${w.base}/`));
    const peer = await w.origin.peer();
    await headAt(peer);
    peer.send('HTTP/1.0 200 OK\r\n\r\nuntil the end');
    peer.end();
    const head = await client.readHead();
    expect(head.headers['transfer-encoding']).toBe('chunked');
    expect((await client.readUntil('0\r\n\r\n')).toString()).toContain('until the end');
    expect(client.state).toBe('open');
  });

  it('passes a chunked upload and a chunked download of megabytes byte-exact through slow ends', async () => {
    const up = new Pattern(1).slice(0, 3_000_000);
    const down = new Pattern(2).slice(0, 3_000_000);
    let got = Buffer.alloc(0);
    const origin = await startHttpOrigin((req, res) => {
      const parts: Buffer[] = [];
      req.on('data', (chunk: Buffer) => {
        parts.push(chunk);
        req.pause();
        setImmediate(() => req.resume());
      });
      req.on('end', () => {
        got = Buffer.concat(parts);
        for (let at = 0; at < down.length; at += 100_000) res.write(down.subarray(at, at + 100_000));
        res.end();
      });
    });
    atEnd(() => origin.close());
    const rig = await startRig({ policy: allowing(HOST, origin.port, 'http'), names: NAMES });
    const client = await rig.send(
      `POST http://${HOST}:${origin.port}/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n`,
    );
    for (let at = 0; at < up.length; at += 60_001) {
      const piece = up.subarray(at, at + 60_001);
      client.send(`${piece.length.toString(16)}\r\n`);
      client.send(piece);
      client.send('\r\n');
    }
    client.send('0\r\n\r\n');
    const head = await client.readHead();
    expect(head.headers['transfer-encoding']).toBe('chunked');
    const parts: Buffer[] = [];
    for (;;) {
      const size = Number.parseInt((await client.readUntil('\r\n')).toString(), 16);
      if (size === 0) break;
      parts.push(Buffer.from(await client.read(size)));
      await client.read(2);
      await turns(1);
    }
    expect(Buffer.concat(parts).equals(down)).toBe(true);
    expect(got.equals(up)).toBe(true);
    expect(await rig.recorder.endedAt(1)).toMatchObject({
      outcome: 'closed',
      bytes_up: up.length,
      bytes_down: down.length,
    });
  });

  it('slows an origin whose client does not read', async () => {
    const w = await world();
    const client = await w.rig.send(get(`${w.base}/`));
    client.socket.pause();
    const peer = await w.origin.peer();
    await headAt(peer);
    peer.send('HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n');
    let sent = 0;
    for (let still = 0; still < 200; still++) {
      if (!peer.socket.writableNeedDrain) {
        peer.socket.write(Buffer.alloc(1_000_000));
        sent += 1_000_000;
        still = 0;
      }
      expect(sent).toBeLessThan(40_000_000);
      await turns(1);
    }
    client.close();
    await eventually(() => peer.state !== 'open', 'the origin’s connection is freed');
    expect(await w.rig.recorder.endedAt(1)).toMatchObject({ outcome: 'client-gone', status: 200 });
  });
});
