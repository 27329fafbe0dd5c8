// Follows a policy bundle at a URL: asks for a newer one, takes it where it is signed, not older, and loads, and leaves the one in force where
// anything is wrong. Nothing of a bundle is written under its own name, nor loaded, before its signature is verified.

import type { KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { readKey } from '../catalog/signing-key.ts';
import { loadConfig, type Overrides } from '../config/load.ts';
import { readBundle } from '../config/load-bundle.ts';
import { type PolicyPlace, SOURCE_DIR } from '../config/source-schema.ts';
import { SallyportError } from '../errors.ts';
import { type GuardedRoad, guardedGet } from '../net/guarded-get.ts';
import { PolicyBundles } from './policy-bundles.ts';

const BACKOFF_MIN_MS = 1_000;

export interface FollowerOptions {
  readonly policy: PolicyPlace;
  readonly road: GuardedRoad;
  /** The file of the machine, for the trial of a bundle. */
  readonly file: string;
  readonly overrides: Overrides;
  /** Another bundle is in force on the disk. */
  readonly changed: (serial: number) => Promise<void>;
  readonly onProblem: (error: unknown) => void;
}

export class PolicyFollower {
  readonly #options: FollowerOptions;
  readonly #bundles: PolicyBundles;
  #etag: string | null = null;
  #failures = 0;
  #timer: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(options: FollowerOptions) {
    this.#options = options;
    this.#bundles = new PolicyBundles(options.policy.dir ?? SOURCE_DIR);
  }

  /** The number of the bundle in force; 0 where there is none. */
  get serial(): number {
    return this.#bundles.serial;
  }

  /** Asks now, and again and again. */
  start(): void {
    void this.#turn();
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  /**
   * Asks once.
   * @returns whether another bundle is in force now
   * @throws SallyportError `bundle-unreachable`, `bundle-invalid`, or what is wrong with the policy in it
   */
  async once(): Promise<boolean> {
    const { policy, file, overrides, changed } = this.#options;
    const answer = await this.#fetch();
    if (answer === null) return false;
    const name = policy.source.url?.text ?? '';
    const bundle = readBundle(name, answer.body, keysOf(policy));
    const inForce = this.#bundles.serial;
    if (bundle.serial < inForce)
      throw new SallyportError(
        'bundle-invalid',
        `${name} has the number ${bundle.serial}, and ${inForce} is in force: an old bundle is not taken`,
      );
    if (bundle.serial === inForce && !this.#bundles.isCurrent(bundle))
      throw new SallyportError(
        'bundle-invalid',
        `${name} has the number ${inForce}, which is in force with other files`,
      );
    if (bundle.serial > inForce) {
      const folder = this.#bundles.unpack(bundle);
      await loadConfig({ file, overrides, policyFolder: folder, now: Date.now() });
      this.#bundles.use(folder);
      await changed(bundle.serial);
    }
    // Only now: a bundle that was refused is looked at again, for what is wrong may be here.
    this.#etag = answer.etag;
    return bundle.serial > inForce;
  }

  async #fetch(): Promise<{ body: string; etag: string | null } | null> {
    const { policy, road } = this.#options;
    const { url } = policy.source;
    if (url === null) return null;
    const ca = policy.ca_file === undefined ? {} : { ca: readFileSync(policy.ca_file, 'utf8') };
    const place = {
      authority: url.authority,
      path: url.path === '' ? '/' : url.path,
      addresses: policy.addresses ?? [],
    };
    const headers = { Accept: 'application/json', ...(this.#etag === null ? {} : { 'If-None-Match': this.#etag }) };
    try {
      const ask = {
        headers,
        timeout: 'policy_fetch_timeout_ms',
        bytes: 'policy_bundle_bytes',
        statuses: [200, 304],
      } as const;
      const { status, body, headers: said } = await guardedGet(place, { ...road, ...ca }, ask);
      return status === 304 ? null : { body, etag: said.etag ?? null };
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new SallyportError('bundle-unreachable', `${url.text}: ${why}`, { cause });
    }
  }

  async #turn(): Promise<void> {
    try {
      await this.once();
      this.#failures = 0;
    } catch (error) {
      this.#failures += 1;
      this.#options.onProblem(error);
    }
    if (this.#closed) return;
    const { policy_poll_ms } = this.#options.road.limits;
    const backoffMs = BACKOFF_MIN_MS * 2 ** Math.min(this.#failures - 1, 30);
    const waitMs = this.#failures === 0 ? policy_poll_ms : Math.min(policy_poll_ms, backoffMs);
    this.#timer = setTimeout(() => void this.#turn(), waitMs);
    this.#timer.unref();
  }
}

function keysOf({ public_keys = [] }: PolicyPlace): KeyObject[] {
  return public_keys.map((file) => {
    let pem: string;
    try {
      pem = readFileSync(file, 'utf8');
    } catch (cause) {
      throw new SallyportError('config-unreadable', `${file}, a key of policy.public_keys, cannot be read`, { cause });
    }
    return readKey(file, pem, 'public');
  });
}
