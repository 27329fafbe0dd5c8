// Threads that give way, as the kernel sees them.
import { once } from 'node:events';
import os from 'node:os';
import { Worker } from 'node:worker_threads';
import { expect, it } from 'vitest';
import { HAS_TIME, KEEPS_UP } from '../src/give-way.ts';

const MODULE = new URL('../src/give-way.ts', import.meta.url).href;
const LEAST = os.constants.priority.PRIORITY_LOW;

/** The nice value of a thread that gives way so many times, relative to this one's. */
async function niceOf(...steps: number[]): Promise<number> {
  const script = `
    const { readlinkSync } = require('node:fs');
    import(${JSON.stringify(MODULE)}).then(({ giveWay }) => {
      for (const nice of ${JSON.stringify(steps)}) giveWay(nice);
      const thread = Number(readlinkSync('/proc/thread-self').split('/').pop());
      require('node:worker_threads').parentPort.postMessage(require('node:os').getPriority(thread));
    });`;
  const worker = new Worker(script, { eval: true });
  const [nice] = (await once(worker, 'message')) as [number];
  return nice;
}

it.runIf(process.platform === 'linux')(
  'a thread gives way by so much, below the one that began it, and nobody else does',
  async () => {
    const own = os.getPriority();
    const below = (nice: number): number => Math.min(own + nice, LEAST);
    expect(await niceOf()).toBe(own);
    expect(await niceOf(KEEPS_UP)).toBe(below(KEEPS_UP));
    expect(await niceOf(HAS_TIME)).toBe(below(HAS_TIME));
    expect(await niceOf(HAS_TIME, HAS_TIME)).toBe(below(2 * HAS_TIME));
    expect(os.getPriority()).toBe(own);
  },
);
