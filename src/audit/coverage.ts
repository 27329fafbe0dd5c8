// Whether a log's process was there all the time: it writes a line at least every `heartbeat_ms` (heartbeat.ts), which its `start` and
// `heartbeat` notes say. Twice that without a line, and no `stop` note before it, is a silence: it did not run, or did not record.
// After a `stop` note it was ended, which is said and is no fault. A log without heartbeats is not judged. PURE but for Date.parse.
import type { StoredLine } from './parse.ts';

/** From the last line before it to the first one after it. */
export interface Span {
  readonly from: string;
  /** Null: it lasts. */
  readonly to: string | null;
}

export interface Covered {
  /** What the log says of its heartbeats, at last; null: nothing, so its silences mean nothing. */
  readonly heartbeat_ms: number | null;
  /** Neither a line nor a stop note; the first hundred. */
  readonly silences: readonly Span[];
  readonly silence_count: number;
  /** Ended in good order, for longer than a silence may last; the first hundred. */
  readonly stopped: readonly Span[];
}

interface Gap {
  readonly from: number;
  readonly to: number;
}

const SPANS_MAX = 100;

export class Coverage {
  readonly #from: number;
  readonly #to: number;
  #every: number | null = null;
  #last: number | null = null;
  #ended = false;
  /** The longest ones met before the log said how often it speaks. */
  #unjudged: Gap[] = [];
  readonly #silences: Gap[] = [];
  #silenceCount = 0;
  readonly #stopped: Span[] = [];

  /** @param window what it is asked about; spans that do not touch it are left out */
  constructor(window: { readonly from: number; readonly to: number }) {
    this.#from = window.from;
    this.#to = window.to;
  }

  /** Takes the next sound line of one chain. */
  line({ event, ...line }: StoredLine, ms: number): void {
    if (this.#last !== null) this.#between(this.#last, ms);
    this.#last = ms;
    this.#ended = event === 'stop';
    if (event !== 'start' && event !== 'heartbeat') return;
    const every = (line as { detail: Record<string, unknown> }).detail['heartbeat_ms'];
    if (typeof every === 'number' && every > 0) this.#learn(every);
    else if (event === 'start') this.#every = null;
  }

  /** A branch begins: its process goes on at this moment. */
  fork(ms: number): void {
    this.#last = Number.isFinite(ms) ? ms : null;
    this.#ended = false;
  }

  /**
   * The chain has ended.
   * @param ms up to when it should have gone on; null where nobody asks
   */
  end(ms: number | null): void {
    if (this.#last === null) return;
    if (this.#ended) this.#note({ from: this.#last, to: Number.POSITIVE_INFINITY });
    else if (ms !== null && ms > this.#last) this.#between(this.#last, ms);
    this.#last = null;
    this.#unjudged = [];
  }

  get found(): Covered {
    return {
      heartbeat_ms: this.#every,
      silences: this.#silences.sort((a, b) => a.from - b.from).map(spanOf),
      silence_count: this.#silenceCount,
      stopped: this.#stopped,
    };
  }

  #between(from: number, to: number): void {
    if (this.#ended) this.#note({ from, to });
    else if (this.#every !== null) this.#judge({ from, to }, this.#every);
    else {
      this.#unjudged.push({ from, to });
      if (this.#unjudged.length < 2 * SPANS_MAX) return;
      this.#unjudged.sort((a, b) => b.to - b.from - (a.to - a.from));
      this.#unjudged.length = SPANS_MAX;
    }
  }

  #learn(every: number): void {
    this.#every = every;
    for (const gap of this.#unjudged) this.#judge(gap, every);
    this.#unjudged = [];
  }

  /** One that is late by its own time is none yet: a machine may be busy. */
  #judge(gap: Gap, every: number): void {
    if (gap.to - gap.from <= 2 * every || !this.#touches(gap)) return;
    this.#silenceCount++;
    if (this.#silences.length < SPANS_MAX) this.#silences.push(gap);
  }

  /** A restart takes no longer than a silence may; only what does is worth a line. */
  #note(gap: Gap): void {
    if (this.#every !== null && gap.to - gap.from <= 2 * this.#every) return;
    if (gap.to > gap.from && this.#touches(gap) && this.#stopped.length < SPANS_MAX) this.#stopped.push(spanOf(gap));
  }

  #touches({ from, to }: Gap): boolean {
    return to > this.#from && from < this.#to;
  }
}

function spanOf({ from, to }: Gap): Span {
  return { from: new Date(from).toISOString(), to: Number.isFinite(to) ? new Date(to).toISOString() : null };
}

/** A silence as a sentence. */
export function silenceText({ from, to }: Span): string {
  return `no line, no heartbeat and no stop from ${from} to ${to}: it was not running, or not recording`;
}
