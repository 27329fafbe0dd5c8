// Says whether an audit log is complete: every line as check.ts wants it, and every branch there. It reads all segments once,
// in order, in bounded memory, and changes nothing.
// It proves that nothing was changed or taken out between two lines, not that nothing was cut from the end: for that the
// last hash must be known from elsewhere.
import path from 'node:path';
import { listBranches } from './branch.ts';
import { type AuditPlace, type AuditProblem, LineCheck } from './check.ts';
import { listSegments, readFileLines } from './read.ts';

export interface Verification {
  /** True when no problem was found. */
  readonly complete: boolean;
  readonly files: readonly string[];
  readonly lines: number;
  /** First and last sound line of the main chain; null in an empty log. `from.seq` above 1: older segments are not here. */
  readonly from: AuditPlace | null;
  readonly to: AuditPlace | null;
  /** The first hundred. */
  readonly problems: readonly AuditProblem[];
  readonly problemCount: number;
  /** Requests let through that have no ended line yet. */
  readonly open: number;
}

const PROBLEMS_MAX = 100;

/** Checks FILE and its rotated segments. Never throws for what is in them; throws where they cannot be read. */
export function verifyAudit(file: string): Verification {
  const { segments, unreadable, compressed } = listSegments(file);
  const branches = listBranches(file);
  const problems: AuditProblem[] = [];
  let problemCount = 0;
  const found = (problem: AuditProblem): void => {
    problemCount++;
    if (problems.length < PROBLEMS_MAX) problems.push(problem);
  };
  const named = branches.map((branch) => ({ name: path.basename(branch.path), seq: branch.seq }));
  const check = new LineCheck(segments[0]?.firstSeq ?? 1, named, found);
  for (const path of unreadable) found({ file: path, line: 0, why: 'no sound line in this file' });
  for (const path of compressed) found({ file: path, line: 0, why: 'compressed: unpack it to have it checked' });
  for (const segment of segments) {
    let number = 0;
    for (const line of readFileLines(segment.path))
      check.line(segment.path, ++number, line, segment === segments.at(-1));
  }
  for (const branch of branches) {
    check.fork(branch.path, branch.seq);
    let number = 0;
    for (const line of readFileLines(branch.path)) check.line(branch.path, ++number, line, true);
  }
  return {
    complete: problemCount === 0,
    files: [...segments, ...branches].map((of) => of.path),
    lines: check.lines,
    from: check.from,
    to: check.to,
    problems,
    problemCount,
    open: check.open,
  };
}
