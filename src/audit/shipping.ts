// The shipping of closed segments for as long as the proxy runs: starts the thread, hears what it did, and ends it in bounded time.
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { Round } from './ship.ts';

export type FromShipper = ({ readonly type: 'round' } & Round) | { readonly type: 'failed'; readonly why: string };

export interface ShipperData {
  readonly file: string;
  readonly node: string;
  readonly dir: string;
  readonly key: { readonly file: string; readonly pem: string } | null;
  readonly intervalMs: number;
}

export interface Shipping {
  /** Closed files that are not in the second place yet. */
  readonly waiting: number;
  /** Rounds that failed since one succeeded. */
  readonly failures: number;
  stop(): Promise<void>;
}

/** Time for the last round; what it does not ship is shipped by the next process. */
const STOP_MS = 5_000;

/** @param onProblem a round failed, or succeeds again (null) */
export function startShipping(
  data: ShipperData,
  heard: { readonly onShipped: (names: readonly string[]) => void; readonly onProblem: (why: string | null) => void },
): Shipping {
  const worker = new Worker(new URL(`./ship-worker${extname(import.meta.url)}`, import.meta.url), { workerData: data });
  const state = { waiting: 0, failures: 0 };
  worker.on('message', (message: FromShipper) => {
    if (message.type === 'failed') {
      // Once for each outage: a folder that is away would fill the log.
      if (state.failures++ === 0) heard.onProblem(message.why);
      return;
    }
    if (state.failures > 0) heard.onProblem(null);
    state.failures = 0;
    state.waiting = message.waiting;
    if (message.shipped.length > 0) heard.onShipped(message.shipped);
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
    stop: async () => {
      worker.postMessage('stop');
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
