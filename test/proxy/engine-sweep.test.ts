// What the native engine does by itself every so often: it closes the pipes that it kept for the next bulk, gives back what malloc keeps of
// memory that was freed, and lets once go of what of the programs only the start needed.

import { Buffer } from 'node:buffer';
import { spawnSync } from 'node:child_process';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { memoryGiver } from '../../src/give-way.ts';
import { startOrigin } from '../support/origin.ts';
import { allowing, atEnd, bareTunnel, ENGINES, eventually, openFds, startRig, turns } from './support.ts';

const HOST = 'bulk.example';
const BULK = Buffer.alloc(32_000_000);
const SWEEP_MS = 30_000;

const native = ENGINES.filter(({ name }) => name === 'native');

afterEach(() => {
  vi.useRealTimers();
});

describe.each(native)('the $name engine by itself', ({ make }) => {
  it('closes the pipes that nobody has used since it looked last', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const origin = await startOrigin((socket) => socket.end(BULK));
    atEnd(() => origin.close());
    const names = { [HOST]: ['127.0.0.1'] };
    const rig = await startRig({ policy: allowing(HOST, origin.port), names, engine: make });
    await turns();
    const before = openFds();
    const client = await bareTunnel(rig, `${HOST}:${origin.port}`);
    let bytes = 0;
    for await (const chunk of client) bytes += (chunk as Buffer).length;
    expect(bytes).toBe(BULK.length);
    client.end();
    await eventually(() => rig.slots.open === 0, 'the tunnel is closed');
    expect(openFds()).toBeGreaterThan(before);
    vi.advanceTimersByTime(2 * SWEEP_MS);
    await eventually(() => openFds() <= before, 'no pipe is left');
  });

  it('gives freed memory back', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    await startRig({ policy: 'allow: [a.example]', engine: make });
    const collect = memoryGiver();
    // Below what malloc maps by itself; one of each hundred stays, so that the heap cannot simply end earlier.
    let some: Buffer[] = Array.from({ length: 2_000 }, () => Buffer.allocUnsafeSlow(65_536).fill(1));
    const kept = some.filter((_, n) => n % 100 === 99);
    some = [];
    collect();
    const before = process.memoryUsage.rss();
    // V8 frees them in another thread, which may not be through.
    await eventually(() => {
      vi.advanceTimersByTime(SWEEP_MS);
      return process.memoryUsage.rss() < before - 60_000_000;
    }, 'the freed memory is the system’s again');
    expect(kept).toHaveLength(20);
  });

  it('lets go of what only the start has read of Node, which goes on as before', () => {
    // A process of its own: it is done once.
    const run = spawnSync(process.execPath, ['--input-type=module', '--eval', LETTING_GO], { encoding: 'utf8' });
    expect(run.stderr).toBe('');
    const { before, after, works } = JSON.parse(run.stdout);
    expect(after).toBeLessThan(before - 20_000);
    expect(works).toEqual(['1.234.567,89', 'ba7816bf', 'ok', 3]);
  });
});

const BINDING = new URL('../../src/proxy/native-binding.ts', import.meta.url).href;
const LETTING_GO = `
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { loadNative } from ${JSON.stringify(BINDING)};
const loaded = loadNative(process.env['SALLYPORT_NATIVE']);
const core = new loaded.module.Engine(new ArrayBuffer(524_288), '', () => {});
const fileKb = () => Number(/RssFile:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
const before = fileKb();
core.trim();
let after = before;
for (let looks = 0; looks < 1_000 && after > before - 20_000; looks++) {
  await setTimeout(10);
  after = fileKb();
}
core.stop();
const thread = new Worker(new URL('data:text/javascript,import{parentPort}from"node:worker_threads";parentPort.postMessage("ok")'));
const works = [
  new Intl.NumberFormat('de').format(1_234_567.89),
  createHash('sha256').update('abc').digest('hex').slice(0, 8),
  await new Promise((resolve) => thread.once('message', resolve)),
  'a-b-c'.split(/-/u).length,
];
console.log(JSON.stringify({ before, after, works }));
`;
