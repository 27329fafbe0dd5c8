// Origins that plain HTTP's short road keeps between two requests: by authority AND checked address set, as origin-agent.ts does on the
// long one, so that a connection never serves another name. One that says anything unasked is closed: it would stand as the answer
// to whoever asks next.
import type { Limits, Meter } from '../limits.ts';
import type { OriginListener, OriginWire } from './engine.ts';

const SWEEP_MS = 1_000;

/** A connection to an origin, with what it may be used for. */
export class PooledOrigin implements OriginListener {
  readonly key: string;
  readonly wire: OriginWire;
  /** On the clock of performance.now(). */
  untilMs = 0;
  readonly #pool: OriginPool;

  constructor(pool: OriginPool, key: string, wire: OriginWire) {
    this.#pool = pool;
    this.key = key;
    this.wire = wire;
  }

  heard(): void {
    this.#pool.drop(this);
  }

  originDrained(): void {}

  lost(): void {
    this.#pool.drop(this);
  }
}

export class OriginPool {
  readonly #kept = new Map<string, PooledOrigin[]>();
  readonly #sweep: NodeJS.Timeout;
  readonly #limits: Limits;
  readonly #meter: Meter;
  #size = 0;

  constructor(limits: Limits, meter: Meter) {
    this.#limits = limits;
    this.#meter = meter;
    this.#sweep = setInterval(() => this.closeOverdue(performance.now()), SWEEP_MS);
    this.#sweep.unref();
  }

  /** The one that was used last, if it is still there and silent. */
  take(key: string): PooledOrigin | null {
    const kept = this.#kept.get(key);
    for (let origin = kept?.pop(); origin !== undefined; origin = kept?.pop()) {
      this.#size--;
      if (kept?.length === 0) this.#kept.delete(key);
      if (origin.untilMs > performance.now() && origin.wire.quiet()) return origin;
      origin.wire.close();
    }
    return null;
  }

  /** @param hintMs how long the origin says that it keeps an idle connection; null where it says nothing */
  give(origin: PooledOrigin, hintMs: number | null): void {
    const idleMs = Math.min(this.#limits.origin_idle_ms, hintMs ?? Number.POSITIVE_INFINITY);
    const kept = this.#kept.get(origin.key);
    const full = this.#full(kept?.length ?? 0);
    if (full !== null) this.#meter.hit(full);
    if (idleMs <= 0 || full !== null) return origin.wire.close();
    origin.untilMs = performance.now() + idleMs;
    origin.wire.listener = origin;
    origin.wire.ask();
    this.#size++;
    if (kept) kept.push(origin);
    else this.#kept.set(origin.key, [origin]);
  }

  /** The limit that keeps another one out. */
  #full(ofKey: number): 'origin_idle_max' | 'origins_idle_max' | null {
    if (ofKey >= this.#limits.origin_idle_max) return 'origin_idle_max';
    return this.#size >= this.#limits.origins_idle_max ? 'origins_idle_max' : null;
  }

  /** Closes one that has ended or speaks unasked. */
  drop(origin: PooledOrigin): void {
    origin.wire.close();
    const kept = this.#kept.get(origin.key);
    const at = kept?.indexOf(origin) ?? -1;
    if (at < 0) return;
    kept?.splice(at, 1);
    this.#size--;
    if (kept?.length === 0) this.#kept.delete(origin.key);
  }

  closeOverdue(nowMs: number): void {
    for (const kept of this.#kept.values())
      for (const origin of kept.filter(({ untilMs }) => untilMs <= nowMs)) this.drop(origin);
  }

  /** Closes all. */
  close(): void {
    clearInterval(this.#sweep);
    this.closeOverdue(Number.POSITIVE_INFINITY);
  }
}
