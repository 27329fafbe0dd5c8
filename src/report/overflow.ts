// Requests to names beyond limits.usage_names_per_hour: the store has their sums under one name, with the group and the rule that each
// had. A flood of names hides no sum, and no use of a group.
import type { EndCounts, TargetRow } from './query.ts';
import { type End, Sums } from './sums.ts';

export interface OverflowRow extends EndCounts {
  /** Catalog group; '' where the request had none. */
  readonly group: string;
  /** `file:line` of an own rule; '' for a group, and for what no rule let through. */
  readonly rule: string;
  readonly first_seen: string;
  readonly last_seen: string;
}

export interface Overflow {
  readonly tunnels: number;
  readonly denied: number;
  readonly failed: number;
  /** At most OVERFLOW_ROWS_MAX, those with most requests. */
  readonly groups: readonly OverflowRow[];
}

const OVERFLOW_ROWS_MAX = 1_000;

export class OverflowSums {
  readonly #all = new Sums();
  readonly #rows = new Map<string, { group: string; rule: string; sums: Sums }>();

  add(row: TargetRow, end: End): void {
    this.#all.add(row, end, row.verdict);
    const rule = row.grp === '' ? row.rule : '';
    const key = JSON.stringify([row.grp, rule]);
    let known = this.#rows.get(key);
    if (known === undefined) {
      known = { group: row.grp, rule, sums: new Sums() };
      this.#rows.set(key, known);
    }
    known.sums.add(row, end, row.verdict);
  }

  finish(): Overflow {
    const { tunnels, denied, failed } = this.#all;
    const weight = ({ sums }: { readonly sums: Sums }): number => sums.tunnels + sums.denied + sums.failed;
    const rows = [...this.#rows.values()].sort((a, b) => weight(b) - weight(a)).slice(0, OVERFLOW_ROWS_MAX);
    const time = (ms: number): string => new Date(ms).toISOString();
    const groups = rows.map(({ group, rule, sums }) => ({
      group,
      rule,
      tunnels: sums.tunnels,
      denied: sums.denied,
      would_deny: sums.wouldDeny,
      failed: sums.failed,
      bytes_up: sums.bytesUp,
      bytes_down: sums.bytesDown,
      first_seen: time(sums.first),
      last_seen: time(sums.last),
    }));
    return { tunnels, denied, failed, groups };
  }
}
