// The thread that parses and compiles a configuration for load.ts: one job, one answer, then it ends.
// It must not decide what a problem means: every SallyportError goes back as plain fields and is thrown again there.
import { parentPort, workerData } from 'node:worker_threads';
import { SallyportError } from '../errors.ts';
import { giveWay, HAS_TIME, memoryGiver } from '../give-way.ts';
import { policyTransfer } from '../policy/compile.ts';
import type { LoadOptions, WorkerAnswer } from './load.ts';
import { loadConfigHere } from './load-here.ts';

function answer(message: WorkerAnswer, transfer: ArrayBuffer[] = []): void {
  parentPort?.postMessage(message, transfer);
}

giveWay(HAS_TIME);
const giveBackMemory = memoryGiver();
try {
  const { settings, policy, files, problems, layers, ceiling } = loadConfigHere(workerData as LoadOptions);
  answer({ ok: true, loaded: { settings, policy, files, problems, layers, ceiling } }, policyTransfer(policy));
} catch (cause) {
  // Anything else is a bug: it ends this thread, and load.ts says so.
  if (!(cause instanceof SallyportError)) throw cause;
  const { code, message, hint, problems } = cause;
  answer({ ok: false, code, message, hint, problems });
}
// Of what an ended thread had, V8 keeps the pages for eight seconds; then some other thread gives them back all at once: for 100,000 rules
// 45 ms of the data plane's.
giveBackMemory();
