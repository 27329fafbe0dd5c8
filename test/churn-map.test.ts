// A map for what comes and goes: it answers as a Map does, and leaves what has gone to the collector of the young. The last test
// shows why V8's own does not: on the day it fails there, src/churn-map.ts may go.
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ChurnMap } from '../src/churn-map.ts';
import fc from './support/property.ts';
import { run } from './support/proxy-process.ts';

describe('a map of what comes and goes', () => {
  it('answers as a Map does, in the same order', () => {
    const step = fc.record({ key: fc.nat(40), value: fc.nat(), deletes: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 2_000 }), (steps) => {
        const map = new Map<number, number>();
        const churned = new ChurnMap<number, number>();
        for (const { key, value, deletes } of steps) {
          if (deletes) expect(churned.delete(key)).toBe(map.delete(key));
          else {
            map.set(key, value);
            churned.set(key, value);
          }
          expect([churned.size, churned.has(key), churned.get(key)]).toEqual([map.size, map.has(key), map.get(key)]);
        }
        expect([...churned.keys()]).toEqual([...map.keys()]);
        expect([...churned.values()]).toEqual([...map.values()]);
      }),
      { numRuns: 30 },
    );
  });

  it('goes on to the end of what was there, whatever comes and goes meanwhile', () => {
    const map = new ChurnMap<number, number>();
    for (let key = 0; key < 10; key++) map.set(key, key);
    const seen: number[] = [];
    for (const key of map.keys()) {
      seen.push(key);
      for (let n = 0; n < 500; n++) map.set(1_000 + n, n);
      for (let n = 0; n < 500; n++) map.delete(1_000 + n);
      map.delete(key);
      if (seen.length > 1_000) break;
    }
    expect(seen.slice(0, 10)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(map.size).toBe(0);
  });

  it('leaves them to the young collector, where a Map keeps most of them', async () => {
    const child = join(import.meta.dirname, 'support', 'churn.ts');
    const kilobytes = async (map: string): Promise<number> =>
      Number((await run([process.execPath, '--expose-gc', child, map])).stdout);
    expect(await kilobytes('ChurnMap')).toBeLessThan(700);
    expect(await kilobytes('Map')).toBeGreaterThan(1_000);
  });
});
