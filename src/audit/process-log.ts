// The audit log as one process has it, over upgrades that fail. A new process that dies after the fork leaves FILE without a
// writer: this process then takes FILE back and goes on in it as the new one would have. Its branch stays a branch, in which
// what was open at that moment ends; so no file changes its place in the chain, and no reader needs to know.
import type { Decided, Ended, LineRecorder, Note } from '../policy/record.ts';
import type { AuditLog, AuditStats } from './audit-log.ts';
import type { Fork } from './branch.ts';
import type { Told } from './gathering.ts';
import { LOCK_TOUCH_MS } from './lock.ts';
import { openAuditLog } from './log.ts';
import type { AuditOptions } from './options.ts';

export class ProcessLog implements LineRecorder {
  readonly repaired: AuditLog['repaired'];
  readonly interrupted: number;
  readonly #options: AuditOptions;
  #log: AuditLog;
  /** The line at which FILE was given away; null while this process writes it. */
  #fork: Fork | null = null;
  /** FILE has no writer, and is to be taken back. */
  #lost = false;
  /** Branches of upgrades that failed, until nothing is open in them. */
  readonly #branches = new Set<AuditLog>();
  #policy = '';
  #timer: NodeJS.Timeout | null = null;

  /** Opens the log for writing. @throws SallyportError as openAuditLog does */
  constructor(options: AuditOptions) {
    this.#options = options;
    this.#log = openAuditLog(options);
    ({ repaired: this.repaired, interrupted: this.interrupted } = this.#log);
  }

  get notReady(): string | null {
    return this.#log.notReady;
  }

  /** Of the file that is written now; a branch of an upgrade that failed counts no more. */
  get stats(): AuditStats {
    return this.#log.stats;
  }

  decided(record: Decided): string {
    return this.#log.decided(record);
  }

  gather(record: Decided, done: Told): void {
    this.#log.gather(record, done);
  }

  ended(record: Ended): string {
    if (this.#branches.size === 0) return this.#log.ended(record);
    const owner = [...this.#branches].find((branch) => branch.isOpen(record.id));
    const line = (owner ?? this.#log).ended(record);
    if (owner) this.#finish(owner);
    return line;
  }

  note(record: Note): string {
    this.#policy = record.policy;
    return this.#log.note(record);
  }

  durable(): Promise<void> | null {
    return this.#log.durable();
  }

  reopen(): void {
    this.#log.reopen();
  }

  /** As AuditLog has it. */
  handOver(): Fork {
    this.#lost = false;
    this.#fork = this.#log.handOver();
    return this.#fork;
  }

  /** An upgrade failed, and its process is gone. Never throws: where FILE cannot be had, it is tried again every 10 s. */
  takeBack(): void {
    if (this.#fork === null) return;
    this.#lost = true;
    this.#timer ??= setInterval(() => this.#tend(), LOCK_TOUCH_MS).unref();
    this.#tend();
  }

  close(): void {
    if (this.#timer) clearInterval(this.#timer);
    for (const branch of this.#branches) {
      this.#finish(branch);
      branch.close();
    }
    this.#log.close();
  }

  #tend(): void {
    if (this.#lost && this.#fork) this.#goOn(this.#fork);
    for (const branch of this.#branches) this.#finish(branch);
    if (this.#lost || this.#branches.size > 0 || !this.#timer) return;
    clearInterval(this.#timer);
    this.#timer = null;
  }

  #goOn(takeOver: Fork): void {
    try {
      const log = openAuditLog({ ...this.#options, takeOver });
      this.#branches.add(this.#log);
      this.#log = log;
      this.#fork = null;
      this.#lost = false;
    } catch (error) {
      this.#options.onProblem?.('the audit log could not be taken back after an upgrade that failed', error);
    }
  }

  /** Ends a branch in which nothing is open any more. Where the disk is full it is tried again; a later writer would end it too. */
  #finish(branch: AuditLog): void {
    if (branch.stats.open > 0) return;
    try {
      branch.note({ event: 'stop', policy: this.#policy, detail: { pid: process.pid, reason: 'upgrade-failed' } });
    } catch {
      return;
    }
    branch.close();
    this.#branches.delete(branch);
  }
}
