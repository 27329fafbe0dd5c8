// The lines of a log and its archives from its first segment on, packed with gzip or not, for a store that is made for one report.
// It gives what Tail gives, but reads each file as a stream once, and follows nothing: what is written meanwhile may be left out.
import { type HistoryFile, readBatches } from '../audit/history.ts';
import type { RawLine, Segment } from '../audit/read.ts';
import { SallyportError } from '../errors.ts';
import type { Batch, LineSource } from './tail.ts';

export class ArchiveTail implements LineSource {
  readonly #segments: HistoryFile[];
  #segment: Segment | null = null;
  #pieces: AsyncGenerator<RawLine[]> | null = null;
  /** Read, and not handed out; `#number` is that of the first of them. */
  #lines: RawLine[] = [];
  #number = 1;

  readonly #unread: (error: SallyportError) => void;

  /** @param unread told of a file that cannot be read to its end; the next one is gone on with */
  constructor(segments: readonly HistoryFile[], unread: (error: SallyportError) => void) {
    this.#segments = [...segments];
    this.#unread = unread;
  }

  async next(max: number): Promise<Batch | null> {
    for (;;) {
      if (this.#lines.length > 0) return this.#batch(max);
      const piece = await this.#piece();
      if (piece !== null) {
        const last = this.#segments.length === 0;
        // Of the newest file the last line may be in the making; in an older one it is the trace of a crash, and damaged.
        this.#lines = last ? piece.filter(({ state }) => state !== 'torn') : piece;
        continue;
      }
      const segment = this.#segments.shift();
      if (segment === undefined) return null;
      this.#segment = segment;
      this.#pieces = readBatches(segment.path);
      this.#number = 1;
    }
  }

  async #piece(): Promise<RawLine[] | null> {
    try {
      const piece = await this.#pieces?.next();
      return piece === undefined || piece.done === true ? null : piece.value;
    } catch (error) {
      if (!(error instanceof SallyportError) || error.code !== 'audit-damaged') throw error;
      this.#unread(error);
      return null;
    }
  }

  /** It is read to the end before anybody asks. */
  behind(): number {
    return 0;
  }

  /** What is counted in memory need not be on the disk. */
  flush(): void {}

  close(): void {
    void this.#pieces?.return(undefined);
  }

  #batch(max: number): Batch {
    const lines = this.#lines.slice(0, max);
    const first = this.#number;
    this.#lines = this.#lines.slice(max);
    this.#number += lines.length;
    const segment = this.#segment;
    if (segment === null) throw new Error('lines without a segment');
    const numberAt = (offset: number): number => first + lines.findIndex((line) => line.offset === offset);
    return { segment, lines, end: lines.at(-1)?.end ?? 0, more: true, numberAt };
  }
}
