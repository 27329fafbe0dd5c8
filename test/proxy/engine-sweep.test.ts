// What the native engine does by itself every so often: it closes the pipes that it kept for the next bulk, and gives back what malloc keeps of
// memory that was freed.
import { Buffer } from 'node:buffer';
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
});
