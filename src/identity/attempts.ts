// How often passwords may be tried from one source address: a bucket that refills over a minute. It counts failures only, so
// that who knows the password is never kept out by his own connections. No timer, no clock of its own.
import type { LRUCache } from 'lru-cache';
import { boundedCache } from '../bounded-cache.ts';

interface Bucket {
  left: number;
  atMs: number;
}

const MINUTE_MS = 60_000;

export class Attempts {
  readonly #perMinute: number;
  readonly #buckets: LRUCache<string, Bucket>;

  /** @param addressesMax addresses that are remembered; the longest unheard of is forgotten first */
  constructor(perMinute: number, addressesMax: number) {
    this.#perMinute = perMinute;
    this.#buckets = boundedCache(addressesMax);
  }

  /** Takes one attempt for a check that begins; false where there is none left. */
  take(address: string, nowMs: number): boolean {
    const bucket = this.#refilled(address, nowMs);
    if (bucket.left < 1) return false;
    bucket.left -= 1;
    return true;
  }

  /** The check succeeded: it was no attempt. */
  giveBack(address: string, nowMs: number): void {
    const bucket = this.#refilled(address, nowMs);
    bucket.left = Math.min(this.#perMinute, bucket.left + 1);
  }

  #refilled(address: string, nowMs: number): Bucket {
    const bucket = this.#buckets.get(address);
    if (bucket === undefined) {
      const made = { left: this.#perMinute, atMs: nowMs };
      this.#buckets.set(address, made);
      return made;
    }
    const elapsedMs = Math.max(0, nowMs - bucket.atMs);
    bucket.left = Math.min(this.#perMinute, bucket.left + (elapsedMs / MINUTE_MS) * this.#perMinute);
    bucket.atMs = nowMs;
    return bucket;
  }
}
