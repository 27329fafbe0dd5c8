// A reload of all workers: each reads the files by itself and keeps its old policy where they are bad. When the last one is through, it
// is said whether all have the same policy now.
import type { Logger } from 'pino';
import type { Member } from './crew.ts';

interface Parts {
  readonly members: () => readonly Member[];
  readonly log: Logger;
  /** All workers are to reload. */
  readonly tell: () => void;
  readonly note: (detail: Readonly<Record<string, string>>) => void;
}

export class Reloads {
  readonly #parts: Parts;
  /** Workers that are still reading. */
  readonly #reading = new Set<number>();
  readonly #waiting: (() => void)[] = [];

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Has all reload. Resolves when those that serve have. */
  begin(): Promise<void> {
    this.#parts.tell();
    for (const { worker, state } of this.#parts.members()) if (state === 'ready') this.#reading.add(worker);
    const over = new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#look();
    return over;
  }

  /** A worker is through, or gone. */
  done(worker: number): void {
    if (this.#reading.delete(worker)) this.#look();
  }

  #look(): void {
    if (this.#reading.size > 0 || this.#waiting.length === 0) return;
    const serving = this.#parts.members().filter(({ state }) => state === 'ready');
    if (new Set(serving.map(({ policy }) => policy)).size > 1) {
      const policies = Object.fromEntries(serving.map(({ worker, policy }) => [`worker_${worker}`, policy]));
      this.#parts.log.error(policies, 'the workers have different policies in force; reload once more');
      this.#parts.note({ result: 'differs', ...policies });
    }
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
