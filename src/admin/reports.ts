// Reports and suggestions for the admin API. They read the store and the policy files and may take seconds, so they are made in a
// worker thread, one after another; the data plane's thread passes the question and the finished text on. The thread is begun
// with the first question and ended when nobody has asked for a while, or where one takes too long.
import { Worker } from 'node:worker_threads';
import type { Overrides } from '../config/load.ts';
import type { StorePlace } from '../config/store-place.ts';
import type { OperatorErrorCode } from '../errors.ts';
import type { Limits, Meter } from '../limits.ts';
import { threadEntry } from '../places.ts';
import type { Dimension } from '../report/dimension.ts';
import { AdminError } from './admin-error.ts';

export interface ReportWorkerData {
  readonly file: string | null;
  readonly overrides: Overrides;
  readonly store: StorePlace;
  readonly storeTimeoutMs: number;
}

/** Times are ms since the epoch. */
export type Question =
  | {
      readonly kind: 'report';
      readonly from: number;
      readonly to: number;
      readonly pipeline: string | null;
      readonly job: string | null;
      readonly by: Dimension | null;
    }
  | {
      readonly kind: 'suggest';
      readonly from: number;
      readonly to: number;
      readonly pipeline: string | null;
      readonly jobsMin: number;
      readonly scoped: boolean;
      readonly unusedDays: number;
    };

/** Main to worker. `policy`: the digest in force; what was loaded for another one is loaded anew. */
export interface Ask {
  readonly id: number;
  readonly policy: string;
  readonly question: Question;
}

/** Worker to main; `json` is the answer as text. */
export type Told =
  | { readonly id: number; readonly ok: true; readonly json: string }
  | {
      readonly id: number;
      readonly ok: false;
      readonly code: OperatorErrorCode;
      readonly message: string;
      readonly hint: string;
    };

interface Waiting {
  readonly resolve: (json: string) => void;
  readonly reject: (error: AdminError) => void;
  readonly timer: NodeJS.Timeout;
}

const IDLE_MS = 60_000;
const MEMORY_MB = 2_048;

export class Reports {
  readonly #data: ReportWorkerData;
  readonly #limits: Limits;
  readonly #meter: Meter;
  readonly #waiting = new Map<number, Waiting>();
  #worker: Worker | null = null;
  #idle: NodeJS.Timeout | null = null;
  #asked = 0;

  constructor(data: ReportWorkerData, options: { limits: Limits; meter: Meter }) {
    this.#data = data;
    this.#limits = options.limits;
    this.#meter = options.meter;
  }

  /**
   * Asks the worker.
   * @param policy digest of the policy in force
   * @returns JSON text; rejects with AdminError 503
   */
  ask(question: Question, policy: string): Promise<string> {
    if (this.#waiting.size >= this.#limits.admin_reports_max) {
      this.#meter.hit('admin_reports_max');
      return Promise.reject(new AdminError(503, 'admin-busy', 'too many reports are asked for'));
    }
    if (this.#idle !== null) clearTimeout(this.#idle);
    const worker = this.#running();
    const id = ++this.#asked;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#late(), this.#limits.admin_report_timeout_ms);
      this.#waiting.set(id, { resolve, reject, timer });
      worker.postMessage({ id, policy, question } satisfies Ask);
    });
  }

  close(): void {
    if (this.#idle !== null) clearTimeout(this.#idle);
    this.#fail(new AdminError(503, 'admin-busy', 'the proxy ends'));
    void this.#worker?.terminate();
    this.#worker = null;
  }

  #running(): Worker {
    if (this.#worker !== null) return this.#worker;
    const worker = new Worker(threadEntry('admin/report-worker.ts'), {
      workerData: this.#data,
      name: 'reports',
      resourceLimits: { maxOldGenerationSizeMb: MEMORY_MB },
    });
    worker.unref();
    worker.on('message', (told: Told) => this.#told(told));
    worker.on('error', (error) => this.#gone(worker, error.message));
    worker.once('exit', (code) => this.#gone(worker, `it ended with ${code}`));
    this.#worker = worker;
    return worker;
  }

  #told(told: Told): void {
    const waiting = this.#waiting.get(told.id);
    if (waiting === undefined) return;
    this.#waiting.delete(told.id);
    clearTimeout(waiting.timer);
    if (told.ok) waiting.resolve(told.json);
    else waiting.reject(new AdminError(503, told.code, told.message, told.hint));
    if (this.#waiting.size === 0) this.#idle = setTimeout(() => this.close(), IDLE_MS).unref();
  }

  /** One question may hold up those behind it, and cannot be taken back: all of them are told. */
  #late(): void {
    this.#meter.hit('admin_report_timeout_ms');
    this.#fail(new AdminError(503, 'admin-busy', `no report within ${this.#limits.admin_report_timeout_ms} ms`));
    void this.#worker?.terminate();
    this.#worker = null;
  }

  #gone(worker: Worker, why: string): void {
    if (this.#worker !== worker) return;
    this.#worker = null;
    this.#fail(new AdminError(503, 'admin-failed', `the thread that makes reports failed: ${why}`));
  }

  #fail(error: AdminError): void {
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(error);
    }
    this.#waiting.clear();
  }
}
