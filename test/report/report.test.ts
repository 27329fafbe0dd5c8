// What the report says about a history: states, sums, names, refusals, windows, filters. The store is filled as in
// production: records through the audit log, the log through the projection.
import { describe, expect, it } from 'vitest';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import type { Report } from '../../src/report/report.ts';
import {
  appendEvents,
  catalogHost,
  claimed,
  type Event,
  hostRow,
  optional,
  reportOf,
  START,
  writeHistory,
} from './history.ts';

const HOUR_MS = 3_600_000;
const S3 = { rule: 'art-s3', group: 'amazon-s3' };
const BASE = { allow: [{ group: 'buildkite-agent' }, { group: 'amazon-s3' }, { host: 'ok.example' }] };

const report = (events: readonly Event[], policy: object = BASE): Promise<Report> =>
  reportOf(writeHistory({ ...policy }, events));

/** Sums over every row: no request may stand in two of them. */
function inRows(found: Report, key: 'tunnels' | 'denied' | 'failed' | 'bytes_down'): number {
  const rows = [...found.required, ...found.optional.flatMap(({ hosts }) => hosts), ...found.other];
  return rows.reduce((sum, row) => sum + row[key], 0);
}

describe('optional groups', () => {
  it('a group whose hosts were let through is used, with the concrete names behind its wildcard', async () => {
    const found = await report([
      { host: 'b.s3.amazonaws.com', ...S3, down: 10 },
      { host: 'a.s3.amazonaws.com', ...S3, times: 3, up: 7, down: 100 },
    ]);
    const group = optional(found, 'amazon-s3');
    expect(group).toMatchObject({ state: 'used', enabled: true, source: 'published' });
    expect(hostRow(group.hosts, '*.s3.amazonaws.com')).toMatchObject({
      tunnels: 4,
      denied: 0,
      bytes_up: 21,
      bytes_down: 310,
      names: ['a.s3.amazonaws.com', 'b.s3.amazonaws.com'],
      names_total: 2,
      first_seen: new Date(START).toISOString(),
    });
  });

  it('every published group stands there, never used or switched off, and an untouched companion does not', async () => {
    const found = await report([]);
    expect(optional(found, 'amazon-s3')).toMatchObject({ state: 'unused', enabled: true });
    expect(optional(found, 'npm')).toMatchObject({ state: 'unused', enabled: false });
    expect(optional(found, 'npm').hosts.map(({ host }) => host)).toEqual([catalogHost('pkg-npm')]);
    expect(found.optional.filter(({ source }) => source === 'companion')).toEqual([]);
  });

  it('a refused host of a group that is off makes the group denied, and stands in denied as well', async () => {
    const nearest = { pattern: 'github.com', rule: null, why: 'group github is off', fix: '{ group: github }' };
    const found = await report([{ host: 'github.com', verdict: 'deny', times: 2, nearest }]);
    expect(optional(found, 'github')).toMatchObject({ state: 'denied', enabled: false });
    expect(hostRow(optional(found, 'github').hosts, 'github.com')).toMatchObject({
      state: 'denied',
      denied: 2,
      tunnels: 0,
    });
    expect(found.denied).toMatchObject([
      {
        host: 'github.com',
        port: 443,
        count: 2,
        reason: 'host-not-allowed',
        nearest,
        hint: 'Add under allow: - { group: github }',
      },
    ]);
  });

  it('a companion group that was touched stands there', async () => {
    const found = await report([{ host: 'ghcr.io', verdict: 'deny' }]);
    expect(optional(found, 'ghcr')).toMatchObject({ state: 'denied', source: 'companion', enabled: false });
  });

  it('a refused name is placed by the template that it fits, with the parameters it has', async () => {
    const found = await report([
      { host: 'b.s3.eu-west-1.amazonaws.com', verdict: 'deny' },
      { host: 'prod-eu-west-1-starport-layer-bucket.s3.eu-west-1.amazonaws.com', verdict: 'deny' },
    ]);
    expect(hostRow(optional(found, 'amazon-s3').hosts, '*.s3.eu-west-1.amazonaws.com')).toMatchObject({
      state: 'denied',
      denied: 1,
      names: [],
      denied_names: ['b.s3.eu-west-1.amazonaws.com'],
    });
    expect(optional(found, 'amazon-ecr').state).toBe('denied');
  });

  it('a name that only observe let through makes its group would-deny, and stands in would_deny', async () => {
    const found = await report([{ host: 'gitlab.com', verdict: 'observe', down: 5 }]);
    expect(optional(found, 'gitlab')).toMatchObject({ state: 'would-deny' });
    expect(hostRow(optional(found, 'gitlab').hosts, 'gitlab.com')).toMatchObject({
      tunnels: 1,
      would_deny: 1,
      denied: 0,
    });
    expect(found.would_deny).toMatchObject([{ host: 'gitlab.com', count: 1, reason: 'host-not-allowed' }]);
    expect(found.denied).toEqual([]);
  });

  it('the same host on a port that the group does not list belongs to no group', async () => {
    const found = await report([{ host: 'github.com', port: 22, verdict: 'deny', reason: 'host-not-allowed' }]);
    expect(optional(found, 'github').state).toBe('unused');
    expect(found.denied).toMatchObject([
      { host: 'github.com', port: 22, hint: 'Add under allow: - { host: github.com, ports: [22] }' },
    ]);
  });
});

describe('required hosts', () => {
  it('are used, unused, failing or denied', async () => {
    const found = await report([
      { host: 'agent-edge.buildkite.com', rule: 'bk-agent-edge', group: 'buildkite-agent' },
      {
        host: 'buildkiteartifacts.com',
        rule: 'bk-artifacts',
        group: 'buildkite-agent',
        outcome: 'connect-refused',
        times: 2,
      },
    ]);
    expect(hostRow(found.required, 'agent-edge.buildkite.com').state).toBe('used');
    expect(hostRow(found.required, 'agent.buildkite.com').state).toBe('unused');
    expect(hostRow(found.required, 'buildkiteartifacts.com')).toMatchObject({
      state: 'failing',
      failed: 2,
      tunnels: 0,
    });
    const refused = await report([{ host: 'agent.buildkite.com', verdict: 'deny', reason: 'host-denied' }]);
    expect(hostRow(refused.required, 'agent.buildkite.com')).toMatchObject({ state: 'denied', denied: 1 });
    expect(refused.denied[0]).toMatchObject({ host: 'agent.buildkite.com', buildkite: true });
  });

  it('a tunnel that is still open makes its host used', async () => {
    const found = await report([
      { host: 'agent-edge.buildkite.com', rule: 'bk-agent-edge', group: 'buildkite-agent', open: true },
    ]);
    expect(hostRow(found.required, 'agent-edge.buildkite.com')).toMatchObject({ state: 'used', open: 1, tunnels: 0 });
    expect(found).toMatchObject({ open: 1, totals: { open: 1, tunnels: 0, requests: 1 } });
  });
});

describe('own rules', () => {
  it('stand in other, used and never used, each with its line', async () => {
    const policy = {
      allow: ['ok.example', 'idle.example', { host: '*.corp.example', ports: [443, 22], protocol: 'any' }],
    };
    const found = await report(
      [
        { host: 'ok.example', rule: 'x:3' },
        { host: 'git.corp.example', port: 22, rule: 'x:5' },
      ],
      policy,
    );
    expect(hostRow(found.other, 'ok.example')).toMatchObject({ state: 'used', tunnels: 1, counted_in: null });
    expect(hostRow(found.other, 'ok.example').rule).toMatch(/sallyport\.yaml:\d+$/);
    expect(hostRow(found.other, 'idle.example').state).toBe('unused');
    expect(hostRow(found.other, '*.corp.example', 22)).toMatchObject({ state: 'used', names: ['git.corp.example'] });
    expect(hostRow(found.other, '*.corp.example', 443).state).toBe('unused');
  });

  it('whose host the catalog lists is counted with its group, once', async () => {
    const found = await report([{ host: 'github.com', rule: 'x:2', times: 3 }], { allow: ['github.com'] });
    expect(optional(found, 'github')).toMatchObject({ state: 'used', enabled: false });
    expect(found.other).toMatchObject([{ host: 'github.com', state: 'used', tunnels: 0, counted_in: 'github' }]);
    expect(inRows(found, 'tunnels')).toBe(3);
  });

  it('a host that a rule let through which is no longer in the file keeps a row', async () => {
    const found = await report([{ host: 'gone.example', rule: 'x:9', down: 4 }]);
    expect(hostRow(found.other, 'gone.example')).toMatchObject({
      rule: 'x:9',
      state: 'used',
      tunnels: 1,
      bytes_down: 4,
    });
  });
});

describe('refusals', () => {
  it('a tunnel that was cut after its 200 counts as denied, with its reason', async () => {
    const found = await report([{ host: 'ok.example', rule: 'x:3', cut: 'sni-mismatch' }]);
    expect(hostRow(found.other, 'ok.example')).toMatchObject({ tunnels: 0, denied: 1, state: 'denied' });
    expect(found.denied).toMatchObject([{ host: 'ok.example', reason: 'sni-mismatch', count: 1 }]);
    expect(found.totals).toMatchObject({ tunnels: 0, denied: 1 });
  });

  it('name the pipelines and jobs behind them, claimed or not', async () => {
    const found = await report([
      { host: 'x.example', verdict: 'deny', identity: claimed('web', 'j2') },
      { host: 'x.example', verdict: 'deny', identity: claimed('web', 'j1') },
      {
        host: 'x.example',
        verdict: 'deny',
        identity: { kind: 'job', attributes: { pipeline: 'api', job: 'j3' }, claimed: {} },
      },
    ]);
    expect(found.denied).toMatchObject([{ count: 3, pipelines: ['api', 'web'], jobs: ['j1', 'j2', 'j3'] }]);
    expect(found.pipelines).toMatchObject([
      { pipeline: 'web', claimed: true, jobs: 2, tunnels: 0, denied: 2, hosts: 1 },
      { pipeline: 'api', claimed: false, jobs: 1, tunnels: 0, denied: 1, hosts: 1 },
    ]);
  });

  it('expected ones stand apart', async () => {
    const policy = { ...BASE, expected_denials: ['telemetry.example', '*.ads.example'] };
    const found = await report(
      [
        { host: 'telemetry.example', verdict: 'deny', times: 5 },
        { host: 'x.ads.example', verdict: 'deny' },
        { host: 'ads.example', verdict: 'deny' },
      ],
      policy,
    );
    expect(found.denied.map(({ host }) => host)).toEqual(['ads.example']);
    expect(found.expected_denied.map(({ host, count }) => [host, count])).toEqual([
      ['telemetry.example', 5],
      ['x.ads.example', 1],
    ]);
  });

  it('a request for credentials that was then answered is no refusal; one that never was is', async () => {
    const found = await report([
      { host: 'ok.example', verdict: 'deny', reason: 'credentials-required', rule: 'x:3' },
      { host: 'ok.example', rule: 'x:3' },
      { host: 'never.example', verdict: 'deny', reason: 'credentials-required', rule: 'x:3' },
    ]);
    expect(found.denied.map(({ host }) => host)).toEqual(['never.example']);
    expect(hostRow(found.other, 'ok.example')).toMatchObject({ state: 'used', tunnels: 1, denied: 0 });
    expect(found.totals).toMatchObject({ challenged: 2, tunnels: 1, denied: 0 });
  });

  it('a refusal because the proxy was full is a failure of the proxy, not of the host', async () => {
    const found = await report([{ host: 'ok.example', verdict: 'deny', reason: 'connections-full' }]);
    expect(found.denied).toEqual([]);
    expect(found.totals).toMatchObject({ failed: 1, denied: 0 });
  });

  it('hosts of Buildkite come first, whatever their count', async () => {
    const found = await report([
      { host: 'often.example', verdict: 'deny', times: 9 },
      { host: 'agent-new.buildkite.com', verdict: 'deny' },
      { host: 'notbuildkite.com', verdict: 'deny', times: 3 },
    ]);
    expect(found.denied.map(({ host, buildkite }) => [host, buildkite])).toEqual([
      ['agent-new.buildkite.com', true],
      ['often.example', false],
      ['notbuildkite.com', false],
    ]);
  });

  it('requests without a host are counted as malformed and listed nowhere', async () => {
    const found = await report([{ host: '', verdict: 'deny', reason: 'authority-malformed', times: 2 }]);
    expect(found.totals).toMatchObject({ malformed: 2, denied: 0, hosts: 0, requests: 2 });
    expect(found.denied).toEqual([]);
  });
});

describe('window and filters', () => {
  const events: Event[] = [
    { host: 'ok.example', rule: 'x:3', hour: 1, identity: claimed('web', 'j1') },
    { host: 'ok.example', rule: 'x:3', hour: 10, times: 2, identity: claimed('api', 'j2') },
    { host: 'x.example', verdict: 'deny', hour: 10, identity: claimed('web', 'j3') },
  ];

  it('the window says what was recorded, and what was asked for', async () => {
    const found = await report(events);
    expect(found.window.requested).toEqual({
      from: new Date(START).toISOString(),
      to: new Date(START + 72 * HOUR_MS).toISOString(),
    });
    expect(found.window.from).toBe(new Date(START + HOUR_MS).toISOString());
    expect(found.window.to).toBe(new Date(START + 10 * HOUR_MS + 30).toISOString());
  });

  it('an empty store has no window, and every group is unused', async () => {
    const found = await report([]);
    expect(found.window).toMatchObject({ from: null, to: null });
    expect(found.optional.every(({ state }) => state === 'unused')).toBe(true);
  });

  it('only whole hours inside the window count', async () => {
    const history = writeHistory(BASE, events);
    const before = await reportOf(history, { to: START + 9.5 * HOUR_MS });
    expect(before.totals).toMatchObject({ tunnels: 1, denied: 0 });
    const after = await reportOf(history, { from: START + 10 * HOUR_MS });
    expect(after.totals).toMatchObject({ tunnels: 2, denied: 1 });
    const outside = await reportOf(history, { from: START + 40 * HOUR_MS });
    expect(outside).toMatchObject({ window: { from: null, to: null }, totals: { requests: 0 } });
  });

  it('a pipeline or a job alone', async () => {
    const history = writeHistory(BASE, events);
    const web = await reportOf(history, { pipeline: 'web' });
    expect(web).toMatchObject({ filter: { pipeline: 'web', job: null }, totals: { tunnels: 1, denied: 1 } });
    expect(web.pipelines.map(({ pipeline }) => pipeline)).toEqual(['web']);
    expect(web.denied).toMatchObject([{ host: 'x.example', pipelines: ['web'], jobs: ['j3'] }]);
    const job = await reportOf(history, { job: 'j2' });
    expect(job.totals).toMatchObject({ tunnels: 2, denied: 0 });
    expect((await reportOf(history, { job: 'none' })).totals.requests).toBe(0);
  });

  it('an open tunnel of another pipeline is not counted', async () => {
    const history = writeHistory(BASE, [
      { host: 'ok.example', rule: 'x:3', open: true, identity: claimed('web', 'j1') },
    ]);
    expect((await reportOf(history, { pipeline: 'web' })).open).toBe(1);
    expect((await reportOf(history, { pipeline: 'api' })).open).toBe(0);
  });
});

describe('sums', () => {
  it('every let-through request stands in exactly one row, and the totals are theirs', async () => {
    const events: Event[] = [
      { host: 'agent-edge.buildkite.com', rule: 'bk-agent-edge', group: 'buildkite-agent', times: 4, down: 3 },
      { host: 'a.s3.amazonaws.com', ...S3, times: 5, down: 11 },
      { host: 'a.s3.amazonaws.com', ...S3, outcome: 'dns-failed', times: 2 },
      { host: 'ok.example', rule: 'x:3', times: 6, down: 2, method: 'GET', port: 443 },
      { host: 'gitlab.com', verdict: 'observe', down: 1 },
      { host: 'ghcr.io', verdict: 'deny', times: 7 },
      { host: 'nowhere.example', verdict: 'deny', times: 8 },
    ];
    const found = await report(events);
    expect(found.totals).toMatchObject({
      requests: 33,
      tunnels: 16,
      denied: 15,
      failed: 2,
      would_deny: 1,
      bytes_down: 80,
      hosts: 6,
    });
    expect(inRows(found, 'tunnels')).toBe(16);
    expect(inRows(found, 'failed')).toBe(2);
    expect(inRows(found, 'bytes_down')).toBe(80);
    expect(found.denied.reduce((sum, { count }) => sum + count, 0)).toBe(15);
  });

  it('hosts beyond the names of an hour are counted as overflow', async () => {
    const limits = { ...DEFAULT_LIMITS, usage_names_per_hour: 100 };
    const events = Array.from({ length: 130 }, (_, n): Event => ({ host: `h${n}.example`, verdict: 'deny' }));
    const found = await reportOf(writeHistory(BASE, events, limits), {}, limits);
    expect(found.overflow).toMatchObject({ tunnels: 0, denied: 30, failed: 0, groups: [{ group: '', rule: '' }] });
    expect(found.totals.denied).toBe(130);
    expect(found.denied_total).toBe(100);
  });

  it('half a surrogate pair in a claim does not stop the counting', async () => {
    const found = await report([{ host: 'ok.example', rule: 'x:3', identity: claimed('p\ud800', 'j\udc00') }]);
    expect(found.totals.tunnels).toBe(1);
    expect(found.pipelines).toMatchObject([{ pipeline: 'p\ufffd', claimed: true, jobs: 1 }]);
  });

  it('a second report counts what came since, and nothing twice', async () => {
    const history = writeHistory(BASE, [{ host: 'ok.example', rule: 'x:3' }]);
    expect((await reportOf(history)).totals.tunnels).toBe(1);
    expect((await reportOf(history)).totals.tunnels).toBe(1);
    appendEvents(history.auditFile, [{ host: 'ok.example', rule: 'x:3', hour: 2 }]);
    expect((await reportOf(history)).totals.tunnels).toBe(2);
  });
});
