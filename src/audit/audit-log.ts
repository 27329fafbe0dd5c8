// The audit log as its owner has it (log.ts), and what it has done and owes, for the operator's pages.
import type { LineRecorder } from '../policy/record.ts';
import type { Fork } from './branch.ts';
import type { Repaired } from './orphans.ts';

export interface AuditLog extends LineRecorder {
  /** Null, or in mode `batch`: settles when all that was written until now is on the disk, or could not be put there. */
  durable(): Promise<void> | null;
  /** SIGUSR2: FILE was renamed, go on in a new one. The old one stays in use when that fails. @throws SallyportError */
  reopen(): void;
  /**
   * An upgrade: gives FILE free for the new process, which opens it with `takeOver`, and goes on in the branch FILE.drain-SEQ.
   * When it throws nothing has changed; called again, it names the same line. @throws SallyportError
   */
  handOver(): Fork;
  /** Flushes, closes and gives the lock back. Records after it throw. */
  close(): void;
  readonly stats: AuditStats;
  /** Whether this request was let through here and has no ended line in the kernel yet. */
  isOpen(id: string): boolean;
  /** Why no new work should be given to this proxy: records cannot be written, or the disk is nearly full. Null when all is well. */
  readonly notReady: string | null;
  /** The last line was cut short by a crash: the fragment now stands in this file. Null when the end was sound. */
  readonly repaired: Repaired | null;
  /** Requests of dead processes that got `ended: interrupted` now. */
  readonly interrupted: number;
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
