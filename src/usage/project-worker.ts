// Entry of the projection's worker thread: counts what is in the log, waits, counts again; after an error it waits longer
// each time. It looks at the log twice a second instead of being woken by fs.watch: the log is written once or twice for
// each request, and an event for each of those writes would cost the machine more than the counting itself.
import { setTimeout } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { SallyportError } from '../errors.ts';
import { giveWay, KEEPS_UP, memoryGiver } from '../give-way.ts';
import { ENDED_MS } from '../policy/grant.ts';
import { dropGrants, readGrants } from './grants.ts';
import { SEEN_MS, sayInstance } from './instances.ts';
import { Keeper } from './keep.ts';
import type { FromWorker, ThisInstance, ToWorker, WorkerData } from './project.ts';
import { type ProjectionProblem, Projector } from './projector.ts';
import { RollCall } from './roll-call.ts';

const POLL_MS = 500;
/** Who asks for the lag in seconds is answered this exactly; each message wakes the data plane's thread. */
const CAUGHT_UP_MS = 1_000;
/** Where proxy and projection share one processor, the kernel gives this thread some milliseconds at a time, and every tunnel waits for as long. */
const BREATH_MS = 2;
const BACKOFF_MIN_MS = 1_000;
const BACKOFF_MAX_MS = 30_000;
/** By then all that a start takes has been done once; what it leaves is several megabytes that are never needed again. */
const STARTED_MS = 5_000;
/** Below STOP_MS of project.ts: time to close in order. */
const FINISH_MS = 4_000;

if (parentPort === null) throw new Error('project-worker runs in a worker thread only');
giveWay(KEEPS_UP);
const giveBackMemory = memoryGiver();
const port = parentPort;
const data = workerData as WorkerData;

const stop = new AbortController();
let instance: ThisInstance | null = data.instance;
let instanceDueMs = 0;
let wake = new AbortController();
port.on('message', (message: ToWorker) => {
  if (message.type === 'stop') stop.abort();
  if (message.type === 'instance') {
    instance = message.instance;
    instanceDueMs = 0;
  } else wake.abort();
});

const send = (message: FromWorker): void => port.postMessage(message);
const report = (problem: ProjectionProblem): void => send({ type: 'problem', problem });
const projector = new Projector({ ...data, onProblem: report, breathe: () => pause(BREATH_MS, stop.signal) });
const keeper = new Keeper(data.keep);
const rollCall = new RollCall(data.shared);

/** Waits, or less where the signal comes. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await setTimeout(ms, undefined, { signal });
  } catch {
    // Told to go on: the caller looks whether it is to stop.
  }
}

/** Until the next look at the log, or until somebody asks for one; who asked since the last look is not kept waiting. */
async function pauseForLines(ms: number): Promise<void> {
  await pause(ms, wake.signal);
  wake = new AbortController();
}

let grantsDueMs = 0;
let grantsText = '';

/** What is read and said besides counting, each when it is due; in between full batches too, so that no backlog holds it up. */
async function attend(): Promise<void> {
  const now = Date.now();
  if (now >= grantsDueMs || now < grantsDueMs - data.limits.grants_poll_ms) {
    const grants = await projector.use((store) => readGrants(store, now - ENDED_MS));
    grantsDueMs = now + data.limits.grants_poll_ms;
    const text = JSON.stringify(grants);
    if (text !== grantsText) send({ type: 'grants', grants });
    grantsText = text;
  }
  const saying = instance;
  if (saying === null || now < instanceDueMs) return;
  instanceDueMs = now + SEEN_MS;
  await projector.use(async (store) => {
    await sayInstance(store, { ...saying, seen: now, lag: projector.lag().bytes });
    await dropGrants(store, now);
  });
}

/** Full batches follow each other at once; a short one means the end of the log, and small transactions are not worth their cost. */
async function catchUp(until: () => boolean): Promise<void> {
  for (;;) {
    const step = await projector.step();
    if (!stop.signal.aborted) await attend();
    if (!step.more || until()) return;
    // Lets the stop message in.
    await new Promise((resolve) => setImmediate(resolve));
  }
}

let lastLag = '';
let warned = false;
let caughtUpMs = Number.NEGATIVE_INFINITY;

function sendLag(): void {
  const lag = projector.lag();
  const text = JSON.stringify(lag);
  if (text !== lastLag) send({ type: 'lag', ...lag });
  lastLag = text;
  if (performance.now() - caughtUpMs >= CAUGHT_UP_MS) {
    caughtUpMs = performance.now();
    send({ type: 'caught-up' });
  }
  const late = lag.bytes > data.limits.usage_lag_bytes_warn;
  if (late && !warned)
    report({ code: 'usage-lag', message: `the usage store is ${lag.bytes} bytes behind the audit log` });
  warned = late;
}

function problemOf(error: unknown): ProjectionProblem {
  if (error instanceof SallyportError) return { code: error.code, message: error.message };
  return { code: 'store-unreadable', message: error instanceof Error ? error.message : String(error) };
}

async function run(): Promise<void> {
  let backoff = BACKOFF_MIN_MS;
  let giveBackAtMs = performance.now() + STARTED_MS;
  // Where the log ends now: should the store not be reached, at least what comes from here on is known to be behind.
  sendLag();
  while (!stop.signal.aborted) {
    try {
      await rollCall.begin(projector.standing);
      await catchUp(() => stop.signal.aborted);
      await rollCall.answer(projector.standing);
      sendLag();
      const more = await projector.use((store) => keeper.step(store, Date.now()));
      backoff = BACKOFF_MIN_MS;
      if (performance.now() >= giveBackAtMs) {
        giveBackMemory();
        giveBackAtMs = Number.POSITIVE_INFINITY;
      }
      await pauseForLines(more ? 0 : POLL_MS);
    } catch (error) {
      report(problemOf(error));
      sendLag();
      // Not woken by who wants a report: a store that is away is not to be tried more often for that.
      await pause(backoff, stop.signal);
      backoff = Math.min(backoff * 2, BACKOFF_MAX_MS);
    }
  }
  const deadline = Date.now() + FINISH_MS;
  try {
    await catchUp(() => Date.now() > deadline);
    await rollCall.leave(projector.standing);
    sendLag();
  } catch (error) {
    report(problemOf(error));
  }
  await projector.close();
  port.close();
}

await run();
