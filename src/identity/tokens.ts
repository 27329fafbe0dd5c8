// The tokens of jobs, as far as they are switched on: which settings are in force, where the keys come from, and how long a
// token that was found right is believed. What verifies them is loaded where they are switched on, and then at once.
import type { JWTVerifyGetKey } from 'jose';
import type { OidcSettings } from '../config/identity.ts';
import type { RequestErrorCode } from '../errors.ts';
import type { Limits, Meter } from '../limits.ts';
import type { Attributes } from '../policy/record.ts';
import type { KeyPlace } from './key-fetch.ts';
import type { Proof } from './proofs.ts';
import type { verifyToken } from './token.ts';

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

/** The keys of the issuer, and what looks at a token with them. */
interface Verifier {
  readonly key: JWTVerifyGetKey;
  readonly verifyToken: typeof verifyToken;
}

type Result = { readonly ok: true; readonly proof: Proof } | { readonly ok: false; readonly code: RequestErrorCode };

export class Tokens {
  readonly #options: TokensOptions;
  #settings: OidcSettings | null = null;
  #text = 'null';
  #jwksText = '';
  /** Null in it: it could not be loaded, and is tried again with the next token. */
  #verifier: Promise<Verifier | null> | null = null;

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
    if (jwksText !== this.#jwksText) this.#verifier = settings === null ? null : this.#verifierOf(settings.jwks);
    this.#jwksText = jwksText;
    return true;
  }

  /** Never rejects. */
  async verify(token: string, nowMs: number): Promise<Result> {
    const settings = this.#settings;
    if (settings === null) return { ok: false, code: 'credentials-invalid' };
    this.#verifier ??= this.#verifierOf(settings.jwks);
    const verifier = await this.#verifier;
    if (verifier === null) return { ok: false, code: 'internal-error' };
    const { key, verifyToken } = verifier;
    const found = await verifyToken(token, settings, key, nowMs);
    // A reload came meanwhile: the answer is one to other settings.
    if (settings !== this.#settings) return this.verify(token, nowMs);
    if (!found.ok) return found;
    const { attributes, expiresMs } = found;
    const untilMs = expiresMs + settings.leewayS * 1_000;
    return { ok: true, proof: { kind: 'job', attributes, untilMs, expiresMs, after: 'token-expired' } };
  }

  #verifierOf(jwks: OidcSettings['jwks']): Promise<Verifier | null> {
    const made = this.#load(jwks).catch((error: Error) => {
      if (this.#verifier === made) this.#verifier = null;
      this.#options.onProblem(`what verifies tokens cannot be loaded: ${error.message}`);
      return null;
    });
    return made;
  }

  async #load(jwks: OidcSettings['jwks']): Promise<Verifier> {
    const { limits, meter, fetchKeys, onProblem, monotonic = () => performance.now() } = this.#options;
    const { fixedKeys, RemoteKeys } = await import('./keys.ts');
    const { verifyToken } = await import('./token.ts');
    if (jwks.from === 'file') return { key: fixedKeys(jwks.text), verifyToken };
    const remote = new RemoteKeys({ fetch: () => fetchKeys(jwks), limits, meter, now: monotonic, onProblem });
    remote.warm();
    return { key: remote.key, verifyToken };
  }
}
