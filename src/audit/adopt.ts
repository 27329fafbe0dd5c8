// Ends the branches whose process died: their open requests get `ended: interrupted`, and a `stop` note closes the branch.
// At opening that is done at once; while the proxy runs, in small steps, because the old segments may be long and other
// people's tunnels share this thread. A branch whose lock is alive is left alone.
import fs from 'node:fs';
import path from 'node:path';
import type { Limits } from '../limits.ts';
import { Appender, REAL_CALLS } from './append.ts';
import { type Branch, isFinished, listBranches } from './branch.ts';
import { Chain } from './chain.ts';
import { LineWriter } from './line.ts';
import { lockHolder, takeLock } from './lock.ts';
import { interruptedRecord, setTornAside } from './orphans.ts';
import { lineHash, parseLine } from './parse.ts';
import { listSegments, type RawLine, readFileLines } from './read.ts';
import { damaged, decidedAt, follow, type Place, seqAt } from './scan.ts';
import { quote } from './text.ts';

export interface AdoptOptions {
  readonly file: string;
  readonly limits: Limits;
  readonly now: () => Date;
  /** A branch that cannot be ended (damaged, disk full); it is tried again. */
  readonly onError: (error: unknown, branch: string) => void;
}

/** Lines that are read before others get their turn: some milliseconds. */
const STEP_LINES = 2_000;

export class BranchWatch {
  readonly #options: AdoptOptions;
  #unfinished: Branch[];
  #work: Generator<void, number> | null = null;

  constructor(options: AdoptOptions) {
    this.#options = options;
    this.#unfinished = listBranches(options.file).filter((branch) => branch.first !== null && !isFinished(branch.path));
  }

  /** Branches that are not ended: old processes that still drain. */
  get unfinished(): number {
    return this.#unfinished.length;
  }

  /** Ends at once what can be ended. @returns requests that were interrupted */
  adoptNow(): number {
    let interrupted = 0;
    for (const branch of this.#dead()) {
      try {
        const work = adopt(branch, this.#options);
        let step = work.next();
        while (step.done !== true) step = work.next();
        interrupted += step.value;
        this.#done(branch);
      } catch (error) {
        this.#options.onError(error, branch.path);
      }
    }
    return interrupted;
  }

  /** Called now and then: goes on with ending in the turns to come. */
  check(): void {
    if (this.#unfinished.length === 0 || this.#work !== null) return;
    const branch = this.#dead()[0];
    if (branch === undefined) return;
    this.#work = adopt(branch, this.#options);
    setImmediate(() => this.#step(branch));
  }

  stop(): void {
    this.#unfinished = [];
    this.#work?.return(0);
    this.#work = null;
  }

  #step(branch: Branch): void {
    if (this.#work === null) return;
    try {
      if (this.#work.next().done !== true) {
        setImmediate(() => this.#step(branch));
        return;
      }
      this.#done(branch);
    } catch (error) {
      this.#options.onError(error, branch.path);
    }
    this.#work = null;
  }

  /** Some have ended by themselves meanwhile, or were deleted. */
  #dead(): Branch[] {
    this.#unfinished = this.#unfinished.filter(({ path: at }) => fs.existsSync(at) && !isFinished(at));
    return this.#unfinished.filter((branch) => lockHolder(branch.path) === null);
  }

  #done(branch: Branch): void {
    this.#unfinished = this.#unfinished.filter((other) => other !== branch);
  }
}

/** Yields between steps; returns the number of requests that were interrupted. */
function* adopt(branch: Branch, options: AdoptOptions): Generator<void, number> {
  const lock = takeLock(branch.path);
  try {
    if (isFinished(branch.path)) return 0;
    const open = new Map<string, Place>();
    let count = 0;
    for (const { file, line } of linesBefore(branch, options.file)) {
      follow(open, file, line);
      if (++count % STEP_LINES === 0) yield;
    }
    let last: string | null = null;
    let torn: RawLine | null = null;
    for (const line of readFileLines(branch.path)) {
      if (line.state === 'torn') torn = line;
      else {
        follow(open, branch.path, line);
        last = line.text;
      }
      if (++count % STEP_LINES === 0) yield;
    }
    const end = last === null ? null : parseLine(last);
    if (last === null || end === null) throw damaged(branch.path, 0, 'the last line is not a line of an audit log');
    setTornAside(branch.path, end.seq, torn === null ? null : { offset: torn.offset, bytes: torn.end - torn.offset });
    finish(branch.path, { seq: end.seq, prev: lineHash(last), node: end.node, policy: end.policy }, open, options);
    return open.size;
  } finally {
    lock.release();
  }
}

/** The lines of the main chain from the oldest request that the old process had open to the fork. */
function* linesBefore(branch: Branch, main: string): Generator<{ file: string; line: RawLine }> {
  const oldest = branch.first?.event === 'reopen' ? branch.first.detail['oldest_open'] : null;
  if (typeof oldest !== 'number') return;
  const { segments } = listSegments(main);
  const from = Math.max(
    0,
    segments.findLastIndex(({ firstSeq }) => firstSeq <= oldest),
  );
  for (const { path: file, firstSeq } of segments.slice(from)) {
    if (firstSeq > branch.seq) return;
    for (const line of readFileLines(file)) {
      const seq = line.state === 'whole' ? seqAt(line.text) : 0;
      if (seq > branch.seq) return;
      if (seq >= oldest) yield { file, line };
    }
  }
}

function finish(
  file: string,
  end: { seq: number; prev: string; node: string; policy: string },
  open: ReadonlyMap<string, Place>,
  { limits, now }: AdoptOptions,
): void {
  const cap = limits.audit_field_bytes;
  const writer = new LineWriter(cap);
  const appender = new Appender(file, REAL_CALLS);
  try {
    const chain = new Chain(appender, end, quote(end.node, cap), now);
    for (const place of open.values()) chain.add(writer.ended(chain.stamp(), interruptedRecord(decidedAt(place))));
    const detail = { reason: 'interrupted', interrupted: open.size, branch: path.basename(file) };
    chain.add(writer.note(chain.stamp(), { event: 'stop', policy: end.policy, detail }));
    chain.commit();
  } finally {
    appender.close(true);
  }
}
