// HTTP/2 on inspected connections, between Node's client and Node's server, with each stream decided by itself.
import http2 from 'node:http2';
import type tls from 'node:tls';
import { describe, expect, it } from 'vitest';
import { hasProgram } from '../support/programs.ts';
import { run } from '../support/proxy-process.ts';
import { FLAG, FRAME, type Frame, fields, frame, requestFields, resetFrame } from '../support/raw-http2.ts';
import { ask, echo, http2Stage, NO_WINDOW, rawStage } from './inspected-http2-support.ts';
import { HOST } from './inspected-support.ts';
import { atEnd, ENGINES, eventually, turns } from './support.ts';

const RULE = 'allow: [{ path: "/acme/**", methods: [GET, POST] }]';

describe.each(ENGINES)('on the $name engine', ({ make: engine }) => {
  it('streams go through, each with its own records', async () => {
    const { session, target, rig, sessions } = await http2Stage(echo, { engine });
    const one = await session();
    const answers = await Promise.all(
      ['/a', '/b', '/c'].map((path) => ask(one, { ':path': path, ':method': 'POST' }, { body: `body of ${path}` })),
    );
    expect(answers.map(({ body }) => body)).toEqual(['body of /a', 'body of /b', 'body of /c']);
    expect(answers[0]?.headers).toMatchObject({ 'x-path': '/a', 'x-authority': target, via: '2.0 sallyport' });
    expect(sessions).toHaveLength(1);
    one.close();
    await rig.recorder.endedAt(4);
    expect(rig.recorder.allEnded).toHaveLength(4);
    expect(rig.recorder.allEnded.filter(({ tunnel }) => tunnel === 'r1')).toMatchObject(
      Array.from({ length: 3 }, () => ({
        method: 'POST',
        outcome: 'closed',
        status: 200,
        bytes_up: 10,
        bytes_down: 10,
      })),
    );
    await eventually(() => rig.engine.load === 0 && rig.slots.open === 0, 'it counts no more');
  });
});

describe('a stream', () => {
  it('that the rule does not let through is a 403 on its own; the others go on', async () => {
    const { session, rig } = await http2Stage(echo, { rule: RULE });
    const one = await session();
    const [good, bad] = await Promise.all([
      ask(one, { ':path': '/acme/a' }),
      ask(one, { ':path': '/evil', accept: 'application/json' }),
    ]);
    expect(good.status).toBe(200);
    expect(bad).toMatchObject({ status: 403, headers: { 'sallyport-code': 'request-not-allowed' } });
    expect(JSON.parse(bad.body)).toMatchObject({ code: 'request-not-allowed', host: HOST });
    expect((await ask(one, { ':path': '/acme/../x' })).headers['sallyport-code']).toBe('request-ambiguous');
    expect((await ask(one, { ':path': '/acme/b' })).status).toBe(200);
    expect(rig.recorder.allDecided.filter(({ verdict }) => verdict === 'deny')).toHaveLength(2);
  });

  it.each<[string, http2.OutgoingHttpHeaders, number, string]>([
    ['another authority', { ':authority': 'evil.test' }, 421, 'authority-mismatch'],
    ['a name below it', { ':authority': `x.${HOST}` }, 421, 'authority-mismatch'],
    ['a malformed authority', { ':authority': `${HOST}:99999` }, 400, 'host-header'],
    ['http as its scheme', { ':scheme': 'http' }, 400, 'target-malformed'],
    ['TRACE', { ':method': 'TRACE' }, 405, 'method-not-allowed'],
    ['TRACE in another case', { ':method': 'Trace' }, 405, 'method-not-allowed'],
    // Node's client would make a tunnel of CONNECT in capitals.
    ['CONNECT in another case', { ':method': 'connect' }, 405, 'method-not-allowed'],
    ['a method in small letters', { ':method': 'get' }, 405, 'method-not-allowed'],
    ['a method that no rule can name', { ':method': 'GET_' }, 405, 'method-not-allowed'],
  ])('with %s never reaches the origin', async (_, headers, status, code) => {
    const seen: unknown[] = [];
    const { session, rig } = await http2Stage((stream, got) => {
      seen.push(got);
      stream.respond({ ':status': 200 }, { endStream: true });
    });
    const one = await session();
    const answer = await ask(one, { ':path': '/', ...headers });
    expect(answer).toMatchObject({ status, headers: { 'sallyport-code': code } });
    expect(rig.recorder.allDecided[1]).toMatchObject({ verdict: 'deny', reason: code, tunnel: 'r1' });
    expect((await ask(one, { ':path': '/good' })).status).toBe(200);
    expect(seen).toHaveLength(1);
  });

  it('is for the host as we write it, however the client did', async () => {
    const { session, target } = await http2Stage(echo);
    const answer = await ask(await session(), { ':path': '/', ':authority': target.toUpperCase() });
    expect(answer.headers['x-authority']).toBe(target);
  });

  it('carries trailers both ways, as gRPC needs them, and te: trailers', async () => {
    let sent: http2.IncomingHttpHeaders = {};
    const { session } = await http2Stage((stream, headers) => {
      expect(headers['te']).toBe('trailers');
      stream.on('trailers', (trailers) => {
        sent = trailers;
      });
      stream.resume();
      stream.on('end', () => {
        stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
        stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '5', 'grpc-message': 'gone' }));
        stream.end('message');
      });
    });
    const answer = await ask(
      await session(),
      { ':path': '/pkg.Service/Call', ':method': 'POST', te: 'trailers' },
      { body: 'request', trailers: { 'x-checksum': 'abc' } },
    );
    expect(answer).toMatchObject({
      status: 200,
      body: 'message',
      trailers: { 'grpc-status': '5', 'grpc-message': 'gone' },
    });
    expect(sent).toMatchObject({ 'x-checksum': 'abc' });
  });

  it('passes an answer of trailers alone, and a body of megabytes whole', async () => {
    const { session, rig } = await http2Stage((stream, headers) => {
      if (headers[':path'] === '/only')
        return stream.respond({ ':status': 200, 'grpc-status': '0' }, { endStream: true });
      echo(stream, headers);
    });
    const one = await session();
    expect(await ask(one, { ':path': '/only' })).toMatchObject({ status: 200, headers: { 'grpc-status': '0' } });
    const body = 'abcdefgh'.repeat(500_000);
    expect((await ask(one, { ':path': '/big', ':method': 'POST' }, { body })).body).toBe(body);
    await eventually(() => rig.recorder.allEnded.length === 2, 'both have ended');
    expect(rig.recorder.allEnded[1]).toMatchObject({ bytes_up: body.length, bytes_down: body.length });
  });

  it('that the origin resets is reset with its code, or a 502 before its answer', async () => {
    const { session } = await http2Stage((stream) => {
      setImmediate(() => stream.close(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM));
    });
    expect(await ask(await session(), { ':path': '/early' })).toMatchObject({
      status: 502,
      headers: { 'sallyport-code': 'upstream-closed' },
    });
    const { raw, rig, target, seen, heard, peers } = await rawStage();
    raw.write(frame(FRAME.headers, FLAG.endHeaders | FLAG.endStream, 1, requestFields(target, '/')));
    await eventually(() => seen.frames.some(({ type }) => type === FRAME.headers), 'the origin has the request');
    peers[0]?.write(frame(FRAME.headers, FLAG.endHeaders, 1, fields({ ':status': '200' })));
    peers[0]?.write(frame(FRAME.data, 0, 1, Buffer.from('a part')));
    await eventually(() => heard.frames.some(({ type }) => type === FRAME.data), 'the client has the part');
    peers[0]?.write(resetFrame(1, http2.constants.NGHTTP2_ENHANCE_YOUR_CALM));
    await eventually(() => heard.frames.some(({ type }) => type === FRAME.reset), 'the client is told');
    const reset = heard.frames.find(({ type }) => type === FRAME.reset);
    expect(reset?.payload.readUInt32BE()).toBe(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM);
    expect(heard.frames.filter(({ type, flags }) => type === FRAME.data && (flags & FLAG.endStream) !== 0)).toEqual([]);
    expect(await rig.recorder.endedAt(1)).toMatchObject({ outcome: 'upstream-closed', status: 200 });
  });

  it('that the client cancels is cancelled at the origin, and recorded', async () => {
    const closed: number[] = [];
    const { session, rig } = await http2Stage((stream) => {
      stream.respond({ ':status': 200 });
      stream.write('begin');
      stream.on('close', () => void closed.push(stream.rstCode));
    });
    const one = await session();
    const stream = one.request({ ':path': '/' });
    stream.on('error', () => {});
    await new Promise<void>((resolve) => stream.once('data', () => resolve()));
    stream.close(http2.constants.NGHTTP2_CANCEL);
    await eventually(() => closed.length === 1, 'the origin has it');
    expect(closed).toEqual([http2.constants.NGHTTP2_CANCEL]);
    expect(await rig.recorder.endedAt(1)).toMatchObject({ outcome: 'client-gone', status: 200 });
  });

  it.each([http2.constants.NGHTTP2_NO_ERROR, http2.constants.NGHTTP2_CANCEL])(
    'whose upload is reset (%i) in its midst is never whole at the origin',
    async (code) => {
      const { raw, rig, target, seen } = await rawStage();
      raw.write(frame(FRAME.headers, FLAG.endHeaders, 1, requestFields(target, '/', 'POST')));
      raw.write(frame(FRAME.data, 0, 1, Buffer.from('a part')));
      await eventually(() => seen.frames.some(({ type }) => type === FRAME.data), 'the origin has the part');
      raw.write(resetFrame(1, code));
      expect(await rig.recorder.endedAt(1)).toMatchObject({ outcome: 'client-gone', bytes_up: 6 });
      await eventually(() => seen.frames.some(({ type }) => type === FRAME.reset), 'the origin is told');
      expect(seen.frames.filter(({ type, flags }) => type === FRAME.data && (flags & FLAG.endStream) !== 0)).toEqual(
        [],
      );
    },
  );

  it.each<[string, (peer: tls.TLSSocket | undefined) => void]>([
    ['answers', (peer) => peer?.write(frame(FRAME.headers, FLAG.endHeaders, 1, fields({ ':status': '200' })))],
    ['says 100', (peer) => peer?.write(frame(FRAME.headers, FLAG.endHeaders, 1, fields({ ':status': '100' })))],
    ['resets it', (peer) => peer?.write(resetFrame(1, http2.constants.NGHTTP2_REFUSED_STREAM))],
  ])('that is reset without an error while its upload is held back has ended, though the origin %s', async (_, say) => {
    const { raw, rig, target, seen, heard, peers } = await rawStage({}, NO_WINDOW);
    raw.write(frame(FRAME.headers, FLAG.endHeaders, 1, requestFields(target, '/', 'POST')));
    const acked = ({ type, flags }: Frame): boolean => type === FRAME.settings && (flags & FLAG.ack) !== 0;
    await eventually(() => seen.frames.some(acked), 'the origin takes no body');
    await eventually(() => seen.frames.some(({ type }) => type === FRAME.headers), 'the origin has the request');
    for (let i = 0; i < 4; i += 1) raw.write(frame(FRAME.data, 0, 1, Buffer.alloc(16_000)));
    await eventually(() => (rig.ctx.open.get('r2')?.bytesUp ?? 0) >= 16_000, 'the upload is held back');
    raw.write(resetFrame(1, http2.constants.NGHTTP2_NO_ERROR));
    const pings = () => heard.frames.filter(({ type }) => type === FRAME.ping).length;
    raw.write(frame(FRAME.ping, 0, 0, Buffer.alloc(8)));
    await eventually(() => pings() === 1, 'the reset is read');
    say(peers[0]);
    expect(await rig.recorder.endedAt(1)).toMatchObject({ id: 'r2', outcome: 'client-gone' });
    await turns();
    raw.write(frame(FRAME.ping, 0, 0, Buffer.alloc(8)));
    await eventually(() => pings() === 2, 'the session goes on');
    expect(rig.logText()).not.toContain('failed inside');
  });

  it('that is killed is reset at both ends; a killed CONNECT ends all', async () => {
    const { session, rig } = await http2Stage((stream) => stream.respond({ ':status': 200 }));
    const one = await session();
    const first = ask(one, { ':path': '/1' });
    const second = ask(one, { ':path': '/2' });
    await eventually(() => rig.ctx.open.size === 3, 'both are open');
    rig.ctx.open.get('r2')?.cut('killed');
    expect((await first).code).toBe(http2.constants.NGHTTP2_CANCEL);
    expect(rig.ctx.open.size).toBe(2);
    rig.ctx.open.get('r1')?.cut('killed');
    await second;
    expect(rig.recorder.allEnded.map(({ method, outcome }) => `${method} ${outcome}`)).toEqual([
      'GET killed',
      'GET killed',
      'CONNECT killed',
    ]);
  });

  it('counts against the upload budget and the size of responses', async () => {
    const { session, rig } = await http2Stage(echo, {
      rule: 'allow: [{ path: "/**", methods: any }], max_upload_mb: 1, max_response_mb: 1',
    });
    const one = await session();
    const big = await ask(one, { ':path': '/', ':method': 'POST' }, { body: Buffer.alloc(1_200_000) });
    expect(big.code === 0 ? big.status : 'reset').not.toBe(200);
    await eventually(() => rig.recorder.allEnded.length === 1, 'it is recorded');
    expect(rig.recorder.allEnded[0]).toMatchObject({ outcome: 'upload-budget' });
    expect(rig.recorder.allEnded[0]!.bytes_up).toBeLessThanOrEqual(1_048_576);
  });
});

describe('a session', () => {
  it('takes no push from the origin', async () => {
    const { session, sessions } = await http2Stage((stream) => {
      expect(stream.pushAllowed).toBe(false);
      stream.respond({ ':status': 200 }, { endStream: true });
    });
    expect((await ask(await session(), { ':path': '/' })).status).toBe(200);
    expect(sessions[0]?.remoteSettings.enablePush).toBe(false);
  });

  it('finds the origin again when that goes away', async () => {
    const { session, sessions } = await http2Stage(echo);
    const one = await session();
    expect((await ask(one, { ':path': '/1' })).status).toBe(200);
    sessions[0]?.close();
    await eventually(() => sessions[0]?.destroyed === true, 'it has gone');
    expect((await ask(one, { ':path': '/2' })).status).toBe(200);
    expect(sessions).toHaveLength(2);
  });

  it('is told of the bounds, and too many streams or fields are refused by the protocol', async () => {
    const held: http2.ServerHttp2Stream[] = [];
    const { session } = await http2Stage((stream) => void held.push(stream), {
      limits: { inspect_streams_max: 3, head_fields: 10 },
    });
    const one = await session();
    await eventually(() => one.remoteSettings.maxConcurrentStreams === 3, 'the settings are there');
    const many = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`x-${i}`, 'y']));
    const answer = await ask(one, { ':path': '/', ...many });
    expect(answer.status).toBeUndefined();
    expect(answer.code).not.toBe(0);
    expect(held).toHaveLength(0);
  });

  it('that resets its streams as fast as it opens them is ended, and leaves no stream open', async () => {
    const { session, rig } = await http2Stage(() => {});
    const one = await session();
    const gone = new Promise<void>((resolve) => one.once('close', () => resolve()));
    for (let round = 0; round < 12 && !one.destroyed; round += 1) {
      const streams = Array.from({ length: 50 }, () => one.request({ ':path': '/' }));
      for (const stream of streams) stream.on('error', () => {});
      // What is closed before it is sent is never seen.
      await new Promise((resolve) => setImmediate(resolve));
      for (const stream of streams) stream.close(http2.constants.NGHTTP2_CANCEL);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await gone;
    await eventually(() => rig.ctx.open.size === 0, 'nothing is open');
    const decided = rig.recorder.allDecided.filter(({ outcome }) => outcome === undefined).length;
    expect(rig.recorder.allEnded).toHaveLength(decided);
  });

  it.each<[string, (target: string) => Buffer]>([
    ['SETTINGS', () => frame(FRAME.settings, 0, 0)],
    ['PING', () => frame(FRAME.ping, 0, 0, Buffer.alloc(8))],
    ['empty DATA', () => frame(FRAME.data, 0, 1)],
  ])('does not hold what a flood of %s asks for', async (_, bytes) => {
    const { raw, target, rig } = await rawStage();
    raw.write(frame(FRAME.headers, FLAG.endHeaders, 1, requestFields(target, '/', 'POST')));
    await eventually(() => rig.ctx.open.size === 2, 'the request is under way');
    // It reads nothing of what it is answered.
    raw.pause();
    const before = process.memoryUsage().rss;
    const flood = Buffer.concat(Array.from({ length: 5_000 }, () => bytes(target)));
    for (let i = 0; i < 40; i += 1) raw.write(flood);
    await turns(200);
    expect(process.memoryUsage().rss - before).toBeLessThan(100_000_000);
    rig.ctx.open.get('r1')?.cut('killed');
    expect(rig.ctx.open.size).toBe(0);
    await eventually(() => rig.slots.open === 0, 'it counts no more');
  });

  it('ends at a header block without end', async () => {
    const { raw, target, rig } = await rawStage();
    raw.write(frame(FRAME.headers, 0, 1, requestFields(target, '/')));
    const more = frame(FRAME.continuation, 0, 1, fields({ 'x-a': 'b'.repeat(100) }));
    const gone = new Promise<void>((resolve) => raw.once('end', () => resolve()));
    for (let i = 0; i < 5_000 && !raw.destroyed; i += 1) raw.write(more);
    await gone;
    expect(rig.recorder.allDecided).toHaveLength(1);
  });

  it('closes when the proxy drains, after what is open', async () => {
    let finish: () => void = () => {};
    const { session, rig } = await http2Stage((stream) => {
      stream.respond({ ':status': 200 });
      finish = () => stream.end('done');
    });
    const one = await session();
    const answer = ask(one, { ':path': '/' });
    await eventually(() => rig.ctx.open.size === 2, 'it is open');
    rig.ctx.closing = true;
    rig.server.closeIdle();
    await eventually(() => one.closed, 'the client is told');
    finish();
    expect((await answer).body).toBe('done');
    await eventually(() => rig.slots.open === 0, 'it is closed');
  });

  it('whose origin cannot be verified answers 502 to each stream', async () => {
    const { secure, target } = await http2Stage(echo, { trusted: '/dev/null' });
    const socket = await secure({ ALPNProtocols: ['h2'] });
    const one = http2.connect(`https://${target}`, { createConnection: () => socket });
    atEnd(() => one.destroy());
    expect(await ask(one, { ':path': '/' })).toMatchObject({
      status: 502,
      headers: { 'sallyport-code': 'upstream-certificate' },
    });
  });
});

it.skipIf(!hasProgram('curl'))('curl speaks HTTP/2 through it', async () => {
  const { rig, target, ca } = await http2Stage(echo);
  const proxy = `http://127.0.0.1:${rig.at.port}`;
  const done = await run([
    'curl',
    '-sS',
    '--noproxy',
    '',
    '-x',
    proxy,
    '--cacert',
    ca.cert,
    '-w',
    ' %{http_version}',
    '-d',
    'hello',
    `https://${target}/c`,
  ]);
  expect(done).toMatchObject({ code: 0, stdout: 'hello 2' });
});
