// What every request of this process shares. A reload swaps `policy`, `book`, `help` and `plainHttp` in one turn;
// requests read them when they need them and never keep them over an await.
import type { ClientBook } from '../identity/identify.ts';
import type { Proofs } from '../identity/proofs.ts';
import type { Inspector } from '../inspect/inspector.ts';
import type { Limits, Meter } from '../limits.ts';
import type { Resolver } from '../net/resolve.ts';
import type { Policy } from '../policy/decide.ts';
import type { Recorder } from '../policy/record.ts';
import type { BoundedLog } from './bounded-log.ts';
import type { InnerService } from './inner.ts';
import type { OpenRequests } from './open-requests.ts';
import type { Help } from './respond.ts';
import type { Slots } from './slots.ts';

/** `audit.sync: batch`: a recorder whose lines outlive a crash of the host. */
export interface DurableRecorder extends Recorder {
  /**
   * Settles when all that was recorded until now is on the disk, and rejects where it could not be put there; then nothing may
   * pass. Null or absent where nobody waits for the disk.
   */
  durable?(): Promise<void> | null;
}

export interface ProxyContext {
  policy: Policy;
  book: ClientBook;
  help: Help;
  /** Whether absolute-form http:// requests are forwarded at all. */
  plainHttp: boolean;
  /** Nothing is accepted any more: no connection is kept for another request. */
  closing: boolean;
  /** Further requests on old connections are refused. */
  draining: boolean;
  /** What was let through and has not ended. */
  readonly open: OpenRequests;
  readonly limits: Limits;
  readonly meter: Meter;
  readonly resolver: Resolver;
  /** A reload changes what it knows, not itself: what was verified outlives it. */
  readonly proofs: Proofs;
  /** Who answers for the proxy itself; null where nobody does. */
  inner: InnerService | null;
  readonly recorder: DurableRecorder;
  /** What stands for inspected hosts, and whom to believe about them. */
  readonly inspector: Inspector;
  readonly log: BoundedLog;
  /** Whether another tunnel would exceed limits.tunnels_max. */
  tunnelsFull(): boolean;
  readonly slots: Slots;
  /** A new request id, unique over restarts. */
  nextId(): string;
}
