// `sallyport replay`: the audit log's history against a proposed policy, for a person or for a CI check. The log is read as a
// stream; the work is in report/replay.ts. A damaged line cannot be replayed, so it is counted and said.
import { existsSync } from 'node:fs';
import { listBranches } from '../../audit/branch.ts';
import { LineReader } from '../../audit/line-reader.ts';
import { listSegments, readFileLines } from '../../audit/read.ts';
import { loadConfigHere } from '../../config/load.ts';
import { SallyportError } from '../../errors.ts';
import { Policy } from '../../policy/decide.ts';
import { renderReplay, renderReplayMarkdown } from '../../report/render-replay.ts';
import { Replayer } from '../../report/replay.ts';
import { EXIT } from '../args.ts';
import { type Input, moment, usage } from '../input.ts';
import { loadFor } from '../load.ts';
import type { Ui, World } from '../ui.ts';

export function replay(input: Input, ui: Ui, world: World): number {
  const now = world.now();
  const since = input.text('since');
  const from = since === null ? Number.NEGATIVE_INFINITY : moment(since, 'since', now);
  const logs = input.list('log');
  if (logs.length > 0 && input.text('config') !== null)
    throw usage('--config and --log both name an audit log', 'Give one of the two.');
  const proposed = loadConfigHere({ file: input.need('policy', 'FILE'), now });
  const files = logs.length > 0 ? logs : [loadFor(input, ui, world, { quiet: true }).settings.audit.file];
  const ready = input.flag('ready');
  const replayer = new Replayer(new Policy(proposed.policy), { now, from, to: now, enforce: ready });
  const read = { logs: files, damaged_lines: 0, unread_files: [] as string[] };
  for (const file of files) readLog(file, replayer, read, ui);
  ui.settle();
  const result = replayer.result();
  const shown = {
    policy: proposed.policy.digest,
    since: since === null ? null : new Date(from).toISOString(),
    ...read,
    ready,
    ...result,
  };
  const format = ui.json ? 'json' : (input.text('format') ?? 'table');
  if (format === 'json') ui.object(shown);
  else if (format === 'markdown') ui.raw(renderReplayMarkdown(shown));
  else ui.raw(renderReplay(shown, { width: ui.width, paint: ui.paint }));
  if (result.newly_fail_requests > 0) return EXIT.changed;
  return read.damaged_lines > 0 || read.unread_files.length > 0 ? EXIT.failed : EXIT.ok;
}

/** One log: its segments in order, then the branches that upgrades left. */
function readLog(
  file: string,
  replayer: Replayer,
  read: { damaged_lines: number; unread_files: string[] },
  ui: Ui,
): void {
  const { segments, unreadable, compressed } = listSegments(file);
  read.unread_files.push(...unreadable, ...compressed);
  if (segments.length === 0 && read.unread_files.length === 0 && !existsSync(file)) {
    throw new SallyportError('audit-damaged', `there is no audit log ${file}`, {
      hint: 'Check audit.file in the policy, or name the log: --log FILE.',
    });
  }
  const reader = new LineReader();
  for (const { path } of [...segments, ...listBranches(file)]) {
    ui.progress(`reading ${path}`);
    for (const line of readFileLines(path)) {
      const known = line.state === 'whole' ? reader.read(line.text) : null;
      if (known !== null) replayer.add(known);
      // A torn last line is being written now, or its request was never answered.
      else if (line.state !== 'torn') read.damaged_lines++;
    }
  }
}
