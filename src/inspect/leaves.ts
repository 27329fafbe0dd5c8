// The certificates that stand for inspected hosts, made when one is first asked for and kept for a while with what OpenSSL needs to
// use them. Making one is synchronous, so that whoever asks at the same time gets the same. All share a key of this process.
import { generateKeyPairSync } from 'node:crypto';
import tls from 'node:tls';
import type { LRUCache } from 'lru-cache';
import { boundedCache } from '../bounded-cache.ts';
import type { Limits, Meter } from '../limits.ts';
import type { Authority } from '../policy/authority.ts';
import { type Ca, covers } from './ca.ts';
import { buildLeaf, LEAF_LIFE_MS, spkiOf } from './certificate.ts';

export class Leaves {
  readonly #contexts: LRUCache<string, tls.SecureContext>;
  readonly #now: () => number;
  readonly #spki: ReturnType<typeof spkiOf>;
  readonly #key: string;
  #ca: Ca;
  /** How many were made. */
  made = 0;

  constructor(ca: Ca, limits: Limits, meter: Meter, now: () => number = Date.now) {
    this.#ca = ca;
    this.#now = now;
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    this.#spki = spkiOf(publicKey);
    this.#key = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    this.#contexts = boundedCache(limits.inspect_leaves_max, {
      ttl: LEAF_LIFE_MS / 2,
      ttlResolution: 0,
      perf: { now },
      disposeAfter: (_context, _host, reason) => {
        if (reason === 'evict') meter.hit('inspect_leaves_max');
      },
    });
  }

  get ca(): Ca {
    return this.#ca;
  }

  /** Another CA: what it has signed counts from the next handshake on. */
  use(ca: Ca): void {
    this.#ca = ca;
    this.#contexts.clear();
  }

  /** What a handshake for the host needs; null where the CA may not stand for it, or has ended. */
  contextFor(authority: Pick<Authority, 'host' | 'kind'>): tls.SecureContext | null {
    const { host, kind } = authority;
    const nowMs = this.#now();
    if (this.#ca.issuer.notAfterMs <= nowMs || !covers(this.#ca.names, authority)) return null;
    const known = this.#contexts.get(host);
    if (known !== undefined) return known;
    const cert = buildLeaf(this.#ca.issuer, host, kind === 'name' ? 'name' : 'address', this.#spki, nowMs);
    const context = tls.createSecureContext({ cert, key: this.#key, minVersion: 'TLSv1.2' });
    this.made += 1;
    this.#contexts.set(host, context);
    return context;
  }
}
