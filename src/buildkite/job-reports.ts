// Orders the reports of jobs from the thread that reads the store, after everything that this node has recorded until now is
// counted. Bounded: in number, in time, and to one thread, which is started at the first order and again after it has died.
import { Worker } from 'node:worker_threads';
import type { StorePlace } from '../config/store-place.ts';
import type { Limits, Meter } from '../limits.ts';
import { threadEntry } from '../places.ts';
import type { Pattern } from '../policy/pattern.ts';
import type { Help } from '../proxy/respond.ts';
import type { Projection } from '../usage/project.ts';
import type { ReportOrder, ReportText } from './job-api.ts';
import type { JobReportInput } from './job-report.ts';

export interface JobReportWorkerData {
  readonly store: StorePlace;
  readonly timeoutMs: number;
}

export interface ToJobReportWorker {
  readonly id: number;
  readonly format: ReportOrder['format'];
  /** This node's name: it is not waited for, that was done. */
  readonly own: string;
  readonly waitMs: number;
  readonly input: JobReportInput;
}

export type FromJobReportWorker =
  | { readonly id: number; readonly ok: true; readonly text: string }
  | { readonly id: number; readonly ok: false; readonly why: string };

export interface JobReportsParts {
  readonly store: StorePlace;
  readonly limits: Limits;
  readonly meter: Meter;
  readonly node: string;
  readonly projection: Pick<Projection, 'reached'>;
  /** Number of the last line of the audit log. */
  readonly lastSeq: () => number;
  readonly help: () => Help;
  readonly expectedDenials: () => readonly Pattern[];
}

interface Waiting {
  readonly resolve: (text: string) => void;
  readonly reject: (error: Error) => void;
}

const TYPES = { json: 'application/json', markdown: 'text/markdown; charset=utf-8' } as const;

export class JobReports {
  readonly #parts: JobReportsParts;
  readonly #waiting = new Map<number, Waiting>();
  #worker: Worker | null = null;
  #pending = 0;
  #orders = 0;

  constructor(parts: JobReportsParts) {
    this.#parts = parts;
  }

  /** Rejects where the store cannot be read. */
  async make(order: ReportOrder): Promise<ReportText> {
    const { limits, meter } = this.#parts;
    if (this.#pending >= limits.job_reports_pending_max) {
      meter.hit('job_reports_pending_max');
      return { ok: false, code: 'job-reports-full' };
    }
    this.#pending++;
    try {
      return { ok: true, type: TYPES[order.format], body: await this.#make(order) };
    } finally {
      this.#pending--;
    }
  }

  close(): void {
    void this.#worker?.terminate();
  }

  async #make({ job, format, waitMs, shared }: ReportOrder): Promise<string> {
    const { projection, lastSeq, node, help, expectedDenials } = this.#parts;
    const startedMs = performance.now();
    const counted = await projection.reached(lastSeq(), waitMs);
    const input: JobReportInput = {
      job,
      missingNodes: counted ? [] : [node],
      sharedWith: shared,
      expectedDenials: expectedDenials(),
      help: help(),
      now: Date.now(),
    };
    const left = Math.max(0, waitMs - (performance.now() - startedMs));
    return this.#order({ id: ++this.#orders, format, own: node, waitMs: left, input });
  }

  #order(order: ToJobReportWorker): Promise<string> {
    const worker = this.#running();
    return new Promise((resolve, reject) => {
      this.#waiting.set(order.id, { resolve, reject });
      worker.postMessage(order);
    });
  }

  #running(): Worker {
    if (this.#worker !== null) return this.#worker;
    const { store, limits } = this.#parts;
    const workerData: JobReportWorkerData = { store, timeoutMs: limits.usage_store_timeout_ms };
    const entry = threadEntry('buildkite/job-report-worker.ts');
    const worker = new Worker(entry, { workerData, name: 'job-reports' });
    worker.unref();
    worker.on('message', (answer: FromJobReportWorker) => this.#answered(answer));
    worker.on('error', (error) => this.#died(worker, error));
    worker.once('exit', () => this.#died(worker, new Error('the thread that makes reports has ended')));
    this.#worker = worker;
    return worker;
  }

  #answered(answer: FromJobReportWorker): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if (answer.ok) waiting?.resolve(answer.text);
    else waiting?.reject(new Error(answer.why));
  }

  #died(worker: Worker, error: unknown): void {
    if (this.#worker !== worker) return;
    this.#worker = null;
    const all = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of all) reject(error instanceof Error ? error : new Error(String(error)));
  }
}
