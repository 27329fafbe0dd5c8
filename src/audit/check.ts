// Checks lines of an audit log one after another: each number the next one, each `prev` the hash of the line before, each
// request that was let through ended at most once; in the main chain and in the branches of upgrades (branch.ts). It may
// begin anywhere: `sallyport audit verify` gives it the whole log, a query only the segments that its time touches.
import type { DecidedLine, EndedLine, NoteLine } from '../policy/record.ts';
import { FIRST_PREV } from './line.ts';
import { lineHash, parseLine, type StoredLine } from './parse.ts';
import type { RawLine } from './read.ts';

export interface AuditProblem {
  readonly file: string;
  /** Counts from 1; 0 where the file as a whole is meant. */
  readonly line: number;
  readonly why: string;
}

export const PROBLEMS_MAX = 100;

/** What is found against a log: all of it is counted, the first hundred are kept. */
export class Problems {
  readonly first: AuditProblem[] = [];
  count = 0;

  readonly add = (problem: AuditProblem): void => {
    this.count++;
    if (this.first.length < PROBLEMS_MAX) this.first.push(problem);
  };
}

export interface AuditPlace {
  readonly seq: number;
  readonly time: string;
}

/** `lasting`: what is missing is not of one moment; an old process may have gone on writing for as long as a drain takes. */
export type ProblemTaker = (problem: AuditProblem, lasting: boolean) => void;

/** Ids of ended requests that are remembered, to name a second end as such. */
const RECENT_MAX = 100_000;

export class LineCheck {
  readonly #found: ProblemTaker;
  readonly #branches: ReadonlySet<string>;
  #lines = 0;
  #from: AuditPlace | null = null;
  #to: AuditPlace | null = null;
  /** Hash of the line before, sound or not; null after a line that cannot have been hashed whole. */
  #hash: string | null = null;
  readonly #open = new Set<string>();
  readonly #ended = new Set<string>();
  /** Lines that gaps have named and that nothing has been found to be the rest of. */
  #unknown = 0;
  // Where the log begins later, decided lines may be in segments that are gone.
  readonly #begun: boolean;
  /** The lines that branches begin after: number → hash and time, once they were read. */
  readonly #forks = new Map<number, { hash: string; time: string } | null>();
  /** Where the main chain ended, once a branch is being read. */
  #main: AuditPlace | null = null;

  /**
   * @param firstSeq number of the first line that will come, where it is known
   * @param branches all that are there, each with its name and the line it goes on from
   */
  constructor(
    firstSeq: number,
    branches: readonly { readonly name: string; readonly seq: number }[],
    found: ProblemTaker,
  ) {
    this.#begun = firstSeq === 1;
    this.#branches = new Set(branches.map(({ name }) => name));
    for (const { seq } of branches) this.#forks.set(seq, null);
    this.#found = found;
  }

  get lines(): number {
    return this.#lines;
  }

  /** First and last sound line of the main chain; null in an empty log. */
  get from(): AuditPlace | null {
    return this.#from;
  }

  get to(): AuditPlace | null {
    return this.#main ?? this.#to;
  }

  /** Requests let through that have no ended line yet. */
  get open(): number {
    return this.#open.size;
  }

  /** The lines that come now are a branch's: they go on from the line of the fork. */
  fork(file: string, seq: number): void {
    this.#main ??= this.#to;
    const at = this.#forks.get(seq) ?? null;
    const begun = this.#from !== null && this.#from.seq <= seq;
    if (at === null && begun)
      this.#found({ file, line: 0, why: `it goes on from line ${seq}, which is not in the log` }, false);
    this.#to = { seq, time: at?.time ?? '' };
    this.#hash = at?.hash ?? null;
  }

  /**
   * Takes the next line of a file.
   * @param number counts from 1
   * @param lastFile nothing follows this file, so its end may be in the making
   * @returns the line, or null where it is none
   */
  line(file: string, number: number, raw: RawLine, lastFile: boolean): StoredLine | null {
    const say = (why: string) => this.#found({ file, line: number, why }, false);
    if (raw.state === 'torn') {
      say(lastFile ? 'the last line is incomplete (a crash, or it is being written now)' : 'the file ends in mid-line');
      return null;
    }
    this.#lines++;
    const line = raw.state === 'whole' ? parseLine(raw.text) : null;
    if (line === null) {
      say(raw.state === 'oversize' ? 'longer than any line that is written' : 'not a line of an audit log');
      this.#hash = raw.state === 'whole' ? lineHash(raw.text) : null;
      return null;
    }
    this.#chain(line, say);
    this.#hash = lineHash(raw.text);
    this.#from ??= { seq: line.seq, time: line.time };
    this.#to = { seq: line.seq, time: line.time };
    if (this.#main === null && this.#forks.has(line.seq))
      this.#forks.set(line.seq, { hash: this.#hash, time: line.time });
    if (line.event === 'decided') this.#decided(line, say);
    else if (line.event === 'ended') this.#end(line, say);
    else if (line.event === 'gap') this.#gap(line, say);
    else if (line.event === 'reopen') {
      const missing = branchNamed(line);
      if (missing !== null && !this.#branches.has(missing)) this.#found(missingBranch(file, number, missing), true);
    }
    return line;
  }

  #chain(line: StoredLine, say: (why: string) => void): void {
    const expected = this.#to === null ? line.seq : this.#to.seq + 1;
    if (line.seq > expected)
      say(`seq jumps from ${expected - 1} to ${line.seq}: ${line.seq - expected} lines are missing`);
    else if (line.seq < expected)
      say(`seq goes back from ${expected - 1} to ${line.seq}: a line stands twice, or another log is mixed in`);
    if (line.seq === 1 && this.#to === null && line.prev !== FIRST_PREV)
      say('the first line of the log names a line before it');
    else if (this.#hash !== null && line.prev !== this.#hash)
      say('prev is not the hash of the line before: one of the two was changed');
  }

  #decided(line: DecidedLine, say: (why: string) => void): void {
    if (line.verdict === 'deny' || line.outcome !== undefined) return;
    if (this.#open.has(line.id) || this.#ended.has(line.id)) say(`a second decided line of request ${line.id}`);
    else this.#open.add(line.id);
  }

  #end(line: EndedLine, say: (why: string) => void): void {
    if (this.#open.delete(line.id)) {
      if (this.#ended.size >= RECENT_MAX) this.#ended.clear();
      this.#ended.add(line.id);
    } else if (this.#ended.has(line.id)) {
      say(`a second ended line of request ${line.id}`);
    } else if (this.#unknown > 0) {
      // Its decided line is among those that a gap has named already.
      this.#unknown--;
      this.#ended.add(line.id);
    } else if (this.#begun) {
      say(`request ${line.id} ended, but was never decided`);
    }
  }

  #gap(line: NoteLine, say: (why: string) => void): void {
    const { dropped, moved_bytes, moved_to, cause } = line.detail;
    if (typeof dropped === 'number') this.#unknown += dropped;
    if (dropped !== undefined) say(`gap: ${dropped} records could not be written (${cause})`);
    else say(`gap: ${moved_bytes} damaged bytes were set aside in ${moved_to}`);
  }
}

/** The branch that a `reopen` note names: what the old process writes after an upgrade. */
export function branchNamed(line: StoredLine): string | null {
  const branch = line.event === 'reopen' ? line.detail['branch'] : undefined;
  return typeof branch === 'string' ? branch : null;
}

export function missingBranch(file: string, line: number, branch: string): AuditProblem {
  return { file, line, why: `the branch ${branch} is missing: what the old process wrote after the upgrade` };
}
