// Credentials → Identity. What was verified once is known by the digest of its header, so that the hundreds of tunnels of a
// job cost a look into a map; only what is new is waited for. Neither a password nor a token leaves this folder, and none is
// kept: a digest under a key of this process is. Client addresses, and claims without a password, are identify.ts.
import { hash, randomBytes } from 'node:crypto';
import type { LRUCache } from 'lru-cache';
import { boundedCache } from '../bounded-cache.ts';
import type { IdentitySettings } from '../config/identity.ts';
import { TOKEN_USER } from '../config/users-file.ts';
import type { RequestErrorCode } from '../errors.ts';
import type { Limits, Meter } from '../limits.ts';
import type { Attributes, Identity } from '../policy/record.ts';
import { Attempts } from './attempts.ts';
import { Bindings, bindingDigest } from './bindings.ts';
import { type Client, type Identified, identifyClaim, knownClaim } from './identify.ts';
import { type Lease, type LeaseBegun, type LeaseChange, Leases } from './leases.ts';
import { type BasicCredentials, parseBasic } from './proxy-authorization.ts';
import { Tokens, type TokensOptions } from './tokens.ts';
import { Users } from './users.ts';

/** What several processes behind one address must know together (workers); each promise rejects where it cannot be known. */
export interface SharedProofs {
  /** Digests are the same in all of them. */
  readonly key: string;
  /** The first address that used this token, which is this one where nobody did. */
  bind(digest: string, address: string, untilMs: number): Promise<string>;
  /** Takes one attempt of this address; false where none is left. */
  attempt(address: string): Promise<boolean>;
  /** It was no attempt: the credentials are right. */
  giveBack(address: string): void;
}

export interface ProofOptions extends TokensOptions {
  readonly limits: Limits;
  readonly meter: Meter;
  /** Null in a process that serves alone. */
  readonly shared?: SharedProofs | null;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
}

/** What credentials were found to prove. */
export interface Proof {
  readonly kind: 'user' | 'job';
  readonly attributes: Attributes;
  /** Until when it is believed, milliseconds since the epoch. */
  readonly untilMs: number;
  /** When it ends by itself, without the leeway. */
  readonly expiresMs: number;
  /** What they are refused with after that; null where they are verified again. */
  readonly after: RequestErrorCode | null;
}

export type Verified =
  | { readonly ok: true; readonly proof: Proof; readonly identity: Identity }
  | { readonly ok: false; readonly code: RequestErrorCode };

type Checked =
  | {
      readonly ok: true;
      readonly proof: Proof;
      /** The one address that may use it. */
      readonly source?: string;
    }
  | { readonly ok: false; readonly code: RequestErrorCode };

interface Held {
  readonly proof: Proof;
  /** The one address that may use it; null where any may. */
  readonly source: string | null;
  /** The answer for who comes with this identity from his address; made anew for another one. */
  base: Identity;
  answer: Verified;
}

/** A wrong password is refused for so long without being tried again: a client that repeats it uses up one attempt. */
const WRONG_MS = 10_000;
const KEY_BYTES = 32;

/** A key for the digests of credentials, for processes that must have the same. */
export function digestKey(): string {
  return randomBytes(KEY_BYTES).toString('base64');
}

export class Proofs {
  readonly #limits: Limits;
  readonly #meter: Meter;
  readonly #now: () => number;
  readonly #key: string;
  readonly #shared: SharedProofs | null;
  readonly #held: LRUCache<string, Held>;
  readonly #wrong: LRUCache<string, number>;
  readonly #pending = new Map<string, Promise<Checked>>();
  /** Of the pending ones, by who began them; no entry where there is none. */
  readonly #shares = new Map<string, number>();
  readonly #attempts: Attempts;
  readonly #bindings: Bindings;
  readonly #tokens: Tokens;
  /** Jobs by address, for who sends no credentials. */
  readonly leases: Leases;
  #users = new Users([]);
  #usersText = '[]';

  constructor(options: ProofOptions) {
    const { limits, meter, now = Date.now, shared = null } = options;
    this.#shared = shared;
    this.#key = shared?.key ?? digestKey();
    this.#limits = limits;
    this.#meter = meter;
    this.#now = now;
    this.#held = boundedCache(limits.credentials_cached_max);
    this.#wrong = boundedCache(limits.credentials_cached_max);
    this.#attempts = new Attempts(limits.password_attempts_per_min, limits.clients_tracked_max);
    this.#bindings = new Bindings(limits.credentials_cached_max);
    this.#tokens = new Tokens(options);
    this.leases = new Leases({ limits, meter, now });
  }

  /** Puts settings in force. What they changed is verified again, the rest is still known. */
  use({ users, oidc }: Pick<IdentitySettings, 'users' | 'oidc'>): void {
    const text = JSON.stringify(users);
    if (text !== this.#usersText) {
      this.#usersText = text;
      this.#users = new Users(users);
      this.#forget('user');
    }
    if (this.#tokens.use(oidc)) {
      this.#forget('job');
      this.leases.keep((lease) => this.#tokens.knows(lease.attributes));
    }
  }

  /** Takes over the leases of the process before, as far as their jobs would be known today. */
  restore(leases: readonly Lease[]): void {
    this.leases.restore(leases.filter((lease) => this.#tokens.knows(lease.attributes)));
  }

  /** A change that all processes make. @returns what came of it here */
  applyLease(change: LeaseChange): LeaseBegun | boolean {
    if (change.act === 'end') return this.leases.end(change.job, change.address);
    // Another process may have another policy still; here nobody would be known by it.
    return this.#tokens.knows(change.lease.attributes) ? this.leases.begin(change.lease) : null;
  }

  /**
   * Works out who asks.
   * @param header the Proxy-Authorization value, or undefined when none was sent
   * @returns at once where nothing is to be verified; else a promise, which never rejects
   */
  identify(client: Client, header: string | undefined): Identified | Promise<Identified> {
    if (header === undefined) return { ok: true, identity: this.leases.identityOf(client) };
    const claim = knownClaim(client, header);
    if (claim !== null) return { ok: true, identity: claim };
    const digest = this.#digest(header);
    const known = this.#known(client, digest);
    if (known !== null) return known;
    const credentials = parseBasic(header);
    if (!credentials) return { ok: false, code: 'credentials-malformed' };
    if (credentials.password === '') return identifyClaim(client, header, credentials.username);
    // However it is spelled (case, blanks, padding), it is one entry: what is known in one spelling is known in all.
    const plain = headerOf(credentials);
    if (plain === header) return this.#verify(client, digest, credentials);
    const plainDigest = this.#digest(plain);
    return this.#known(client, plainDigest) ?? this.#verify(client, plainDigest, credentials);
  }

  /** Whether tokens of jobs are taken. */
  get takesTokens(): boolean {
    return this.#tokens.on;
  }

  /** A job by its token alone, as if it had come in the proxy URL: what is known there is known here. Never rejects. */
  async job(client: Client, token: string): Promise<Verified> {
    const credentials = { username: TOKEN_USER, password: token };
    const digest = this.#digest(headerOf(credentials));
    return this.#known(client, digest) ?? this.#verify(client, digest, credentials);
  }

  #digest(header: string): string {
    return hash('sha256', this.#key + header, 'base64');
  }

  /** The answer about credentials that were verified before; null where they must be (again). */
  #known(client: Client, digest: string): Verified | null {
    const held = this.#held.get(digest);
    if (held === undefined) return null;
    const { proof, source } = held;
    if (proof.untilMs <= this.#now()) {
      if (proof.after === null) {
        this.#held.delete(digest);
        return null;
      }
      return { ok: false, code: proof.after };
    }
    if (source !== null && source !== client.address) return { ok: false, code: 'token-source' };
    if (held.base !== client.identity) {
      held.base = client.identity;
      held.answer = { ok: true, proof, identity: merged(proof, client.identity) };
    }
    return held.answer;
  }

  #verify(client: Client, digest: string, credentials: BasicCredentials): Verified | Promise<Verified> {
    const wrongUntil = this.#wrong.get(digest);
    if (wrongUntil !== undefined && wrongUntil > this.#now()) return { ok: false, code: 'credentials-invalid' };
    let pending = this.#pending.get(digest);
    if (pending === undefined) {
      const isToken = credentials.username === TOKEN_USER && this.#tokens.on;
      const refused = this.#mayBegin(client.address, isToken);
      if (refused !== null) return { ok: false, code: refused };
      const check = isToken
        ? this.#token(client.address, credentials.password)
        : this.#password(client.address, digest, credentials);
      pending = check.finally(() => {
        this.#pending.delete(digest);
        this.#share(client.address, -1);
      });
      this.#pending.set(digest, pending);
      this.#share(client.address, 1);
    }
    return pending.then((checked) => this.#answer(client, digest, checked));
  }

  /** Whether one more may be verified for this address; the code that says why not. */
  #mayBegin(address: string, isToken: boolean): RequestErrorCode | null {
    // Without users no password can be right, and there is nothing to be tried.
    if (!isToken && this.#users.size === 0) return 'credentials-invalid';
    // Tokens with a key that nobody knows wait for the issuer: one client with many of them would take everybody's places.
    const max = this.#limits.verifications_pending_max;
    if (this.#pending.size >= max || (this.#shares.get(address) ?? 0) >= Math.ceil(max / 2)) {
      this.#meter.hit('verifications_pending_max');
      return 'credentials-busy';
    }
    // Nobody guesses a signature; counting tokens would let one job keep its neighbours out.
    if (isToken || this.#shared !== null || this.#attempts.take(address, this.#now())) return null;
    this.#meter.hit('password_attempts_per_min');
    return 'attempts-exceeded';
  }

  #share(address: string, change: 1 | -1): void {
    const share = (this.#shares.get(address) ?? 0) + change;
    if (share > 0) this.#shares.set(address, share);
    else this.#shares.delete(address);
  }

  async #token(address: string, token: string): Promise<Checked> {
    const checked = await this.#tokens.verify(token, this.#now());
    if (!checked.ok || !this.#tokens.bindSource) return checked;
    const digest = bindingDigest(this.#key, token);
    const { untilMs } = checked.proof;
    try {
      const source =
        this.#shared === null
          ? this.#bindings.bind(digest, address, untilMs, this.#now())
          : await this.#shared.bind(digest, address, untilMs);
      return { ...checked, source };
    } catch {
      return { ok: false, code: 'credentials-busy' };
    }
  }

  async #password(address: string, digest: string, { username, password }: BasicCredentials): Promise<Checked> {
    if (this.#shared !== null) {
      const mayTry = await this.#shared.attempt(address).catch(() => null);
      if (mayTry === null) return { ok: false, code: 'credentials-busy' };
      if (!mayTry) {
        this.#meter.hit('password_attempts_per_min');
        return { ok: false, code: 'attempts-exceeded' };
      }
    }
    const users = this.#users;
    const attributes = await users.verify(username, password);
    // A reload may have come meanwhile: then the answer is one about users that count no longer.
    if (attributes === null || users !== this.#users) {
      if (attributes === null) this.#wrong.set(digest, this.#now() + WRONG_MS);
      return { ok: false, code: 'credentials-invalid' };
    }
    if (this.#shared === null) this.#attempts.giveBack(address, this.#now());
    else this.#shared.giveBack(address);
    const untilMs = this.#now() + this.#limits.credentials_ttl_ms;
    return { ok: true, proof: { kind: 'user', attributes, untilMs, expiresMs: untilMs, after: null } };
  }

  #answer(client: Client, digest: string, checked: Checked): Verified {
    if (!checked.ok) return checked;
    const { proof } = checked;
    // Who waited for the same verification finds it held, and perhaps bound to another address, already.
    if (this.#held.get(digest)?.proof !== proof) {
      const source = checked.source ?? null;
      const answer: Verified = { ok: true, proof, identity: merged(proof, client.identity) };
      this.#held.set(digest, { proof, source, base: client.identity, answer });
    }
    return this.#known(client, digest) ?? { ok: false, code: 'credentials-invalid' };
  }

  #forget(kind: Proof['kind']): void {
    for (const [digest, held] of this.#held) if (held.proof.kind === kind) this.#held.delete(digest);
    if (kind === 'user') this.#wrong.clear();
  }
}

/** The header that a proxy URL with these credentials gives. */
function headerOf({ username, password }: BasicCredentials): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}

/** What the address proves stays proven, save where the credentials say it better. */
function merged(proof: Proof, base: Identity): Identity {
  return Object.freeze({
    kind: proof.kind,
    attributes: Object.freeze({ ...base.attributes, ...proof.attributes }),
    claimed: {},
  });
}
