// The dice of a simulated run: everything a run decides comes from one number, so that the number replays it.

export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** 0 ≤ x < 1 (mulberry32). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let x = this.#state;
    x = Math.imul(x ^ (x >>> 15), x | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 4_294_967_296;
  }

  /** A whole number from min to max, both included. */
  int(min: number, max: number): number {
    return min + Math.floor(this.next() * (max - min + 1));
  }

  often(share: number): boolean {
    return this.next() < share;
  }

  pick<T>(of: readonly T[]): T {
    return of[this.int(0, of.length - 1)] as T;
  }

  /** One of the keys, each as likely as its weight says. */
  weighted<T extends string>(weights: Readonly<Record<T, number>>): T {
    const entries = Object.entries(weights) as [T, number][];
    let left = this.next() * entries.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [key, weight] of entries) {
      left -= weight;
      if (left < 0) return key;
    }
    return (entries[0] as [T, number])[0];
  }

  /** A size from nothing to more than any buffer on the way holds, small ones most often. */
  size(): number {
    return this.pick([0, 1, 100, 5_000, 40_000, 70_000, 300_000, this.int(2, 2_000), this.int(2_000, 200_000)]);
  }

  /** Cuts bytes into pieces: whole, in two, at every byte, or at random. */
  cut(bytes: Buffer): Buffer[] {
    const how = this.weighted({ whole: 5, two: 3, every: 1, random: 2 });
    if (how === 'whole' || bytes.length < 2) return [bytes];
    const pieces: Buffer[] = [];
    const most = how === 'every' ? 1 : Math.ceil(bytes.length / (how === 'two' ? 1.5 : 4));
    for (let at = 0; at < bytes.length; ) {
      const length = how === 'every' ? 1 : this.int(1, most);
      pieces.push(bytes.subarray(at, at + length));
      at += length;
    }
    return pieces;
  }
}
