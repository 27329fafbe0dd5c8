// Run by test/churn-map.test.ts under --expose-gc, in a heap of its own: how many kilobytes of what came and went through a map got old.
//   node --expose-gc churn.ts Map|ChurnMap
import { ChurnMap } from '../../src/churn-map.ts';

const map = process.argv[2] === 'Map' ? new Map<object, object>() : new ChurnMap<object, object>();
const collect = (globalThis as unknown as { gc: (options: { type: 'minor' }) => void }).gc;

/** What survives twice is old, and stays until a full collection. */
function collectTwice(): number {
  collect({ type: 'minor' });
  collect({ type: 'minor' });
  return process.memoryUsage().heapUsed;
}

const live: object[] = [];
function churn(count: number): void {
  for (let n = 0; n < count; n++) {
    // A kilobyte.
    const one = { payload: new Array(128).fill(n) };
    map.set(one, one);
    live.push(one);
    if (live.length > 64) map.delete(live.shift() as object);
  }
}

churn(200);
const before = collectTwice();
churn(3_000);
process.stdout.write(String(Math.round((collectTwice() - before) / 1_024)));
