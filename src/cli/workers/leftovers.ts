// Logs of workers that this start does not have: of a time with more of them. What was open in them when their proxy died gets its end,
// and what is in them is counted, as a worker of that number would do. An upgrade to fewer workers leaves such logs too, and their
// workers drain in branches of them: these are looked after until they are ended.
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { type Fork, isFinished, listBranches } from '../../audit/branch.ts';
import { workerLog, workerNode, workersWithLogs } from '../../audit/family.ts';
import { LOCK_TOUCH_MS, lockHolder } from '../../audit/lock.ts';
import { openAuditLog } from '../../audit/log.ts';
import type { Settings } from '../../config/config.ts';
import { SallyportError } from '../../errors.ts';
import { createMeter } from '../../limits.ts';
import { startProjection } from '../../usage/project.ts';
import { startShip } from '../ship.ts';

/** A worker that was killed with its primary may be some moments behind it. */
const LOCKED_RETRY_MS = 250;
const LOCKED_RETRIES_MAX = 20;

interface Parts {
  readonly settings: Settings;
  /** How many this start has. */
  readonly workers: number;
  readonly log: Logger;
  /** Digest of the policy, for the notes in their logs. */
  readonly policy: string;
}

export class Leftovers {
  readonly #parts: Parts;
  #stopped = new AbortController();
  #over = Promise.resolve();

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Never fails: an old log that is damaged is no reason not to serve. @param handed those that an upgrade has just given free */
  begin(handed: readonly (readonly [worker: number, fork: Fork])[] = []): void {
    this.#stopped = new AbortController();
    const { signal } = this.#stopped;
    this.#over = this.#adoptAll(new Map(handed), signal).catch((error: unknown) => {
      this.#parts.log.warn({ err: error }, 'the logs of former workers could not be looked for');
    });
  }

  /** Settles when nothing more is to be done. */
  get over(): Promise<void> {
    return this.#over;
  }

  /** No log is opened any more. @returns settles when what is being counted is, or its time is over */
  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#over;
  }

  async #adoptAll(forks: ReadonlyMap<number, Fork>, signal: AbortSignal): Promise<void> {
    const left = workersWithLogs(this.#parts.settings.audit.file).filter((worker) => worker > this.#parts.workers);
    await Promise.allSettled(left.map((worker) => this.#adopt(worker, forks.get(worker) ?? null, signal)));
  }

  async #adopt(worker: number, fork: Fork | null, signal: AbortSignal): Promise<void> {
    const file = workerLog(this.#parts.settings.audit.file, worker);
    await this.#end(file, worker, fork, signal);
    const isDrained = unfinished(file).length > 0;
    await this.#count(file);
    if (isDrained) {
      while (isDrainedIn(file)) await delay(LOCK_TOUCH_MS, undefined, { signal, ref: false });
      await this.#end(file, worker, null, signal);
      await this.#count(file);
    }
    if (fork !== null) await this.#ship(file, worker);
  }

  /** What is open in it and in its branches has its end, except of those who live. */
  async #end(file: string, worker: number, fork: Fork | null, signal: AbortSignal): Promise<void> {
    const { settings, log, policy } = this.#parts;
    const { audit, node, limits } = settings;
    try {
      const opened = await openOnceFree(
        {
          ...{ file, node: workerNode(node, worker), limits, whenFull: audit.whenFull, now: () => new Date() },
          ...(fork === null ? {} : { takeOver: fork }),
        },
        signal,
      );
      // Nobody goes on in it, which must not look like a silence.
      if (fork !== null) opened.note({ event: 'stop', policy, detail: { pid: process.pid, reason: 'replaced' } });
      opened.close();
      if (opened.interrupted > 0)
        log.warn({ file, requests: opened.interrupted }, 'requests of a former worker are recorded as interrupted');
    } catch (error) {
      if (!signal.aborted) log.warn({ err: error, file }, 'the log of a former worker could not be looked at');
    }
  }

  #count(file: string): Promise<void> {
    const { settings, log } = this.#parts;
    const { usage, limits } = settings;
    const onProblem = (problem: object): void => log.warn(problem, 'the usage store lags');
    return startProjection({
      ...{ auditFile: file, store: usage.store, keep: usage.keep, limits, onProblem },
    }).stop();
  }

  async #ship(file: string, worker: number): Promise<void> {
    const { settings, log } = this.#parts;
    const { audit, node } = settings;
    const own = { ...settings, node: workerNode(node, worker), audit: { ...audit, file } };
    await (await startShip(own, log, createMeter()))?.stop('ended');
  }
}

/** Branches that are not ended. */
function unfinished(file: string): string[] {
  return listBranches(file).flatMap(({ path, first }) => (first !== null && !isFinished(path) ? [path] : []));
}

/** Whether a worker that lives goes on in a branch of it. */
function isDrainedIn(file: string): boolean {
  return unfinished(file).some((branch) => lockHolder(branch) !== null);
}

async function openOnceFree(
  options: Parameters<typeof openAuditLog>[0],
  signal: AbortSignal,
): Promise<ReturnType<typeof openAuditLog>> {
  for (let tries = 0; ; tries++) {
    signal.throwIfAborted();
    try {
      return openAuditLog(options);
    } catch (error) {
      const isLocked = error instanceof SallyportError && error.code === 'audit-locked';
      if (!isLocked || tries === LOCKED_RETRIES_MAX) throw error;
      await delay(LOCKED_RETRY_MS, undefined, { signal });
    }
  }
}
