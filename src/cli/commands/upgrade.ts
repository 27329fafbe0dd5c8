// `sallyport upgrade`: replaces the running proxy by a new process of the program as it is on disk now, without a refused
// connection. The proxy is found by the lock of its audit log; how it went is read from that log, where it stands recorded.
import { setTimeout as delay } from 'node:timers/promises';
import { branchPaths } from '../../audit/branch.ts';
import { type LockHolder, lockHolder } from '../../audit/lock.ts';
import { SallyportError } from '../../errors.ts';
import { EXIT } from '../args.ts';
import type { Input } from '../input.ts';
import { loadFor } from '../load.ts';
import { readyLine } from '../ready-line.ts';
import type { Ui, World } from '../ui.ts';
import { UpgradeWatch } from '../upgrade-watch.ts';

/** How often the log is looked at, and how much longer than the new process may take. */
const LOOK_MS = 50;
const SLACK_MS = 5_000;

export async function upgrade(input: Input, ui: Ui, world: World): Promise<number> {
  const { audit, limits } = loadFor(input, ui, world, { quiet: true }).settings;
  const { file } = audit;
  const holder = running(file);
  const log = new UpgradeWatch(file, holder.pid);
  try {
    process.kill(holder.pid, 'SIGUSR1');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
    throw new SallyportError('upgrade-failed', `process ${holder.pid}, the proxy, cannot be signalled: ${code}`);
  }
  ui.progress('waiting for the new process');
  const waitMs = limits.upgrade_timeout_ms + SLACK_MS;
  const end = performance.now() + waitMs;
  for (let started = log.look(); ; started = log.look()) {
    if (started) {
      const { detail, policy } = started;
      const [proxy, admin, mode] = [detail['proxy'], detail['admin'], detail['mode']].map(String) as [
        string,
        string,
        string,
      ];
      const ready = readyLine({ proxy, admin, mode, policy });
      if (ui.json) ui.object({ ready, pid: detail['pid'], replaced: holder.pid });
      else ui.line(ready);
      return EXIT.ok;
    }
    if (performance.now() >= end)
      throw new SallyportError(
        'upgrade-failed',
        `the proxy (process ${holder.pid}) has said nothing for ${waitMs / 1000} s`,
      );
    await delay(LOOK_MS);
  }
}

/** The process that writes the log; while it cannot take the log back after an upgrade that failed, the one that writes the newest branch. */
function running(file: string): LockHolder {
  const holder = lockHolder(file) ?? lockHolder(branchPaths(file).at(-1)?.path ?? file);
  if (holder === null) throw new SallyportError('proxy-not-found', `no proxy runs with the audit log ${file}`);
  if (holder.here) return holder;
  throw new SallyportError('proxy-not-found', `the proxy runs on host ${holder.host}: upgrade it there`);
}
