// What the primary keeps for all workers, as their messages move it: leases change in all of them, or in none.
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Member } from '../../../src/cli/workers/crew.ts';
import type { ToWorker } from '../../../src/cli/workers/order.ts';
import { SharedState } from '../../../src/cli/workers/shared-state.ts';
import type { Lease } from '../../../src/identity/leases.ts';
import { createMeter, DEFAULT_LIMITS } from '../../../src/limits.ts';

const told: [number, ToWorker][] = [];
const pids = new Map([
  [1, 11],
  [2, 12],
]);
const meter = createMeter();
let shared: SharedState;

beforeEach(() => {
  told.length = 0;
  shared = new SharedState({
    limits: { ...DEFAULT_LIMITS, leases_max: 1 },
    meter,
    members: () => [...pids].map(([worker, pid]) => ({ worker, pid }) as Member),
    tell: (worker, message) => void told.push([worker, message]),
  });
});
afterEach(() => shared.close());

const lease = (job: string): Lease => ({ job, address: '127.0.0.1', attributes: {}, untilMs: Date.now() + 3_600_000 });
const begin = (job: string) => ({ about: 'lease', change: { act: 'begin', lease: lease(job) } }) as const;

it('a lease begins in all workers, and is answered when the last one has it', () => {
  shared.asked(1, 7, begin('a'));
  expect(told.map(([worker, { type }]) => `${worker} ${type}`)).toEqual(['1 lease', '2 lease']);
  shared.applied(1, 1, 'begun');
  expect(told).toHaveLength(2);
  shared.applied(2, 1, 'begun');
  expect(told[2]).toEqual([1, { type: 'answer', id: 7, value: 'begun' }]);
});

it('a lease for which the primary has no room begins in no worker', () => {
  shared.restore([lease('a')]);
  shared.asked(2, 3, begin('b'));
  expect(told).toEqual([[2, { type: 'answer', id: 3, value: null }]]);
  expect(shared.leases.all().map(({ job }) => job)).toEqual(['a']);
  expect(meter.hits.get('leases_max')).toBe(1);
});

it('what a worker asked that has died is answered to nobody, and the others are waited for no longer than before', () => {
  shared.asked(1, 7, begin('a'));
  shared.applied(2, 1, 'begun');
  shared.gone(1);
  expect(told).toHaveLength(2);
  // Its successor counts its questions from 1 too.
  shared.asked(2, 1, { about: 'lease', change: { act: 'end', job: 'a', address: '127.0.0.1' } });
  shared.applied(2, 2, true);
  shared.gone(1);
  expect(told.at(-1)).toEqual([2, { type: 'answer', id: 1, value: true }]);
});
