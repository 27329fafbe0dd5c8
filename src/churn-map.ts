// A map of what comes and goes with every request. V8's own keeps a trail there: at each growth or clean-up of a Map the table
// before points to the one after it, and once one of them has become old, all that follow and what they held survive every
// collection of the young, until a full one. So the tables are left behind every so often, with nothing that leads to the new ones.
// Measured: of each tunnel a kilobyte got old, and the pauses of the collector were three times as long (docs/benchmarks.md).

/** The tables are left after so many entries, and after so many times as many as are there: copying those costs little beside it. */
const RENEW_AFTER = 128;
const RENEW_SHARE = 4;

/** As a Map, in the order of insertion. Who iterates while entries come may miss those, and meet some that have gone. */
export class ChurnMap<K, V> {
  #map = new Map<K, V>();
  #sets = 0;

  get size(): number {
    return this.#map.size;
  }

  get(key: K): V | undefined {
    return this.#map.get(key);
  }

  has(key: K): boolean {
    return this.#map.has(key);
  }

  set(key: K, value: V): void {
    this.#map.set(key, value);
    if (++this.#sets < RENEW_AFTER || this.#sets < this.#map.size * RENEW_SHARE) return;
    this.#sets = 0;
    this.#map = new Map(this.#map);
  }

  delete(key: K): boolean {
    return this.#map.delete(key);
  }

  values(): MapIterator<V> {
    return this.#map.values();
  }

  keys(): MapIterator<K> {
    return this.#map.keys();
  }
}
