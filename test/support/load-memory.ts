// Run by test/config/load.test.ts in a process of its own: loads the file that is named, and prints by how many megabytes the process
// has grown when the loading thread has ended. Until eight seconds later V8 keeps all that the thread did not give back itself.
import { readFileSync } from 'node:fs';
import { loadConfig } from '../../src/config/load.ts';

const resident = (): number => Number(/VmRSS:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1_024;

const ended = new Promise<void>((resolve) => process.once('worker', (worker) => worker.once('exit', () => resolve())));
const before = resident();
await loadConfig({ file: process.argv[2] ?? null, now: Date.now() });
await ended;
process.stdout.write(String(Math.round(resident() - before)));
