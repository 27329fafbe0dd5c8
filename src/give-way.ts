// Lets a thread of its own give way to the data plane's: reports, projections and loads take seconds of a processor, and where that is the
// only one, tunnels would wait for half of each of them.
import { readlinkSync } from 'node:fs';
import os from 'node:os';
import { basename } from 'node:path';

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
