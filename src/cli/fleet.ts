// What this process and the others that share the usage store tell each other through it: it says what it has in force, and takes the
// grants that commands gave. All of it goes through the projection's worker: the data plane never waits for the store.
import os from 'node:os';
import type { Logger } from 'pino';
import type { Settings } from '../config/config.ts';
import type { Grant } from '../policy/grant.ts';
import { type Projection, type StoreLag, startProjection, type ThisInstance } from '../usage/project.ts';
import type { InForce } from './policy-holder.ts';
import { VERSION } from './version.ts';

export class Fleet {
  readonly #settings: Settings;
  readonly #shared: boolean;
  #projection: Projection | null = null;
  #instance: ThisInstance | null = null;
  #source = '';

  /** @param shared whether this is a worker, which shares its store with others even where that is a file */
  constructor(settings: Settings, shared: boolean) {
    this.#settings = settings;
    this.#shared = shared;
  }

  /** What is in force here; said to the others as soon as the store can be written. */
  say({ policy, mode, layersBroken, grants, since }: InForce): void {
    const { node } = this.#settings;
    const shown = { policy, mode, source: this.#source, layers_broken: layersBroken, grants, since };
    this.#instance = { name: node, host: os.hostname(), pid: process.pid, version: VERSION, ...shown };
    this.#projection?.say(this.#instance);
  }

  /** The number of the bundle that is followed; said with what comes into force next. */
  follow(serial: number): void {
    this.#source = `bundle ${serial}`;
  }

  /** What was said last of the policy in force here. */
  get standing(): { readonly layersBroken: number; readonly grants: number } {
    return { layersBroken: this.#instance?.layers_broken ?? 0, grants: this.#instance?.grants ?? 0 };
  }

  /** How far the store is behind the log. */
  lag(): StoreLag {
    return this.#projection?.lag() ?? { bytes: 0, seq: 0, seconds: null };
  }

  /** The projection tails the log in a worker of its own; whatever happens to the store, the data plane does not wait for it. */
  start(log: Logger, onGrants: (grants: readonly Grant[]) => void): Projection {
    const { audit, usage, limits } = this.#settings;
    this.#projection = startProjection({
      auditFile: audit.file,
      store: usage.store,
      keep: usage.keep,
      limits,
      ...(this.#shared ? { shared: true } : {}),
      onProblem: (problem) => log.warn(problem, 'the usage store lags'),
      onGrants,
    });
    if (this.#instance !== null) this.#projection.say(this.#instance);
    return this.#projection;
  }
}
