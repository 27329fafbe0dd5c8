// The tokens of jobs, as far as they are switched on: which settings are in force, where the keys come from, and how long a
// token that was found right is believed.
import type { JWTVerifyGetKey } from 'jose';
import type { OidcSettings } from '../config/identity.ts';
import type { RequestErrorCode } from '../errors.ts';
import type { Limits, Meter } from '../limits.ts';
import type { Attributes } from '../policy/record.ts';
import type { KeyPlace } from './key-fetch.ts';
import { fixedKeys, RemoteKeys } from './keys.ts';
import type { Proof } from './proofs.ts';
import { verifyToken } from './token.ts';

export interface TokensOptions {
  readonly limits: Limits;
  readonly meter: Meter;
  /** Fetches a key set as text; key-fetch.ts with everything it needs. */
  readonly fetchKeys: (place: KeyPlace) => Promise<string>;
  /** Keys cannot be had; says why. */
  readonly onProblem: (why: string) => void;
  /** Monotonic milliseconds. */
  readonly monotonic?: () => number;
}

type Result = { readonly ok: true; readonly proof: Proof } | { readonly ok: false; readonly code: RequestErrorCode };

export class Tokens {
  readonly #options: TokensOptions;
  #settings: OidcSettings | null = null;
  #text = 'null';
  #jwksText = '';
  #key: JWTVerifyGetKey | null = null;

  constructor(options: TokensOptions) {
    this.#options = options;
  }

  /** Whether tokens are taken at all. */
  get on(): boolean {
    return this.#settings !== null;
  }

  /** Whether jobs of that organization are known: what a token proved before may count no longer. */
  knows({ organization = '' }: Attributes): boolean {
    return this.#settings?.organizations.includes(organization) === true;
  }

  get bindSource(): boolean {
    return this.#settings?.bindSource === true;
  }

  /** @returns whether tokens that were verified before must be verified again */
  use(settings: OidcSettings | null): boolean {
    const text = JSON.stringify(settings);
    if (text === this.#text) return false;
    this.#text = text;
    this.#settings = settings;
    // Keys that were fetched stay where their place is the same: a reload must not depend on the issuer.
    const jwksText = JSON.stringify(settings?.jwks ?? null);
    if (jwksText !== this.#jwksText) this.#key = settings === null ? null : this.#keysOf(settings.jwks);
    this.#jwksText = jwksText;
    return true;
  }

  /** Never rejects. */
  async verify(token: string, nowMs: number): Promise<Result> {
    const settings = this.#settings;
    const key = this.#key;
    if (settings === null || key === null) return { ok: false, code: 'credentials-invalid' };
    const found = await verifyToken(token, settings, key, nowMs);
    // A reload came meanwhile: the answer is one to other settings.
    if (settings !== this.#settings) return this.verify(token, nowMs);
    if (!found.ok) return found;
    const { attributes, expiresMs } = found;
    const untilMs = expiresMs + settings.leewayS * 1_000;
    return { ok: true, proof: { kind: 'job', attributes, untilMs, expiresMs, after: 'token-expired' } };
  }

  #keysOf(jwks: OidcSettings['jwks']): JWTVerifyGetKey {
    const { limits, meter, fetchKeys, onProblem, monotonic = () => performance.now() } = this.#options;
    if (jwks.from === 'file') return fixedKeys(jwks.text);
    const remote = new RemoteKeys({ fetch: () => fetchKeys(jwks), limits, meter, now: monotonic, onProblem });
    remote.warm();
    return remote.key;
  }
}
