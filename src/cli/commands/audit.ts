// `sallyport audit verify|repair`: says whether the audit log is complete; sets a broken tail aside. The work is in audit/.
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readCheckpoints } from '../../audit/checkpoint-folder.ts';
import { logFamily, workersThatServed } from '../../audit/family.ts';
import type { Window } from '../../audit/history.ts';
import { type NodeStatement, stateAll, stateLog } from '../../audit/nodes.ts';
import { repairAudit } from '../../audit/repair.ts';
import { nodeFolder } from '../../audit/second-place.ts';
import { type Verification, verifyAudit } from '../../audit/verify.ts';
import { heldToCheckpoint, heldToSeen } from '../../audit/verify-checkpoint.ts';
import { inert } from '../../report/inert.ts';
import { EXIT } from '../args.ts';
import { auditFile, auditLogs, logsAt, noAuditLog, publicKeys } from '../audit-file.ts';
import { coverageLines, problemLines, statementLines } from '../audit-statement.ts';
import { checkpointsOf, type Typed } from '../bucket.ts';
import { type Input, usage } from '../input.ts';
import type { Ui, World } from '../ui.ts';
import { windowOf } from '../window.ts';
import { auditVerifyShipped } from './audit-shipped.ts';

export async function auditVerify(input: Input, ui: Ui, world: World): Promise<number> {
  const shipped = input.text('shipped');
  if (shipped !== null) return auditVerifyShipped(shipped, input, ui, world);
  if (input.list('log').length > 0 && input.text('config') !== null)
    throw usage('--config and --log both name an audit log', 'Give one of the two.');
  const given = input.list('log').flatMap(logsAt);
  const logs = logFamily(...(given.length > 0 ? given : [auditFile(input, ui, world)]));
  const expected = [...input.list('node'), ...logs.flatMap(workersThatServed)];
  const window = windowTyped(input, world);
  const [only] = logs;
  const second = input.text('checkpoints');
  if (window === null && expected.length === 0 && second === null && logs.length === 1 && only !== undefined)
    return verifyOne(only, ui);
  const asked = window ?? { from: Number.NEGATIVE_INFINITY, to: Number.POSITIVE_INFINITY };
  const nodes: NodeStatement[] = [];
  for (const log of logs) {
    ui.progress(`reading ${log}`);
    nodes.push(await stateLog(log, { window: asked, ...(window ? { until: Math.min(window.to, world.now()) } : {}) }));
  }
  const held = second === null ? { nodes, seen: [] } : await heldTo(second, nodes, asked, { input, ui, world });
  ui.settle();
  const isOver = window === null || window.to <= world.now();
  const found = stateAll(held.nodes, asked, [...expected, ...held.seen], isOver);
  if (ui.json) ui.object(found);
  else for (const line of statementLines(found, ui)) ui.line(line);
  return found.complete ? EXIT.ok : EXIT.failed;
}

/** What the checkpoints of a place say of these logs, and which nodes they have seen besides. */
async function heldTo(
  place: string,
  nodes: readonly NodeStatement[],
  window: Window,
  typed: Typed,
): Promise<{ nodes: NodeStatement[]; seen: string[] }> {
  const keys = publicKeys(typed.input);
  const scratch = mkdtempSync(join(tmpdir(), 'sallyport-verify-'));
  try {
    const dir = await checkpointsOf(place, scratch, typed);
    const { found, seen } = readCheckpoints(dir, keys);
    const held: NodeStatement[] = [];
    for (const node of nodes) held.push(await heldToCheckpoint(node, found, seen));
    const here = new Set(nodes.map(({ node }) => nodeFolder(node ?? '')));
    return { nodes: heldToSeen(held, seen, window), seen: seen.within(window).filter((folder) => !here.has(folder)) };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Null where no time is asked for. */
function windowTyped(input: Input, world: World): Window | null {
  return input.text('from') === null && input.text('to') === null ? null : windowOf(input, world.now(), null);
}

async function verifyOne(file: string, ui: Ui): Promise<number> {
  ui.progress(`reading ${file}`);
  const found = await verifyAudit(file);
  ui.settle();
  // A log of which nothing can be read must not be called complete.
  if (found.files.length === 0 && found.problem_count === 0 && !existsSync(file)) throw noAuditLog(file);
  if (ui.json) ui.object({ file, ...found });
  else showOne(file, found, ui);
  return found.complete ? EXIT.ok : EXIT.failed;
}

function showOne(file: string, found: Verification, ui: Ui): void {
  const range =
    found.from === null || found.to === null
      ? 'no lines'
      : `${found.lines} lines, ${found.from.seq} to ${found.to.seq}, ${found.from.time} to ${found.to.time}`;
  if (found.complete) {
    ui.line(
      `${ui.paint('green', 'complete')}: ${inert(file)}: ${range} in ${found.files.length} files, ${found.open} requests open`,
    );
    if (found.from !== null && found.from.seq > 1)
      ui.line(`  it begins at line ${found.from.seq}: older segments are not here`);
    for (const line of coverageLines(found)) ui.line(line);
    return;
  }
  const problems = found.problem_count + found.silence_count;
  ui.line(
    `${ui.paint('red', 'not complete')}: ${inert(file)}: ${range}, ${problems} ${problems === 1 ? 'problem' : 'problems'}`,
  );
  for (const line of [...problemLines(found), ...coverageLines(found)]) ui.line(line);
  if (found.problem_count > 0)
    ui.line(
      '  hint: a broken tail is set aside by `sallyport audit repair`; what is missing in the middle cannot be mended',
    );
}

export function auditRepair(input: Input, ui: Ui, world: World): number {
  for (const file of auditLogs(input, ui, world)) {
    const done = repairAudit({ file, now: () => new Date(world.now()) });
    if (ui.json) ui.object({ file, moved_to: done.movedTo, moved_bytes: done.movedBytes, last_seq: done.lastSeq });
    else if (done.movedTo === null)
      ui.line(`${inert(file)} ends with a whole line (${done.lastSeq}); nothing to repair`);
    else
      ui.line(
        `${inert(file)} is repaired: ${done.movedBytes} bytes after line ${done.lastSeq} are now in ${inert(done.movedTo)}`,
      );
  }
  return EXIT.ok;
}
