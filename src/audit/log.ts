// The audit log: the proxy's Recorder. One record → one line, numbered and chained by SHA-256. A decided line or a note is in the kernel
// before its caller goes on, so it survives kill -9, and a full disk is an error of that very request instead of a loss found later: it
// must stand before anything is dialled. All that are decided in one turn of the event loop go there in one write, at its end. Ended lines
// hold up nobody; they go with the next write. It opens the only file that the data plane's thread touches.
import fs from 'node:fs';
import path from 'node:path';
import { ChurnMap } from '../churn-map.ts';
import { SallyportError } from '../errors.ts';
import type { Decided, Ended, Note } from '../policy/record.ts';
import { BranchWatch } from './adopt.ts';
import { type AppendCalls, Appender, REAL_CALLS, unwritable } from './append.ts';
import type { AuditLog, AuditStats } from './audit-log.ts';
import { branchPath, type Fork, listBranches, takeOverTail } from './branch.ts';
import { Chain } from './chain.ts';
import { DiskWatch } from './disk.ts';
import { Gathering, type Told } from './gathering.ts';
import { LineWriter } from './line.ts';
import { LOCK_TOUCH_MS, type Lock, takeLock } from './lock.ts';
import type { AuditOptions } from './options.ts';
import { interruptedRecord, setTornAside } from './orphans.ts';
import { scanTail, type Tail } from './scan.ts';
import { moveOn } from './segment.ts';
import { Syncer } from './sync.ts';
import { quote } from './text.ts';

/**
 * Opens or creates an audit log for writing: takes its lock, sets a torn last line aside, continues the chain, closes the orphans.
 * @throws SallyportError `audit-locked`, `audit-damaged` (names file:line and the command that mends it), `audit-unwritable`
 */
export function openAuditLog(options: AuditOptions): AuditLog {
  let lock: Lock;
  try {
    fs.mkdirSync(path.dirname(options.file), { recursive: true, mode: 0o750 });
    lock = takeLock(options.file);
  } catch (error) {
    throw error instanceof SallyportError ? error : unwritable(options.file, error);
  }
  try {
    const { file, takeOver } = options;
    const tail = takeOver === undefined ? scanTail(file, listBranches(file).at(-1)?.seq) : takeOverTail(file, takeOver);
    const repaired = setTornAside(file, tail.seq, tail.torn);
    const log = new FileAuditLog(options, lock, tail, repaired);
    log.begin(tail);
    return log;
  } catch (error) {
    lock.release();
    throw error instanceof SallyportError ? error : unwritable(options.file, error);
  }
}

class FileAuditLog implements AuditLog {
  readonly repaired: AuditLog['repaired'];
  interrupted = 0;
  readonly #options: AuditOptions;
  readonly #writer: LineWriter;
  readonly #branches: BranchWatch;
  readonly #syncer: Syncer;
  readonly #disk: DiskWatch;
  readonly #calls: AppendCalls;
  readonly #rotateBytes: number;
  /** A rotation failed; not tried again before the next touch of the lock. */
  #rotateLater = false;
  #lock: Lock;
  #file: string;
  #fork: Fork | null = null;
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #chain: Chain;
  #closed = false;
  #policy: string;
  // Id → seq of the requests that wait for their ended line, oldest first: a segment's `reopen` note names the oldest.
  readonly #open = new ChurnMap<string, number>();
  readonly #gathered = new Gathering(() => this.#writeGathered());
  // Ended records whose lines are added to the chain and not written yet.
  #queue: Ended[] = [];
  #flushDue = false;
  readonly #flushNow = (): void => this.#flush();
  // Ended records that a full disk refused. Their tunnels are gone, nobody else will write them; at most one for each open request.
  readonly #waiting = new Map<string, Ended>();
  #failures = 0;
  #dropped = 0;
  #unmarked = 0;
  #lastError: string | null = null;

  constructor(options: AuditOptions, lock: Lock, tail: Tail, repaired: AuditLog['repaired']) {
    this.#options = options;
    this.#lock = lock;
    this.#file = options.file;
    this.repaired = repaired;
    const cap = options.limits.audit_field_bytes;
    this.#writer = new LineWriter(cap);
    this.#policy = tail.policy;
    this.#calls = options.calls ?? REAL_CALLS;
    this.#rotateBytes = options.rotateBytes || Number.POSITIVE_INFINITY;
    this.#disk = new DiskWatch(options.file, options.limits, (what) => options.onProblem?.(what, null), options.meter);
    const onError = (error: unknown, branch: string) => options.onProblem?.(`${branch} cannot be ended`, error);
    this.#branches = new BranchWatch({ file: options.file, limits: options.limits, now: options.now, onError });
    this.#chain = new Chain(new Appender(options.file, this.#calls), tail, quote(options.node, cap), options.now);
    const unsynced = (error: Error) => this.#fail(unwritable(this.#chain.appender.path, error));
    this.#syncer = new Syncer(options.sync ?? 'interval', () => this.#chain.appender, unsynced);
  }

  /** The lines that are due at opening, then the timers. */
  begin(tail: Tail): void {
    try {
      for (const line of tail.open) this.#open.set(line.id, line.seq);
      if (tail.rotated) this.#continueIn(this.#chain.appender, this.#options.takeOver);
      for (const line of tail.open) this.ended(interruptedRecord(line));
      if (this.#queue.length > 0) this.#commit();
    } catch (error) {
      this.#closed = true;
      this.#chain.appender.close(false);
      throw error;
    }
    this.interrupted = tail.open.length + this.#branches.adoptNow();
    const every = (ms: number, act: () => void) => this.#timers.push(setInterval(act, ms).unref());
    every(this.#options.limits.audit_sync_interval_ms, () => this.#tick());
    every(LOCK_TOUCH_MS, () => {
      this.#lock.touch();
      this.#branches.check();
      this.#rotateLater = false;
    });
  }

  get stats(): AuditStats {
    if (this.#pending) this.#flush();
    return {
      lines: this.#chain.lines,
      bytes: this.#chain.bytes,
      failures: this.#failures,
      dropped: this.#dropped,
      waiting: this.#waiting.size,
      open: this.#open.size,
      lastSeq: this.#chain.seq,
      lastError: this.#lastError,
    };
  }

  get notReady(): string | null {
    return this.#lastError ?? this.#disk.short;
  }

  isOpen = (id: string): boolean => this.#open.has(id);
  durable = (): Promise<void> | null => this.#syncer.durable();

  decided(record: Decided): string {
    let failure: unknown = null;
    let line = '';
    this.gather(record, (error, text) => {
      failure = error;
      line = text;
    });
    this.#writeGathered();
    if (failure !== null) throw failure;
    return line;
  }

  gather(record: Decided, done: Told): void {
    this.#policy = record.policy;
    try {
      this.#ready();
    } catch (error) {
      return this.#missed(record, done, error);
    }
    const stamp = this.#chain.stamp();
    const line = this.#chain.add(this.#writer.decided(stamp, record));
    this.#gathered.add({ record, seq: stamp.seq, line, done });
    if (this.#chain.full) this.#writeGathered();
  }

  ended(record: Ended): string {
    if (this.#closed) throw this.#closedError();
    const line = this.#end(record);
    if (!this.#flushDue) {
      this.#flushDue = true;
      setImmediate(this.#flushNow);
    }
    return line;
  }

  #end(record: Ended): string {
    // What waits goes first, and its numbers are not known before it is written.
    if (this.#behind && this.#open.has(record.id)) this.#waiting.set(record.id, record);
    // Its decided line was dropped: it may stand behind the gap that says so, never before it.
    else if (this.#behind && !this.#caughtUp()) this.#drop();
    else {
      const line = this.#chain.add(this.#writer.ended(this.#chain.stamp(), record));
      this.#queue.push(record);
      if (this.#chain.full) this.#flush();
      return line;
    }
    return `${this.#writer.ended(this.#chain.stamp(), record)}}`;
  }

  note(record: Note): string {
    this.#policy = record.policy;
    try {
      this.#ready();
      // What an old process still has open is not over because this one starts; the usage store must know.
      const draining = record.event === 'start' ? this.#branches.unfinished : 0;
      const note = draining === 0 ? record : { ...record, detail: { ...record.detail, draining } };
      const line = this.#chain.add(this.#writer.note(this.#chain.stamp(), note));
      this.#commit();
      this.#rotateIfDue();
      return line;
    } catch (error) {
      this.#fail(error);
      if (this.#options.whenFull === 'refuse') throw error;
      this.#drop();
      return `${this.#writer.note(this.#chain.stamp(), record)}}`;
    }
  }

  reopen(): void {
    this.#flush();
    if (this.#chain.appender.isAt(this.#file)) return;
    try {
      this.#moveTo(this.#file);
    } catch (error) {
      this.#fail(error);
      throw error;
    }
  }

  handOver(): Fork {
    if (this.#closed) throw this.#closedError();
    if (this.#fork !== null) return this.#fork;
    this.#flush();
    const fork = { seq: this.#chain.seq, hash: this.#chain.prev };
    const branch = branchPath(this.#file, fork.seq);
    const own = this.#lock;
    let lock: Lock | null = null;
    try {
      lock = takeLock(branch);
      this.#moveTo(branch);
      this.#lock = lock;
    } catch (error) {
      lock?.release();
      this.#fail(error);
      throw error instanceof SallyportError ? error : unwritable(branch, error);
    }
    this.#branches.stop();
    own.release();
    this.#file = branch;
    this.#fork = fork;
    return fork;
  }

  close(): void {
    if (this.#closed) return;
    this.#branches.stop();
    for (const timer of this.#timers) clearInterval(timer);
    this.#flush();
    this.#closed = true;
    try {
      this.#syncer.close();
    } finally {
      this.#lock.release();
    }
  }

  get #pending(): boolean {
    return this.#queue.length + this.#gathered.size > 0;
  }

  get #behind(): boolean {
    return this.#unmarked > 0 || this.#waiting.size > 0;
  }

  #closedError(): SallyportError {
    return unwritable(this.#options.file, new Error('the log is closed'));
  }

  /** What must stand before the next line that is written at once. */
  #ready(): void {
    if (this.#closed) throw this.#closedError();
    if (this.#behind) this.#settle();
  }

  #writeGathered(): void {
    if (this.#gathered.size === 0) return;
    try {
      this.#commit();
      this.#rotateIfDue();
    } catch {
      // Each of them has been told.
    }
  }

  #missed(record: Decided, done: Told, error: unknown): void {
    this.#fail(error);
    if (this.#options.whenFull === 'refuse') return done(error, '');
    this.#drop();
    done(null, `${this.#writer.decided(this.#chain.stamp(), record)}}`);
  }

  /** Writes what was added, all or nothing: of what failed the decided lines are told so, and the ended ones wait. */
  #commit(): void {
    const queue = this.#queue;
    const gathered = this.#gathered.take();
    try {
      this.#chain.commit();
    } catch (error) {
      this.#queue = [];
      for (const { record, done } of gathered) this.#missed(record, done, error);
      for (const record of queue) {
        if (this.#open.has(record.id)) this.#waiting.set(record.id, record);
        else this.#drop();
      }
      throw error;
    }
    this.#lastError = null;
    for (const { record, seq } of gathered)
      if (record.verdict !== 'deny' && record.outcome === undefined) this.#open.set(record.id, seq);
    for (const record of queue) this.#open.delete(record.id);
    queue.length = 0;
    for (const { line, done } of gathered) done(null, line);
  }

  #caughtUp(): boolean {
    this.#flush();
    return !this.#behind;
  }

  /** Tries to write all that is not written; what cannot be is tried again with the next line and at every tick. */
  #flush(): void {
    this.#flushDue = false;
    if (this.#closed) return;
    try {
      if (this.#behind) this.#settle();
      else if (this.#pending) this.#commit();
      this.#rotateIfDue();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Only drop-and-mark loses a line and goes on; with refuse the caller got the error. */
  #drop(): void {
    if (this.#options.whenFull === 'refuse') return;
    this.#dropped++;
    this.#unmarked++;
  }

  /** The disk may be back: the gap is marked, and the ended lines that waited are written, one by one in what room there is. */
  #settle(): void {
    if (this.#pending) this.#commit();
    if (this.#unmarked > 0) {
      const detail = { dropped: this.#unmarked, cause: this.#lastError };
      this.#chain.add(this.#writer.note(this.#chain.stamp(), { event: 'gap', policy: this.#policy, detail }));
      this.#commit();
      this.#unmarked = 0;
    }
    for (const record of this.#waiting.values()) {
      this.#chain.add(this.#writer.ended(this.#chain.stamp(), record));
      this.#commit();
      this.#waiting.delete(record.id);
      this.#open.delete(record.id);
    }
  }

  /** First line of a new segment: the chain goes on, and a scan knows how far back it must look for open requests. */
  #continueIn(appender: Appender, takeOver?: Fork): void {
    const oldest = this.#open.values().next().value ?? null;
    const branch = takeOver === undefined ? {} : { branch: path.basename(branchPath(this.#file, takeOver.seq)) };
    const detail = { previous_seq: this.#chain.seq, oldest_open: oldest, ...branch };
    this.#chain.add(this.#writer.note(this.#chain.stamp(), { event: 'reopen', policy: this.#policy, detail }));
    this.#chain.commit(appender);
  }

  #moveTo(target: string): void {
    const begin = (next: Appender) => this.#continueIn(next);
    this.#syncer.retire(moveOn({ file: this.#file, target, chain: this.#chain, calls: this.#calls, begin }));
  }

  /** By size, in the turn that filled the file. The line that did is written; a failure is no reason to refuse it. */
  #rotateIfDue(): void {
    if (this.#chain.fileBytes < this.#rotateBytes || this.#rotateLater || this.#fork !== null) return;
    try {
      this.#moveTo(this.#file);
    } catch (error) {
      this.#rotateLater = true;
      this.#options.onProblem?.('the audit log could not be rotated; it goes on in the same file', error);
    }
  }

  #tick(): void {
    this.#flush();
    this.#syncer.tick();
    this.#disk.tick();
  }

  #fail(error: unknown): void {
    this.#failures++;
    this.#lastError = error instanceof Error ? error.message : String(error);
  }
}
