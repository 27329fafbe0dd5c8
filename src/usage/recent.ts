// What was let through within the last second, by who asked: a refusal that follows so closely is likely the target of a
// redirect (a download host behind a forge, the blobs behind a registry). It remembers two seconds of log time and at most
// ASKERS_MAX askers of each; beyond it, and over a restart, a link is missed and nothing is counted wrong. PURE.
import type { Facts } from '../audit/line-reader.ts';
import { statedAttributes } from '../policy/record.ts';

/** A refusal that comes later than this after a tunnel has to do with something else. */
const REDIRECT_MS = 1_000;
export const ASKERS_MAX = 10_000;

interface Allowed {
  readonly host: string;
  readonly port: number;
  readonly ms: number;
}

export class Recent {
  #second = Number.NEGATIVE_INFINITY;
  #now = new Map<string, Allowed>();
  #before = new Map<string, Allowed>();

  /** A request that a rule let through. */
  add(facts: Facts, ms: number): void {
    if (facts.host === null || facts.port === null) return;
    const second = Math.floor(ms / REDIRECT_MS);
    // A clock that went back, or a line of a branch: the maps hold what they hold, `before` looks at the times.
    if (second > this.#second) {
      this.#before = second === this.#second + 1 ? this.#now : new Map();
      this.#now = new Map();
      this.#second = second;
    }
    const asker = askerOf(facts);
    if (this.#now.size < ASKERS_MAX || this.#now.has(asker))
      this.#now.set(asker, { host: facts.host, port: facts.port, ms });
  }

  /** What the same job, or the same client where no job is known, was let through to within the last second. */
  before(facts: Facts, ms: number): { readonly host: string; readonly port: number } | null {
    const asker = askerOf(facts);
    const found = this.#now.get(asker) ?? this.#before.get(asker);
    if (found === undefined || ms < found.ms || ms - found.ms > REDIRECT_MS) return null;
    return found.host === facts.host && found.port === facts.port ? null : { host: found.host, port: found.port };
  }
}

function askerOf({ identity, client }: Facts): string {
  const { job } = statedAttributes(identity);
  return job === undefined ? `client ${client}` : `job ${job}`;
}
