// Faults by simulation: whatever fails, and whenever, the promises hold. A run is one number: SIM_SEED=n plays it alone and tells
// what happened; SIM_RUNS=n plays so many fresh ones. Without either: a fixed set, the same each time.
import { randomInt } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ENGINES } from '../proxy/support.ts';
import { type Outcome, simulate } from './run.ts';
import { openStage, type Stage } from './stage.ts';

const FIXED = 60;
const FAILURES_TOLD = 5;
const TRACE_SHOWN = 60;

const alone = process.env['SIM_SEED'];
const runs = process.env['SIM_RUNS'];

let stage: Stage;
beforeAll(async () => {
  stage = await openStage();
  // The proxy's own timers obey the run; sockets are left alone, and setImmediate, which waits for them.
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] });
});
afterAll(async () => {
  vi.useRealTimers();
  await stage.close();
});

function seeds(): number[] {
  if (alone !== undefined) return [Number(alone)];
  const first = runs === undefined ? 1 : randomInt(1_000_000_000);
  return Array.from({ length: runs === undefined ? FIXED : Number(runs) }, (_, i) => first + i);
}

function told({ seed, violations, trace }: Outcome): string {
  const acts = alone === undefined ? trace.slice(-TRACE_SHOWN) : trace;
  return `SIM_SEED=${seed} npx vitest run test/sim\n${violations.join('\n')}\n--- ${trace.length} acts:\n${acts.join('\n')}`;
}

describe('the simulated world', () => {
  it(
    'keeps every promise whatever fails, and every engine gives the same outcomes',
    async () => {
      const failures: string[] = [];
      const played = seeds();
      let last = 0;
      // Where there is one engine only, it is held against itself: a run in lock-step depends on nothing but its seed.
      const [first, ...others] = ENGINES.length > 1 ? ENGINES : ([ENGINES[0], ENGINES[0]] as const);
      for (const seed of played) {
        if (failures.length >= FAILURES_TOLD) break;
        last = seed;
        const outcome = await simulate(seed, stage, first.make);
        if (outcome.violations.length > 0) failures.push(told(outcome));
        for (const other of outcome.lockstep ? others : []) {
          const same = await simulate(seed, stage, other.make);
          if (same.violations.length > 0 && outcome.violations.length === 0) failures.push(told(same));
          else if (same.lockstep && same.results.join('\n') !== outcome.results.join('\n')) {
            const only = (of: Outcome, not: Outcome): string =>
              of.results.filter((line) => !not.results.includes(line)).join('\n  ');
            failures.push(
              `SIM_SEED=${seed}: ${first.name} gave\n  ${only(outcome, same)}\n${other.name} gave\n  ${only(same, outcome)}`,
            );
          }
        }
      }
      if (alone === undefined) console.log(`simulated: seeds ${played[0]} … ${last}`);
      expect(failures.join('\n\n')).toBe('');
    },
    1_000 * 60 * 60,
  );
});
