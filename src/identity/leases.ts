// Which job an address belongs to, for connections without credentials: dockerd, Java and other tools that send none. A job posts
// its token once; until the token expires or the job gives the lease back, what comes from that address without credentials is the
// job's. An address with the leases of several jobs belongs to none of them: the candidates are recorded, the base policy counts.
import type { Limits, Meter } from '../limits.ts';
import type { Attributes, Identity } from '../policy/record.ts';
import type { Client } from './identify.ts';

export interface Lease {
  readonly job: string;
  readonly address: string;
  /** What the job proves. */
  readonly attributes: Attributes;
  /** Milliseconds since the epoch. */
  readonly untilMs: number;
}

interface Place {
  readonly leases: Map<string, Lease>;
  /** The first end among them. */
  untilMs: number;
  /** The identity for who comes with this one; made anew where either changes. */
  base: Identity | null;
  identity: Identity | null;
}

/** Where jobs begin and end their leases: in this process, or in all that serve together before it is answered. */
export interface LeaseDesk {
  begin(lease: Lease): LeaseBegun | Promise<LeaseBegun>;
  end(job: string, address: string): boolean | Promise<boolean>;
}

/** Null where limits.leases_max is reached. */
export type LeaseBegun = 'begun' | 'renewed' | null;

export type LeaseChange =
  | { readonly act: 'begin'; readonly lease: Lease }
  | { readonly act: 'end'; readonly job: string; readonly address: string };

export interface LeasesOptions {
  readonly limits: Limits;
  readonly meter: Meter;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

export class Leases implements LeaseDesk {
  readonly #options: LeasesOptions;
  readonly #places = new Map<string, Place>();
  #count = 0;
  /** Called after each change, where somebody keeps them. */
  onChange: () => void = () => {};

  constructor(options: LeasesOptions) {
    this.#options = options;
  }

  /** Live ones and such as have ended unseen. */
  get size(): number {
    return this.#count;
  }

  /**
   * Begins a lease, or lengthens the one that the job has at this address; it never gets shorter by a token that ends earlier.
   * An agent runs one job at a time: that of its job before ends, which was killed before it could give it back.
   * @returns what was done; null where limits.leases_max is reached
   */
  begin(lease: Lease): LeaseBegun {
    const place = this.#places.get(lease.address);
    const known =
      place === undefined ? undefined : this.#live(place, lease.address).find(({ job }) => job === lease.job);
    if (known !== undefined && known.untilMs >= lease.untilMs) return 'renewed';
    if (known === undefined && this.#count >= this.#options.limits.leases_max && !this.#sweep()) {
      this.#options.meter.hit('leases_max');
      return null;
    }
    const { agent } = lease.attributes;
    for (const one of this.at(lease.address))
      if (agent !== undefined && one.attributes.agent === agent && one.job !== lease.job)
        this.end(one.job, one.address);
    this.#put(lease);
    this.onChange();
    return known === undefined ? 'begun' : 'renewed';
  }

  /** @returns whether the job had one at this address */
  end(job: string, address: string): boolean {
    const place = this.#places.get(address);
    if (place === undefined || !this.#remove(place, address, job)) return false;
    this.onChange();
    return true;
  }

  /** Those that count at an address now, in the order in which they began. */
  at(address: string): readonly Lease[] {
    const place = this.#places.get(address);
    return place === undefined ? [] : this.#live(place, address);
  }

  /** Who comes without credentials: the job of the address, or what the address is by itself. Nothing is made where nothing changed. */
  identityOf(client: Client): Identity {
    if (this.#count === 0) return client.identity;
    const place = this.#places.get(client.address);
    if (place === undefined) return client.identity;
    if (place.untilMs <= this.#options.now() && this.#live(place, client.address).length === 0) return client.identity;
    if (place.identity === null || place.base !== client.identity) {
      place.base = client.identity;
      place.identity = identityFor([...place.leases.values()], client.identity);
    }
    return place.identity;
  }

  /** All that count now. */
  all(): Lease[] {
    return [...this.#places].flatMap(([address, place]) => this.#live(place, address));
  }

  /** Ends those that count no longer. */
  keep(counts: (lease: Lease) => boolean): void {
    const gone = this.all().filter((lease) => !counts(lease));
    for (const { job, address } of gone) this.end(job, address);
  }

  /** Takes over what another process had; what has ended meanwhile is left out. */
  restore(leases: readonly Lease[]): void {
    for (const lease of leases)
      if (lease.untilMs > this.#options.now() && this.#count < this.#options.limits.leases_max) this.#put(lease);
  }

  #put(lease: Lease): void {
    let place = this.#places.get(lease.address);
    if (place === undefined) {
      place = { leases: new Map(), untilMs: Number.POSITIVE_INFINITY, base: null, identity: null };
      this.#places.set(lease.address, place);
    }
    if (!place.leases.has(lease.job)) this.#count++;
    place.leases.set(lease.job, lease);
    changed(place);
  }

  #live(place: Place, address: string): Lease[] {
    const now = this.#options.now();
    if (place.untilMs <= now)
      for (const { job, untilMs } of [...place.leases.values()]) if (untilMs <= now) this.#remove(place, address, job);
    return [...place.leases.values()];
  }

  #remove(place: Place, address: string, job: string): boolean {
    if (!place.leases.delete(job)) return false;
    this.#count--;
    changed(place);
    if (place.leases.size === 0) this.#places.delete(address);
    return true;
  }

  /** Forgets what has ended. @returns whether there is room now */
  #sweep(): boolean {
    this.all();
    return this.#count < this.#options.limits.leases_max;
  }
}

function changed(place: Place): void {
  place.untilMs = Math.min(...[...place.leases.values()].map(({ untilMs }) => untilMs));
  place.identity = null;
}

/** Of one lease the job's; of several nobody's, and whose it may be is said. */
function identityFor(leases: readonly Lease[], base: Identity): Identity {
  const [only, ...others] = leases;
  if (only === undefined) return base;
  if (others.length > 0)
    return Object.freeze({ ...base, candidates: Object.freeze(leases.map(({ job }) => job).slice(0, CANDIDATES_MAX)) });
  const attributes = Object.freeze({ ...base.attributes, ...only.attributes });
  return Object.freeze({ kind: 'job', attributes, claimed: Object.freeze({}), via: 'lease' });
}

/** A record names so many; nobody looks for one job among more. */
const CANDIDATES_MAX = 32;
