// Credentials → Identity. What was verified once is known by the digest of its header, so that the hundreds of tunnels of a
// job cost a look into a map; only what is new is waited for. Neither a password nor a token leaves this folder, and none is
// kept: a digest under a key of this process is. Client addresses, and claims without a password, are identify.ts.
import { hash, randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { IdentitySettings } from '../config/identity.ts';
import type { RequestErrorCode } from '../errors.ts';
import type { Limits, Meter } from '../limits.ts';
import type { Attributes, Identity } from '../policy/record.ts';
import { Attempts } from './attempts.ts';
import { type Client, type Identified, identifyClaim, knownClaim } from './identify.ts';
import { type BasicCredentials, parseBasic } from './proxy-authorization.ts';
import { Users } from './users.ts';

export interface ProofOptions {
  readonly limits: Limits;
  readonly meter: Meter;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
}

/** What credentials were found to prove. */
export interface Proof {
  readonly kind: 'user' | 'job';
  readonly attributes: Attributes;
  /** Until when it is believed, milliseconds since the epoch. */
  readonly untilMs: number;
}

interface Held {
  readonly proof: Proof;
  /** The identity for who comes with this one from his address. */
  base: Identity;
  identity: Identity;
}

type Verified = { readonly ok: true; readonly proof: Proof } | { readonly ok: false; readonly code: RequestErrorCode };

/** A wrong password is refused for so long without being tried again: a client that repeats it uses up one attempt. */
const WRONG_MS = 10_000;

export class Proofs {
  readonly #limits: Limits;
  readonly #meter: Meter;
  readonly #now: () => number;
  readonly #key = randomBytes(32).toString('base64');
  readonly #held: LRUCache<string, Held>;
  readonly #wrong: LRUCache<string, number>;
  readonly #pending = new Map<string, Promise<Verified>>();
  readonly #attempts: Attempts;
  #users = new Users([]);
  #usersText = '[]';

  constructor({ limits, meter, now = Date.now }: ProofOptions) {
    this.#limits = limits;
    this.#meter = meter;
    this.#now = now;
    this.#held = new LRUCache({ max: limits.credentials_cached_max });
    this.#wrong = new LRUCache({ max: limits.credentials_cached_max });
    this.#attempts = new Attempts(limits.password_attempts_per_min, limits.clients_tracked_max);
  }

  /** Puts settings in force. What they changed is verified again, the rest is still known. */
  use({ users }: IdentitySettings): void {
    const text = JSON.stringify(users);
    if (text === this.#usersText) return;
    this.#usersText = text;
    this.#users = new Users(users);
    this.#forget('user');
  }

  /**
   * Works out who asks.
   * @param header the Proxy-Authorization value, or undefined when none was sent
   * @returns at once where nothing is to be verified; else a promise, which never rejects
   */
  identify(client: Client, header: string | undefined): Identified | Promise<Identified> {
    if (header === undefined) return { ok: true, identity: client.identity };
    const claim = knownClaim(client, header);
    if (claim !== null) return { ok: true, identity: claim };
    const digest = hash('sha256', this.#key + header, 'base64');
    const held = this.#held.get(digest);
    if (held !== undefined) {
      if (held.proof.untilMs > this.#now()) return { ok: true, identity: identityFor(held, client) };
      this.#held.delete(digest);
    }
    const credentials = parseBasic(header);
    if (!credentials) return { ok: false, code: 'credentials-malformed' };
    if (credentials.password === '') return identifyClaim(client, header, credentials.username);
    return this.#verify(client, digest, credentials);
  }

  #verify(client: Client, digest: string, credentials: BasicCredentials): Identified | Promise<Identified> {
    const wrongUntil = this.#wrong.get(digest);
    if (wrongUntil !== undefined && wrongUntil > this.#now()) return { ok: false, code: 'credentials-invalid' };
    let pending = this.#pending.get(digest);
    if (pending === undefined) {
      const refused = this.#begin(client.address);
      if (refused !== null) return { ok: false, code: refused };
      pending = this.#password(client.address, digest, credentials).finally(() => this.#pending.delete(digest));
      this.#pending.set(digest, pending);
    }
    return pending.then((verified) => this.#answer(client, digest, verified));
  }

  /** Whether one more password may be tried for this address; the code that says why not. */
  #begin(address: string): RequestErrorCode | null {
    // Without users no password can be right, and there is nothing to be tried.
    if (this.#users.size === 0) return 'credentials-invalid';
    if (this.#pending.size >= this.#limits.verifications_pending_max) {
      this.#meter.hit('verifications_pending_max');
      return 'credentials-busy';
    }
    if (this.#attempts.take(address, this.#now())) return null;
    this.#meter.hit('password_attempts_per_min');
    return 'attempts-exceeded';
  }

  async #password(address: string, digest: string, { username, password }: BasicCredentials): Promise<Verified> {
    const users = this.#users;
    const attributes = await users.verify(username, password);
    // A reload may have come meanwhile: then the answer is one about users that count no longer.
    if (attributes === null || users !== this.#users) {
      if (attributes === null) this.#wrong.set(digest, this.#now() + WRONG_MS);
      return { ok: false, code: 'credentials-invalid' };
    }
    this.#attempts.giveBack(address, this.#now());
    const proof: Proof = { kind: 'user', attributes, untilMs: this.#now() + this.#limits.credentials_ttl_ms };
    return { ok: true, proof };
  }

  #answer(client: Client, digest: string, verified: Verified): Identified {
    if (!verified.ok) return verified;
    let held = this.#held.get(digest);
    if (held?.proof !== verified.proof) {
      held = { proof: verified.proof, base: client.identity, identity: merged(verified.proof, client.identity) };
      this.#held.set(digest, held);
    }
    return { ok: true, identity: identityFor(held, client) };
  }

  #forget(kind: Proof['kind']): void {
    for (const [digest, held] of this.#held) if (held.proof.kind === kind) this.#held.delete(digest);
    this.#wrong.clear();
  }
}

/** The same object for the same client identity: records are written faster for one that is known. */
function identityFor(held: Held, client: Client): Identity {
  if (held.base !== client.identity) {
    held.base = client.identity;
    held.identity = merged(held.proof, client.identity);
  }
  return held.identity;
}

/** What the address proves stays proven, save where the credentials say it better. */
function merged(proof: Proof, base: Identity): Identity {
  return Object.freeze({
    kind: proof.kind,
    attributes: Object.freeze({ ...base.attributes, ...proof.attributes }),
    claimed: {},
  });
}
