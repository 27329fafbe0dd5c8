// Says whether an audit log is complete: every number there, every line the one that the next line's hash means, every
// request that was let through ended at most once; in the main chain and in the branches of upgrades (branch.ts). It reads all segments once, in order, in bounded memory, and changes nothing.
// It proves that nothing was changed or taken out between two lines, not that nothing was cut from the end: for that the
// last hash must be known from elsewhere.
import path from 'node:path';
import type { DecidedLine, EndedLine, NoteLine } from '../policy/record.ts';
import { type Branch, listBranches } from './branch.ts';
import { FIRST_PREV } from './line.ts';
import { lineHash, parseLine, type StoredLine } from './parse.ts';
import { listSegments, type RawLine, readFileLines } from './read.ts';

export interface AuditProblem {
  readonly file: string;
  /** Counts from 1; 0 where the file as a whole is meant. */
  readonly line: number;
  readonly why: string;
}

export interface AuditPlace {
  readonly seq: number;
  readonly time: string;
}

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
/** Ids of ended requests that are remembered, to name a second end as such. */
const RECENT_MAX = 100_000;

/** Checks FILE and its rotated segments. Never throws for what is in them; throws where they cannot be read. */
export function verifyAudit(file: string): Verification {
  const { segments, unreadable, compressed } = listSegments(file);
  const branches = listBranches(file);
  const check = new Check(segments[0]?.firstSeq ?? 1, branches);
  for (const path of unreadable) check.problem(path, 0, 'no sound line in this file');
  for (const path of compressed) check.problem(path, 0, 'compressed: unpack it to have it checked');
  for (const [index, segment] of segments.entries()) {
    let number = 0;
    for (const line of readFileLines(segment.path)) {
      number++;
      check.line(segment.path, number, line, index === segments.length - 1);
    }
  }
  for (const branch of branches) {
    check.fork(branch);
    let number = 0;
    for (const line of readFileLines(branch.path)) check.line(branch.path, ++number, line, true);
  }
  return check.result([...segments, ...branches].map((of) => of.path));
}

class Check {
  readonly #problems: AuditProblem[] = [];
  #problemCount = 0;
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
  readonly #branches: ReadonlySet<string>;
  /** The lines that branches begin after: number → hash and time, once they were read. */
  readonly #forks = new Map<number, { hash: string; time: string } | null>();
  /** Where the main chain ended, once a branch is being read. */
  #main: AuditPlace | null = null;

  constructor(firstSeq: number, branches: readonly Branch[]) {
    this.#begun = firstSeq === 1;
    this.#branches = new Set(branches.map((branch) => path.basename(branch.path)));
    for (const { seq } of branches) this.#forks.set(seq, null);
  }

  /** The lines that come now are a branch's: they go on from the line of the fork. */
  fork(branch: Branch): void {
    this.#main ??= this.#to;
    const at = this.#forks.get(branch.seq) ?? null;
    const begun = this.#from !== null && this.#from.seq <= branch.seq;
    if (at === null && begun)
      this.problem(branch.path, 0, `it goes on from line ${branch.seq}, which is not in the log`);
    this.#to = { seq: branch.seq, time: at?.time ?? '' };
    this.#hash = at?.hash ?? null;
  }

  problem(file: string, line: number, why: string): void {
    this.#problemCount++;
    if (this.#problems.length < PROBLEMS_MAX) this.#problems.push({ file, line, why });
  }

  line(file: string, number: number, raw: RawLine, lastFile: boolean): void {
    const say = (why: string) => this.problem(file, number, why);
    if (raw.state === 'torn') {
      say(lastFile ? 'the last line is incomplete (a crash, or it is being written now)' : 'the file ends in mid-line');
      return;
    }
    this.#lines++;
    const line = raw.state === 'whole' ? parseLine(raw.text) : null;
    if (line === null) {
      say(raw.state === 'oversize' ? 'longer than any line that is written' : 'not a line of an audit log');
      this.#hash = raw.state === 'whole' ? lineHash(raw.text) : null;
      return;
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
    else if (line.event === 'reopen') this.#reopen(line, say);
  }

  result(files: readonly string[]): Verification {
    return {
      complete: this.#problemCount === 0,
      files,
      lines: this.#lines,
      from: this.#from,
      to: this.#main ?? this.#to,
      problems: this.#problems,
      problemCount: this.#problemCount,
      open: this.#open.size,
    };
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

  #reopen(line: NoteLine, say: (why: string) => void): void {
    const { branch } = line.detail;
    if (typeof branch === 'string' && !this.#branches.has(branch))
      say(`the branch ${branch} is missing: what the old process wrote after the upgrade`);
  }

  #gap(line: NoteLine, say: (why: string) => void): void {
    const { dropped, moved_bytes, moved_to, cause } = line.detail;
    if (typeof dropped === 'number') this.#unknown += dropped;
    if (dropped !== undefined) say(`gap: ${dropped} records could not be written (${cause})`);
    else say(`gap: ${moved_bytes} damaged bytes were set aside in ${moved_to}`);
  }
}
