// The decided lines of one turn of the event loop, until they are written together at its end.
import type { Decided } from '../policy/record.ts';

/** Hears once what became of a line: null and the line, or why it is not in the kernel. */
export type Told = (failure: unknown, line: string) => void;

/** Added to the chain already, as number `seq`. */
export interface Gathered {
  readonly record: Decided;
  readonly seq: number;
  readonly line: string;
  readonly done: Told;
}

export class Gathering {
  readonly #write: () => void;
  #lines: Gathered[] = [];

  /** @param write is called at the end of a turn in which something was added */
  constructor(write: () => void) {
    this.#write = write;
  }

  get size(): number {
    return this.#lines.length;
  }

  add(line: Gathered): void {
    if (this.#lines.push(line) === 1) queueMicrotask(this.#write);
  }

  /** All of them, in the order of the chain; they are the caller's now. */
  take(): readonly Gathered[] {
    const lines = this.#lines;
    if (lines.length > 0) this.#lines = [];
    return lines;
  }
}
