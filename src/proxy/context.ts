// What every request of this process shares. A reload swaps `policy`, `book`, `help` and `plainHttp` in one turn;
// requests read them when they need them and never keep them over an await.
import type { ClientBook } from '../identity/identify.ts';
import type { Limits, Meter } from '../limits.ts';
import type { Resolver } from '../net/resolve.ts';
import type { Policy } from '../policy/decide.ts';
import type { Recorder } from '../policy/record.ts';
import type { BoundedLog } from './bounded-log.ts';
import type { OpenRequests } from './open-requests.ts';
import type { Help } from './respond.ts';

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
  readonly recorder: Recorder;
  readonly log: BoundedLog;
  /** Whether another tunnel would exceed limits.tunnels_max. */
  tunnelsFull(): boolean;
  /** A new request id, unique over restarts. */
  nextId(): string;
}
