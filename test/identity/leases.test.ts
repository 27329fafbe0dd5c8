// Leases: whose connections without credentials are, for how long, and what becomes of an address that several jobs share.
import { describe, expect, it } from 'vitest';
import type { Client } from '../../src/identity/identify.ts';
import { type Lease, Leases } from '../../src/identity/leases.ts';
import { createMeter, DEFAULT_LIMITS } from '../../src/limits.ts';
import { ANONYMOUS } from '../../src/policy/record.ts';

const HOUR_MS = 3_600_000;

function make(leasesMax = 100) {
  const clock = { ms: 0 };
  const meter = createMeter();
  const leases = new Leases({ limits: { ...DEFAULT_LIMITS, leases_max: leasesMax }, meter, now: () => clock.ms });
  return { leases, clock, meter };
}

const lease = (job: string, address = '10.0.0.1', untilMs = HOUR_MS): Lease => ({
  job,
  address,
  attributes: { pipeline: 'web', job },
  untilMs,
});
const client = (address = '10.0.0.1', identity = ANONYMOUS): Client => ({
  address,
  allowed: true,
  conveys: false,
  identity,
});

describe('a lease', () => {
  it('makes what comes without credentials from its address the job, and nothing else', () => {
    const { leases } = make();
    expect(leases.begin(lease('a'))).toBe('begun');
    expect(leases.identityOf(client())).toEqual({
      kind: 'job',
      attributes: { pipeline: 'web', job: 'a' },
      claimed: {},
      via: 'lease',
    });
    expect(leases.identityOf(client('10.0.0.2'))).toBe(ANONYMOUS);
  });

  it('keeps what the address proves, and gives the same object as long as nothing changes', () => {
    const { leases } = make();
    leases.begin(lease('a'));
    const group = client('10.0.0.1', { kind: 'address', attributes: { queue: 'q', pipeline: 'x' }, claimed: {} });
    const identity = leases.identityOf(group);
    expect(identity.attributes).toEqual({ queue: 'q', pipeline: 'web', job: 'a' });
    expect(leases.identityOf(group)).toBe(identity);
    expect(leases.identityOf(client()).attributes).toEqual({ pipeline: 'web', job: 'a' });
  });

  it('ends when its time is over, to the millisecond', () => {
    const { leases, clock } = make();
    leases.begin(lease('a'));
    clock.ms = HOUR_MS - 1;
    expect(leases.identityOf(client()).kind).toBe('job');
    clock.ms = HOUR_MS;
    expect(leases.identityOf(client())).toBe(ANONYMOUS);
    expect(leases.size).toBe(0);
  });

  it('ends when it is given back, and may be given back again', () => {
    const { leases } = make();
    leases.begin(lease('a'));
    expect(leases.end('a', '10.0.0.2')).toBe(false);
    expect(leases.end('b', '10.0.0.1')).toBe(false);
    expect(leases.end('a', '10.0.0.1')).toBe(true);
    expect(leases.end('a', '10.0.0.1')).toBe(false);
    expect(leases.identityOf(client())).toBe(ANONYMOUS);
  });

  it('that is posted again is the same one; a later token lengthens it, an earlier one does not shorten it', () => {
    const { leases, clock } = make();
    leases.begin(lease('a'));
    expect(leases.begin(lease('a', '10.0.0.1', HOUR_MS / 2))).toBe('renewed');
    expect(leases.begin(lease('a', '10.0.0.1', 2 * HOUR_MS))).toBe('renewed');
    expect([leases.size, leases.at('10.0.0.1')[0]?.untilMs]).toEqual([1, 2 * HOUR_MS]);
    clock.ms = 2 * HOUR_MS - 1;
    expect(leases.identityOf(client()).kind).toBe('job');
  });
});

describe('an agent', () => {
  it('runs one job at a time: the lease of a job that was killed ends with that of the next one', () => {
    const { leases } = make();
    const of = (job: string, agent: string): Lease => ({ ...lease(job), attributes: { job, agent } });
    leases.begin(of('killed', 'a1'));
    leases.begin(of('neighbour', 'a2'));
    leases.begin(of('next', 'a1'));
    expect(leases.at('10.0.0.1').map(({ job }) => job)).toEqual(['neighbour', 'next']);
    // Without an agent in the token nobody knows.
    leases.begin(lease('bare'));
    leases.begin(lease('barer'));
    expect(leases.size).toBe(4);
  });
});

describe('an address with several leases', () => {
  it('is nobody of them: the candidates are named, nothing of theirs is proven', () => {
    const { leases } = make();
    leases.begin(lease('a'));
    leases.begin(lease('b'));
    expect(leases.identityOf(client())).toEqual({ ...ANONYMOUS, candidates: ['a', 'b'] });
    const group = client('10.0.0.1', { kind: 'address', attributes: { queue: 'q' }, claimed: {} });
    expect(leases.identityOf(group)).toEqual({ ...group.identity, candidates: ['a', 'b'] });
    expect(leases.at('10.0.0.1').map(({ job }) => job)).toEqual(['a', 'b']);
  });

  it('is the last one that is left when the others have ended', () => {
    const { leases, clock } = make();
    leases.begin(lease('a', '10.0.0.1', 1_000));
    leases.begin(lease('b'));
    leases.begin(lease('c'));
    leases.end('c', '10.0.0.1');
    clock.ms = 1_000;
    expect(leases.identityOf(client())).toMatchObject({ kind: 'job', attributes: { job: 'b' } });
  });

  it('names 32 candidates at most', () => {
    const { leases } = make();
    for (let at = 0; at < 40; at++) leases.begin(lease(`job-${at}`));
    expect(leases.identityOf(client()).candidates).toHaveLength(32);
  });
});

describe('leases_max', () => {
  it('one more is refused until one of them ends', () => {
    const { leases, clock, meter } = make(2);
    leases.begin(lease('a', '10.0.0.1', 1_000));
    leases.begin(lease('b', '10.0.0.2'));
    expect(leases.begin(lease('c', '10.0.0.3'))).toBeNull();
    expect(meter.hits.get('leases_max')).toBe(1);
    expect(leases.begin(lease('b', '10.0.0.2', 2 * HOUR_MS))).toBe('renewed');
    clock.ms = 1_000;
    expect(leases.begin(lease('c', '10.0.0.3'))).toBe('begun');
  });
});

describe('what another process had', () => {
  it('is taken over as far as it has not ended, and what counts no longer is dropped', () => {
    const { leases, clock } = make();
    leases.begin(lease('a'));
    leases.begin(lease('b', '10.0.0.2', 1_000));
    clock.ms = 1_000;
    const next = make();
    next.clock.ms = 1_000;
    next.leases.restore([...leases.all(), lease('c', '10.0.0.3', 999)]);
    expect(next.leases.all()).toEqual([lease('a')]);
    let changes = 0;
    next.leases.onChange = () => void changes++;
    next.leases.keep(({ job }) => job !== 'a');
    expect([next.leases.size, changes]).toEqual([0, 1]);
  });
});
