// Who asked for what, what is new, and what a report finds as a check: the parts of a report beside its lists of hosts.
import { describe, expect, it } from 'vitest';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import type { Identity } from '../../src/policy/record.ts';
import type { Dimension } from '../../src/report/dimension.ts';
import { findingsOf } from '../../src/report/findings.ts';
import type { Filter, Report } from '../../src/report/report.ts';
import { claimed, type Event, hostRow, reportOf, START, writeHistory } from './history.ts';

const HOUR_MS = 3_600_000;
const BASE = { allow: [{ group: 'buildkite-agent' }, { group: 'amazon-s3' }, 'ok.example', 'idle.example'] };
const EDGE = { host: 'agent-edge.buildkite.com', rule: 'bk-agent-edge', group: 'buildkite-agent' };

const report = (
  events: readonly Event[],
  over: Partial<Filter> = {},
  by: Dimension | null = null,
  policy: object = BASE,
): Promise<Report> => reportOf(writeHistory({ ...policy }, events), over, DEFAULT_LIMITS, { by });

const proven = (attributes: Identity['attributes']): Identity => ({ kind: 'address', attributes, claimed: {} });

describe('by whom', () => {
  const events: Event[] = [
    { host: 'ok.example', rule: 'x:3', identity: claimed('web', 'j1'), up: 5, down: 7, client: '10.0.0.1' },
    { host: 'ok.example', rule: 'x:3', identity: claimed('web', 'j2'), hour: 3, client: '10.0.0.2' },
    { host: 'no.example', verdict: 'deny', identity: claimed('api', 'j3'), times: 4, client: '10.0.0.2' },
    { host: 'ok.example', rule: 'x:3', identity: proven({ agent: 'a-1', step: 'lint', pipeline: 'web' }) },
    { host: 'seen.example', verdict: 'observe', identity: proven({ agent: 'a-2' }), outcome: 'dns-failed' },
  ];
  const rows = async (by: Dimension) => {
    const found = (await report(events, {}, by)).breakdown;
    return found?.rows.map(({ pipeline, name, claimed: says, tunnels, denied }) => [
      pipeline,
      name,
      says,
      tunnels,
      denied,
    ]);
  };

  it('pipelines: sums, times and jobs, claimed apart from proven', async () => {
    const found = await report(events, {}, 'pipeline');
    expect(found.breakdown).toMatchObject({ by: 'pipeline', rows_total: 4 });
    expect(found.breakdown?.rows.find(({ pipeline, claimed: says }) => pipeline === 'web' && says)).toEqual({
      pipeline: 'web',
      name: '',
      claimed: true,
      jobs: 2,
      tunnels: 2,
      denied: 0,
      would_deny: 0,
      failed: 0,
      bytes_up: 5,
      bytes_down: 7,
      first_seen: new Date(START).toISOString(),
      last_seen: new Date(START + 3 * HOUR_MS + 10).toISOString(),
    });
    expect(found.pipelines.find(({ pipeline }) => pipeline === 'api')).toMatchObject({
      denied: 4,
      hosts: 1,
      bytes_up: 0,
    });
  });

  it('steps, jobs, agents and clients, those with the most requests first', async () => {
    expect(await rows('step')).toEqual([
      ['api', '', true, 0, 4],
      ['web', '', true, 2, 0],
      ['', '', false, 0, 0],
      ['web', 'lint', false, 1, 0],
    ]);
    expect((await rows('job'))?.slice(0, 1)).toEqual([['api', 'j3', true, 0, 4]]);
    expect(await rows('agent')).toEqual([
      ['', '', true, 2, 4],
      ['', 'a-1', false, 1, 0],
      ['', 'a-2', false, 0, 0],
    ]);
    expect(await rows('client')).toEqual([
      ['', '10.0.0.2', false, 1, 4],
      ['', '10.0.0.7', false, 1, 0],
      ['', '10.0.0.1', false, 1, 0],
    ]);
  });

  it('keeps within the filter', async () => {
    const found = await report(events, { pipeline: 'api' }, 'client');
    expect(found.breakdown?.rows).toMatchObject([{ name: '10.0.0.2', denied: 4, tunnels: 0 }]);
  });

  it("agents' traffic stands apart from that of jobs; a request is in one of the three", async () => {
    const found = await report([...events, { ...EDGE, down: 9 }, { host: 'agent-9.buildkite.com', verdict: 'deny' }]);
    const { jobs, agents, unattributed } = found.traffic;
    expect([jobs.tunnels, jobs.denied]).toEqual([3, 4]);
    expect([agents.tunnels, agents.denied, agents.bytes_down]).toEqual([1, 1, 9]);
    expect([unattributed.tunnels, unattributed.failed, unattributed.would_deny]).toEqual([0, 1, 1]);
    const { totals } = found;
    expect(jobs.tunnels + agents.tunnels + unattributed.tunnels).toBe(totals.tunnels);
    expect(jobs.denied + agents.denied + unattributed.denied).toBe(totals.denied);
    expect(jobs.failed + agents.failed + unattributed.failed).toBe(totals.failed);
  });

  it('hosts that one pipeline alone was let through to', async () => {
    const both: Event[] = [
      { host: 'a.example', rule: 'x:1', identity: claimed('web', 'j1') },
      { host: 'a.example', rule: 'x:1', identity: claimed('api', 'j2') },
      { host: 'b.example', rule: 'x:2', identity: claimed('web', 'j1'), times: 2 },
      { host: 'c.example', rule: 'x:3', identity: claimed('web', 'j1') },
      { host: 'c.example', rule: 'x:3' },
      { host: 'd.example', verdict: 'deny', identity: claimed('api', 'j2') },
    ];
    const found = await report(both);
    expect(found.single_pipeline).toMatchObject([{ pipeline: 'web', host: 'b.example', port: 443, requests: 2 }]);
    expect((await report(both, { pipeline: 'api' })).single_pipeline_total).toBe(0);
    expect((await report(both, { pipeline: 'web' })).single_pipeline_total).toBe(1);
  });
});

describe('drift', () => {
  const second = { from: START + 72 * HOUR_MS, to: START + 144 * HOUR_MS };
  const events: Event[] = [
    { host: 'ok.example', rule: 'x:3' },
    { host: 'ok.example', rule: 'x:3', hour: 80 },
    { host: 'new.example', rule: 'x:4', hour: 81, identity: claimed('web', 'j1') },
    { host: 'refused.example', verdict: 'deny', hour: 82, times: 2 },
    { host: 'known.example', verdict: 'deny', hour: 83 },
  ];
  const policy = { ...BASE, expected_denials: ['known.example'] };

  it('is what was not asked for in the window of the same length before', async () => {
    const { drift } = await report(events, second, null, policy);
    expect(drift.previous).toEqual({
      from: new Date(START).toISOString(),
      to: new Date(START + 72 * HOUR_MS - 1).toISOString(),
      recorded_from: new Date(START).toISOString(),
    });
    expect(drift.hosts.map(({ host, tunnels, denied, pipelines }) => [host, tunnels, denied, pipelines])).toEqual([
      ['refused.example', 0, 2, []],
      ['new.example', 1, 0, ['web']],
    ]);
    expect(drift.hosts_total).toBe(2);
  });

  it('names the rule that let a host through, never one that refused it', async () => {
    const denied = { verdict: 'deny', reason: 'host-denied', rule: 'x:9' } as const;
    const { drift } = await report(
      [
        { host: 'ok.example', rule: 'x:3' },
        { host: 'cut.example', rule: 'x:4', group: 'tools', hour: 80 },
        { host: 'cut.example', ...denied, hour: 81, times: 2 },
        { host: 'never.example', ...denied, hour: 82 },
      ],
      second,
    );
    expect(drift.hosts.map(({ host, group, rule }) => [host, group, rule])).toEqual([
      ['cut.example', 'tools', 'x:4'],
      ['never.example', '', ''],
    ]);
  });

  it('is not known where nothing was recorded before, and then fails nothing', async () => {
    const found = await report(events);
    expect(found.drift).toMatchObject({ previous: { recorded_from: null }, hosts: [], hosts_total: 0 });
    expect(findingsOf(found, ['drift'])).toEqual([]);
  });

  it('looks at the filter: what is old for others is new for a pipeline', async () => {
    const found = await report(
      [
        { host: 'ok.example', rule: 'x:3' },
        { ...events[2], host: 'ok.example' },
      ],
      {
        ...second,
        pipeline: 'web',
      },
    );
    expect(found.drift.hosts.map(({ host }) => host)).toEqual(['ok.example']);
  });
});

describe('a refusal soon after something was let through', () => {
  const from = async (events: readonly Event[]) => (await report(events)).denied[0]?.redirect_from;
  const allowed: Event = { host: 'github.com', rule: 'scm-github', group: 'github', identity: claimed('web', 'j1') };
  const refused: Event = { host: 'cdn.example', verdict: 'deny', identity: claimed('web', 'j1') };

  it('of the same job is likely a redirect', async () => {
    expect(await from([allowed, refused])).toEqual({ host: 'github.com', port: 443 });
  });

  it('of the same client is one where no job is known', async () => {
    const { identity: _, ...anonymous } = allowed;
    const { identity: __, ...alone } = refused;
    expect(await from([anonymous, alone])).toEqual({ host: 'github.com', port: 443 });
    expect(await from([{ ...anonymous, client: '10.0.0.8' }, alone])).toBeNull();
  });

  it('of another job, after more than a second, or before it, is none', async () => {
    expect(await from([{ ...allowed, identity: claimed('web', 'j2') }, refused])).toBeNull();
    expect(await from([allowed, { ...refused, second: 1 }])).toBeNull();
    expect(await from([allowed, { ...refused, second: 0.98 }])).not.toBeNull();
    expect(await from([refused, allowed])).toBeNull();
  });

  it('goes to what came before it most often, and to what was let through last', async () => {
    const other: Event = { ...allowed, host: 'ok.example', rule: 'x:3' };
    expect(await from([allowed, other, refused])).toEqual({ host: 'ok.example', port: 443 });
    const hour = (events: Event[], at: number): Event[] => events.map((event) => ({ ...event, hour: at }));
    const noise = [...hour([other, refused], 2), ...hour([allowed, refused], 3), ...hour([allowed, refused], 4)];
    expect(await from([allowed, refused, ...noise])).toEqual({ host: 'github.com', port: 443 });
  });

  it('stands in the words of the report, and in those of what observe let through', async () => {
    const { would_deny: rows } = await report([allowed, { ...refused, verdict: 'observe' }]);
    expect(rows[0]?.redirect_from).toEqual({ host: 'github.com', port: 443 });
  });
});

describe('required hosts that did not work', () => {
  it('agents of today leave agent.buildkite.com unused; the report says who may still need it', async () => {
    const found = await report([EDGE]);
    expect(hostRow(found.required, EDGE.host)).toMatchObject({ state: 'used', agent_versions: '>=3.122.0', notes: [] });
    const old = hostRow(found.required, 'agent.buildkite.com');
    expect(old).toMatchObject({ state: 'unused', agent_versions: '<3.122.0' });
    expect((old as Report['required'][number]).notes.join(' ')).toMatch(
      /Never asked for.*Agents <3\.122\.0 use it.*OIDC/,
    );
  });

  it('one whose every attempt failed is said to be out of reach', async () => {
    const found = await report([{ ...EDGE, outcome: 'connect-refused' }]);
    const row = hostRow(found.required, EDGE.host) as Report['required'][number];
    expect(row.notes[0]).toContain('every attempt failed');
  });
});

describe('as a check', () => {
  it('finds refusals, rules and groups without use, and what is new; each only where it is asked for', async () => {
    const found = await report([
      { host: 'no.example', verdict: 'deny' },
      { host: 'ok.example', rule: 'x:3' },
    ]);
    expect(findingsOf(found, [])).toEqual([]);
    expect(findingsOf(found, ['denied', 'would-deny'])).toEqual([
      { kind: 'denied', count: 1, message: '1 host was refused' },
    ]);
    const [unused] = findingsOf(found, ['unused']);
    expect(unused).toMatchObject({ kind: 'unused', count: 2 });
    expect(unused?.message).toMatch(/amazon-s3, .*sallyport\.yaml:\d+ \(idle\.example\)/);
  });

  it('what expected_denials names is no finding and no drift', async () => {
    const policy = { ...BASE, expected_denials: ['no.example'] };
    const found = await report([{ host: 'no.example', verdict: 'deny' }], {}, null, policy);
    expect(findingsOf(found, ['denied'])).toEqual([]);
    expect(found.expected_denied).toHaveLength(1);
  });
});
