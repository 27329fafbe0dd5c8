// What the running proxy does with the grants of the store: recorded once and first, refused ones too, and not obeyed where the log is full.
import { pino } from 'pino';
import { beforeEach, describe, expect, it } from 'vitest';
import { GrantHolder } from '../../src/cli/grant-holder.ts';
import type { LoadedConfig } from '../../src/config/load.ts';
import { createMeter, DEFAULT_LIMITS } from '../../src/limits.ts';
import type { Grant } from '../../src/policy/grant.ts';
import type { Note } from '../../src/policy/record.ts';
import { rule } from '../policy/support.ts';

const HOUR = 3_600_000;
let notes: string[] = [];
let full = false;
let meter = createMeter();
let holder: GrantHolder;

const loaded = (host: string, limits = {}): LoadedConfig =>
  ({ ceiling: [rule(host)], settings: { limits: { ...DEFAULT_LIMITS, ...limits } } }) as unknown as LoadedConfig;

function grant(id: string, more: Partial<Grant> = {}): Grant {
  const now = Date.now();
  return {
    ...{ id, host: 'a.corp.test', port: 443, protocol: null, addresses: [], for: { pipeline: ['web'] } },
    ...{ created: now, expires: now + HOUR, revoked: null, reason: 'r', owner: 'o', by: 'me', revokedBy: null },
    ...more,
  };
}

beforeEach(() => {
  notes = [];
  full = false;
  meter = createMeter();
  const note = ({ detail }: Note): void => {
    if (full) throw new Error('no space');
    notes.push(`${detail['id']} ${detail['result']} ${detail['by']}`);
  };
  holder = new GrantHolder({ audit: { note }, log: pino({ level: 'silent' }), meter });
});

async function take(grants: readonly Grant[], policy: LoadedConfig): Promise<boolean> {
  await holder.take(grants);
  return holder.judge(policy, 'p');
}

describe('GrantHolder', () => {
  it('records each once, whatever is asked again', async () => {
    const policy = loaded('*.corp.test');
    const grants = [grant('a')];
    expect(await take(grants, policy)).toBe(true);
    expect(await take(grants, policy)).toBe(false);
    expect(holder.judge(policy, 'p')).toBe(false);
    expect([notes, holder.count]).toEqual([['a in-force me'], 1]);
  });

  it('a revoked one is out of force and recorded with who did it; one that is gone goes', async () => {
    const policy = loaded('*.corp.test');
    await take([grant('a'), grant('b')], policy);
    expect(await take([grant('a', { revoked: Date.now(), revokedBy: 'you' })], policy)).toBe(true);
    expect([holder.count, holder.compiled]).toEqual([0, null]);
    expect(notes).toEqual(['a in-force me', 'b in-force me', 'a revoked you']);
  });

  it('another ceiling: what is outside now is out of force and recorded, and back with the one before', async () => {
    await take([grant('a')], loaded('*.corp.test'));
    expect(holder.judge(loaded('other.test'), 'p')).toBe(true);
    expect(holder.compiled).toBeNull();
    expect(holder.judge(loaded('*.corp.test'), 'p')).toBe(true);
    expect(notes).toEqual(['a in-force me', 'a refused me', 'a in-force me']);
  });

  it('what cannot be recorded does not count, until it can', async () => {
    full = true;
    expect(await take([grant('a')], loaded('*.corp.test'))).toBe(false);
    expect([holder.compiled, holder.unrecorded]).toEqual([null, true]);
    full = false;
    expect(holder.judge(loaded('*.corp.test'), 'p')).toBe(true);
    expect([holder.count, holder.unrecorded]).toEqual([1, false]);
  });

  it('of two that are taken at once the last one counts', async () => {
    const policy = loaded('*.corp.test');
    await Promise.all([holder.take([grant('a')]), holder.take([])]);
    holder.judge(policy, 'p');
    expect([holder.count, notes]).toEqual([0, []]);
  });

  it('counts the limits that were hit, once for each grant', async () => {
    const policy = loaded('*.corp.test', { grants_max: 1, grant_duration_max_h: 1 });
    const grants = [
      grant('a'),
      grant('b', { created: Date.now() + 1 }),
      grant('c', { expires: Date.now() + 2 * HOUR }),
    ];
    for (let times = 0; times < 3; times += 1) await take(grants, policy);
    expect(Object.fromEntries(meter.hits)).toEqual({ grants_max: 1, grant_duration_max_h: 1 });
  });
});
