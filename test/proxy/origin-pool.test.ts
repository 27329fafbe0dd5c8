// Which connections to origins are kept between two requests, for how long, and how many: at the edges of the limits.
import { afterEach, describe, expect, it } from 'vitest';
import { createMeter, DEFAULT_LIMITS, type Limits } from '../../src/limits.ts';
import type { OriginWire } from '../../src/proxy/engine.ts';
import { OriginPool, PooledOrigin } from '../../src/proxy/origin-pool.ts';

class Wire implements OriginWire {
  readonly address = '127.0.0.1';
  readonly sent = true;
  listener: OriginWire['listener'] = { heard: () => {}, originDrained: () => {}, lost: () => {} };
  silent = true;
  closed = false;
  say(): void {}
  ask(): void {}
  quiet(): boolean {
    return this.silent;
  }
  close(): void {
    this.closed = true;
  }
  adoptAsked(): never {
    throw new Error('not asked for');
  }
}

const pools: OriginPool[] = [];
afterEach(() => {
  for (const pool of pools.splice(0)) pool.close();
});

function start(limits: Partial<Limits> = {}) {
  const meter = createMeter();
  const pool = new OriginPool({ ...DEFAULT_LIMITS, ...limits }, meter);
  pools.push(pool);
  const give = (key: string, hintMs: number | null = null): Wire => {
    const wire = new Wire();
    pool.give(new PooledOrigin(pool, key, wire), hintMs);
    return wire;
  };
  return { pool, meter, give };
}

describe('a pool of origins', () => {
  it('gives the last one back for its key, and none for another', () => {
    const { pool, give } = start();
    give('a');
    const last = give('a');
    expect(pool.take('b')).toBeNull();
    expect(pool.take('a')?.wire).toBe(last);
  });

  it('keeps origin_idle_max of one key and origins_idle_max of all; more are closed, which is counted', () => {
    const { meter, give } = start({ origin_idle_max: 2, origins_idle_max: 3 });
    const kept = [give('a'), give('a'), give('b')];
    expect(kept.some(({ closed }) => closed)).toBe(false);
    expect([give('a').closed, meter.hits.get('origin_idle_max')]).toEqual([true, 1]);
    expect([give('c').closed, meter.hits.get('origins_idle_max')]).toEqual([true, 1]);
  });

  it('has room again for each that is taken, dropped or overdue', () => {
    const { pool, give } = start({ origins_idle_max: 1 });
    for (const free of [() => pool.take('a'), () => pool.closeOverdue(Number.POSITIVE_INFINITY)]) {
      expect(give('a').closed).toBe(false);
      free();
    }
    const speaks = give('a');
    speaks.listener.heard(Buffer.from('x'), false);
    expect(speaks.closed).toBe(true);
    const ends = give('a');
    ends.listener.lost('ECONNRESET');
    expect(ends.closed).toBe(true);
    expect(give('a').closed).toBe(false);
  });

  it('closes one after origin_idle_ms, or what the origin says, and takes none that has spoken', () => {
    const { pool, give } = start({ origin_idle_ms: 5_000 });
    const now = performance.now();
    const [whole, short] = [give('a'), give('b', 1_000)];
    pool.closeOverdue(now + 4_999);
    expect([whole.closed, short.closed]).toEqual([false, true]);
    pool.closeOverdue(performance.now() + 5_000);
    expect(whole.closed).toBe(true);
    expect(give('c', 0).closed).toBe(true);
    give('d').silent = false;
    expect(pool.take('d')).toBeNull();
  });
});
