// Entry of the thread that makes the reports of jobs: it holds a store open for reading and answers one order after another. The data
// plane's thread never opens the store, however short the look into it would be.
import { setTimeout as delay } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { giveWay, HAS_TIME } from '../give-way.ts';
import { missingAt, storeNow } from '../usage/roll-call.ts';
import { openStore, type Store } from '../usage/store.ts';
import { type JobReportInput, jobMarkdown, readJobReport } from './job-report.ts';
import type { FromJobReportWorker, JobReportWorkerData, ToJobReportWorker } from './job-reports.ts';

/** Between two looks whether the other nodes have counted. */
const LOOK_MS = 250;

if (parentPort === null) throw new Error('job-report-worker runs in a worker thread only');
giveWay(HAS_TIME);
const port = parentPort;
const data = workerData as JobReportWorkerData;
let store: Store | null = null;

async function opened(): Promise<Store> {
  if (store?.replaced()) await close();
  store ??= await openStore(data.store, 'read', data.timeoutMs);
  return store;
}

async function close(): Promise<void> {
  const before = store;
  store = null;
  await before?.close();
}

/** Other nodes that share the store and have not counted what was there at the time of the order. */
async function missingNodes(on: Store, { own, waitMs }: ToJobReportWorker): Promise<string[]> {
  const at = await storeNow(on);
  const until = performance.now() + waitMs;
  for (;;) {
    const missing = await missingAt(on, own, at);
    if (missing.length === 0 || performance.now() + LOOK_MS > until) return missing;
    await delay(LOOK_MS);
  }
}

async function make(order: ToJobReportWorker): Promise<FromJobReportWorker> {
  try {
    const on = await opened();
    const others = await missingNodes(on, order);
    const input: JobReportInput = { ...order.input, missingNodes: [...order.input.missingNodes, ...others] };
    const report = await readJobReport(on, input);
    const text = order.format === 'json' ? `${JSON.stringify(report)}\n` : jobMarkdown(report);
    return { id: order.id, ok: true, text };
  } catch (error) {
    await close().catch(() => {});
    return { id: order.id, ok: false, why: error instanceof Error ? error.message : String(error) };
  }
}

// Those that wait for other nodes wait side by side; the store's connections put the rest in order.
port.on('message', (order: ToJobReportWorker) => void make(order).then((answer) => port.postMessage(answer)));
