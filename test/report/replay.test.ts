import { describe, expect, it } from 'vitest';
import { LineWriter } from '../../src/audit/line.ts';
import { LineReader } from '../../src/audit/line-reader.ts';
import { loadConfigHere } from '../../src/config/load-here.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { Policy } from '../../src/policy/decide.ts';
import type { Decided, Ended, Identity } from '../../src/policy/record.ts';
import { Replayer, type ReplayOptions } from '../../src/report/replay.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';
import { tempDir, writePolicy } from '../support/temp.ts';

const NOW = Date.parse('2026-11-24T12:00:00.000Z');
const ALL = { now: NOW, from: 0, to: NOW, enforce: false, limits: DEFAULT_LIMITS };
const writer = new LineWriter(1_024);
let seq = 0;

interface Recorded {
  readonly line: string;
}
const stamped = (time: string) => ({ time, seq: ++seq, node: '"n"' });
const whole = (line: string): Recorded => ({ line: `${line},"prev":"${'0'.repeat(64)}"}` });
const decided = (over: Partial<Decided>, time = '2026-11-20T00:00:00.000Z') =>
  whole(writer.decided(stamped(time), decidedRecord({ id: `r${seq}`, ...over })));
const ended = (over: Partial<Ended>) =>
  whole(writer.ended(stamped('2026-11-20T00:00:01.000Z'), endedRecord({ id: `r${seq}`, ...over })));

function policyOf(rules: Readonly<Record<string, unknown>>): Policy {
  const file = writePolicy(`${tempDir('replay')}/new.yaml`, {
    version: 1,
    listen: '127.0.0.1:0',
    admin: '127.0.0.1:0',
    ...rules,
  });
  return new Policy(loadConfigHere({ file, now: NOW }).policy, { explains: false });
}

function replay(
  rules: Readonly<Record<string, unknown>>,
  lines: readonly Recorded[],
  over: Partial<ReplayOptions> = {},
) {
  const replayer = new Replayer(policyOf(rules), { ...ALL, ...over });
  const reader = new LineReader();
  for (const { line } of lines) {
    const read = reader.read(line);
    if (read === null) throw new Error(`not a line: ${line}`);
    if (read.kind === 'decided') replayer.add(read);
  }
  return replayer.result();
}

const job = (pipeline: string, id: string): Identity => ({
  kind: 'job',
  attributes: { pipeline, job: id, step: 's' },
  claimed: {},
});
const claim = (pipeline: string, id: string): Identity => ({
  kind: 'claimed',
  attributes: {},
  claimed: { pipeline, job: id },
});
const refused = { verdict: 'deny', reason: 'host-not-allowed', rule: null, group: null } as const;

describe('Replayer', () => {
  it('counts what would newly fail and newly pass, by host, pipeline, step and job', () => {
    const found = replay({ allow: ['a.example', 'c.example'] }, [
      decided({ host: 'a.example' }),
      decided({ host: 'b.example', identity: job('web', 'j1') }),
      decided({ host: 'b.example', identity: job('web', 'j1') }),
      decided({ host: 'b.example', identity: job('web', 'j2') }),
      decided({ host: 'c.example', ...refused }),
      decided({ host: 'd.example', ...refused }),
      ended({ host: 'b.example' }),
    ]);
    expect(found).toMatchObject({ requests: 6, newly_fail_requests: 3, newly_pass_requests: 1, not_judged: 0 });
    // A row is an asker and a target: the two jobs are one pipeline and step.
    expect(found.newly_fail).toMatchObject([
      {
        host: 'b.example',
        port: 443,
        kind: 'connect',
        pipeline: 'web',
        step: 's',
        claimed: false,
        reason: 'host-not-allowed',
        requests: 3,
        jobs: 2,
      },
    ]);
    expect(found.newly_pass).toMatchObject([{ host: 'c.example', reason: 'allowed', requests: 1, jobs: 0 }]);
  });

  it('judges by the identity that was proven, and never by what was claimed', () => {
    const rules = { allow: [{ host: 'a.example', for: { pipeline: 'deploy' } }] };
    const found = replay(rules, [
      decided({ host: 'a.example', identity: job('deploy', 'j1') }),
      decided({ host: 'a.example', identity: job('web', 'j2') }),
      decided({ host: 'a.example', identity: claim('deploy', 'j3') }),
    ]);
    expect(found.newly_fail.map(({ pipeline, claimed, reason }) => [pipeline, claimed, reason]).sort()).toEqual([
      ['deploy', true, 'identity-not-allowed'],
      ['web', false, 'identity-not-allowed'],
    ]);
  });

  it('judges by the time of the replay: a rule that has expired since lets nothing through', () => {
    const rules = { allow: [{ host: 'a.example', expires: '2026-11-22' }] };
    const lines = [decided({ host: 'a.example' }, '2026-11-20T00:00:00.000Z')];
    expect(replay(rules, lines).newly_fail).toMatchObject([{ reason: 'rule-expired' }]);
    expect(replay(rules, lines, { now: Date.parse('2026-11-21T00:00:00Z') }).newly_fail).toEqual([]);
  });

  it('tells a tunnel from plain HTTP', () => {
    const found = replay({ allow: [{ host: 'a.example', ports: [80] }] }, [
      decided({ host: 'a.example', port: 80, method: 'GET' }),
      decided({ host: 'a.example', port: 80, method: 'CONNECT' }),
    ]);
    expect(found.newly_fail).toMatchObject([{ kind: 'connect', reason: 'protocol-not-allowed' }]);
  });

  it('lets pass what observe mode would, unless it is asked for readiness', () => {
    const rules = { mode: 'observe', allow: ['a.example'] };
    const lines = [
      decided({ host: 'b.example', verdict: 'observe', reason: 'host-not-allowed', rule: null, group: null }),
    ];
    expect(replay(rules, lines)).toMatchObject({ newly_fail_requests: 0 });
    expect(replay(rules, lines, { enforce: true })).toMatchObject({ newly_fail_requests: 1 });
  });

  it('does not judge what no rule refused, and counts it', () => {
    const found = replay({ allow: ['a.example'] }, [
      decided({ host: 'a.example', verdict: 'deny', reason: 'address-prohibited' }),
      decided({ host: null, port: null, verdict: 'deny', reason: 'authority-malformed' }),
      decided({ host: 'NOT canonical', port: 443 }),
    ]);
    expect(found).toMatchObject({ requests: 3, not_judged: 3, newly_pass: [], newly_fail: [] });
  });

  it('looks at its window alone, both ends included', () => {
    const lines = ['2026-11-01', '2026-11-02', '2026-11-03', '2026-11-04'].map((day) =>
      decided({ host: 'b.example' }, `${day}T00:00:00.000Z`),
    );
    const from = Date.parse('2026-11-02T00:00:00Z');
    const to = Date.parse('2026-11-03T00:00:00Z');
    expect(replay({ allow: ['a.example'] }, lines, { from, to }).newly_fail).toMatchObject([
      { requests: 2, first_seen: from, last_seen: to },
    ]);
  });

  it('says for each pipeline whether it is safe, would fail, or was not seen', () => {
    const rules = { allow: ['a.example', { host: 'x.example', for: { pipeline: ['release', 'nightly-*'] } }] };
    const found = replay(
      rules,
      [
        decided({ host: 'a.example', identity: job('web', 'j1') }),
        decided({ host: 'a.example', identity: job('api', 'j2') }),
        decided({ host: 'b.example', identity: job('api', 'j3') }),
        decided({ host: 'a.example', identity: job('old', 'j4') }, '2026-01-01T00:00:00.000Z'),
      ],
      { from: Date.parse('2026-11-01T00:00:00Z') },
    );
    expect(found.pipelines).toMatchObject([
      { pipeline: 'api', state: 'would-fail', requests: 2, jobs: 2, hosts: ['b.example:443'] },
      { pipeline: 'old', state: 'not-seen', requests: 0 },
      { pipeline: 'release', state: 'not-seen' },
      { pipeline: 'web', state: 'safe', jobs: 1 },
    ]);
  });

  it('answers askers alike who differ only in what no selector looks at', () => {
    const rules = {
      allow: ['a.example', { host: 'q.example', for: { queue: 'canary' } }],
      modes: [{ for: { branch: 'main' }, mode: 'observe' }],
    };
    const asks = (attributes: Identity['attributes']): Recorded =>
      decided({ host: 'q.example', identity: { kind: 'job', attributes, claimed: {} } });
    const lines = ['j1', 'j2'].flatMap((id) => [
      asks({ job: id }),
      asks({ job: id, queue: 'canary' }),
      asks({ job: id, branch: 'main' }),
      asks({ job: id, branch: 'main" "canary' }),
    ]);
    const found = replay(rules, lines);
    expect(found).toMatchObject({ requests: 8, newly_fail_requests: 4 });
    expect(replay(rules, lines, { enforce: true })).toMatchObject({ newly_fail_requests: 6 });
  });

  it('stops at its bounds and says what is beyond', () => {
    const lines = Array.from({ length: 8 }, (_, n) =>
      decided({ host: `h${n % 4}.example`, identity: job(`p${n >> 2}`, `j${n}`) }),
    );
    const limits = { replay_rows_max: 8, replay_pipelines_max: 2, replay_hosts_max: 4, replay_jobs_max: 4 };
    expect(replay({ allow: ['a.example'] }, lines, { limits })).toMatchObject({
      ...{ overflow: 0, pipelines_overflow: 0, newly_fail: { length: 8 }, pipelines: [{ jobs: 4 }, { jobs: 4 }] },
    });
    const tight = { replay_rows_max: 7, replay_pipelines_max: 1, replay_hosts_max: 3, replay_jobs_max: 3 };
    const found = replay({ allow: ['a.example'] }, lines, { limits: tight });
    expect(found).toMatchObject({ newly_fail_requests: 8, overflow: 1, pipelines_overflow: 4 });
    expect(found.newly_fail.length).toBe(7);
    expect(found.pipelines).toMatchObject([{ pipeline: 'p0', requests: 4, jobs: 3, hosts: { length: 3 } }]);
  });

  it('gives each answer that decide gives, whatever stood before', () => {
    const policy = policyOf({
      allow: ['*.a.example', { host: 'b.example', ports: [22, 443] }],
      deny: ['no.a.example'],
    });
    const hosts = ['a.example', 'x.a.example', 'no.a.example', 'b.example', '192.0.2.1', '2001:db8::1'];
    for (const host of hosts) {
      for (const port of [22, 80, 443]) {
        const replayer = new Replayer(policy, ALL);
        const reader = new LineReader();
        const read = reader.read(decided({ host, port }).line);
        if (read?.kind === 'decided') replayer.add(read);
        const kind = host.includes(':') ? 'ipv6' : host.startsWith('192') ? 'ipv4' : 'name';
        const authority = { host, port, kind, text: '' } as const;
        const asked = policy.decide({
          authority,
          kind: 'connect',
          method: 'CONNECT',
          path: null,
          identity: decidedRecord({ id: '' }).identity,
          now: NOW,
        });
        const { newly_fail } = replayer.result();
        expect(newly_fail.map(({ reason }) => reason)).toEqual(asked.verdict === 'allow' ? [] : [asked.reason]);
      }
    }
  });
});

describe('requests inside an inspected CONNECT', () => {
  const inspected = (...lines: unknown[]) => ({
    inspection: { ca: { cert: 'a', key: 'b' } },
    allow: [{ host: 'github.com', inspect: true, git: { push: ['acme/*'] }, allow: lines }],
  });
  const inside = (what: string, over: Partial<Decided> = {}) => {
    const [method = '', path = ''] = what.split(' ');
    return decided({ host: 'github.com', tunnel: 't', method, path, ...over });
  };
  const refused = { verdict: 'deny', reason: 'request-not-allowed', outcome: 'request-not-allowed' } as const;
  const change = (what: string, rules: Readonly<Record<string, unknown>>, over: Partial<Decided> = {}) => {
    const { newly_fail, newly_pass, not_judged, requests } = replay(rules, [inside(what, over)]);
    expect(requests).toBe(1);
    if (not_judged > 0) return 'not judged';
    const [row] = [...newly_fail, ...newly_pass];
    if (row === undefined) return 'same';
    expect(row).toMatchObject({ kind: 'inside', request: what.split('?')[0] });
    return newly_fail.length > 0 ? `fails ${row.reason}` : 'passes';
  };

  it.each([
    ['GET /acme/x', 'same'],
    ['GET /evil/x', 'fails request-not-allowed'],
    ['POST /acme/x', 'fails request-not-allowed'],
    ['GET /acme/../x', 'fails request-not-allowed'],
    ['GET /tab?page=2', 'not judged'],
    ['GET /tab', 'fails request-not-allowed'],
    ['GET /acme/x?page=2', 'same'],
    ['GET /evil?page=2', 'fails request-not-allowed'],
    ['GET /acme/x/info/refs?service=git-receive-pack', 'same'],
    ['GET /evil/x/info/refs?service=git-receive-pack', 'fails request-not-allowed'],
    ['GET /acme/ghp_0123456789abcdef', 'not judged'],
  ])('let through before: %s: %s', (what, answer) => {
    const rules = inspected({ path: '/acme/**' }, { path: '/tab', query: { page: '*' } });
    expect(change(what, rules)).toBe(answer);
  });

  it('refused before and allowed now pass, also where the host is not inspected any more', () => {
    expect(change('POST /x', inspected({ path: '/x', methods: ['POST'] }), refused)).toBe('passes');
    expect(change('POST /x', inspected({ path: '/y' }), refused)).toBe('same');
    expect(change('POST /x', { allow: ['github.com'] }, refused)).toBe('passes');
    expect(change('POST /x', { allow: ['other.example'] }, refused)).toBe('same');
    expect(change('POST /x', { allow: ['other.example'] })).toBe('fails host-not-allowed');
    expect(change('POST /x', inspected({ path: '/x', methods: ['POST'], headers: { a: 'b' } }))).toBe('not judged');
  });
});
