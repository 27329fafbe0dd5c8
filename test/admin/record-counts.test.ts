// What records add to the metrics, and that a policy with endless groups does not make endless series.
import { describe, expect, it } from 'vitest';
import { RecordCounts } from '../../src/admin/record-counts.ts';
import type { Decided } from '../../src/policy/record.ts';
import { decidedRecord } from '../support/records.ts';

const decided = (group: string | null): Decided => decidedRecord({ id: 'r', group });

describe('the counts of records', () => {
  it('go by group, reason and verdict', () => {
    const counts = new RecordCounts(() => 0);
    counts.decided(decided('g'));
    counts.decided(decided(null));
    counts.decided({ ...decided(null), verdict: 'deny', reason: 'host-not-allowed', outcome: 'host-not-allowed' });
    expect(counts.of('g').decided.get('allowed')).toEqual({ allow: 1, deny: 0, observe: 0 });
    expect(counts.of(null).decided.get('host-not-allowed')).toEqual({ allow: 0, deny: 1, observe: 0 });
    expect([...counts.outcomes]).toEqual([['host-not-allowed', 1]]);
  });

  it('hold 1,000 groups; further ones count as one', () => {
    const counts = new RecordCounts(() => 0);
    for (let n = 0; n < 1_500; n++) counts.decided(decided(`g${n}`));
    expect(counts.groups.size).toBe(1_001);
    expect(counts.of('other').decided.get('allowed')).toMatchObject({ allow: 500 });
  });

  it('know when the policy came into force, and how reloads went', () => {
    let now = 1;
    const counts = new RecordCounts(() => now);
    now = 2;
    counts.note({ event: 'policy', policy: '', detail: { result: 'refused' } });
    expect(counts.policySinceMs).toBe(1);
    counts.note({ event: 'policy', policy: '', detail: { result: 'loaded' } });
    expect([counts.policySinceMs, counts.reloads]).toEqual([2, { loaded: 1, refused: 1 }]);
  });
});
