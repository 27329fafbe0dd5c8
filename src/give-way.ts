// Lets a thread of its own give way to the data plane's: reports, projections and loads take seconds of a processor, and where that is the
// only one, tunnels would wait for half of each of them. What such a thread has no more use for, it gives back itself.
import { readlinkSync } from 'node:fs';
import os from 'node:os';
import { basename } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Steps of nice value below the data plane: for what has time, and for what must keep up with the requests on a busy machine too. */
export const HAS_TIME = 10;
export const KEEPS_UP = 5;

/** Linux gives each thread a priority of its own, and the link names the thread that reads it. Elsewhere nothing changes. */
export function giveWay(nice: typeof HAS_TIME | typeof KEEPS_UP): void {
  try {
    const thread = Number(basename(readlinkSync('/proc/thread-self')));
    os.setPriority(thread, Math.min(os.getPriority(thread) + nice, os.constants.priority.PRIORITY_LOW));
  } catch {
    // The work is right without it, only less considerate.
  }
}

/**
 * Makes what collects all garbage of this thread and returns the pages to the system: some 50 ms of its own, never of the data plane's
 * thread. It is made before it is needed: a thread that is ended while V8 makes the context for it writes V8's complaint to
 * standard output, on Node 22.
 */
export function memoryGiver(): () => void {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as (options: { type: 'major'; flavor: 'last-resort' }) => void;
  setFlagsFromString('--no-expose-gc');
  return () => collect({ type: 'major', flavor: 'last-resort' });
}
