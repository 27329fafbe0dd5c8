// The recorder that the proxy gets where somebody watches: the audit log takes each record first, then the taps hear of it.
// What could not be recorded is not told; a tap that fails costs its watcher the news and never the request.
import type { Decided, Ended, LineRecorder, Note } from '../policy/record.ts';
import type { DurableRecorder } from '../proxy/context.ts';
import type { Tap } from './record-counts.ts';

export class TappedRecorder implements DurableRecorder {
  readonly #log: LineRecorder & DurableRecorder;
  readonly #taps: readonly Tap[];
  readonly #failed: (error: unknown) => void;

  /** @param failed hears of a tap that threw */
  constructor(log: LineRecorder & DurableRecorder, taps: readonly Tap[], failed: (error: unknown) => void) {
    this.#log = log;
    this.#taps = taps;
    this.#failed = failed;
  }

  decided(record: Decided): void {
    const line = this.#log.decided(record);
    this.#tell((tap) => tap.decided(record, line));
  }

  gather(record: Decided, done: (failure: unknown) => void): void {
    this.#log.gather(record, (failure, line) => {
      if (failure === null) this.#tell((tap) => tap.decided(record, line));
      done(failure);
    });
  }

  ended(record: Ended): void {
    const line = this.#log.ended(record);
    this.#tell((tap) => tap.ended(record, line));
  }

  note(record: Note): void {
    const line = this.#log.note(record);
    this.#tell((tap) => tap.note(record, line));
  }

  durable(): Promise<void> | null {
    return this.#log.durable?.() ?? null;
  }

  #tell(news: (tap: Tap) => void): void {
    try {
      for (const tap of this.#taps) news(tap);
    } catch (error) {
      this.#failed(error);
    }
  }
}
