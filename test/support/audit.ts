// A scratch audit log for the tests of src/audit: opens it, reads it back, and fails its disk on demand.
import fs from 'node:fs';
import path from 'node:path';
import { type AppendCalls, REAL_CALLS } from '../../src/audit/append.ts';
import type { AuditLog } from '../../src/audit/audit-log.ts';
import { openAuditLog } from '../../src/audit/log.ts';
import type { AuditOptions } from '../../src/audit/options.ts';
import type { SallyportError } from '../../src/errors.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import type { Line } from '../../src/policy/record.ts';
import { tempDir } from './temp.ts';

/** A log in a folder of its own; `close` closes whatever was opened. */
export class ScratchLog {
  readonly directory = tempDir('audit');
  file = path.join(this.directory, 'audit.jsonl');
  readonly #opened: AuditLog[] = [];

  open(over: Partial<AuditOptions> = {}): AuditLog {
    const now = () => new Date('2026-01-31T12:00:00.123Z');
    const base = { file: this.file, node: 'node-1', limits: DEFAULT_LIMITS, whenFull: 'refuse', now } as const;
    const log = openAuditLog({ ...base, ...over });
    this.#opened.push(log);
    return log;
  }

  close(): void {
    for (const log of this.#opened.splice(0)) log.close();
  }

  texts(of = this.file): string[] {
    return fs.readFileSync(of, 'latin1').split('\n').slice(0, -1);
  }

  lines(of = this.file): Line[] {
    return this.texts(of).map((line) => JSON.parse(line));
  }
}

export function errorOf(act: () => unknown): SallyportError {
  try {
    act();
  } catch (error) {
    return error as SallyportError;
  }
  throw new Error('nothing was thrown');
}

/** A disk that fails while `full`, and takes only `part` bytes of a line where that is set. */
export class Disk implements AppendCalls {
  full = false;
  part: number | null = null;
  cutFails = false;
  /** So many writes succeed yet. */
  failAfter: number | null = null;

  writeSync(fd: number, text: string): number {
    if (this.failAfter !== null && this.failAfter-- <= 0) throw new Error('ENOSPC: no space left on device');
    if (this.part !== null) return REAL_CALLS.writeSync(fd, text.slice(0, this.part));
    if (this.full) throw new Error('ENOSPC: no space left on device');
    return REAL_CALLS.writeSync(fd, text);
  }

  ftruncateSync(fd: number, length: number): void {
    if (this.cutFails) throw new Error('EIO: i/o error');
    REAL_CALLS.ftruncateSync(fd, length);
  }
}

/** A sound disk that counts its writes. */
export class Counted implements AppendCalls {
  writes = 0;

  writeSync(fd: number, text: string): number {
    this.writes++;
    return REAL_CALLS.writeSync(fd, text);
  }

  ftruncateSync = REAL_CALLS.ftruncateSync;
}
