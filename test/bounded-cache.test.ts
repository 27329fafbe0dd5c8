// A cache of so many entries: the least used goes, and it is made in no time, whatever it may hold one day.
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
    const caches = Array.from({ length: 10 }, () => boundedCache<string>(1_000_000));
    const after = process.memoryUsage();
    // Room for all of them would be 240 MB.
    expect(after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers).toBeLessThan(10_000_000);
    expect(caches).toHaveLength(10);
  });
});
