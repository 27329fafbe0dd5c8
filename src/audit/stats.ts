// What the audit log has done and what it owes, for the operator's pages.

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
