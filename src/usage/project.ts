// Gets the audit log into the usage store for as long as the proxy runs, in a worker thread that tails the log (once, here and now:
// project-once.ts). The data plane's thread never opens the store: a slow or dead one costs it nothing but a warning.
import { Worker } from 'node:worker_threads';
import type { StorePlace } from '../config/store-place.ts';
import type { Limits } from '../limits.ts';
import { threadEntry } from '../places.ts';
import type { Grant } from '../policy/grant.ts';
import type { Instance } from './instances.ts';
import type { Keep } from './keep.ts';
import type { ProjectionOptions, ProjectionProblem } from './projector.ts';

/** Worker to main. */
export type FromWorker =
  | { readonly type: 'lag'; readonly bytes: number; readonly seq: number }
  | { readonly type: 'caught-up' }
  | { readonly type: 'grants'; readonly grants: readonly Grant[] }
  | { readonly type: 'problem'; readonly problem: ProjectionProblem };

/** Main to worker. */
export type ToWorker =
  | { readonly type: 'stop' }
  /** Look at the log without waiting for the next time. */
  | { readonly type: 'look' }
  | { readonly type: 'instance'; readonly instance: ThisInstance };

/** All but the moment when it is said. */
export type ThisInstance = Omit<Instance, 'seen' | 'lag'>;

export interface WorkerData {
  readonly auditFile: string;
  readonly store: StorePlace;
  readonly limits: Limits;
  readonly keep: Keep;
  readonly batchLines?: number;
  /** Others count into the same store, also where that is a file. */
  readonly shared: boolean;
  readonly instance: ThisInstance | null;
}

export interface Projection {
  /** What this process is to say of itself in the store, from now on. */
  say(instance: ThisInstance): void;
  /** Counts what is in the log, for at most STOP_MS, closes the store and ends the worker. */
  stop(): Promise<void>;
  /** Looks at the log now. @returns whether everything up to this line is counted, within the time; false also where the store is away */
  reached(seq: number, withinMs: number): Promise<boolean>;
  /** How far the store is behind, as of the last report of the worker (every half second while it changes). */
  lag(): StoreLag;
}

export interface StoreLag {
  readonly bytes: number;
  readonly seq: number;
  /** Since all that was in the log had been counted: a second or two while all is well; null until that was so once. */
  readonly seconds: number | null;
}

/** After this the worker is ended where it is; the checkpoint makes that safe. */
export const STOP_MS = 5_000;
const RESTART_MS = 30_000;
/** Lines are read, counted and forgotten: more of a young generation is memory that the proxy never gets back. */
const WORKER_YOUNG_MB = 8;

/** Starts the worker. Never throws: what goes wrong, now or later, goes to onProblem, and is tried again. */
export function startProjection(options: WorkerOptions): Projection {
  return new WorkerProjection(options);
}

/** An open store cannot go into a worker. */
type WorkerOptions = ProjectionOptions & {
  readonly store: StorePlace;
  readonly keep: Keep;
  /** Others count into the same store: so it is said in it how far this one has. Default: where the store is a database. */
  readonly shared?: boolean;
  /** Called with the grants of the store when they are first known, and when they have changed. */
  readonly onGrants?: (grants: readonly Grant[]) => void;
};

class WorkerProjection implements Projection {
  readonly #options: WorkerOptions;
  #worker: Worker | null = null;
  #restart: NodeJS.Timeout | null = null;
  #lag = { bytes: 0, seq: 0 };
  #caughtUpMs: number | null = null;
  #stopping = false;
  #exited: Promise<void> = Promise.resolve();
  #instance: ThisInstance | null = null;
  readonly #waiting = new Set<{ readonly seq: number; readonly done: () => void }>();

  constructor(options: WorkerOptions) {
    this.#options = options;
    this.#start();
  }

  lag(): StoreLag {
    const at = this.#caughtUpMs;
    return { ...this.#lag, seconds: at === null ? null : (performance.now() - at) / 1_000 };
  }

  say(instance: ThisInstance): void {
    this.#instance = instance;
    this.#tell({ type: 'instance', instance });
  }

  reached(seq: number, withinMs: number): Promise<boolean> {
    if (this.#lag.seq >= seq) return Promise.resolve(true);
    this.#tell({ type: 'look' });
    return new Promise((resolve) => {
      const done = (reached: boolean): void => {
        clearTimeout(timer);
        this.#waiting.delete(waiting);
        resolve(reached);
      };
      const timer = setTimeout(() => done(false), withinMs);
      const waiting = { seq, done: () => done(true) };
      this.#waiting.add(waiting);
    });
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    if (this.#restart !== null) clearTimeout(this.#restart);
    const worker = this.#worker;
    if (worker === null) return;
    worker.ref();
    this.#tell({ type: 'stop' });
    const timer = setTimeout(() => void worker.terminate(), STOP_MS);
    await this.#exited;
    clearTimeout(timer);
  }

  #start(): void {
    const { auditFile, store, limits, keep, batchLines, shared } = this.#options;
    const workerData: WorkerData = {
      auditFile,
      store,
      limits,
      keep,
      shared: shared ?? typeof store !== 'string',
      instance: this.#instance,
      ...(batchLines === undefined ? {} : { batchLines }),
    };
    const entry = threadEntry('usage/project-worker.ts');
    const resourceLimits = { maxYoungGenerationSizeMb: WORKER_YOUNG_MB };
    const worker = new Worker(entry, { workerData, name: 'usage', resourceLimits });
    worker.unref();
    this.#worker = worker;
    this.#exited = new Promise((resolve) => worker.once('exit', () => resolve()));
    worker.on('message', (message: FromWorker) => this.#message(message));
    worker.on('error', (error) =>
      this.#problem({ code: 'store-unreadable', message: `the usage worker failed: ${error.message}` }),
    );
    worker.once('exit', () => this.#ended());
  }

  /** The worker handles its own errors; that it ends by itself is a bug or memory exhaustion, and must not stop the counting for good. */
  #ended(): void {
    this.#worker = null;
    if (this.#stopping) return;
    this.#restart = setTimeout(() => this.#start(), RESTART_MS).unref();
  }

  #message(message: FromWorker): void {
    if (message.type === 'lag') {
      this.#lag = { bytes: message.bytes, seq: message.seq };
      for (const { seq, done } of [...this.#waiting]) if (message.seq >= seq) done();
    } else if (message.type === 'caught-up') this.#caughtUpMs = performance.now();
    else if (message.type === 'grants') this.#options.onGrants?.(message.grants);
    else this.#problem(message.problem);
  }

  #tell(message: ToWorker): void {
    this.#worker?.postMessage(message);
  }

  #problem(problem: ProjectionProblem): void {
    this.#options.onProblem(problem);
  }
}
