// The operational log as requests write to it: each message at once, then at most once a second with how often it was meant.
// Whoever can cause a line could else fill a disk with lines, slow everybody (the log is written synchronously), and hide.
import type { Logger } from 'pino';

const WINDOW_MS = 1_000;

type Level = 'warn' | 'error' | 'fatal';
type Fields = Readonly<Record<string, unknown>>;

interface Window {
  /** How often the message was meant since it was last written, and the fields of the last time. */
  times: number;
  fields: Fields;
}

/** Messages are what is bounded, so they must be constants or one of few; what varies belongs into the fields. */
export class BoundedLog {
  readonly #log: Pick<Logger, Level>;
  readonly #windows = new Map<string, Window>();

  constructor(log: Pick<Logger, Level>) {
    this.#log = log;
  }

  warn(fields: Fields, message: string): void {
    this.#say('warn', fields, message);
  }

  error(fields: Fields, message: string): void {
    this.#say('error', fields, message);
  }

  fatal(fields: Fields, message: string): void {
    this.#say('fatal', fields, message);
  }

  #say(level: Level, fields: Fields, message: string): void {
    const window = this.#windows.get(message);
    if (window) {
      window.times++;
      window.fields = fields;
      return;
    }
    this.#log[level](fields, message);
    this.#open(level, message);
  }

  #open(level: Level, message: string): void {
    const window: Window = { times: 0, fields: {} };
    this.#windows.set(message, window);
    const close = (): void => {
      this.#windows.delete(message);
      if (window.times === 0) return;
      this.#log[level]({ ...window.fields, times: window.times }, message);
      this.#open(level, message);
    };
    // Nothing waits for it: at the very end a count may be lost, never the first line.
    setTimeout(close, WINDOW_MS).unref();
  }
}
