// Heartbeats: where a log has nothing to say, it says that. Twice in each limits.audit_heartbeat_ms it is looked whether a line was written
// since; where none was, a `heartbeat` note is. So no silence of a log whose process runs is longer, a busy log has no line more, and
// coverage.ts can tell a quiet night from a proxy that was not there.
import type { Note } from '../policy/record.ts';
import type { AuditStats } from './audit-log.ts';

export interface HeartbeatOptions {
  readonly audit: { readonly stats: AuditStats; note(record: Note): void };
  readonly everyMs: number;
  /** Digest of the policy in force. */
  readonly policy: () => string;
}

export class Heartbeat {
  readonly #options: HeartbeatOptions;
  readonly #timer: NodeJS.Timeout;
  #lastSeq: number | null = null;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#look(), options.everyMs / 2).unref();
  }

  /** To be called before the `stop` note. */
  stop(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const { audit, everyMs, policy } = this.#options;
    const { lastSeq, open, lastError } = audit.stats;
    const silent = lastSeq === this.#lastSeq;
    this.#lastSeq = lastSeq;
    // A disk that takes nothing is said elsewhere, and its silence is one.
    if (!silent || lastError !== null) return;
    try {
      audit.note({ event: 'heartbeat', policy: policy(), detail: { heartbeat_ms: everyMs, open } });
      this.#lastSeq = audit.stats.lastSeq;
    } catch {
      // Counted as a failure by the log itself.
    }
  }
}
