// Upgrades as a test follows them: the processes that they start are no children of the test, so their pids come from the audit logs.
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { branchPaths } from '../../src/audit/branch.ts';
import { logFamily } from '../../src/audit/family.ts';
import { listSegments } from '../../src/audit/read.ts';
import type { Line } from '../../src/policy/record.ts';
import { type Finished, readAudit, sallyport } from './proxy-process.ts';
import type { World } from './world.ts';

export function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Polls processes that are no children of this one. */
export async function gone(...pids: readonly number[]): Promise<void> {
  while (pids.some(lives)) await delay(20);
}

/** Sends SIGTERM; resolves when the process has taken it: a second one before that would be lost. */
export async function delivered(pid: number, signal: 'SIGTERM'): Promise<void> {
  process.kill(pid, signal);
  const bit = 1n << BigInt(constants.signals[signal] - 1);
  const isPending = (): boolean => {
    const [, mask = '0'] = /^ShdPnd:\t([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1')) ?? [];
    return (BigInt(`0x${mask}`) & bit) !== 0n;
  };
  while (isPending()) await delay(5);
}

/** Everything that was recorded: the logs of the proxy and of its workers, their older segments, the branches of the processes before. */
export function everything({ auditFile }: Pick<World, 'auditFile'>): Line[] {
  return logFamily(auditFile).flatMap((file) =>
    [...listSegments(file).segments, ...branchPaths(file)].flatMap(({ path }) => readAudit(path)),
  );
}

/** The ids of the requests for a host, in the lines of one kind, sorted. */
export const idsOf = (lines: readonly Line[], event: 'decided' | 'ended', host: string): string[] =>
  lines.flatMap((line) => (line.event === event && line.host === host ? [line.id] : [])).sort();

/** Ends whatever the upgrades of a world have started and the test has not waited for, one that was still starting included. */
export function endAll(world: Pick<World, 'auditFile'>): void {
  for (const line of everything(world)) {
    const pid = line.event === 'upgrade' || line.event === 'start' ? Number(line.detail['pid']) : 0;
    if (pid > 0 && lives(pid)) process.kill(pid, 'SIGKILL');
  }
}

/** `sallyport upgrade`, and the process that serves then. */
export async function upgrade({ configFile, dir }: World): Promise<Finished & { pid: number }> {
  const done = await sallyport(['upgrade', '--json', '--config', configFile], { cwd: dir });
  const { pid } = JSON.parse(done.stdout || '{}') as { pid?: number };
  return { ...done, pid: pid ?? 0 };
}
