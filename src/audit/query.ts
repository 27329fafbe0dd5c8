// A question to the log: which lines of a window match, and whether the log is complete for that window. It checks what it reads
// as `audit verify` does, and reads only what the window touches (history.ts); a problem counts where it may lie in the window,
// that is between the sound lines around it. It streams in bounded memory and changes nothing.
import { SallyportError } from '../errors.ts';
import { type AuditPlace, type AuditProblem, LineCheck, missingBranch, PROBLEMS_MAX, Problems } from './check.ts';
import { Coverage, type Covered } from './coverage.ts';
import {
  fileProblems,
  type History,
  type HistoryFile,
  lacksBeginning,
  listHistory,
  mayDrainInto,
  missingBranches,
  pathNow,
  readBatches,
  touchedBy,
  type Window,
  wentAway,
} from './history.ts';
import type { StoredLine } from './parse.ts';
import type { RawLine } from './read.ts';

/** A line that matches: as read, and as it stands in the file. */
export interface Match {
  readonly line: StoredLine;
  readonly text: string;
}

/** Whether the log is complete for the window. */
export interface Completeness extends Covered {
  readonly complete: boolean;
  /** The files that the window touches. */
  readonly files: readonly string[];
  /** Lines that were read and checked, those around the window included. */
  readonly lines: number;
  readonly matched: number;
  /** First and last line of the main chain in the window; null where it has none. */
  readonly first: AuditPlace | null;
  readonly last: AuditPlace | null;
  /** The first hundred. */
  readonly problems: readonly AuditProblem[];
  readonly problem_count: number;
  /** Archives that were not read. Where the log is complete for the window, nothing of it is in them. */
  readonly unopened: readonly string[];
}

export interface AuditQuery {
  /** The log: FILE, with what was rotated and drained beside it. */
  readonly file: string;
  readonly window: Window;
  readonly matches: (line: StoredLine) => boolean;
  /** Up to when its process should have spoken: the end of the window, or now. Absent: the log may end where it likes. */
  readonly until?: number;
  /** Takes the matches of one piece of a file, never none; false ends the reading. */
  readonly take: (matches: readonly Match[]) => Promise<boolean>;
}

/**
 * Hands over what matches, then says whether that is all there was. Lines of the main chain come in their order, those of a
 * drained branch after them.
 * @returns null where `take` ended it
 */
export async function queryAudit(query: AuditQuery): Promise<Completeness | null> {
  return new Reading(query, await listHistory(query.file)).run();
}

/** Whether the log is complete for the window, where nobody wants its lines. @param until as in AuditQuery */
export async function completeness(file: string, window: Window, until?: number): Promise<Completeness> {
  const asked = { file, window, ...(until === undefined ? {} : { until }) };
  const found = await queryAudit({ ...asked, matches: () => false, take: () => Promise.resolve(true) });
  if (found === null) throw new Error('a reading that takes nothing was ended');
  return found;
}

class Reading {
  readonly #query: AuditQuery;
  readonly #history: History;
  readonly #check: LineCheck;
  readonly #coverage: Coverage;
  readonly #touched: Pick<History, 'segments' | 'branches'>;
  readonly #problems = new Problems();
  /** Found since the last sound line, at #before: where in time they lie is known with the next. The first hundred. */
  #pending: { readonly problem: AuditProblem; readonly lasting: boolean }[] = [];
  #pendingMore = 0;
  #before = Number.NEGATIVE_INFINITY;
  #matched = 0;
  #first: AuditPlace | null = null;
  #last: AuditPlace | null = null;

  constructor(query: AuditQuery, history: History) {
    this.#query = query;
    this.#history = history;
    this.#touched = touchedBy(history, query.window);
    this.#coverage = new Coverage(query.window);
    const first = this.#touched.segments[0]?.firstSeq ?? 1;
    this.#check = new LineCheck(first, history.branches, (problem, lasting) => this.#found(problem, lasting));
  }

  async run(): Promise<Completeness | null> {
    const { segments, branches } = this.#touched;
    for (const problem of fileProblems(this.#history)) this.#problems.add(problem);
    this.#earlierBranches();
    for (const segment of segments) {
      if (!(await this.#read(segment, segment === segments.at(-1), true))) return null;
    }
    this.#settle(Number.POSITIVE_INFINITY);
    this.#coverage.end(this.#query.until ?? null);
    this.#beginning();
    for (const branch of branches) {
      this.#before = branch.firstMs;
      this.#check.fork(branch.path, branch.seq);
      this.#coverage.fork(branch.firstMs);
      if (!(await this.#read(branch, true, false))) return null;
      this.#settle(Number.POSITIVE_INFINITY);
      this.#coverage.end(null);
    }
    const covered = this.#coverage.found;
    return {
      complete: this.#problems.count === 0 && covered.silence_count === 0,
      ...covered,
      files: [...segments, ...branches].map((of) => of.path),
      lines: this.#check.lines,
      matched: this.#matched,
      first: this.#first,
      last: this.#last,
      problems: this.#problems.first,
      problem_count: this.#problems.count,
      unopened: this.#history.unopened,
    };
  }

  /** @returns false where the taker wants no more */
  async #read(listed: HistoryFile, last: boolean, main: boolean): Promise<boolean> {
    const file = await pathNow(this.#query.file, listed);
    if (file === null) {
      this.#problems.add(wentAway(listed));
      return true;
    }
    let number = 0;
    try {
      for await (const batch of readBatches(file)) {
        const matches: Match[] = [];
        for (const raw of batch) {
          const line = this.#line(file, ++number, raw, last);
          if (line === null) continue;
          if (main) this.#first ??= { seq: line.seq, time: line.time };
          if (main) this.#last = { seq: line.seq, time: line.time };
          if (this.#query.matches(line)) matches.push({ line, text: raw.text });
        }
        this.#matched += matches.length;
        if (matches.length > 0 && !(await this.#query.take(matches))) return false;
        // Of the segment after the window nothing is wanted but that its first line is the next one.
        if (listed.firstMs >= this.#query.window.to && number > 0) break;
      }
    } catch (error) {
      if (!(error instanceof SallyportError) || error.code !== 'audit-damaged') throw error;
      this.#found({ file, line: number, why: error.message }, false);
    }
    return true;
  }

  /** @returns the line, where it is one and of the window */
  #line(file: string, number: number, raw: RawLine, lastFile: boolean): StoredLine | null {
    // Its end is being written now, or its request was never answered.
    if (raw.state === 'torn' && lastFile) return null;
    const line = this.#check.line(file, number, raw, lastFile);
    if (line === null) return null;
    const ms = Date.parse(line.time);
    this.#settle(ms);
    this.#before = ms;
    this.#coverage.line(line, ms);
    const { from, to } = this.#query.window;
    return ms >= from && ms < to ? line : null;
  }

  #found(problem: AuditProblem, lasting: boolean): void {
    if (this.#pending.length < PROBLEMS_MAX) this.#pending.push({ problem, lasting });
    else this.#pendingMore++;
  }

  /** What was found since the last sound line lies between it and this moment: it counts where that touches the window. */
  #settle(ms: number): void {
    if (this.#pending.length === 0) return;
    const { window } = this.#query;
    const counts = Math.max(ms, this.#before) >= window.from && Math.min(ms, this.#before) < window.to;
    for (const { problem, lasting } of this.#pending)
      if (counts || (lasting && mayDrainInto(window, ms))) this.#problems.add(problem);
    if (counts) this.#problems.count += this.#pendingMore;
    this.#pending = [];
    this.#pendingMore = 0;
  }

  /** Branches that are missing and began before what is read; their processes may have gone on into the window. */
  #earlierBranches(): void {
    for (const { segment, name } of missingBranches(this.#history, this.#query.window))
      if (!this.#touched.segments.includes(segment)) this.#problems.add(missingBranch(segment.path, 1, name));
  }

  #beginning(): void {
    const { segments, unopened } = this.#history;
    const lacking = lacksBeginning(this.#history, this.#query.window);
    if (lacking !== null) {
      const { path, firstSeq, first } = lacking;
      const or = unopened.length === 0 ? '' : ', or is in an archive that was not read';
      const why = `the log begins here, with line ${firstSeq} of ${first.time}: what came before is not there${or}`;
      this.#problems.add({ file: path, line: 1, why });
    } else if (segments.length === 0 && unopened.length > 0) {
      this.#problems.add({ file: this.#query.file, line: 0, why: 'none of its files could be read' });
    }
  }
}
