// Watches the room that is left on the audit log's disk, so that somebody hears of it before records are refused. It asks
// off the data plane's thread, at every tick, and says a thing once until it is over.
import fs from 'node:fs';
import path from 'node:path';
import type { Limits, Meter } from '../limits.ts';

type Level = 'enough' | 'low' | 'short';

export class DiskWatch {
  readonly #directory: string;
  readonly #limits: Limits;
  readonly #say: (what: string) => void;
  readonly #meter: Meter | undefined;
  #level: Level = 'enough';
  #asking = false;
  /** Why the proxy should get no new work, or null. */
  short: string | null = null;

  constructor(file: string, limits: Limits, say: (what: string) => void, meter?: Meter) {
    this.#directory = path.dirname(file);
    this.#limits = limits;
    this.#say = say;
    this.#meter = meter;
  }

  tick(): void {
    if (this.#asking) return;
    this.#asking = true;
    fs.statfs(this.#directory, (error, stat) => {
      this.#asking = false;
      // A file system without a size (some network ones) cannot be judged.
      if (error === null && stat.blocks > 0) this.seen((stat.bavail / stat.blocks) * 100);
    });
  }

  /** `free`: percent of the disk that an unprivileged process may still take. */
  seen(free: number): void {
    const { audit_disk_warn_percent: warn, audit_disk_min_percent: min } = this.#limits;
    const level: Level = free < min ? 'short' : free < warn ? 'low' : 'enough';
    const text = `the disk of the audit log has ${free.toFixed(1)} % free (${this.#directory})`;
    this.short = level === 'short' ? text : null;
    if (level !== this.#level && level !== 'enough') {
      this.#meter?.hit(level === 'short' ? 'audit_disk_min_percent' : 'audit_disk_warn_percent');
      this.#say(text);
    }
    this.#level = level;
  }
}
