// The audit log: the proxy's Recorder. One record → one line, numbered, chained by SHA-256, in the kernel when the call
// returns; so it survives kill -9, and a full disk is an error of that very request instead of a loss found later.
// Synchronous on purpose: the decided line must stand before anything is dialled. It never writes half a line, never lets
// a number be used twice, and opens the only file that the data plane's thread touches.
import fs from 'node:fs';
import path from 'node:path';
import { SallyportError } from '../errors.ts';
import type { Limits } from '../limits.ts';
import type { Decided, DecidedLine, Ended, Note, Recorder } from '../policy/record.ts';
import { type AppendCalls, Appender, REAL_CALLS, unwritable } from './append.ts';
import { LineWriter, type Stamp } from './line.ts';
import { LOCK_TOUCH_MS, type Lock, takeLock } from './lock.ts';
import { lineHash } from './parse.ts';
import { scanTail, type Tail } from './scan.ts';
import { quote } from './text.ts';

export interface AuditOptions {
  readonly file: string;
  /** Name of this node in every line. */
  readonly node: string;
  readonly limits: Limits;
  /** On a full disk: `refuse` throws, so that nothing unrecorded passes; `drop-and-mark` counts, and writes the count later. */
  readonly whenFull: 'refuse' | 'drop-and-mark';
  readonly now: () => Date;
  /** `interval` (default): fdatasync every limits.audit_sync_interval_ms; what a host crash may lose. `none`: the kernel decides. */
  readonly sync?: 'interval' | 'none';
  /** File calls, for tests. */
  readonly calls?: AppendCalls;
}

export interface AuditStats {
  readonly lines: number;
  readonly bytes: number;
  /** Attempts that failed, lines lost by drop-and-mark, ended lines that wait for the disk. */
  readonly failures: number;
  readonly dropped: number;
  readonly waiting: number;
  /** Requests let through and not ended. */
  readonly open: number;
  readonly lastSeq: number;
  /** The last failure; null again once lines are written. */
  readonly lastError: string | null;
}

export interface AuditLog extends Recorder {
  /** SIGUSR2: FILE was renamed, go on in a new one. The old one stays in use when that fails. @throws SallyportError */
  reopen(): void;
  /** Flushes, closes and gives the lock back. Records after it throw. */
  close(): void;
  readonly stats: AuditStats;
  /** The last line was cut short by a crash: the fragment now stands in this file. Null when the end was sound. */
  readonly repaired: { readonly file: string; readonly bytes: number } | null;
  /** Requests of the process before that got `ended: interrupted` now. */
  readonly interrupted: number;
}

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
    const tail = scanTail(options.file);
    const repaired = setTornAside(options.file, tail);
    const log = new FileAuditLog(options, lock, tail, repaired);
    log.begin(tail);
    return log;
  } catch (error) {
    lock.release();
    throw error instanceof SallyportError ? error : unwritable(options.file, error);
  }
}

/** A crash in the middle of a write leaves bytes without a newline: no record was acknowledged for them. Kept, not deleted. */
function setTornAside(file: string, tail: Tail): AuditLog['repaired'] {
  if (tail.torn === null) return null;
  const bytes = Buffer.alloc(tail.torn.bytes);
  const fd = fs.openSync(file, 'r+');
  try {
    fs.readSync(fd, bytes, 0, bytes.length, tail.torn.offset);
    const aside = `${file}.torn-${tail.seq + 1}`;
    fs.writeFileSync(aside, bytes, { mode: 0o640 });
    fs.ftruncateSync(fd, tail.torn.offset);
    return { file: aside, bytes: bytes.length };
  } finally {
    fs.closeSync(fd);
  }
}

class FileAuditLog implements AuditLog {
  readonly repaired: AuditLog['repaired'];
  interrupted = 0;
  readonly #options: AuditOptions;
  readonly #writer: LineWriter;
  readonly #node: string;
  readonly #lock: Lock;
  readonly #timers: NodeJS.Timeout[] = [];
  #appender: Appender;
  #closed = false;
  #seq: number;
  #prev: string;
  #policy: string;
  // Id → seq of the requests that wait for their ended line, oldest first: a segment's `reopen` note names the oldest.
  readonly #open = new Map<string, number>();
  // Ended lines that a full disk refused. Their tunnels are gone, nobody else will write them; at most one for each open request.
  readonly #waiting = new Map<string, Ended>();
  #lines = 0;
  #bytes = 0;
  #failures = 0;
  #dropped = 0;
  #unmarked = 0;
  #lastError: string | null = null;
  #ms = Number.NaN;
  #second = Number.NaN;
  #secondText = '';
  #timeText = '';

  constructor(options: AuditOptions, lock: Lock, tail: Tail, repaired: AuditLog['repaired']) {
    this.#options = options;
    this.#lock = lock;
    this.repaired = repaired;
    this.#writer = new LineWriter(options.limits.audit_field_bytes);
    this.#node = quote(options.node, options.limits.audit_field_bytes);
    this.#seq = tail.seq;
    this.#prev = tail.prev;
    this.#policy = tail.policy;
    this.#appender = new Appender(options.file, options.calls ?? REAL_CALLS);
  }

  /** The lines that are due at opening, then the timers. */
  begin(tail: Tail): void {
    try {
      for (const line of tail.open) this.#open.set(line.id, line.seq);
      if (tail.rotated) this.#continueIn(this.#appender);
      for (const line of tail.open) this.ended(interruptedRecord(line));
    } catch (error) {
      this.#appender.close(false);
      throw error;
    }
    this.interrupted = tail.open.length;
    const every = (ms: number, act: () => void) => this.#timers.push(setInterval(act, ms).unref());
    every(this.#options.limits.audit_sync_interval_ms, () => this.#tick());
    every(LOCK_TOUCH_MS, () => this.#lock.touch());
  }

  get stats(): AuditStats {
    return {
      lines: this.#lines,
      bytes: this.#bytes,
      failures: this.#failures,
      dropped: this.#dropped,
      waiting: this.#waiting.size,
      open: this.#open.size,
      lastSeq: this.#seq,
      lastError: this.#lastError,
    };
  }

  decided(record: Decided): void {
    this.#policy = record.policy;
    if (!this.#record((stamp) => this.#writer.decided(stamp, record))) return;
    if (record.verdict !== 'deny' && record.outcome === undefined) this.#open.set(record.id, this.#seq);
  }

  ended(record: Ended): void {
    try {
      this.#attempt((stamp) => this.#writer.ended(stamp, record));
      this.#open.delete(record.id);
    } catch (error) {
      if (this.#open.has(record.id)) this.#waiting.set(record.id, record);
      else this.#drop();
      if (this.#options.whenFull === 'refuse') throw error;
    }
  }

  note(record: Note): void {
    this.#policy = record.policy;
    this.#record((stamp) => this.#writer.note(stamp, record));
  }

  reopen(): void {
    const next = new Appender(this.#options.file, this.#options.calls ?? REAL_CALLS);
    try {
      if (next.identity === this.#appender.identity) {
        next.close(false);
        return;
      }
      if (next.size > 0)
        throw unwritable(next.path, new Error('the new file is not empty; the log goes on in the old one'));
      this.#continueIn(next);
    } catch (error) {
      next.close(false);
      this.#fail(error);
      throw error;
    }
    const old = this.#appender;
    this.#appender = next;
    old.retire((error) => this.#synced(error));
  }

  close(): void {
    if (this.#closed) return;
    for (const timer of this.#timers) clearInterval(timer);
    try {
      this.#settle();
    } catch (error) {
      this.#fail(error);
    }
    this.#closed = true;
    try {
      this.#appender.close((this.#options.sync ?? 'interval') === 'interval');
    } finally {
      this.#lock.release();
    }
  }

  /** @returns false where the line was dropped (drop-and-mark) */
  #record(make: (stamp: Stamp) => string): boolean {
    try {
      this.#attempt(make);
      return true;
    } catch (error) {
      if (this.#options.whenFull === 'refuse') throw error;
      this.#drop();
      return false;
    }
  }

  /** Writes what waits, then the line. */
  #attempt(make: (stamp: Stamp) => string): void {
    try {
      if (this.#closed) throw unwritable(this.#options.file, new Error('the log is closed'));
      if (this.#unmarked > 0 || this.#waiting.size > 0) this.#settle();
      this.#write(this.#appender, make);
      this.#lastError = null;
    } catch (error) {
      this.#fail(error);
      throw error;
    }
  }

  /** Only drop-and-mark loses a line and goes on; with refuse the caller got the error. */
  #drop(): void {
    if (this.#options.whenFull === 'refuse') return;
    this.#dropped++;
    this.#unmarked++;
  }

  /** seq and prev advance only when the whole line is in the kernel. */
  #write(appender: Appender, make: (stamp: Stamp) => string): void {
    const stamp: Stamp = { time: this.#time(), seq: this.#seq + 1, node: this.#node };
    const line = `${make(stamp)},"prev":"${this.#prev}"}`;
    appender.append(line);
    this.#prev = lineHash(line);
    this.#seq = stamp.seq;
    this.#lines++;
    this.#bytes += line.length + 1;
  }

  /** The disk may be back: the gap is marked, and the ended lines that waited are written. */
  #settle(): void {
    if (this.#unmarked > 0) {
      const detail = { dropped: this.#unmarked, cause: this.#lastError };
      const note: Note = { event: 'gap', policy: this.#policy, detail };
      this.#write(this.#appender, (stamp) => this.#writer.note(stamp, note));
      this.#unmarked = 0;
    }
    for (const record of this.#waiting.values()) {
      this.#write(this.#appender, (stamp) => this.#writer.ended(stamp, record));
      this.#waiting.delete(record.id);
      this.#open.delete(record.id);
    }
  }

  /** First line of a new segment: the chain goes on, and a scan knows how far back it must look for open requests. */
  #continueIn(appender: Appender): void {
    const oldest = this.#open.values().next().value ?? null;
    const detail = { previous_seq: this.#seq, oldest_open: oldest };
    const note: Note = { event: 'reopen', policy: this.#policy, detail };
    this.#write(appender, (stamp) => this.#writer.note(stamp, note));
  }

  #tick(): void {
    if (this.#unmarked > 0 || this.#waiting.size > 0) {
      try {
        this.#settle();
        this.#lastError = null;
      } catch (error) {
        this.#fail(error);
      }
    }
    if ((this.#options.sync ?? 'interval') === 'interval') this.#appender.sync((error) => this.#synced(error));
  }

  /** An fdatasync that failed may have lost what it was to keep; nothing can be done but say so. */
  #synced(error: Error | null): void {
    if (error !== null) this.#fail(unwritable(this.#appender.path, error));
  }

  #fail(error: unknown): void {
    this.#failures++;
    this.#lastError = error instanceof Error ? error.message : String(error);
  }

  /** RFC 3339 with milliseconds; the text is made anew only when the millisecond changes. */
  #time(): string {
    const ms = this.#options.now().getTime();
    if (ms === this.#ms) return this.#timeText;
    const second = Math.floor(ms / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#secondText = new Date(second * 1000).toISOString().slice(0, 20);
    }
    this.#ms = ms;
    this.#timeText = `${this.#secondText}${String(ms - second * 1000).padStart(3, '0')}Z`;
    return this.#timeText;
  }
}

/** Bytes and duration of a request whose end nobody saw are not known and stand as 0. */
function interruptedRecord(line: DecidedLine): Ended {
  const { id, identity, client, host, port, method, verdict, reason, group, rule, policy } = line;
  const unknown = { outcome: 'interrupted', bytes_up: 0, bytes_down: 0, duration_ms: 0 } as const;
  return { id, identity, client, host, port, method, verdict, reason, group, rule, policy, ...unknown };
}
