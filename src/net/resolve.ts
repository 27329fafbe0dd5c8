// Name → addresses, for allowed names only: DNS is an egress channel, so nothing here runs before the policy has said yes.
// Bounds what a hostile name server can do: one query a name at a time, a number of names at a time, one deadline whatever
// the source does, few addresses, no answer kept beyond its TTL. It does not judge addresses: the policy does, at each use.
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { performance } from 'node:perf_hooks';
import type { LRUCache } from 'lru-cache';
import { boundedCache } from '../bounded-cache.ts';
import type { Settings } from '../config/config.ts';
import type { Limits, Meter } from '../limits.ts';
import { canonicalAddress, classifyAddress } from '../policy/address.ts';
import type { Answer, Lookup, LookupSource } from './lookup.ts';
import { serverLookups } from './lookup-servers.ts';
import { type SystemParts, systemLookups } from './lookup-system.ts';

export type Resolution =
  /** Canonical, without doubles, the families in turn (RFC 8305 §4); at least one. */
  | { readonly ok: true; readonly addresses: readonly string[] }
  | { readonly ok: false; readonly code: 'dns-failed' | 'dns-timeout'; readonly detail: string };

/** Counts since the start; `pending` and `entries` are of now. */
export interface ResolverStats {
  /** Answered from the cache, failures that are held included. */
  readonly hits: number;
  /** Looked up. */
  readonly misses: number;
  /** Joined a look-up that was under way. */
  readonly merged: number;
  /** Look-ups that failed, or were not begun because too many were under way. */
  readonly failures: number;
  readonly pending: number;
  readonly entries: number;
}

export interface Resolver {
  /**
   * Resolves a canonical host. What the cache holds, and an address literal, come back at once, without a promise; the
   * promise never rejects.
   * @param client for whom: a look-up that it begins counts against its share until it is over; one that it joins does not
   */
  resolve(host: string, client?: string): Resolution | Promise<Resolution>;
  stats(): ResolverStats;
  /** Ends every wait with dns-failed and forgets the cache; later calls fail. */
  close(): void;
}

export interface ResolverOptions {
  /** The system's resolver, or these servers (`ip:port`). */
  readonly dns: Settings['dns'];
  readonly limits: Limits;
  readonly meter: Meter;
  /** Monotonic milliseconds. */
  readonly now?: () => number;
  /** Whether this host has a way to the IPv6 internet; decides which family comes first. */
  readonly ipv6?: () => boolean;
  readonly system?: SystemParts;
}

/** @throws where a name server is not an address: the configuration has refused that before */
export function createResolver(options: ResolverOptions): Resolver {
  const { dns, limits } = options;
  const source =
    dns.mode === 'servers' ? serverLookups(dns.servers, limits.dns_timeout_ms) : systemLookups(options.system);
  return new CachingResolver(source, options);
}

interface Held {
  readonly resolution: Resolution;
  readonly expires: number;
}

interface Flight {
  readonly host: string;
  /** Who began it. */
  readonly client: string;
  readonly lookup: Lookup;
  readonly promise: Promise<Resolution>;
  readonly settle: (resolution: Resolution) => void;
  readonly timer: NodeJS.Timeout;
  readonly startedMs: number;
  /** Set once the deadline is over while the source has not come back: its slot stays taken, new requests fail at once. */
  late: Resolution | null;
}

function failed(code: 'dns-failed' | 'dns-timeout', detail: string): Resolution {
  return { ok: false, code, detail };
}

const CLOSED = failed('dns-failed', 'the resolver is closed');

class CachingResolver implements Resolver {
  readonly #source: LookupSource;
  readonly #limits: Limits;
  readonly #meter: Meter;
  readonly #now: () => number;
  readonly #ipv6: () => boolean;
  readonly #cache: LRUCache<string, Held> | null;
  readonly #flights = new Map<string, Flight>();
  /** Flights by who began them; no entry where there is none. */
  readonly #shares = new Map<string, number>();
  #closed = false;
  #hits = 0;
  #misses = 0;
  #merged = 0;
  #failures = 0;

  constructor(source: LookupSource, options: ResolverOptions) {
    this.#source = source;
    this.#limits = options.limits;
    this.#meter = options.meter;
    this.#now = options.now ?? (() => performance.now());
    this.#ipv6 = options.ipv6 ?? hasPublicIpv6;
    const max = options.limits.dns_cache_entries;
    this.#cache = max > 0 ? boundedCache(max) : null;
  }

  resolve(host: string, client = ''): Resolution | Promise<Resolution> {
    const held = this.#cache?.get(host);
    if (held !== undefined && held.expires > this.#now()) {
      this.#hits += 1;
      return held.resolution;
    }
    if (isIP(host) !== 0) return { ok: true, addresses: [host] };
    if (this.#closed) return CLOSED;
    const flight = this.#flights.get(host);
    if (flight !== undefined) {
      this.#merged += 1;
      flight.lookup.join?.(client);
      return flight.late ?? flight.promise;
    }
    if (this.#flights.size >= this.#limits.dns_pending_max) return this.#full('dns_pending_max', '');
    // Without a share of its own, one client with names that never resolve would take everybody's.
    if ((this.#shares.get(client) ?? 0) >= this.#limits.client_dns_pending_max)
      return this.#full('client_dns_pending_max', ' for this client');
    this.#misses += 1;
    return this.#start(host, client);
  }

  #full(limit: 'dns_pending_max' | 'client_dns_pending_max', whose: string): Resolution {
    this.#meter.hit(limit);
    this.#failures += 1;
    return failed('dns-failed', `${this.#limits[limit]} names are being resolved already${whose} (limits.${limit})`);
  }

  stats(): ResolverStats {
    return {
      hits: this.#hits,
      misses: this.#misses,
      merged: this.#merged,
      failures: this.#failures,
      pending: this.#flights.size,
      entries: this.#cache?.size ?? 0,
    };
  }

  close(): void {
    this.#closed = true;
    this.#cache?.clear();
    const flights = [...this.#flights.values()];
    this.#flights.clear();
    this.#shares.clear();
    for (const flight of flights) {
      clearTimeout(flight.timer);
      flight.lookup.cancel();
      flight.settle(CLOSED);
    }
  }

  #start(host: string, client: string): Promise<Resolution> {
    const { promise, resolve } = Promise.withResolvers<Resolution>();
    const flight: Flight = {
      host,
      client,
      lookup: this.#source.lookup(host, client),
      promise,
      settle: resolve,
      timer: setTimeout(() => this.#overdue(flight), this.#limits.dns_timeout_ms),
      startedMs: this.#now(),
      late: null,
    };
    this.#flights.set(host, flight);
    this.#shares.set(client, (this.#shares.get(client) ?? 0) + 1);
    void flight.lookup.answer.then((answer) => this.#answered(flight, answer));
    return promise;
  }

  #overdue(flight: Flight): void {
    this.#meter.hit('dns_timeout_ms');
    this.#meter.timed?.('dns', this.#now() - flight.startedMs);
    const late = failed('dns-timeout', `no answer within ${this.#limits.dns_timeout_ms} ms`);
    flight.late = late;
    this.#failures += 1;
    this.#hold(flight.host, late, this.#limits.dns_negative_ttl_ms);
    flight.settle(late);
    flight.lookup.cancel();
  }

  #answered(flight: Flight, answer: Answer): void {
    if (this.#flights.get(flight.host) !== flight) return; // closed meanwhile
    this.#flights.delete(flight.host);
    const others = (this.#shares.get(flight.client) ?? 1) - 1;
    if (others > 0) this.#shares.set(flight.client, others);
    else this.#shares.delete(flight.client);
    clearTimeout(flight.timer);
    if (flight.late === null) this.#meter.timed?.('dns', this.#now() - flight.startedMs);
    const resolution = this.#judge(answer);
    if (flight.late !== null && !resolution.ok) return; // the failure has been told and is held already
    if (!resolution.ok) this.#failures += 1;
    const { dns_negative_ttl_ms, dns_cache_ttl_max_ms } = this.#limits;
    const whole = answer.ok && resolution.ok ? Math.min(answer.ttlMs, dns_cache_ttl_max_ms) : dns_negative_ttl_ms;
    // A half answer lives no longer than a failure: the other half failed.
    const ttlMs = answer.ok && answer.partial ? Math.min(whole, dns_negative_ttl_ms) : whole;
    this.#hold(flight.host, resolution, ttlMs);
    flight.settle(resolution);
  }

  #hold(host: string, resolution: Resolution, ttlMs: number): void {
    if (ttlMs > 0) this.#cache?.set(host, { resolution, expires: this.#now() + ttlMs });
    else this.#cache?.delete(host);
  }

  #judge(answer: Answer): Resolution {
    if (!answer.ok) return failed(answer.code, answer.detail);
    const addresses = inTurn(answer.addresses, this.#ipv6());
    if (addresses.length === 0) return failed('dns-failed', 'the answer holds no usable address');
    const max = this.#limits.dns_addresses_max;
    if (addresses.length <= max) return { ok: true, addresses };
    this.#meter.hit('dns_addresses_max');
    return { ok: true, addresses: addresses.slice(0, max) };
  }
}

/** Canonical, without doubles, the families in turn (RFC 8305 §4) so that a broken family costs one attempt, not all. */
function inTurn(texts: readonly string[], sixFirst: boolean): string[] {
  const six = new Set<string>();
  const four = new Set<string>();
  for (const text of texts) {
    const address = canonicalAddress(text);
    if (address !== null) (isIP(address) === 6 ? six : four).add(address);
  }
  const [first, second] = sixFirst ? [[...six], [...four]] : [[...four], [...six]];
  const mixed: string[] = [];
  for (let at = 0; at < Math.max(first.length, second.length); at += 1) {
    mixed.push(...first.slice(at, at + 1), ...second.slice(at, at + 1));
  }
  return mixed;
}

/** RFC 6724 in one question: without a public IPv6 address of its own, this host had better try IPv4 first. */
function hasPublicIpv6(): boolean {
  return Object.values(networkInterfaces()).some((ones) =>
    ones?.some(({ family, address }) => family === 'IPv6' && classifyAddress(address) === 'public'),
  );
}
