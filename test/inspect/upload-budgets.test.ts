// The bytes that a job may upload to a rule: summed up over its requests, apart from others, bounded in number and in time.
import { describe, expect, it } from 'vitest';
import { UploadBudgets } from '../../src/inspect/upload-budgets.ts';
import { createMeter, DEFAULT_LIMITS } from '../../src/limits.ts';
import { ANONYMOUS, type Identity } from '../../src/policy/record.ts';

const job = (name: string): Identity => ({ kind: 'job', attributes: { job: name, pipeline: 'web' }, claimed: {} });
const claim = (name: string): Identity => ({ kind: 'claimed', attributes: {}, claimed: { job: name } });
const user = (name: string): Identity => ({ kind: 'user', attributes: { user: name }, claimed: {} });

function budgets(limits: Partial<typeof DEFAULT_LIMITS> = {}) {
  const meter = createMeter();
  const clock = { now: 1_000 };
  return { meter, clock, all: new UploadBudgets({ ...DEFAULT_LIMITS, ...limits }, meter, () => clock.now) };
}

describe('upload budgets', () => {
  it('end at their edge, over all requests of the job', () => {
    const { all } = budgets();
    const [one, other] = [all.of(job('1'), '10.0.0.1', 'r', 100), all.of(job('1'), '10.0.0.2', 'r', 100)];
    expect([one.take(60), other.take(40), one.take(0), one.take(1), other.take(1)]).toEqual([
      true,
      true,
      true,
      false,
      false,
    ]);
  });

  it('take nothing of what is too much', () => {
    const { all } = budgets();
    const one = all.of(job('1'), '10.0.0.1', 'r', 100);
    expect([one.take(101), one.take(100)]).toEqual([false, true]);
  });

  it('are of one job, user or address, and of one rule', () => {
    const { all } = budgets();
    const spent = (identity: Identity, client = '10.0.0.1', rule = 'r'): boolean =>
      !all.of(identity, client, rule, 10).take(10);
    expect([spent(job('1')), spent(job('1')), spent(job('2')), spent(job('1'), '10.0.0.1', 's')]).toEqual([
      false,
      true,
      false,
      false,
    ]);
    expect([spent(user('a')), spent(user('a'), '10.0.0.2'), spent(user('b'))]).toEqual([false, true, false]);
    // A new claim is no new budget.
    expect([spent(claim('1')), spent(claim('2')), spent(ANONYMOUS), spent(ANONYMOUS, '10.0.0.2')]).toEqual([
      false,
      true,
      true,
      false,
    ]);
  });

  it('follow a policy that changes the bound', () => {
    const { all } = budgets();
    all.of(job('1'), '10.0.0.1', 'r', 10).take(10);
    expect(all.of(job('1'), '10.0.0.1', 'r', 20).take(10)).toBe(true);
    expect(all.of(job('1'), '10.0.0.1', 'r', 5).take(1)).toBe(false);
  });

  it('are upload_budgets_max at most, and hits are counted', () => {
    const { all, meter } = budgets({ upload_budgets_max: 2 });
    for (const name of ['1', '2']) all.of(job(name), '10.0.0.1', 'r', 10).take(10);
    expect(meter.hits.get('upload_budgets_max')).toBeUndefined();
    all.of(job('3'), '10.0.0.1', 'r', 10).take(10);
    expect([all.size, meter.hits.get('upload_budgets_max')]).toEqual([2, 1]);
    expect(all.of(job('2'), '10.0.0.1', 'r', 10).take(1)).toBe(false);
    expect(all.of(job('1'), '10.0.0.1', 'r', 10).take(1)).toBe(true);
  });

  it('begin anew upload_budget_ms after their first byte, however busy they are', () => {
    const { all, clock } = budgets({ upload_budget_ms: 60_000 });
    const take = (): boolean => all.of(job('1'), '10.0.0.1', 'r', 10).take(10);
    expect(take()).toBe(true);
    clock.now += 60_000;
    expect(take()).toBe(false);
    clock.now += 1;
    expect(take()).toBe(true);
  });
});
