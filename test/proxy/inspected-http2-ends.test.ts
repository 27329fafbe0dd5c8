// When streams and sessions of inspected HTTP/2 end, and with what outcome: without progress, without a body, idle.
import { describe, expect, it } from 'vitest';
import { FLAG, FRAME, type Frame, fields, frame, requestFields } from '../support/raw-http2.ts';
import { ask, http2Stage, NO_WINDOW, rawStage } from './inspected-http2-support.ts';
import { atEnd, eventually } from './support.ts';

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
