// When streams and sessions of inspected HTTP/2 end, and with what outcome: without progress, without a body, idle.
import http2 from 'node:http2';
import { describe, expect, it, vi } from 'vitest';
import { InspectedConnection } from '../../src/proxy/inspected/connection.ts';
import { FLAG, FRAME, type Frame, fields, frame, requestFields } from '../support/raw-http2.ts';
import { ask, echo, http2Stage, NO_WINDOW, rawStage } from './inspected-http2-support.ts';
import { HOST, hostCertificate } from './inspected-support.ts';
import { atEnd, eventually, turns } from './support.ts';

describe('a stream that makes no progress has ended, as in HTTP/1.1', () => {
  const limits = { upstream_response_timeout_ms: 200 };
  const closing = ({ type, flags }: Frame): boolean =>
    type === FRAME.reset || (type === FRAME.headers && (flags & FLAG.endHeaders) !== 0);

  it('where the origin is silent', async () => {
    const { session, rig } = await http2Stage(() => {}, { limits });
    expect(await ask(await session(), { ':path': '/' })).toMatchObject({
      status: 504,
      headers: { 'sallyport-code': 'upstream-timeout' },
    });
    expect(await rig.recorder.endedAt(1)).toMatchObject({ outcome: 'upstream-timeout' });
    expect(rig.meter.hits.get('upstream_response_timeout_ms')).toBe(1);
  });

  it('where the origin takes none of its upload, and keeps the session busy', async () => {
    const { raw, rig, target, seen, heard, peers } = await rawStage({ limits }, NO_WINDOW);
    raw.write(frame(FRAME.headers, FLAG.endHeaders, 1, requestFields(target, '/', 'POST')));
    raw.write(frame(FRAME.data, 0, 1, Buffer.alloc(16_000)));
    await eventually(() => seen.frames.some(({ type }) => type === FRAME.headers), 'the origin has the request');
    const pings = setInterval(() => peers[0]?.write(frame(FRAME.ping, 0, 0, Buffer.alloc(8))), 20);
    atEnd(() => clearInterval(pings));
    expect(await rig.recorder.endedAt(1)).toMatchObject({ id: 'r2', outcome: 'upstream-timeout' });
    await eventually(() => heard.frames.some(closing), 'the client is told');
  });

  it('where the client takes nothing of an answer that is whole', async () => {
    const { raw, rig, target, seen, heard, peers } = await rawStage({ limits });
    raw.write(frame(FRAME.settings, 0, 0, NO_WINDOW));
    raw.write(frame(FRAME.headers, FLAG.endHeaders | FLAG.endStream, 1, requestFields(target, '/')));
    await eventually(() => seen.frames.some(({ type }) => type === FRAME.headers), 'the origin has the request');
    peers[0]?.write(frame(FRAME.headers, FLAG.endHeaders, 1, fields({ ':status': '200' })));
    peers[0]?.write(frame(FRAME.data, FLAG.endStream, 1, Buffer.from('an answer')));
    expect(await rig.recorder.endedAt(1)).toMatchObject({ id: 'r2', outcome: 'upstream-timeout', status: 200 });
    await eventually(() => heard.frames.some(({ type }) => type === FRAME.reset), 'the client is told');
  });
});

it('a session is closed when it has been idle, also where a request was open at the first look', async () => {
  let finish: () => void = () => {};
  const { session, rig } = await http2Stage(
    (stream) => {
      stream.respond({ ':status': 200 });
      finish = () => stream.end('done');
    },
    { limits: { keep_alive_idle_ms: 100 } },
  );
  const one = await session();
  const answer = ask(one, { ':path': '/' });
  await eventually(() => rig.ctx.open.size === 2, 'the request is open');
  await new Promise((resolve) => one.setTimeout(300, () => resolve(null)));
  finish();
  expect((await answer).body).toBe('done');
  await eventually(() => one.closed, 'the client is told');
  await eventually(() => rig.slots.open === 0, 'it counts no more');
});

describe('an answer without a body is whole, whatever length it speaks of', () => {
  it.each<[string, string, Record<string, string>, boolean]>([
    ['HEAD', '200', { 'content-length': '5000000' }, true],
    ['HEAD', '200', { 'content-length': '5000000' }, false],
    ['GET', '304', { 'content-length': '5000000' }, true],
    ['GET', '304', { 'content-length': '5000000' }, false],
    ['GET', '204', {}, false],
    ['GET', '205', {}, false],
  ])('%s, %s, %j, ended with its head: %s', async (method, status, more, ended) => {
    const { raw, rig, target, seen, heard, peers } = await rawStage({
      rule: 'allow: [{ path: "/**", methods: any }], max_response_mb: 1',
    });
    raw.write(frame(FRAME.headers, FLAG.endHeaders | FLAG.endStream, 1, requestFields(target, '/', method)));
    await eventually(() => seen.frames.some(({ type }) => type === FRAME.headers), 'the origin has the request');
    const flags = FLAG.endHeaders | (ended ? FLAG.endStream : 0);
    peers[0]?.write(frame(FRAME.headers, flags, 1, fields({ ':status': status, ...more })));
    if (!ended) peers[0]?.write(frame(FRAME.data, FLAG.endStream, 1));
    expect(await rig.recorder.endedAt(1)).toMatchObject({ outcome: 'closed', status: Number(status), bytes_down: 0 });
    await eventually(() => heard.frames.some(({ type }) => type === FRAME.headers), 'the client has its answer');
    expect(heard.frames.filter(({ type }) => type === FRAME.reset)).toEqual([]);
  });
});

describe("the origin's connection that was made before the client's handshake", () => {
  /** The client's handshake waits until the origin has said what it says by itself. */
  const delayed = (ready: () => Promise<void>): void => {
    const original = InspectedConnection.prototype.secureClient;
    const spied = vi.spyOn(InspectedConnection.prototype, 'secureClient').mockImplementation(async function (
      this: InspectedConnection,
      ...rest
    ) {
      await ready();
      await turns();
      return original.apply(this, rest);
    });
    atEnd(() => void spied.mockRestore());
  };

  it('is used, though its SETTINGS come before the client is ready', async () => {
    const { session, sessions } = await http2Stage(echo);
    delayed(() => eventually(() => sessions.length === 1, 'the origin has a session'));
    const one = await session();
    expect(await ask(one, { ':path': '/', ':method': 'POST' }, { body: 'text' })).toMatchObject({ body: 'text' });
    expect(sessions).toHaveLength(1);
  });

  it('is not used where it has ended, and the records say which address was', async () => {
    const { session, sessions, server, rig, port } = await http2Stage(echo, {
      names: { [HOST]: ['127.0.0.1', '127.0.0.2'] },
    });
    const other = http2.createSecureServer({ ...hostCertificate() }).on('stream', echo);
    await new Promise<void>((resolve) => other.listen(port, '127.0.0.2', resolve));
    atEnd(() => void other.close());
    delayed(async () => {
      await eventually(() => sessions.length === 1, 'the origin has a session');
      server.close();
      sessions[0]?.destroy();
    });
    const one = await session();
    expect(await ask(one, { ':path': '/', ':method': 'POST' }, { body: 'text' })).toMatchObject({ body: 'text' });
    one.destroy();
    await rig.recorder.endedAt(2);
    expect(rig.recorder.allEnded.map(({ method, address }) => `${method} ${address}`)).toEqual([
      `POST 127.0.0.2:${port}`,
      `CONNECT 127.0.0.1:${port}`,
    ]);
  });
});

it.each<[string, http2.OutgoingHttpHeaders, 'head_fields' | 'head_bytes']>([
  ['fields', Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`x-${i}`, 'y'])), 'head_fields'],
  ['bytes', { 'x-long': 'y'.repeat(1_500) }, 'head_bytes'],
])(
  'a head of too many %s is refused with a record and counted, while nghttp2 lets it be seen',
  async (_, more, limit) => {
    const { session, rig, sessions } = await http2Stage(echo, { limits: { head_fields: 10, head_bytes: 1_024 } });
    const one = await session();
    expect(await ask(one, { ':path': '/', ...more })).toMatchObject({
      status: 431,
      headers: { 'sallyport-code': 'head-too-large' },
    });
    expect(rig.recorder.allDecided[1]).toMatchObject({ verdict: 'deny', reason: 'head-too-large', tunnel: 'r1' });
    expect(rig.meter.hits.get(limit)).toBe(1);
    expect((await ask(one, { ':path': '/' })).status).toBe(200);
    expect(sessions).toHaveLength(1);
  },
);
