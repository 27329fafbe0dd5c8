// When what is in the kernel goes to the disk (audit.sync): never by us, at every interval, or in groups that requests wait
// for. A group is all that was written before its flush begins: while one flush runs, the next group gathers. No flush runs
// on the data plane's thread, save that of a file that is left in mode batch.
import type { Appender } from './append.ts';

export type SyncMode = 'none' | 'interval' | 'batch';

interface Group {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class Syncer {
  readonly #mode: SyncMode;
  readonly #onError: (error: Error) => void;
  readonly #current: () => Appender;
  #next: Group | null = null;
  #busy = false;
  readonly #runNow = (): void => this.#run();

  constructor(mode: SyncMode, current: () => Appender, onError: (error: Error) => void) {
    this.#mode = mode;
    this.#current = current;
    this.#onError = onError;
  }

  /** In mode batch, when all that was written until now is on the disk; it rejects where that failed. Null otherwise. */
  durable(): Promise<void> | null {
    if (this.#mode !== 'batch') return null;
    if (this.#next === null) {
      this.#next = Promise.withResolvers<void>();
      if (!this.#busy) {
        this.#busy = true;
        // The lines of this turn go together.
        setImmediate(this.#runNow);
      }
    }
    return this.#next.promise;
  }

  /** At every interval. */
  tick(): void {
    if (this.#mode !== 'none') this.#current().sync((error) => this.#done(error));
  }

  /** Lets go of a file that is no longer written. */
  retire(old: Appender): void {
    // A group that waits was written here, and its flush will be of the new file.
    if (this.#next !== null) {
      try {
        old.flush();
      } catch (error) {
        this.#settle(error as Error);
      }
    }
    old.retire((error) => this.#done(error));
  }

  /** Flushes and closes the file in use. */
  close(): void {
    try {
      this.#current().close(this.#mode !== 'none');
      this.#settle(null);
    } catch (error) {
      this.#settle(error as Error);
      throw error;
    }
  }

  #run(): void {
    const group = this.#next;
    this.#next = null;
    if (group === null) {
      this.#busy = false;
      return;
    }
    this.#current().datasync((error) => {
      this.#done(error);
      if (error === null) group.resolve();
      else group.reject(error);
      this.#run();
    });
  }

  #settle(error: Error | null): void {
    const group = this.#next;
    this.#next = null;
    if (error === null) group?.resolve();
    else group?.reject(error);
  }

  #done(error: Error | null): void {
    if (error !== null) this.#onError(error);
  }
}
