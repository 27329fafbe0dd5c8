// What all workers have recorded is recorded once by the primary, when the last one has, and what only some say is not.
import { expect, it } from 'vitest';
import type { Member } from '../../../src/cli/workers/crew.ts';
import { Unison } from '../../../src/cli/workers/unison.ts';
import { DEFAULT_LIMITS, dividedLimits } from '../../../src/limits.ts';
import type { Note } from '../../../src/policy/record.ts';

const loaded = (policy: string, before = 'p0'): Note => ({
  event: 'policy',
  policy,
  detail: { result: 'loaded', before },
});

function crew(): { members: Member[]; said: string[]; unison: Unison } {
  const members = [1, 2].map(
    (worker): Member => ({
      ...{ worker, state: 'ready', pid: worker, notReady: null, policy: '', mode: 'enforce', engine: 'js' },
    }),
  );
  const said: string[] = [];
  return {
    members,
    said,
    unison: new Unison(
      () => members,
      ({ policy }) => void said.push(policy),
    ),
  };
}

it('waits for the last, whatever each had before, and counts each saying', () => {
  const { said, unison } = crew();
  unison.said(1, loaded('p1'));
  unison.said(1, loaded('p1'));
  unison.said(2, loaded('p2'));
  expect(said).toEqual([]);
  unison.said(2, loaded('p1', 'other'));
  expect(said).toEqual(['p1']);
  unison.said(2, loaded('p1'));
  expect(said).toEqual(['p1', 'p1']);
});

it('does not wait for one that died', () => {
  const { members, said, unison } = crew();
  unison.said(1, loaded('p1'));
  members[1] = { ...(members[1] as Member), state: 'waiting' };
  unison.look();
  expect(said).toEqual(['p1']);
});

it('limits in all are divided, rounded down, at least 1; the others stay', () => {
  const limits = dividedLimits({ ...DEFAULT_LIMITS, connections_max: 100, client_tunnels_max: 2 }, 3);
  expect(limits).toMatchObject({ connections_max: 33, client_tunnels_max: 1 });
  expect(limits.head_timeout_ms).toBe(DEFAULT_LIMITS.head_timeout_ms);
  expect(limits.leases_max).toBe(DEFAULT_LIMITS.leases_max);
});
