// A cache of so many entries: the least used goes, and it is made in no time, whatever it may hold one day.
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { boundedCache } from '../src/bounded-cache.ts';

describe('a bounded cache', () => {
  it('holds so many, and drops what was not asked for the longest', () => {
    const cache = boundedCache<string>(3);
    for (const key of ['a', 'b', 'c']) cache.set(key, key);
    cache.get('a');
    cache.set('d', 'd');
    expect([...cache.keys()].sort()).toEqual(['a', 'c', 'd']);
    expect(cache.size).toBe(3);
  });

  it('takes no memory for what it does not hold', () => {
    const before = process.memoryUsage();
    const caches = Array.from({ length: 10 }, (_, n) => boundedCache<string>(1_000_000, n % 2 ? { ttl: 1_000 } : {}));
    const after = process.memoryUsage();
    // Room for all of them would be 240 MB.
    expect(after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers).toBeLessThan(10_000_000);
    expect(caches).toHaveLength(10);
  });

  it('drops what has had its time, and says what had to go for want of room', () => {
    let now = 1;
    const gone: string[] = [];
    const dispose = (_: string, key: string, why: string): unknown => gone.push(`${key} ${why}`);
    const cache = boundedCache<string>(2, { ttl: 10, ttlResolution: 0, perf: { now: () => now }, dispose });
    for (const key of ['a', 'b', 'c']) cache.set(key, key);
    now = 12;
    expect([cache.get('a'), cache.get('b'), cache.get('c')]).toEqual([undefined, undefined, undefined]);
    expect(gone).toEqual(['a evict', 'b expire', 'c expire']);
  });

  it('is how each cache is made', () => {
    const src = join(import.meta.dirname, '..', 'src');
    const makers = globSync('**/*.ts', { cwd: src }).filter((file) =>
      readFileSync(join(src, file), 'utf8').includes('new LRUCache'),
    );
    expect(makers).toEqual(['bounded-cache.ts']);
  });
});
