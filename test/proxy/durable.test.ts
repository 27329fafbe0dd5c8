// audit.sync: batch, as the walk sees it: what was let through goes on when its line is on the disk, and not where that failed.
import { expect, it } from 'vitest';
import { allowing, rawOrigin, startRig, turns } from './support.ts';

const HOST = 'a.test';
const ROADS = [
  ['CONNECT', (target: string) => `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`],
  ['plain HTTP', (target: string) => `GET http://${target}/ HTTP/1.1\r\nHost: ${target}\r\n\r\n`],
] as const;

async function waiting() {
  const origin = await rawOrigin();
  const rig = await startRig({ policy: allowing(HOST, origin.port), names: { [HOST]: ['127.0.0.1'] } });
  const disk = Promise.withResolvers<void>();
  Object.assign(rig.recorder, { durable: () => disk.promise });
  return { origin, rig, disk, target: `${HOST}:${origin.port}` };
}

it.each(ROADS)('%s: nothing is dialled before the line is on the disk', async (_, ask) => {
  const { origin, rig, disk, target } = await waiting();
  await rig.send(ask(target));
  await rig.recorder.decidedAt(1);
  await turns();
  expect(origin.connections()).toBe(0);
  disk.resolve();
  await origin.peer();
});

it.each(ROADS)('%s: a line that cannot be put on the disk refuses its request, and is ended', async (_, ask) => {
  const { origin, rig, disk, target } = await waiting();
  const client = await rig.send(ask(target));
  await rig.recorder.decidedAt(1);
  disk.reject(new Error('EIO: i/o error, fdatasync'));
  expect(await client.readResponse()).toMatchObject({ status: 503, reason: 'audit-unavailable' });
  expect(await rig.recorder.endedAt(1)).toMatchObject({ outcome: 'audit-unavailable', bytes_up: 0 });
  expect(rig.recorder.entries).toHaveLength(2);
  expect(origin.connections()).toBe(0);
  expect(rig.logText()).toContain('could not be put on the disk');
});

it('a refusal does not wait for the disk', async () => {
  const { rig } = await waiting();
  const client = await rig.send('CONNECT other.test:443 HTTP/1.1\r\nHost: other.test:443\r\n\r\n');
  expect(await client.readResponse()).toMatchObject({ status: 403 });
});
