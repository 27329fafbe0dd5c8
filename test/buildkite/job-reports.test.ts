// The reports of jobs: from a real store by a thread of their own; what is waited for, bounded, and said where it fails.
import { rmSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import type { ReportOrder } from '../../src/buildkite/job-api.ts';
import type { JobReport } from '../../src/buildkite/job-report.ts';
import { JobReports } from '../../src/buildkite/job-reports.ts';
import { createMeter, DEFAULT_LIMITS, type LimitName } from '../../src/limits.ts';
import { parsePattern } from '../../src/policy/pattern.ts';
import type { Identity } from '../../src/policy/record.ts';
import { projectOnce } from '../../src/usage/project-once.ts';
import { decidedRecord } from '../support/records.ts';
import { ScratchUsage } from '../support/usage.ts';

const JOB = 'job-1';
const job = (kind: Identity['kind'], id = JOB): Identity =>
  kind === 'claimed'
    ? { kind, attributes: {}, claimed: { job: id } }
    : { kind, attributes: { pipeline: 'web', job: id }, claimed: {} };

const open: JobReports[] = [];
afterEach(() => {
  for (const reports of open.splice(0)) reports.close();
});

function make(world: ScratchUsage, reached: () => Promise<boolean>, limits: Partial<Record<LimitName, number>> = {}) {
  const meter = createMeter();
  const expected = parsePattern('*.telemetry.test');
  const reports = new JobReports({
    store: world.store,
    limits: { ...DEFAULT_LIMITS, ...limits },
    meter,
    node: 'n1',
    projection: { reached },
    lastSeq: () => 7,
    help: () => ({ owner: 'plat`form', contact: null, requestUrl: 'https://ask.test/{host}' }),
    expectedDenials: () => (expected.ok ? [expected.pattern] : []),
  });
  open.push(reports);
  return { reports, meter };
}

const order = (more: Partial<ReportOrder> = {}): ReportOrder => ({
  job: JOB,
  format: 'json',
  waitMs: 100,
  shared: [],
  ...more,
});

async function refusals(world: ScratchUsage): Promise<void> {
  const deny = { verdict: 'deny', reason: 'host-not-allowed', rule: null, group: null } as const;
  const refuse = (id: string, host: string, identity: Identity, more: object = {}) =>
    world.log.decided(decidedRecord({ ...deny, id, host, identity, outcome: 'host-not-allowed', ...more }));
  refuse('1', 'evil.test', job('job'), { client: '10.0.0.7' });
  refuse('2', 'evil.test', job('job'), { client: '10.0.0.8' });
  refuse('3', 'a|b<script>.test', job('job'));
  refuse('4', 'x.telemetry.test', job('job'));
  refuse('5', 'claimed.test', job('claimed'));
  refuse('8', 'evil.test', job('claimed'), { client: '10.0.0.9' });
  refuse('6', 'other.test', job('job', 'job-2'));
  refuse('7', 'sallyport.invalid', job('job'), { reason: 'self-prohibited', outcome: 'self-prohibited' });
  await projectOnce(world.options());
}

describe('a report', () => {
  it('counts what the job has proven to be its own, without what the policy expects to refuse', async () => {
    const world = new ScratchUsage({ now: () => new Date() });
    await refusals(world);
    const { reports } = make(world, async () => true);
    const text = await reports.make(order());
    if (!text.ok) throw new Error(text.code);
    const found = JSON.parse(text.body) as JobReport;
    expect(found).toMatchObject({ job: JOB, denied: 3, would_deny: 0, refused_total: 2, missing_nodes: [] });
    expect(found.refused.map(({ host, count }) => [host, count])).toEqual([
      ['evil.test', 2],
      ['a|b<script>.test', 1],
    ]);
    expect(found.refused[0]).toMatchObject({
      clients: ['10.0.0.7', '10.0.0.8'],
      request_url: 'https://ask.test/evil.test',
    });
    world.log.close();
  });

  it('as Markdown holds no markup that a host brought, and says what is missing and shared', async () => {
    const world = new ScratchUsage({ now: () => new Date() });
    await refusals(world);
    const { reports } = make(world, async () => false);
    const text = await reports.make(order({ format: 'markdown', shared: ['job-9'] }));
    if (!text.ok) throw new Error(text.code);
    expect(text).toMatchObject({ type: 'text/markdown; charset=utf-8' });
    expect(text.body).not.toContain('<script>');
    expect(text.body).toContain('Not complete: no records yet from n1.');
    expect(text.body).toContain('has the leases of 2 jobs');
    expect(text.body).toContain('Whom to ask: plat&#96;form');
    expect(text.body).toContain('| evil.test:443 | 2 | 10.0.0.7, 10.0.0.8 | host-not-allowed |');
    expect(text.body).toContain(' · [ask for it](https://ask.test/evil.test) |');
    // What is filled in is encoded; parentheses would end the link, so it is none.
    expect(text.body).not.toMatch(/\]\([^)]*(?:<|script>)/);
    world.log.close();
  });

  it('waits for the last line that is recorded when it is asked for, as long as it may', async () => {
    const world = new ScratchUsage({ now: () => new Date() });
    await refusals(world);
    const asked: [number, number][] = [];
    const { reports } = make(world, async (...args: unknown[]) => {
      asked.push(args as [number, number]);
      return true;
    });
    await reports.make(order({ waitMs: 1_234 }));
    expect(asked).toEqual([[7, 1_234]]);
    world.log.close();
  });

  it('job_reports_pending_max: one more is refused', async () => {
    const world = new ScratchUsage({ now: () => new Date() });
    await refusals(world);
    let release = (_: boolean): void => {};
    const { reports, meter } = make(world, () => new Promise((resolve) => (release = resolve)), {
      job_reports_pending_max: 1,
    });
    const first = reports.make(order());
    expect(await reports.make(order())).toEqual({ ok: false, code: 'job-reports-full' });
    expect(meter.hits.get('job_reports_pending_max')).toBe(1);
    release(true);
    expect(await first).toMatchObject({ ok: true });
    world.log.close();
  });

  it('fails where the store is away, and works again when it is back', async () => {
    const world = new ScratchUsage({ now: () => new Date() });
    const { reports } = make(world, async () => true);
    await expect(reports.make(order())).rejects.toThrow('there is no such file');
    await refusals(world);
    expect(await reports.make(order())).toMatchObject({ ok: true });
    rmSync(world.store);
    await expect(reports.make(order())).rejects.toThrow('there is no such file');
    world.log.close();
  });
});
