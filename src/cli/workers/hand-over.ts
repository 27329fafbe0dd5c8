// The logs of all workers, given free for the workers of a new process (../upgrade.ts): each goes on in a branch of its own, as a process
// that serves alone does. One that is dead has nothing to give, and one that hangs is waited for by who upgrades, and no longer.
import type { Fork } from '../../audit/branch.ts';
import type { Member } from './crew.ts';
import type { ToWorker } from './order.ts';

interface Parts {
  readonly members: () => readonly Member[];
  readonly tellAll: (message: ToWorker) => void;
}

interface Attempt {
  readonly number: number;
  /** Workers that have not given their log yet. */
  readonly missing: Set<number>;
  readonly forks: Map<number, Fork>;
  resolve(forks: ReadonlyMap<number, Fork>): void;
  reject(error: Error): void;
}

export class HandOver {
  readonly #parts: Parts;
  #number = 0;
  #attempt: Attempt | null = null;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** @returns where the logs may be gone on with. Rejects where a worker cannot give its own; then all is to be taken back */
  begin(): Promise<ReadonlyMap<number, Fork>> {
    const number = ++this.#number;
    const missing = new Set(this.#parts.members().flatMap(({ worker, pid }) => (pid === 0 ? [] : [worker])));
    return new Promise((resolve, reject) => {
      this.#attempt = { number, missing, forks: new Map(), resolve, reject };
      this.#parts.tellAll({ type: 'hand-over', attempt: number });
      this.#look();
    });
  }

  said(worker: number, attempt: number, fork: Fork | null, why: string): void {
    const now = this.#attempt;
    // A worker that hung answers late, to what nobody waits for any more.
    if (now?.number !== attempt) return;
    if (fork === null) {
      this.#attempt = null;
      return now.reject(new Error(`worker ${worker} cannot hand its log over: ${why}`));
    }
    now.forks.set(worker, fork);
    now.missing.delete(worker);
    this.#look();
  }

  /** Its log is free, wherever it ended. */
  gone(worker: number): void {
    this.#attempt?.missing.delete(worker);
    this.#look();
  }

  /** The upgrade failed: each worker takes its log back, also who has yet to give it. */
  takeBack(): void {
    this.#attempt?.reject(new Error('the upgrade is over'));
    this.#attempt = null;
    this.#parts.tellAll({ type: 'take-back' });
  }

  #look(): void {
    if (this.#attempt === null || this.#attempt.missing.size > 0) return;
    this.#attempt.resolve(this.#attempt.forks);
    this.#attempt = null;
  }
}
