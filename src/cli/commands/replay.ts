// `sallyport replay`: the audit log's history against a proposed policy, for a person or for a CI check. The log is read as a
// stream; the work is in report/replay.ts. What cannot be replayed (a damaged line, a missing one) is counted and said.
import { loadConfigHere } from '../../config/load-here.ts';
import { renderReplay, renderReplayMarkdown } from '../../report/render-replay.ts';
import { EXIT } from '../args.ts';
import { type Input, usage } from '../input.ts';
import { loadFor } from '../load.ts';
import { isPartial, replayLogs } from '../replay-logs.ts';
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
  const shown = await replayLogs(proposed, { logs: files, from, to, now, ready }, ui);
  const format = ui.json ? 'json' : (input.text('format') ?? 'table');
  if (format === 'json') ui.object(shown);
  else if (format === 'markdown') ui.raw(renderReplayMarkdown(shown));
  else ui.raw(renderReplay(shown, { width: ui.width, paint: ui.paint }));
  if (shown.newly_fail_requests > 0) return EXIT.changed;
  return isPartial(shown) ? EXIT.failed : EXIT.ok;
}
