// Whose token it is: the first source address that used it. A token is known here by what its issuer has signed: how its header is
// spelled, and the unused bits and other forms of a signature, would be further tokens otherwise, for anybody who has read this one.
import { hash } from 'node:crypto';
import type { LRUCache } from 'lru-cache';
import { boundedCache } from '../bounded-cache.ts';

/** The digest of a compact JWT without its signature; under a key, so that it says nothing elsewhere. */
export function bindingDigest(key: string, token: string): string {
  return hash('sha256', `${key}${token.slice(0, token.lastIndexOf('.'))}`, 'base64');
}

export class Bindings {
  readonly #bound: LRUCache<string, string>;

  constructor(entriesMax: number) {
    this.#bound = boundedCache(entriesMax);
  }

  /** @returns the first address that used it, which is this one where nobody did */
  bind(digest: string, address: string, untilMs: number, nowMs: number): string {
    const known = this.#bound.get(digest);
    if (known !== undefined) return known;
    const ttl = untilMs - nowMs;
    // What has ended is refused for that, whoever brings it.
    if (ttl > 0) this.#bound.set(digest, address, { ttl });
    return address;
  }
}
