// How long each fuzz target runs, and from which seed. In `npm test`: a few runs of a fixed seed, the same each time; FUZZ_TIMES=n
// goes on to n times as many. With FUZZ_SECONDS: that time in all, split among the targets by their share, from a new seed that a
// failure prints.
// FUZZ_TARGET picks one target, FUZZ_SEED and FUZZ_PATH (from the report of a failure) run a finding again.
import { randomInt } from 'node:crypto';
import { test } from 'vitest';
import fc from '../support/property.ts';

/** Parts of the time in all. The proxy and the log take the longest for one case. */
const SHARES = {
  address: 1,
  audit: 2,
  authority: 1,
  catalog: 1,
  'client-hello': 2,
  config: 1,
  decide: 1,
  engines: 2,
  http: 3,
  pattern: 1,
  'proxy-header': 1,
  report: 1,
  responses: 3,
  store: 1,
} as const;

export type Target = keyof typeof SHARES;

export const TARGETS = Object.keys(SHARES) as readonly Target[];

const environment = (name: string): string | undefined => process.env[name] || undefined;

const TIMES = Number(environment('FUZZ_TIMES') ?? 1);
const SECONDS = Number(environment('FUZZ_SECONDS') ?? 0);
const ONLY = environment('FUZZ_TARGET');
if (ONLY !== undefined && !(ONLY in SHARES)) throw new Error(`FUZZ_TARGET=${ONLY} is none of ${TARGETS.join(', ')}`);
const SEED = environment('FUZZ_SEED');
const PATH = environment('FUZZ_PATH');
const FIXED_SEED = 20_261_124;
/** For what a target does before and after its time, and for a slow machine. */
const GRACE_MS = 120_000;

function shareMs(target: Target): number {
  const total = ONLY === undefined ? Object.values(SHARES).reduce((sum, share) => sum + share, 0) : SHARES[target];
  return (SECONDS * 1_000 * SHARES[target]) / total;
}

export interface Fuzzed {
  /** Cases in the short mode; the time alone counts in the long one. */
  readonly runs: number;
  /** Whether this is a whole run, so that what it met may be judged (not one finding that is run again). */
  readonly whole: boolean;
  /** Runs a property within the target's budget; throws with seed, path and how to run it again. */
  check<T>(property: fc.IRawProperty<T>): Promise<void>;
}

/** Declares one target as a test. */
export function fuzz(target: Target, runs: number, body: (fuzzed: Fuzzed) => Promise<void>): void {
  const timed = SECONDS > 0;
  const seed = SEED === undefined ? (timed ? randomInt(0x7fff_ffff) : FIXED_SEED) : Number(SEED);
  const parameters = {
    seed,
    ...(PATH === undefined ? {} : { path: PATH }),
    numRuns: timed ? Number.MAX_SAFE_INTEGER : runs * TIMES,
    ...(timed ? { interruptAfterTimeLimit: shareMs(target), markInterruptAsFailure: false } : {}),
  };
  const check = async <T>(property: fc.IRawProperty<T>): Promise<void> => {
    const details = await fc.check(property as fc.IAsyncProperty<T>, parameters);
    if (timed || TIMES > 1) console.log(`${target}: ${details.numRuns} cases, seed ${seed}`);
    if (!details.failed) return;
    const again = `FUZZ_TARGET=${target} FUZZ_SEED=${seed} FUZZ_PATH=${details.counterexamplePath} npx vitest run test/fuzz`;
    throw new Error(`${fc.defaultReportMessage(details)}\n\nRun it again: ${again}\n`, {
      cause: details.errorInstance,
    });
  };
  test.skipIf(ONLY !== undefined && ONLY !== target)(
    target,
    () => body({ runs, whole: PATH === undefined, check }),
    shareMs(target) + GRACE_MS * TIMES,
  );
}
