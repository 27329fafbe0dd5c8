// Requests on an inspected HTTP/1.1 connection: each is checked, decided and recorded anew; nothing of one is taken for another.
import type http from 'node:http';
import { describe, expect, it } from 'vitest';
import { startOrigin } from '../support/origin.ts';
import { RawClient } from '../support/raw-client.ts';
import {
  HOST,
  hostCertificate,
  httpsOrigin,
  request,
  type Stage,
  type StageOptions,
  stageFor,
} from './inspected-support.ts';
import { AMBIGUOUS_BODY, AMBIGUOUS_HEADS, CHUNKED, MALFORMED_CHUNKS, SMUGGLED } from './smuggling-cases.ts';
import { atEnd, eventually } from './support.ts';

const hello: http.RequestListener = (req, res) => void res.end(`${req.method} ${req.url}`);
const RULE = 'allow: [{ path: "/acme/**", methods: [GET, POST] }], deny: [{ path: "/acme/secret" }]';

/** An origin whose every decrypted byte the test reads and writes. */
async function rawTlsOrigin(
  options: StageOptions = {},
): Promise<{ stage: Stage; peers: RawClient[]; peer(nth?: number): Promise<RawClient> }> {
  const peers: RawClient[] = [];
  const origin = await startOrigin((socket) => void peers.push(RawClient.of(socket)), { tls: hostCertificate() });
  atEnd(() => origin.close());
  const stage = await stageFor(origin, options);
  const peer = async (nth = 1): Promise<RawClient> => {
    await eventually(() => peers.length >= nth, 'the origin has the connection');
    return peers[nth - 1]!;
  };
  return { stage, peers, peer };
}

describe('a request', () => {
  it('that the rule does not let through is a 403 with code, hint and id, and the connection goes on', async () => {
    const origin = await httpsOrigin(hello);
    const { client, target, rig } = await stageFor(origin, { rule: RULE });
    const one = await client();
    one.send(request(target, '/evil'));
    const refused = await one.readResponse();
    expect(refused).toMatchObject({ status: 403, reason: 'request-not-allowed' });
    expect(refused.headers).toMatchObject({ 'sallyport-request-id': 'r2', 'sallyport-code': 'request-not-allowed' });
    expect(refused.headers['connection']).not.toBe('close');
    expect(refused.body).toContain('hint:');
    one.send(request(target, '/acme/a'));
    expect(await one.readResponse()).toMatchObject({ status: 200, body: 'GET /acme/a' });
    one.send(request(target, '/acme/secret', 'Accept: application/json\r\n'));
    expect(JSON.parse((await one.readResponse()).body)).toMatchObject({ code: 'request-denied', request_id: 'r4' });
    one.send(request(target, '/acme/../evil'));
    expect((await one.readResponse()).reason).toBe('request-ambiguous');
    one.send(request(target, '/acme/b', '', 'DELETE'));
    expect((await one.readResponse()).reason).toBe('request-not-allowed');
    expect(rig.recorder.allDecided.slice(1)).toMatchObject([
      { verdict: 'deny', reason: 'request-not-allowed', outcome: 'request-not-allowed', tunnel: 'r1', path: '/evil' },
      { verdict: 'allow', reason: 'allowed', tunnel: 'r1', path: '/acme/a', line: expect.stringContaining('.yaml:') },
      { verdict: 'deny', reason: 'request-denied' },
      { verdict: 'deny', reason: 'request-ambiguous' },
      { verdict: 'deny', reason: 'request-not-allowed', method: 'DELETE' },
    ]);
  });

  it('with a body that is refused closes behind its answer', async () => {
    const origin = await httpsOrigin(hello);
    const { client, target } = await stageFor(origin, { rule: RULE });
    const one = await client();
    one.send(`${request(target, '/evil', 'Content-Length: 5\r\n', 'POST')}hello`);
    const refused = await one.readResponse();
    expect(refused).toMatchObject({ status: 403, headers: { connection: 'close' } });
    await one.readAll();
    expect(one.state).not.toBe('open');
  });

  it('is decided by the policy in force when it comes', async () => {
    const origin = await httpsOrigin(hello);
    const { client, target, rig, ca, port } = await stageFor(origin, { rule: RULE });
    const one = await client();
    one.send(request(target, '/acme/a'));
    expect((await one.readResponse()).status).toBe(200);
    rig.swapPolicy(
      [
        `inspection: { ca: { cert: ${ca.cert}, key: ${ca.key} } }`,
        `allow: [{ host: ${HOST}, ports: [${port}], addresses: [127.0.0.0/8], inspect: true, allow: [{ path: /other }] }]`,
      ].join('\n'),
    );
    one.send(request(target, '/acme/a'));
    expect((await one.readResponse()).reason).toBe('request-not-allowed');
    rig.swapPolicy('allow: [elsewhere.test]');
    one.send(request(target, '/other'));
    expect((await one.readResponse()).reason).toBe('host-not-allowed');
  });

  it('that is against the rule passes as observed where the mode is observe', async () => {
    const origin = await httpsOrigin(hello);
    const { client, target, rig } = await stageFor(origin, { rule: `${RULE}, mode: observe` });
    const one = await client();
    one.send(request(target, '/evil'));
    expect((await one.readResponse()).body).toBe('GET /evil');
    expect(rig.recorder.allDecided[1]).toMatchObject({
      verdict: 'observe',
      reason: 'request-not-allowed',
      path: '/evil',
    });
  });

  it('pipelined ones are decided and answered in order', async () => {
    const origin = await httpsOrigin(hello);
    const { client, target } = await stageFor(origin, { rule: RULE });
    const one = await client();
    one.send(request(target, '/acme/1') + request(target, '/evil') + request(target, '/acme/3'));
    expect((await one.readResponse()).body).toBe('GET /acme/1');
    expect((await one.readResponse()).status).toBe(403);
    expect((await one.readResponse()).body).toBe('GET /acme/3');
  });

  it.each<[string, (target: string) => string, number, string]>([
    ['another host', () => request('evil.test'), 421, 'authority-mismatch'],
    ['another port', () => request(`${HOST}:1`), 421, 'authority-mismatch'],
    ['the default port, which it is not', () => request(HOST), 421, 'authority-mismatch'],
    ['a name below it', (target) => request(`x.${target}`), 421, 'authority-mismatch'],
    ['no host', () => 'GET /acme/a HTTP/1.1\r\n\r\n', 400, 'host-header'],
    ['two hosts', (target) => request(target, '/acme/a', `Host: ${target}\r\n`), 400, 'host-header'],
    ['an empty host', () => request(''), 400, 'host-header'],
    ['a host with user information', (target) => request(`a@${target}`), 400, 'host-header'],
    ['an absolute target', (target) => request(target, `https://${target}/acme/a`), 400, 'target-malformed'],
    [
      'an absolute target of another host',
      (target) => request(target, 'http://evil.test/acme/a'),
      400,
      'target-malformed',
    ],
    ['CONNECT', (target) => `CONNECT evil.test:443 HTTP/1.1\r\nHost: ${target}\r\n\r\n`, 405, 'method-not-allowed'],
    ['TRACE', (target) => request(target, '/acme/a', '', 'TRACE'), 405, 'method-not-allowed'],
    ['HTTP/2.0', (target) => `GET /acme/a HTTP/2.0\r\nHost: ${target}\r\n\r\n`, 400, 'http-version'],
    ['an unknown method', (target) => request(target, '/acme/a', '', 'FOO'), 405, 'method-not-allowed'],
  ])('with %s never reaches the origin', async (_, bytes, status, reason) => {
    const { stage, peers } = await rawTlsOrigin({ rule: RULE });
    const one = await stage.client();
    one.send(bytes(stage.target));
    expect(await one.readResponse()).toMatchObject({ status, reason });
    one.close();
    await stage.rig.recorder.endedAt(1);
    expect(stage.rig.recorder.allDecided).toHaveLength(2);
    expect(stage.rig.recorder.allDecided[1]).toMatchObject({ verdict: 'deny', reason, host: HOST });
    for (const peer of peers) expect((await peer.readAll()).length).toBe(0);
  });

  it('goes on without what belongs to the hop, with Host and Via, and with credentials of the origin', async () => {
    const { stage, peer } = await rawTlsOrigin();
    const one = await stage.client();
    const fields = [
      'Authorization: Basic c2VjcmV0',
      'Proxy-Authorization: Basic eA==',
      'TE: trailers',
      'X-A: b',
      'Connection: X-A',
    ];
    one.send(request(stage.target, '/a?b=c', `${fields.join('\r\n')}\r\n`));
    const head = (await (await peer()).readUntil('\r\n\r\n')).toString();
    expect(head).toMatch(/^GET \/a\?b=c HTTP\/1\.1\r\n/);
    expect(head).toContain(`Host: ${stage.target}`);
    expect(head).toContain('Authorization: Basic c2VjcmV0');
    expect(head).toContain('Via: 1.1 sallyport');
    expect(head).not.toMatch(/proxy-authorization|x-a|te: /i);
  });

  it('finds the origin again where that has closed the connection between two', async () => {
    const origin = await httpsOrigin((req, res) => {
      res.setHeader('Connection', 'close');
      res.end(req.url);
    });
    const { client, target } = await stageFor(origin);
    const one = await client();
    for (const path of ['/1', '/2', '/3']) {
      one.send(request(target, path));
      expect((await one.readResponse()).body).toBe(path);
    }
    expect(origin.connections()).toBe(3);
  });

  it('an upload of a megabyte and a chunked answer pass whole, and are counted', async () => {
    const origin = await httpsOrigin((req, res) => void req.pipe(res));
    const { client, target, rig } = await stageFor(origin);
    const one = await client();
    const body = Buffer.alloc(1_048_576, 'abcdefgh');
    one.send(request(target, '/', `Content-Length: ${body.length}\r\nConnection: close\r\n`, 'POST'));
    one.send(body);
    const head = await one.readHead();
    expect(head.headers['transfer-encoding']).toBe('chunked');
    await one.readAll();
    expect(await rig.recorder.endedAt(1)).toMatchObject({
      bytes_up: body.length,
      bytes_down: body.length,
      outcome: 'closed',
    });
  });
});

describe('budgets', () => {
  const UPLOAD = 'allow: [{ path: "/**", methods: any }], max_upload_mb: 1';
  const half = 'x'.repeat(600_000);

  it('an upload beyond max_upload_mb is cut and recorded, over all requests and connections of the asker', async () => {
    const got: number[] = [];
    const origin = await httpsOrigin((req, res) => {
      let bytes = 0;
      req.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
      });
      req.on('end', () => res.end(`${bytes}`));
      req.on('close', () => void got.push(bytes));
    });
    const { client, target, rig } = await stageFor(origin, { rule: UPLOAD });
    const one = await client();
    one.send(`${request(target, '/1', `Content-Length: ${half.length}\r\n`, 'POST')}${half}`);
    expect((await one.readResponse()).body).toBe(`${half.length}`);
    const two = await client();
    two.send(`${request(target, '/2', CHUNKED, 'POST')}${half.length.toString(16)}\r\n${half}\r\n`);
    expect(await two.readResponse()).toMatchObject({ status: 413, reason: 'upload-budget' });
    expect(await rig.recorder.endedAt(2)).toMatchObject({ path: '/2', outcome: 'upload-budget' });
    await eventually(() => got.length === 2, 'the origin has seen both end');
    expect(got[0]).toBe(half.length);
    expect(got[1]! + half.length).toBeLessThanOrEqual(1_048_576);
  });

  it('a length that can never pass is refused before a byte goes on', async () => {
    const { stage, peers } = await rawTlsOrigin({ rule: UPLOAD });
    const one = await stage.client();
    one.send(request(stage.target, '/', 'Content-Length: 1048577\r\nExpect: 100-continue\r\n', 'PUT'));
    expect(await one.readResponse()).toMatchObject({ status: 413, reason: 'upload-budget' });
    one.close();
    await stage.rig.recorder.endedAt(2);
    for (const peer of peers) expect((await peer.readAll()).length).toBe(0);
  });

  it('a response beyond max_response_mb is a 502 where it says so, and visibly broken where it does not', async () => {
    const body = Buffer.alloc(1_200_000, 'y');
    const origin = await httpsOrigin((req, res) => {
      if (req.url === '/same') res.statusCode = 304;
      if (req.url === '/chunks') res.write('begin');
      else res.setHeader('Content-Length', body.length);
      res.end(req.method === 'HEAD' || req.url === '/same' ? undefined : body);
    });
    const { client, target, rig } = await stageFor(origin, { rule: 'allow: [{ path: "/**" }], max_response_mb: 1' });
    const one = await client();
    one.send(request(target, '/length'));
    expect(await one.readResponse()).toMatchObject({ status: 502, reason: 'response-too-large' });
    // These say the length of another answer.
    for (const [path, method, status] of [
      ['/length', 'HEAD', 200],
      ['/same', 'GET', 304],
    ] as const) {
      const head = await client();
      head.send(request(target, path, '', method));
      expect((await head.readHead()).status).toBe(status);
    }
    const two = await client();
    two.send(request(target, '/chunks'));
    expect((await two.readHead()).status).toBe(200);
    const rest = (await two.readAll()).toString('latin1');
    expect(rest).not.toMatch(/\r\n0\r\n\r\n$/);
    const ends = () => rig.recorder.allEnded.filter(({ outcome }) => outcome === 'response-too-large');
    await eventually(() => ends().length === 2, 'both are recorded');
    expect(ends()[1]!.bytes_down).toBeLessThanOrEqual(1_048_576);
  });
});

describe('a WebSocket', () => {
  const UPGRADE = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n';

  it('is refused unless the rule has it', async () => {
    const { stage, peers } = await rawTlsOrigin();
    const one = await stage.client();
    one.send(request(stage.target, '/ws', UPGRADE));
    expect(await one.readResponse()).toMatchObject({ status: 403, reason: 'request-not-allowed' });
    one.close();
    await stage.rig.recorder.endedAt(1);
    for (const peer of peers) expect((await peer.readAll()).length).toBe(0);
  });

  it('of a rule that has it becomes a tunnel, counted, listed and cut like others', async () => {
    const { stage, peer } = await rawTlsOrigin({ rule: 'allow: [{ path: "/ws" }], websocket: true' });
    const one = await stage.client();
    one.send(request(stage.target, '/ws', UPGRADE));
    const origin = await peer();
    expect((await origin.readUntil('\r\n\r\n')).toString()).toContain('Upgrade: websocket');
    origin.send('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly');
    expect(await one.readHead()).toMatchObject({ status: 101 });
    expect((await one.read(5)).toString()).toBe('early');
    one.send('hello');
    expect((await origin.read(5)).toString()).toBe('hello');
    const { rig } = stage;
    expect(rig.ctx.open.size).toBe(2);
    rig.ctx.open.get('r2')?.cut('killed');
    expect(await rig.recorder.endedAt(1)).toMatchObject({ path: '/ws', outcome: 'killed', bytes_up: 5, bytes_down: 5 });
    await one.readAll();
    await origin.readAll();
    expect(await rig.recorder.endedAt(2)).toMatchObject({ method: 'CONNECT' });
    await eventually(() => rig.engine.load === 0 && rig.slots.open === 0, 'nothing counts any more');
  });
});

describe('on the decrypted side', () => {
  const post = (target: string, fields: string, body: string, version = '1.1'): string =>
    `POST / HTTP/${version}\r\nHost: ${target}\r\n${fields}\r\n${body}`;

  it.each(AMBIGUOUS_HEADS)('ambiguous framing is refused: %s', async (_, fields, version) => {
    const { stage, peers } = await rawTlsOrigin();
    const one = await stage.client();
    one.send(post(stage.target, fields, AMBIGUOUS_BODY, version));
    expect((await one.readResponse()).status).toBe(400);
    await one.readAll();
    one.close();
    await stage.rig.recorder.endedAt(1);
    expect(stage.rig.recorder.allDecided).toHaveLength(2);
    expect(stage.rig.recorder.allDecided[1]).toMatchObject({ verdict: 'deny' });
    for (const peer of peers) expect((await peer.readAll()).length).toBe(0);
  });

  it.each(MALFORMED_CHUNKS)('a malformed chunk cuts the upload, never completes it: %s', async (_, body) => {
    const { stage, peer } = await rawTlsOrigin();
    const one = await stage.client();
    one.send(post(stage.target, CHUNKED, '3\r\nabc\r\n'));
    const origin = await peer();
    await origin.readUntil('3\r\nabc\r\n');
    one.send(body + SMUGGLED);
    expect(await one.readResponse()).toMatchObject({ status: 400, reason: 'request-malformed' });
    expect(await stage.rig.recorder.endedAt(1)).toMatchObject({ verdict: 'allow', outcome: 'request-malformed' });
    const rest = (await origin.readAll()).toString('latin1');
    expect(rest).not.toContain('smuggled');
    expect(rest).not.toMatch(/^0\r\n/m);
  });

  it.each([
    ['both lengths', 'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n'],
    ['two lengths', 'Content-Length: 5\r\nContent-Length: 6\r\n'],
    ['no HTTP', null],
  ])('an answer with %s is a 502, and nothing of it goes on', async (_, fields) => {
    const { stage, peer } = await rawTlsOrigin();
    const one = await stage.client();
    one.send(request(stage.target));
    const origin = await peer();
    await origin.readUntil('\r\n\r\n');
    origin.send(fields === null ? '220 hello\r\n' : `HTTP/1.1 200 OK\r\n${fields}\r\nhello`);
    expect(await one.readResponse()).toMatchObject({ status: 502, reason: 'upstream-malformed' });
  });

  it('too many requests that wait close the connection, and leave a record', async () => {
    const origin = await httpsOrigin(() => {});
    const { client, target, rig } = await stageFor(origin, { limits: { waiting_requests_max: 2 } });
    const one = await client();
    one.send(request(target, '/0').repeat(4));
    await one.readAll();
    expect(rig.meter.hits.get('waiting_requests_max')).toBe(1);
    await rig.recorder.endedAt(2);
    expect(rig.recorder.allDecided.filter(({ reason }) => reason === 'request-malformed')).toHaveLength(1);
    expect(rig.recorder.allDecided).toHaveLength(3);
  });
});
