// A proxy with workers, as a test drives it: who they are, and a moment in which one of them is the only one that can accept. Nothing
// is left to how connections happen to be shared: the others are stopped by a signal.
import { readFileSync } from 'node:fs';
import { statusAnswer } from '../../src/admin/schemas.ts';
import { workerLog } from '../../src/audit/family.ts';
import type { Line } from '../../src/policy/record.ts';
import { AdminClient } from './admin.ts';
import { readAudit } from './proxy-process.ts';
import type { World } from './world.ts';

export interface WorkerStatus {
  readonly worker: number;
  readonly state: string;
  readonly pid: number;
  readonly policy: string;
  readonly not_ready: string | null;
}

export class Workers {
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  get admin(): AdminClient {
    return new AdminClient(this.#world.proxy.admin, this.#world.auditFile);
  }

  async status(): Promise<WorkerStatus[]> {
    return (await this.admin.json(statusAnswer, '/v1/status')).workers ?? [];
  }

  /** Process ids, in the order of the workers. */
  async pids(): Promise<number[]> {
    return (await this.status()).map(({ pid }) => pid);
  }

  log(worker: number): string {
    return workerLog(this.#world.auditFile, worker);
  }

  /** Lines of all workers, worker by worker. */
  lines(workers = 2): Line[] {
    return Array.from({ length: workers }, (_, index) => readAudit(this.log(index + 1))).flat();
  }

  /** Does something while that worker alone runs. */
  async alone<T>(worker: number, act: () => Promise<T>): Promise<T> {
    const others = (await this.pids()).filter((_, index) => index + 1 !== worker);
    for (const pid of others) await stopped(pid);
    try {
      return await act();
    } finally {
      for (const pid of others) process.kill(pid, 'SIGCONT');
    }
  }
}

const LOOKS_MAX = 1_000_000;

/** Stops a process; resolves when the kernel says that it is. */
async function stopped(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP');
  for (let look = 0; look < LOOKS_MAX; look++) {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    if (stat.slice(stat.lastIndexOf(')') + 2).startsWith('T')) return;
    await new Promise(setImmediate);
  }
  throw new Error(`process ${pid} was not stopped`);
}
