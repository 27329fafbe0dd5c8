// Puts whole lines at the end of one file, or none of them: a write that the disk took only in part is cut back whole, so
// that a reader never meets a broken line in the middle and the next attempt starts clean.
// It knows nothing of records. Its file calls are replaceable, so that a test can fail the n-th of them.
import fs from 'node:fs';
import { SallyportError } from '../errors.ts';

/** The file calls that may fail while the proxy runs. */
export interface AppendCalls {
  writeSync(fd: number, text: string): number;
  ftruncateSync(fd: number, length: number): void;
}

export const REAL_CALLS: AppendCalls = {
  writeSync: (fd, text) => fs.writeSync(fd, text, null, 'latin1'),
  ftruncateSync: (fd, length) => fs.ftruncateSync(fd, length),
};

const MODE = 0o640;

export class Appender {
  readonly path: string;
  readonly #calls: AppendCalls;
  readonly #fd: number;
  readonly identity: string;
  /** Where the file must end before the next line, when cutting a broken one back has failed too. */
  #cutTo: number | null = null;
  #dirty = false;

  /** Opens for appending, creates with mode 0640. @throws SallyportError `audit-unwritable` */
  constructor(path: string, calls: AppendCalls) {
    this.path = path;
    this.#calls = calls;
    try {
      // A FIFO or a device cannot be cut back, synced or read again; opening a FIFO would even wait for a reader.
      if (fs.existsSync(path) && !fs.statSync(path).isFile()) throw new Error('it is not a regular file');
      this.#fd = fs.openSync(path, fs.constants.O_WRONLY | fs.constants.O_APPEND | fs.constants.O_CREAT, MODE);
      const { dev, ino } = fs.fstatSync(this.#fd);
      this.identity = `${dev}:${ino}`;
    } catch (error) {
      throw unwritable(path, error);
    }
  }

  /** Whether the file is still the one at that path. */
  isAt(path: string): boolean {
    const stat = fs.statSync(path, { throwIfNoEntry: false });
    return stat !== undefined && `${stat.dev}:${stat.ino}` === this.identity;
  }

  get size(): number {
    return fs.fstatSync(this.#fd).size;
  }

  /** Appends whole lines (ASCII). When it returns, all are in the kernel; when it throws, none. @throws SallyportError `audit-unwritable` */
  append(text: string): void {
    if (this.#cutTo !== null) this.#cut(this.#cutTo);
    let written: number;
    try {
      written = this.#calls.writeSync(this.#fd, text);
    } catch (error) {
      throw unwritable(this.path, error);
    }
    this.#dirty = true;
    if (written === text.length) return;
    // The size is asked for, not remembered: cutting at a remembered place would punch a hole if someone else had shortened the file.
    this.#cut(this.size - written);
    throw unwritable(this.path, new Error(`only ${written} of ${text.length} bytes were taken (disk full?)`));
  }

  /** Cuts everything from `length` on. */
  #cut(length: number): void {
    this.#cutTo = length;
    try {
      if (this.size > length) this.#calls.ftruncateSync(this.#fd, length);
    } catch (error) {
      throw unwritable(this.path, error);
    }
    this.#cutTo = null;
  }

  /** The last chance to take back half a line: no append comes any more, and a reader would take the file for damaged. */
  #mend(): void {
    try {
      if (this.#cutTo !== null) this.#cut(this.#cutTo);
    } catch {
      // The caller of append() had the error; what stays is set aside at the next start.
    }
  }

  /** Flushes what was written since the last call to the disk, off this thread; `done` gets the error, if any. */
  sync(done: (error: Error | null) => void): void {
    if (!this.#dirty) return;
    this.#dirty = false;
    fs.fdatasync(this.#fd, done);
  }

  /** The same whether or not anything was written. */
  datasync(done: (error: Error | null) => void): void {
    this.#dirty = false;
    fs.fdatasync(this.#fd, done);
  }

  /** Flushes at once, on this thread. */
  flush(): void {
    this.#dirty = false;
    fs.fdatasyncSync(this.#fd);
  }

  /** Flushes and closes off this thread; for a segment that was rotated away. */
  retire(done: (error: Error | null) => void): void {
    this.#mend();
    fs.fdatasync(this.#fd, (error) => {
      done(error);
      fs.close(this.#fd, () => {});
    });
  }

  /** Flushes (if told to) and closes, at once. */
  close(flush: boolean): void {
    this.#mend();
    try {
      if (flush && this.#dirty) fs.fdatasyncSync(this.#fd);
    } finally {
      fs.closeSync(this.#fd);
    }
  }
}

export function unwritable(path: string, cause: unknown): SallyportError {
  return new SallyportError(
    'audit-unwritable',
    `cannot write ${path}: ${cause instanceof Error ? cause.message : String(cause)}`,
    { cause },
  );
}
