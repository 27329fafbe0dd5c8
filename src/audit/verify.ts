// Says whether an audit log is complete: every line as check.ts wants it, every branch there, and no silence (coverage.ts). It reads all
// segments once, in order, in bounded memory, and changes nothing. Of one time alone query.ts says it.
// It proves that nothing was changed or taken out between two lines, not that nothing was cut from the end: for that the
// last hash must be known from elsewhere.
import { SallyportError } from '../errors.ts';
import { type AuditPlace, type AuditProblem, LineCheck, Problems } from './check.ts';
import { Coverage, type Covered } from './coverage.ts';
import { fileProblems, type HistoryFile, listHistory, pathNow, readBatches, wentAway } from './history.ts';

export interface Verification extends Covered {
  /** True when no problem was found, and no silence. */
  readonly complete: boolean;
  readonly files: readonly string[];
  readonly lines: number;
  /** First and last sound line of the main chain; null in an empty log. `from.seq` above 1: older segments are not here. */
  readonly from: AuditPlace | null;
  readonly to: AuditPlace | null;
  /** The first hundred. */
  readonly problems: readonly AuditProblem[];
  readonly problem_count: number;
  /** Requests let through that have no ended line yet. */
  readonly open: number;
}

/**
 * Checks FILE, its rotated segments and the branches of upgrades, packed with gzip or not; a segment that is there twice under one name, once.
 * Never throws for what is in them.
 */
export async function verifyAudit(file: string): Promise<Verification> {
  const history = await listHistory(file);
  const { segments, branches } = history;
  const problems = new Problems();
  const found = problems.add;
  const check = new LineCheck(segments[0]?.firstSeq ?? 1, branches, found);
  for (const problem of fileProblems(history)) found(problem);
  for (const path of history.unopened)
    found({ file: path, line: 0, why: 'an archive that cannot be read: unpack it, or pack it with gzip' });
  const coverage = new Coverage({ from: Number.NEGATIVE_INFINITY, to: Number.POSITIVE_INFINITY });
  const read = async (listed: HistoryFile, last: boolean): Promise<void> => {
    const path = await pathNow(file, listed);
    if (path === null) found(wentAway(listed));
    else await checkFile(path, last, { check, coverage, found });
  };
  for (const segment of segments) await read(segment, segment === segments.at(-1));
  coverage.end(null);
  for (const branch of branches) {
    check.fork(branch.path, branch.seq);
    coverage.fork(branch.firstMs);
    await read(branch, true);
    coverage.end(null);
  }
  const covered = coverage.found;
  return {
    complete: problems.count === 0 && covered.silence_count === 0,
    ...covered,
    files: [...segments, ...branches].map((of) => of.path),
    lines: check.lines,
    from: check.from,
    to: check.to,
    problems: problems.first,
    problem_count: problems.count,
    open: check.open,
  };
}

interface Checks {
  readonly check: LineCheck;
  readonly coverage: Coverage;
  readonly found: (problem: AuditProblem) => void;
}

async function checkFile(file: string, last: boolean, { check, coverage, found }: Checks): Promise<void> {
  let number = 0;
  try {
    for await (const batch of readBatches(file)) {
      for (const raw of batch) {
        const line = check.line(file, ++number, raw, last);
        if (line !== null) coverage.line(line, Date.parse(line.time));
      }
    }
  } catch (error) {
    if (!(error instanceof SallyportError) || error.code !== 'audit-damaged') throw error;
    found({ file, line: number, why: error.message });
  }
}
