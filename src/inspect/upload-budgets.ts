// How much each asker has uploaded to each inspected rule (`max_upload_mb`): a number for a job and rule, over all its requests and
// connections on this node. Whose job is not proven counts by who he proved to be, or by his source address. Bounded: the ones that were
// used least recently are forgotten first, and each begins anew after a day, or the first build of an address would use it up for good.
import type { LRUCache } from 'lru-cache';
import { boundedCache } from '../bounded-cache.ts';
import type { Limits, Meter } from '../limits.ts';
import type { Identity } from '../policy/record.ts';
import { isUnproven } from '../policy/selector.ts';

/** What one asker has left for a rule. */
export interface UploadBudget {
  /** Takes bytes before they go on. @returns false where they are too many: nothing is taken then, and nothing more may go on */
  take(bytes: number): boolean;
}

class Used implements UploadBudget {
  readonly #max: number;
  readonly #sum: { bytes: number };

  constructor(max: number, sum: { bytes: number }) {
    this.#max = max;
    this.#sum = sum;
  }

  take(bytes: number): boolean {
    if (this.#sum.bytes + bytes > this.#max) return false;
    this.#sum.bytes += bytes;
    return true;
  }
}

export class UploadBudgets {
  readonly #sums: LRUCache<string, { bytes: number }>;

  /** @param now ms, of a clock that does not go back */
  constructor(limits: Limits, meter: Meter, now: () => number = () => performance.now()) {
    this.#sums = boundedCache(limits.upload_budgets_max, {
      ttl: limits.upload_budget_ms,
      ttlResolution: 0,
      perf: { now },
      dispose: (_sum, _key, why) => {
        if (why === 'evict') meter.hit('upload_budgets_max');
      },
    });
  }

  /** How many are held. */
  get size(): number {
    return this.#sums.size;
  }

  /** @param rule what the bytes are counted for, such as the rule's id; `max` may change with the policy */
  of(identity: Identity, client: string, rule: string, max: number): UploadBudget {
    const key = JSON.stringify([rule, ...askerOf(identity, client)]);
    let sum = this.#sums.get(key);
    if (sum === undefined) {
      sum = { bytes: 0 };
      this.#sums.set(key, sum);
    }
    return new Used(max, sum);
  }
}

/** A claim proves nothing: whoever counted by it would have a new budget for each name that he invents. */
function askerOf(identity: Identity, client: string): string[] {
  if (isUnproven(identity)) return ['client', client];
  const { job, user } = identity.attributes;
  if (job !== undefined) return ['job', job];
  return user === undefined ? ['client', client] : ['user', user];
}
