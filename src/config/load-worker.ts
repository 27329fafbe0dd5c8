// The thread that parses and compiles a configuration for load.ts: one job, one answer, then it ends.
// It must not decide what a problem means: every SallyportError goes back as plain fields and is thrown again there.
import { readlinkSync } from 'node:fs';
import os from 'node:os';
import { basename } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { SallyportError } from '../errors.ts';
import { policyTransfer } from '../policy/compile.ts';
import { type LoadOptions, loadConfigHere, type WorkerAnswer } from './load.ts';

function answer(message: WorkerAnswer, transfer: ArrayBuffer[] = []): void {
  parentPort?.postMessage(message, transfer);
}

// Of a thread's nice value (0 is usual, 19 the least): a reload takes seconds of a processor, and the data plane goes first.
const NICE = 10;

/** Linux gives each thread a priority of its own, and this link names the thread that reads it. Elsewhere nothing changes. */
function giveWay(): void {
  try {
    os.setPriority(Number(basename(readlinkSync('/proc/thread-self'))), NICE);
  } catch {
    // The load is right without it, only less considerate.
  }
}

giveWay();
try {
  const { settings, policy, files, problems, layers, ceiling } = loadConfigHere(workerData as LoadOptions);
  answer({ ok: true, loaded: { settings, policy, files, problems, layers, ceiling } }, policyTransfer(policy));
} catch (cause) {
  // Anything else is a bug: it ends this thread, and load.ts says so.
  if (!(cause instanceof SallyportError)) throw cause;
  const { code, message, hint, problems } = cause;
  answer({ ok: false, code, message, hint, problems });
}
