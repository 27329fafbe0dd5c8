// What an audit log is opened with.
import type { Limits, Meter } from '../limits.ts';
import type { AppendCalls } from './append.ts';
import type { Fork } from './branch.ts';
import type { SyncMode } from './sync.ts';

export interface AuditOptions {
  readonly file: string;
  /** Name of this node in every line. */
  readonly node: string;
  readonly limits: Limits;
  readonly meter?: Meter;
  /** On a full disk: `refuse` throws, so that nothing unrecorded passes; `drop-and-mark` counts, and writes the count later. */
  readonly whenFull: 'refuse' | 'drop-and-mark';
  readonly now: () => Date;
  /**
   * `interval` (default): fdatasync every limits.audit_sync_interval_ms; what a host crash may lose. `none`: the kernel decides.
   * `batch`: let-through requests wait until `durable` says that their line is on the disk.
   */
  readonly sync?: SyncMode;
  /** FILE is rotated when it has this many bytes; 0 (default): never by us. */
  readonly rotateBytes?: number;
  /** An upgrade: the process before handed the log over at this line and goes on in a branch of it. */
  readonly takeOver?: Fork;
  /** What went wrong beside the road of a request (a branch that cannot be ended, a disk that fills): for the operational log. */
  readonly onProblem?: (what: string, error: unknown) => void;
  /** File calls, for tests. */
  readonly calls?: AppendCalls;
}
