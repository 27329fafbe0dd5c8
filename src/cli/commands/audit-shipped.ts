// `sallyport audit verify --shipped DIR|s3://…`: the logs of all nodes in their second place, what is missing, and the verdict.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Window } from '../../audit/history.ts';
import { type Verdict, verdictOf } from '../../audit/nodes.ts';
import { type Shipped, type ShippedLog, verifyShipped } from '../../audit/verify-shipped.ts';
import { inert } from '../../report/inert.ts';
import { EXIT } from '../args.ts';
import { publicKeys } from '../audit-file.ts';
import { coverageLines, problemLines, VERDICTS } from '../audit-statement.ts';
import { checkpointsOf, folderOf } from '../bucket.ts';
import type { Input } from '../input.ts';
import type { Ui, World } from '../ui.ts';
import { windowOf } from '../window.ts';

export async function auditVerifyShipped(place: string, input: Input, ui: Ui, world: World): Promise<number> {
  const keys = publicKeys(input);
  const { from, to } = windowOf(input, world.now(), null);
  const asked = input.text('from') !== null || input.text('to') !== null;
  const scratch = mkdtempSync(join(tmpdir(), 'sallyport-verify-'));
  try {
    const dir = await folderOf(place, input.text('into') ?? join(scratch, 'shipped'), { input, ui, world });
    const second = input.text('checkpoints');
    const checkpoints = second === null ? dir : await checkpointsOf(second, scratch, { input, ui, world });
    const window: Window | null = asked ? { from, to } : null;
    ui.progress(`reading ${dir}`);
    const found = await verifyShipped({ dir, checkpoints, keys, expected: input.list('node'), window });
    ui.settle();
    const logs = found.logs.map((log) => (window === null ? log : untilThen(log, to)));
    const statement = stated(logs, found.missing, to <= world.now());
    const time = { from: asked && Number.isFinite(from) ? iso(from) : null, to: asked ? iso(to) : null };
    if (ui.json) ui.object({ place, ...time, ...statement });
    else show(place, statement, keys.length > 0, ui);
    return statement.complete ? EXIT.ok : EXIT.failed;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

interface Statement extends Shipped {
  readonly verdict: Verdict;
  readonly complete: boolean;
}

function stated(logs: readonly ShippedLog[], missing: Shipped['missing'], isOver: boolean): Statement {
  const verdict = verdictOf(missing, logs, isOver);
  return { verdict, complete: verdict === 'complete', logs, missing };
}

/** Of the time after its checkpoint nothing is known unless it had stopped, and what it had written besides may be from before `to`. */
function untilThen(log: ShippedLog, toMs: number): ShippedLog {
  const { checkpoint } = log;
  if (checkpoint === null) return log;
  const at = (why: string): ShippedLog => ({
    ...log,
    complete: false,
    problems: [...log.problems, { file: log.folder, line: 0, why }],
  });
  if (!checkpoint.stopped && Date.parse(checkpoint.time) < toMs)
    return at(`its checkpoint is from ${checkpoint.time}: nothing is known of the time after`);
  if (log.behind > 0 && (log.until === null || Date.parse(log.until) < toMs))
    return at(
      `${log.behind} lines up to ${checkpoint.last?.seq} were not closed at the checkpoint: they stand in the node's own file`,
    );
  return log;
}

function show(place: string, { logs, missing, verdict }: Statement, signed: boolean, ui: Ui): void {
  for (const log of logs) {
    const { node, checkpoint, last, behind, complete } = log;
    const to = last === null ? 'no lines' : `to line ${last}`;
    const more = behind > 0 ? `, ${behind} more in its own file` : '';
    const ended = checkpoint?.stopped === true ? ', stopped then' : '';
    ui.line(
      `${complete ? ui.paint('green', 'complete') : ui.paint('red', 'not complete')}: ${inert(node)}: ${to}${more}${checkpoint ? `, checkpoint of ${checkpoint.time}${ended}` : ''}`,
    );
    for (const line of [...problemLines({ problems: log.problems }), ...coverageLines(log)]) ui.line(line);
  }
  for (const node of missing)
    ui.line(`${ui.paint('red', 'missing')}: ${inert(node)}: it is expected, or was seen, and nothing of it is here`);
  const text = ui.paint(verdict === 'complete' ? 'green' : 'red', VERDICTS[verdict]);
  ui.line(
    logs.length === 0 ? `${text}: ${inert(place)}: no node has shipped anything here` : `${text}: ${inert(place)}`,
  );
  if (!signed) ui.line('  signatures were not looked at: give --key');
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
