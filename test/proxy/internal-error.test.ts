// A fault of the proxy's own while it decides: the request is refused and recorded once, and the next one is served.
import { expect, it, vi } from 'vitest';
import { echo, startOrigin } from '../support/origin.ts';
import { allowing, atEnd, connectHead, ENGINES, startRig } from './support.ts';

const HOST = 'a.test';

it.each<[string, (target: string) => string]>([
  ['a CONNECT', connectHead],
  ['a plain request', (target) => `GET http://${target}/ HTTP/1.1\r\nHost: ${target}\r\n\r\n`],
])('refuses %s with 500, keeps one record of it and serves the next', async (_, head) => {
  const origin = await startOrigin(echo);
  atEnd(() => origin.close());
  const rig = await startRig({ policy: allowing(HOST, origin.port), names: { [HOST]: ['127.0.0.1'] } });
  vi.spyOn(rig.ctx.resolver, 'resolve').mockImplementationOnce(() => {
    throw new TypeError('a bug');
  });
  const client = await rig.send(head(`${HOST}:${origin.port}`));
  const reply = await client.readHead();
  expect(`${reply.status} ${reply.reason}`).toBe('500 internal-error');
  expect(rig.recorder.entries).toMatchObject([
    { event: 'decided', host: HOST, verdict: 'deny', reason: 'internal-error', outcome: 'internal-error' },
  ]);
  expect(origin.connections()).toBe(0);
  // The cause is for the operator alone.
  expect(rig.logText()).toContain('a bug');
  const tunnel = await rig.tunnel(`${HOST}:${origin.port}`);
  tunnel.send('ping');
  expect((await tunnel.read(4)).toString()).toBe('ping');
});

it('refuses a request for the proxy itself with 500, with one record of it', async () => {
  const rig = await startRig({ policy: allowing(HOST, 1) });
  rig.ctx.inner = { answer: () => Promise.reject(new TypeError('a bug')) };
  const client = await rig.send('GET http://sallyport.invalid/v1/jobs/j/report HTTP/1.1\r\nHost: x\r\n\r\n');
  expect(await client.readHead()).toMatchObject({ status: 500, reason: 'internal-error' });
  expect(rig.recorder.entries).toMatchObject([
    { event: 'decided', host: 'sallyport.invalid', reason: 'internal-error' },
  ]);
  expect(rig.logText()).toContain('a bug');
});

it.each(
  ENGINES.flatMap(({ name, make }) => [
    { name, make, road: 'a CONNECT', head: connectHead(`${HOST}:443`) },
    { name, make, road: 'a plain request', head: `GET http://${HOST}/ HTTP/1.1\r\nHost: ${HOST}\r\n\r\n` },
  ]),
)(
  'a bug of the recorder itself: $road gets its 503 with the $name engine, nothing of it is recorded, and the proxy goes on',
  async (on) => {
    const rig = await startRig({ policy: allowing(HOST, 443), names: { [HOST]: ['127.0.0.1'] }, engine: on.make });
    const gather = vi.spyOn(rig.recorder, 'gather').mockImplementation(() => {
      throw new TypeError('a bug');
    });
    const client = await rig.send(on.head);
    expect(await client.readHead()).toMatchObject({ status: 503, reason: 'audit-unavailable' });
    expect([rig.recorder.entries, rig.ctx.open.size]).toEqual([[], 0]);
    expect(rig.logText()).toContain('a bug');
    gather.mockRestore();
    const next = await rig.send(connectHead('b.test:443'));
    expect(await next.readHead()).toMatchObject({ status: 403, reason: 'host-not-allowed' });
  },
);
