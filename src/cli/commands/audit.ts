// `sallyport audit verify|repair`: says whether the audit log is complete; sets a broken tail aside. The work is in audit/.
import { existsSync } from 'node:fs';
import { repairAudit } from '../../audit/repair.ts';
import { verifyAudit } from '../../audit/verify.ts';
import { inert } from '../../report/inert.ts';
import { EXIT } from '../args.ts';
import { auditFile, noAuditLog } from '../audit-file.ts';
import type { Input } from '../input.ts';
import type { Ui, World } from '../ui.ts';
import { auditVerifyShipped } from './audit-shipped.ts';

export async function auditVerify(input: Input, ui: Ui, world: World): Promise<number> {
  const shipped = input.text('shipped');
  if (shipped !== null) return auditVerifyShipped(shipped, input, ui, world);
  const file = auditFile(input, ui, world);
  ui.progress(`reading ${file}`);
  const found = await verifyAudit(file);
  ui.settle();
  // A log of which nothing can be read must not be called complete.
  if (found.files.length === 0 && found.problemCount === 0 && !existsSync(file)) {
    throw noAuditLog(file);
  }
  if (ui.json) {
    const { problemCount, ...rest } = found;
    ui.object({ file, ...rest, problem_count: problemCount });
    return found.complete ? EXIT.ok : EXIT.failed;
  }
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
    return EXIT.ok;
  }
  ui.line(
    `${ui.paint('red', 'not complete')}: ${inert(file)}: ${range}, ${found.problemCount} ${found.problemCount === 1 ? 'problem' : 'problems'}`,
  );
  for (const { file: at, line, why } of found.problems) ui.line(`  ${inert(at)}:${line}: ${inert(why)}`);
  if (found.problemCount > found.problems.length) ui.line(`  … and ${found.problemCount - found.problems.length} more`);
  ui.line(
    '  hint: a broken tail is set aside by `sallyport audit repair`; what is missing in the middle cannot be mended',
  );
  return EXIT.failed;
}

export function auditRepair(input: Input, ui: Ui, world: World): number {
  const file = auditFile(input, ui, world);
  const done = repairAudit({ file, now: () => new Date(world.now()) });
  if (ui.json) ui.object({ file, moved_to: done.movedTo, moved_bytes: done.movedBytes, last_seq: done.lastSeq });
  else if (done.movedTo === null) ui.line(`${inert(file)} ends with a whole line (${done.lastSeq}); nothing to repair`);
  else
    ui.line(
      `${inert(file)} is repaired: ${done.movedBytes} bytes after line ${done.lastSeq} are now in ${inert(done.movedTo)}`,
    );
  return EXIT.ok;
}
