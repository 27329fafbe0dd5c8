// The HTTP/2 stream of an agent that has nothing to do: pings every 30 s and no other byte, for twenty minutes of virtual time against an idle
// limit of ten; it lives by its pings, and without them it ends.
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import tls from 'node:tls';
import { expect, it } from 'vitest';
import { certificateFor, testCa } from '../support/tls.ts';
import { allowing, atEnd, bareTunnel, ENGINES, startRig } from './support.ts';

const HOST = 'agent.allowed.test';
const PING_MS = 30_000;
const IDLE_MS = 600_000;
const PINGS = 40;

it.each(ENGINES)('$name: pings keep a stream open past the idle limit', async ({ make }) => {
  const server = http2.createSecureServer({ ...certificateFor([HOST]) });
  server.on('stream', (stream) => {
    stream.on('error', () => {});
    stream.respond({ ':status': 200 });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  atEnd(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const rig = await startRig({
    policy: allowing(HOST, port, 'tls'),
    names: { [HOST]: ['127.0.0.1'] },
    limits: { tunnel_idle_ms: IDLE_MS },
    engine: make,
  });
  const socket = tls.connect({
    socket: await bareTunnel(rig, `${HOST}:${port}`),
    servername: HOST,
    ca: testCa().ca,
    ALPNProtocols: ['h2'],
  });
  const client = http2.connect(`https://${HOST}`, { createConnection: () => socket });
  client.on('error', () => {});
  const stream = client.request({ ':path': '/stream' });
  stream.on('error', () => {});
  await new Promise((resolve) => stream.once('response', resolve));
  let nowMs = performance.now();
  for (let at = 0; at < PINGS; at++) {
    await new Promise<void>((resolve, reject) => {
      client.ping((error) => (error === null ? resolve() : reject(error)));
    });
    nowMs += PING_MS;
    rig.engine.cutIdle(nowMs);
  }
  expect([client.destroyed, stream.destroyed, rig.recorder.allEnded]).toEqual([false, false, []]);
  const closed = new Promise((resolve) => client.once('close', resolve));
  rig.engine.cutIdle(nowMs + IDLE_MS);
  await closed;
  expect(await rig.recorder.endedAt(1)).toMatchObject({ outcome: 'idle' });
});
