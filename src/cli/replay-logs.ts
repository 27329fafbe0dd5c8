// Audit logs played against a policy, for the commands that do so: what was read, what could not be, and what came of it.
import { existsSync } from 'node:fs';
import { logFamily } from '../audit/family.ts';
import type { LoadedConfig } from '../config/load.ts';
import type { ShownReplay } from '../report/render-replay.ts';
import { Replayer } from '../report/replay.ts';
import { replayLog } from '../report/replay-log.ts';
import { noAuditLog } from './audit-file.ts';
import { policyInForce } from './grants.ts';
import type { Ui } from './ui.ts';

interface ReplayOptions {
  readonly logs: readonly string[];
  /** Milliseconds; -Infinity: from the begin of the log. */
  readonly from: number;
  readonly to: number;
  readonly now: number;
  /** Judges as if everything were enforced, and says of each pipeline whether it is ready for that. */
  readonly ready: boolean;
}

/** @throws SallyportError where a log is not there */
export async function replayLogs(
  proposed: Pick<LoadedConfig, 'policy' | 'settings' | 'ceiling'>,
  { logs, from, to, now, ready }: ReplayOptions,
  ui: Ui,
): Promise<ShownReplay & { readonly logs: readonly string[] }> {
  const { limits } = proposed.settings;
  // What was granted for a while passes as long as it stands.
  const policy = await policyInForce(proposed, ui, now, { explains: false });
  const replayer = new Replayer(policy, { now, from, to, enforce: ready, limits });
  const read = { logs, damaged_lines: 0, missing_lines: 0, unread_files: [] as string[] };
  for (const file of logFamily(...logs)) {
    // Pipelines that were not seen in the window are found in what came before it.
    const window = { from: ready ? Number.NEGATIVE_INFINITY : from, to };
    const { found, ...rest } = await replayLog(file, replayer, window, (path) => ui.progress(`reading ${path}`));
    if (!found && !existsSync(file)) throw noAuditLog(file);
    read.damaged_lines += rest.damaged_lines;
    read.missing_lines += rest.missing_lines;
    read.unread_files.push(...rest.unread_files);
  }
  ui.settle();
  return {
    policy: proposed.policy.digest,
    from: Number.isFinite(from) ? new Date(from).toISOString() : null,
    to: new Date(to).toISOString(),
    ...read,
    ready,
    ...replayer.result(),
  };
}

/** Whether lines were missing, so that "nothing newly fails" is not certain. */
export function isPartial({ damaged_lines, missing_lines, unread_files }: ShownReplay): boolean {
  return damaged_lines + missing_lines + unread_files.length > 0;
}
