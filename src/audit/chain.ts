// The end of the chain: the next number, the hash of the line before, and the file both go to. Lines are added one by one
// and written together in one write; until that write is in the kernel as a whole, they have not happened: no number is
// used twice and none is skipped, whatever the disk does. It knows nothing of what to do about a failure (log.ts does).
import type { Appender } from './append.ts';
import type { Stamp } from './line.ts';
import { lineHash } from './parse.ts';

/** Lines that are written together; more at once are a write of their own. */
const FULL_BYTES = 262_144;

export class Chain {
  appender: Appender;
  /** Last number and hash that are in the kernel. */
  seq: number;
  prev: string;
  lines = 0;
  bytes = 0;
  /** Size of the file in use. */
  fileBytes: number;
  readonly #now: () => Date;
  // One object for all lines: the writer reads it and keeps nothing.
  readonly #stamp: { time: string; seq: number; node: string };
  #text = '';
  #added = 0;
  #nextPrev: string;
  #ms = Number.NaN;
  #second = Number.NaN;
  #secondText = '';

  constructor(appender: Appender, at: { readonly seq: number; readonly prev: string }, node: string, now: () => Date) {
    this.appender = appender;
    this.seq = at.seq;
    this.prev = at.prev;
    this.#nextPrev = at.prev;
    this.#now = now;
    this.fileBytes = appender.size;
    this.#stamp = { time: '', seq: 0, node };
  }

  /** So much is added that it should be written before the turn ends. */
  get full(): boolean {
    return this.#text.length >= FULL_BYTES;
  }

  /** The stamp of the line that is added next; good until then. */
  stamp(): Stamp {
    this.#stamp.seq = this.seq + this.#added + 1;
    this.#setTime();
    return this.#stamp;
  }

  /** Adds a line, as the writer made it for `stamp()`. @returns it whole, without the newline */
  add(line: string): string {
    const whole = `${line},"prev":"${this.#nextPrev}"}`;
    this.#nextPrev = lineHash(whole);
    this.#text += `${whole}\n`;
    this.#added++;
    return whole;
  }

  /** Puts what was added into the kernel. When it throws, nothing was added. @throws SallyportError `audit-unwritable` */
  commit(appender = this.appender): void {
    const text = this.#text;
    const added = this.#added;
    this.#text = '';
    this.#added = 0;
    try {
      appender.append(text);
    } catch (error) {
      this.#nextPrev = this.prev;
      throw error;
    }
    this.fileBytes = (appender === this.appender ? this.fileBytes : 0) + text.length;
    this.appender = appender;
    this.prev = this.#nextPrev;
    this.seq += added;
    this.lines += added;
    this.bytes += text.length;
  }

  /** RFC 3339 with milliseconds; the text is made anew only when the millisecond changes. */
  #setTime(): void {
    const ms = this.#now().getTime();
    if (ms === this.#ms) return;
    const second = Math.floor(ms / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#secondText = new Date(second * 1000).toISOString().slice(0, 20);
    }
    this.#ms = ms;
    this.#stamp.time = `${this.#secondText}${String(ms - second * 1000).padStart(3, '0')}Z`;
  }
}
