// The issuer's public keys (JWKS, RFC 7517): from the configuration, or fetched when they are needed and kept. A token with a key id that
// nobody knows makes us ask again, but not more often than the issuer should be asked; while it cannot be reached, the keys that are
// known count on for a day, and without any a token is neither right nor wrong.
import { createLocalJWKSet, errors, type JSONWebKeySet, type JWTVerifyGetKey } from 'jose';
import { readKeySet } from '../config/key-set.ts';
import type { Limits, Meter } from '../limits.ts';

/** No keys are at hand: the token was not looked at. */
export class KeysUnavailable extends Error {}

export interface RemoteKeysOptions {
  /** The key set as JSON text. Rejects where it cannot be had. */
  readonly fetch: () => Promise<string>;
  readonly limits: Limits;
  readonly meter: Meter;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  readonly onProblem: (why: string) => void;
}

const BACKOFF_MIN_MS = 1_000;

type Find = ReturnType<typeof createLocalJWKSet>;

/** The keys of a key set as JSON text. @throws Error whose message says what is wrong with it */
export function fixedKeys(text: string): Find {
  return createLocalJWKSet(readKeySet(text) as unknown as JSONWebKeySet);
}

export class RemoteKeys {
  readonly #options: RemoteKeysOptions;
  #find: Find | null = null;
  #fetchedMs = Number.NEGATIVE_INFINITY;
  /** When it was last tried, whatever came of it. */
  #triedMs = Number.NEGATIVE_INFINITY;
  #failures = 0;
  #pending: Promise<boolean> | null = null;

  constructor(options: RemoteKeysOptions) {
    this.#options = options;
  }

  /** Fetches them before the first token comes. */
  warm(): void {
    void this.#fetch();
  }

  /** For jose: the key of a token. Rejects with KeysUnavailable, or errors.JWKSNoMatchingKey. */
  readonly key: JWTVerifyGetKey = async (header, token) => {
    const find = await this.#current();
    try {
      return await find(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey) || !(await this.#again())) throw error;
      return await (this.#find as Find)(header, token);
    }
  };

  async #current(): Promise<Find> {
    const { limits, now } = this.#options;
    const ageMs = now() - this.#fetchedMs;
    if (this.#find !== null && ageMs < limits.jwks_stale_max_ms) {
      // Old ones are good enough for this token; the next one finds new ones.
      if (ageMs >= limits.jwks_refresh_ms && this.#mayTry()) void this.#fetch();
      return this.#find;
    }
    if (this.#pending === null && !this.#mayTry()) throw new KeysUnavailable();
    if (!(await this.#fetch()) || this.#find === null) throw new KeysUnavailable();
    return this.#find;
  }

  /** An unknown key id: whether there are newer keys now than when it was looked for. */
  async #again(): Promise<boolean> {
    const { limits, meter, now } = this.#options;
    if (this.#pending !== null) return this.#pending;
    if (now() - this.#triedMs < limits.jwks_retry_ms) {
      meter.hit('jwks_retry_ms');
      return false;
    }
    return this.#fetch();
  }

  /** After a failure the next try waits: a second, two, four, at most jwks_retry_ms. */
  #mayTry(): boolean {
    if (this.#failures === 0) return true;
    const waitMs = Math.min(BACKOFF_MIN_MS * 2 ** (this.#failures - 1), this.#options.limits.jwks_retry_ms);
    return this.#options.now() - this.#triedMs >= waitMs;
  }

  #fetch(): Promise<boolean> {
    this.#pending ??= this.#load().finally(() => {
      this.#pending = null;
    });
    return this.#pending;
  }

  async #load(): Promise<boolean> {
    const { fetch, now, onProblem } = this.#options;
    this.#triedMs = now();
    try {
      const found = fixedKeys(await fetch());
      this.#find = found;
      this.#fetchedMs = now();
      this.#failures = 0;
      return true;
    } catch (error) {
      this.#failures++;
      const known = this.#find === null ? 'no keys are known: tokens get 503' : 'those that are known count on';
      onProblem(`${error instanceof Error ? error.message : String(error)}; ${known}`);
      return false;
    }
  }
}
