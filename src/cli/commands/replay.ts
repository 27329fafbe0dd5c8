// `sallyport replay`: the audit log's history against a proposed policy, for a person or for a CI check. The log is read as a
// stream; the work is in report/replay.ts. What cannot be replayed (a damaged line, a missing one) is counted and said.
import { existsSync } from 'node:fs';
import { loadConfigHere } from '../../config/load.ts';
import { Policy } from '../../policy/decide.ts';
import { renderReplay, renderReplayMarkdown } from '../../report/render-replay.ts';
import { Replayer } from '../../report/replay.ts';
import { replayLog } from '../../report/replay-log.ts';
import { EXIT } from '../args.ts';
import { noAuditLog } from '../audit-file.ts';
import { type Input, usage } from '../input.ts';
import { loadFor } from '../load.ts';
import type { Ui, World } from '../ui.ts';
import { windowOf } from '../window.ts';

export async function replay(input: Input, ui: Ui, world: World): Promise<number> {
  const now = world.now();
  const { from, to } = windowOf(input, now, null);
  const logs = input.list('log');
  if (logs.length > 0 && input.text('config') !== null)
    throw usage('--config and --log both name an audit log', 'Give one of the two.');
  const proposed = loadConfigHere({ file: input.need('policy', 'FILE'), now });
  const files = logs.length > 0 ? logs : [loadFor(input, ui, world, { quiet: true }).settings.audit.file];
  const ready = input.flag('ready');
  const { limits } = proposed.settings;
  const policy = new Policy(proposed.policy, { explains: false });
  const replayer = new Replayer(policy, { now, from, to, enforce: ready, limits });
  const read = { logs: files, damaged_lines: 0, missing_lines: 0, unread_files: [] as string[] };
  for (const file of files) {
    // Pipelines that were not seen in the window are found in what came before it.
    const window = { from: ready ? Number.NEGATIVE_INFINITY : from, to };
    const { found, ...rest } = await replayLog(file, replayer, window, (path) => ui.progress(`reading ${path}`));
    if (!found && !existsSync(file)) throw noAuditLog(file);
    read.damaged_lines += rest.damaged_lines;
    read.missing_lines += rest.missing_lines;
    read.unread_files.push(...rest.unread_files);
  }
  ui.settle();
  const result = replayer.result();
  const shown = {
    policy: proposed.policy.digest,
    from: Number.isFinite(from) ? new Date(from).toISOString() : null,
    to: new Date(to).toISOString(),
    ...read,
    ready,
    ...result,
  };
  const format = ui.json ? 'json' : (input.text('format') ?? 'table');
  if (format === 'json') ui.object(shown);
  else if (format === 'markdown') ui.raw(renderReplayMarkdown(shown));
  else ui.raw(renderReplay(shown, { width: ui.width, paint: ui.paint }));
  if (result.newly_fail_requests > 0) return EXIT.changed;
  return read.damaged_lines + read.missing_lines + read.unread_files.length > 0 ? EXIT.failed : EXIT.ok;
}
