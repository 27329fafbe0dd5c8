// The shipping of closed segments and checkpoints for as long as the proxy runs: starts the thread, hears what it did, and ends it in
// bounded time. Nothing of the data plane waits for it.
import { Worker } from 'node:worker_threads';
import type { PlaceSettings } from '../config/second-place.ts';
import type { Limits } from '../limits.ts';
import { threadEntry } from '../places.ts';
import type { Round } from './ship.ts';

export type FromShipper = ({ readonly type: 'round' } & Round) | { readonly type: 'failed'; readonly why: string };
/** The last round is to be made: the process ends, or another one has taken over. */
export type ToShipper = 'ended' | 'replaced';

interface PlaceData {
  readonly place: PlaceSettings;
  readonly key: { readonly file: string; readonly pem: string } | null;
}

export interface ShipperData {
  readonly file: string;
  readonly node: string;
  readonly ship: PlaceData | null;
  readonly checkpoints: PlaceData | null;
  readonly limits: Pick<Limits, 'ship_interval_ms' | 'ship_timeout_ms' | 'ship_attempts_max' | 'ship_roster_max'>;
}

export interface Shipping {
  /** Closed files that are not in the second place yet. */
  readonly waiting: number;
  /** Rounds that failed since one succeeded. */
  readonly failures: number;
  /** Time since all that was closed was in the second place, and the checkpoint with it; since the start where it never was. */
  readonly lagMs: number;
  stop(why: ToShipper): Promise<void>;
}

/** Time for the last round; what it does not ship is shipped by the next process. */
const STOP_MS = 5_000;

interface Heard {
  readonly onShipped: (names: readonly string[]) => void;
  /** A round failed, or succeeds again (null). */
  readonly onProblem: (why: string | null) => void;
  readonly onRosterFull: () => void;
}

export function startShipping(data: ShipperData, heard: Heard): Shipping {
  const worker = new Worker(threadEntry('audit/ship-worker.ts'), { workerData: data });
  const state = { waiting: 0, failures: 0, wholeMs: performance.now() };
  worker.on('message', (message: FromShipper) => {
    if (message.type === 'failed') {
      // Once for each outage: a place that is away would fill the log.
      if (state.failures++ === 0) heard.onProblem(message.why);
      return;
    }
    if (state.failures > 0) heard.onProblem(null);
    state.failures = 0;
    state.waiting = message.waiting;
    if (message.waiting === 0) state.wholeMs = performance.now();
    if (message.shipped.length > 0) heard.onShipped(message.shipped);
    if (message.rosterFull) heard.onRosterFull();
  });
  worker.on('error', (error) => {
    state.failures++;
    heard.onProblem(`the thread failed: ${error.message}`);
  });
  const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  return {
    get waiting() {
      return state.waiting;
    },
    get failures() {
      return state.failures;
    },
    get lagMs() {
      return performance.now() - state.wholeMs;
    },
    stop: async (why) => {
      worker.postMessage(why);
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, STOP_MS);
      });
      await Promise.race([ended, late]);
      clearTimeout(timer);
      await worker.terminate();
    },
  };
}
