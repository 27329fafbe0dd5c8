// A cache of so many entries, of which the least used is dropped. It grows with what it holds: lru-cache itself makes room for all
// of `max` at once, which for the tens of thousands of clients that a limit allows took 15 ms of the data plane's thread at each reload.
import { LRUCache } from 'lru-cache';

type Options<V> = LRUCache.Options<string, V & NonNullable<unknown>, unknown>;

/**
 * @param entriesMax at least 1
 * @param more how long an entry lives, and who is told of its end
 */
export function boundedCache<V extends NonNullable<unknown>>(
  entriesMax: number,
  more: Pick<Options<V>, 'ttl' | 'ttlResolution' | 'perf' | 'dispose' | 'disposeAfter'> = {},
): LRUCache<string, V> {
  return new LRUCache({ ...more, maxSize: entriesMax, sizeCalculation: one });
}

const one = (): number => 1;
