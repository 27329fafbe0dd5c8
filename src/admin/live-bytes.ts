// Payload bytes by group so far: those of ended requests, and those of open ones as of now. A counter may not fall, and the
// bytes of a tunnel that a check cut do (they were read and not passed on), so the highest sum that was shown stands.
import type { OpenRequests } from '../proxy/open-requests.ts';
import type { RecordCounts } from './record-counts.ts';

export interface GroupBytes {
  readonly group: string;
  readonly up: number;
  readonly down: number;
}

/** So many open requests are summed up in one turn, well below a millisecond. */
const SLICE = 2_000;

export class LiveBytes {
  readonly #counts: RecordCounts;
  readonly #open: OpenRequests;
  readonly #shown = new Map<string, { up: number; down: number }>();

  constructor(counts: RecordCounts, open: OpenRequests) {
    this.#counts = counts;
    this.#open = open;
  }

  async totals(): Promise<GroupBytes[]> {
    // First: what ends between two slices is then missing until the next time, and not counted twice.
    const sums = new Map(
      [...this.#counts.groups].map(([group, of]) => [group, { up: of.bytesUp, down: of.bytesDown }]),
    );
    let most = this.#open.size;
    for (const open of this.#open.values()) {
      // Open requests of a group beyond the bound show when they end.
      const sum = sums.get(open.facts.group ?? '');
      if (sum !== undefined) {
        sum.up += open.bytesUp;
        sum.down += open.bytesDown;
      }
      if (--most <= 0) break;
      if (most % SLICE === 0) await new Promise(setImmediate);
    }
    return [...sums].map(([group, { up, down }]) => {
      const shown = this.#shown.get(group) ?? { up: 0, down: 0 };
      shown.up = Math.max(shown.up, up);
      shown.down = Math.max(shown.down, down);
      this.#shown.set(group, shown);
      return { group, ...shown };
    });
  }
}
