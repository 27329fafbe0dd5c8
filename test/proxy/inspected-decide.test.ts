// What the policy in force says to requests on connections that stand already: addresses, observe mode, WebSockets, and a fault of ours.
import type http from 'node:http';
import { describe, expect, it, vi } from 'vitest';
import { redecide } from '../../src/proxy/redecide.ts';
import { startOrigin } from '../support/origin.ts';
import { RawClient } from '../support/raw-client.ts';
import { HOST, hostCertificate, httpsOrigin, request, type Stage, stageFor } from './inspected-support.ts';
import { atEnd, eventually } from './support.ts';

const hello: http.RequestListener = (req, res) => void res.end(`${req.method} ${req.url}`);
const UPGRADE = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n';

/** The policy of the stage with other lines of its rule. */
function ruled({ ca, port }: Stage, rule: string, addresses = '127.0.0.0/8'): string {
  return [
    `inspection: { ca: { cert: ${ca.cert}, key: ${ca.key} } }`,
    `allow: [{ host: ${HOST}, ports: [${port}], addresses: [${addresses}], inspect: true, ${rule} }]`,
  ].join('\n');
}

const ANY = 'allow: [{ path: "/**", methods: any }]';

it('a request goes to no address that the policy in force forbids, though its connection stands', async () => {
  const asked: string[] = [];
  const origin = await httpsOrigin((req, res) => {
    asked.push(req.url ?? '');
    hello(req, res);
  });
  const stage = await stageFor(origin, { names: { [HOST]: ['127.0.0.1', '127.0.0.2'] } });
  const one = await stage.client();
  one.send(request(stage.target, '/a'));
  expect((await one.readResponse()).status).toBe(200);
  for (const left of ['127.0.0.2/32', '127.0.0.1/32', '127.0.0.3/32']) {
    stage.rig.swapPolicy(ruled(stage, ANY, left));
    one.send(request(stage.target, `/${left}`));
    expect(await one.readResponse()).toMatchObject({ status: 403, reason: 'address-prohibited' });
  }
  expect(asked).toEqual(['/a']);
  expect(stage.rig.recorder.allDecided.slice(2)).toMatchObject(
    Array.from({ length: 3 }, () => ({ verdict: 'deny', reason: 'address-prohibited', tunnel: 'r1' })),
  );
  stage.rig.swapPolicy(ruled(stage, ANY));
  one.send(request(stage.target, '/b'));
  expect((await one.readResponse()).status).toBe(200);
});

it('a fault of ours while a request is decided is a 500 with its record, and the next one is served', async () => {
  const stage = await stageFor(await httpsOrigin(hello));
  const { rig, target } = stage;
  const one = await stage.client();
  vi.spyOn(rig.ctx.policy, 'decide').mockImplementationOnce(() => {
    throw new TypeError('a bug');
  });
  one.send(request(target, '/a'));
  expect(await one.readResponse()).toMatchObject({ status: 500, reason: 'internal-error' });
  expect(rig.recorder.entries.slice(1)).toMatchObject([
    { event: 'decided', id: 'r2', verdict: 'deny', reason: 'internal-error', tunnel: 'r1', path: '/a' },
  ]);
  expect(rig.logText()).toContain('a bug');
  one.send(request(target, '/b'));
  expect((await one.readResponse()).body).toBe('GET /b');
});

describe('a reload that cuts', () => {
  const slow: http.RequestListener = (_req, res) => void res.write('x');

  it('leaves what observe mode lets pass, and cuts what a line of it denies', async () => {
    const stage = await stageFor(await httpsOrigin(slow), { rule: `${ANY}, mode: observe` });
    const { rig } = stage;
    const one = await stage.client();
    one.send(request(stage.target, '/slow'));
    await one.readUntil('x');
    const cut = (rule: string) => {
      rig.swapPolicy(ruled(stage, rule));
      return redecide(rig.ctx, 'cut');
    };
    const other = 'allow: [{ path: /other }]';
    expect(await cut(`${other}, mode: observe`)).toEqual({ decided: 2, refused: 0 });
    expect(rig.ctx.open.size).toBe(2);
    expect(await cut(`${ANY}, deny: [{ path: /slow }], mode: observe`)).toEqual({ decided: 2, refused: 1 });
    expect(await rig.recorder.endedAt(1)).toMatchObject({ path: '/slow', outcome: 'policy-changed' });
  });

  it.each<[string, string, number]>([
    ['ends an open WebSocket whose rule has none any more', '', 1],
    ['leaves one whose rule has it still', ', websocket: true', 0],
    ['leaves one in observe mode', ', mode: observe', 0],
  ])('%s', async (_, more, refused) => {
    const peers: RawClient[] = [];
    const origin = await startOrigin((socket) => void peers.push(RawClient.of(socket)), { tls: hostCertificate() });
    atEnd(() => origin.close());
    const stage = await stageFor(origin, { rule: 'allow: [{ path: /ws }], websocket: true' });
    const { rig } = stage;
    const one = await stage.client();
    one.send(request(stage.target, '/ws', UPGRADE));
    await eventually(() => peers.length === 1, 'the origin has the connection');
    await peers[0]!.readUntil('\r\n\r\n');
    peers[0]!.send('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    expect(await one.readHead()).toMatchObject({ status: 101 });
    rig.swapPolicy(ruled(stage, `allow: [{ path: /ws }]${more}`));
    expect(await redecide(rig.ctx, 'cut')).toEqual({ decided: 2, refused });
    expect(rig.ctx.open.get('r2') === undefined).toBe(refused === 1);
    if (refused === 1)
      expect(rig.recorder.allEnded[0]).toMatchObject({ path: '/ws', status: 101, outcome: 'policy-changed' });
  });
});
