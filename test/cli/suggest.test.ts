// `sallyport suggest` over a real audit log and store: what it prints is a policy that loads and lets through what was needed.
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadConfigHere } from '../../src/config/load-here.ts';
import type { SuggestedLine } from '../../src/report/suggest.ts';
import { claimed, type Event, START, writeHistory } from '../report/history.ts';
import { type, typeJson } from './console.ts';

const NOW = START + 72 * 3_600_000;
const both = (host: string, more: Partial<Event> = {}): Event[] =>
  ['a', 'b'].map((job) => ({ host, verdict: 'observe', identity: claimed('web', job), ...more }));
const EVENTS: Event[] = [
  ...both('agent.buildkite.com', { verdict: 'allow', group: 'buildkite-agent', rule: 'bk-agent' }),
  ...both('github.com'),
  ...both('sts.us-west-2.amazonaws.com', { verdict: 'deny' }),
  ...both('git.corp.example'),
  ...both('git.corp.example', { port: 8443 }),
  ...both('archive.example', { port: 80, method: 'GET' }),
  ...both('b.s3.us-west-2.amazonaws.com'),
  ...both('typo.example', { outcome: 'dns-failed' }),
  { host: 'once.example', verdict: 'observe', identity: claimed('evil\n  - pastebin.com', 'x') },
  ...both('gist.github.com', { verdict: 'deny', reason: 'host-denied' }),
  ...both('telemetry.example', { verdict: 'deny' }),
  { host: 'late.example', verdict: 'observe', hour: 71 },
];
const loadText = (file: string, text: string) => loadConfigHere({ file, text, now: NOW }).source;
const history = writeHistory(
  { allow: [{ group: 'buildkite-agent' }], deny: ['gist.github.com'], expected_denials: ['telemetry.example'] },
  EVENTS,
);
const args = ['suggest', '--config', history.configFile, '--since', '2026-11-20'];

describe('suggest', () => {
  it('--from and --to are a window, as in a report', async () => {
    const run = (...window: string[]) => type(['suggest', '--config', history.configFile, ...window], { now: NOW });
    const early = await run('--from', '2026-11-20', '--to', '2026-11-22');
    expect([early.code, early.out.includes('archive.example'), early.out.includes('late.example')]).toEqual([
      0,
      true,
      false,
    ]);
    const late = await run('--from', '2026-11-22');
    expect([late.out.includes('archive.example'), late.out.includes('late.example')]).toEqual([false, true]);
    expect((await run('--from', '1h', '--to', '2h')).code).toBe(2);
  });

  it('prints a policy that loads, with the doubtful lines commented out', async () => {
    const { code, out } = await type(args, { now: NOW });
    expect(code).toBe(0);
    const file = join(history.dir, 'suggested.yaml');
    writeFileSync(file, out);
    const { source, problems } = loadConfigHere({ file, now: NOW });
    expect(problems).toEqual([]);
    expect(
      source.rules.map(({ pattern, ports, group }) => `${pattern.text} ${ports?.join() ?? ''} ${group ?? ''}`.trim()),
    ).toEqual([
      'gist.github.com',
      ...['agent-edge.buildkite.com', 'agent.buildkite.com', 'buildkiteartifacts.com'].map(
        (host) => `${host} 443 buildkite-agent`,
      ),
      'sts.us-west-2.amazonaws.com 443 amazon-sts',
      'sts.amazonaws.com 443 amazon-sts',
      'github.com 443 github',
      'archive.example 80',
      'git.corp.example 443,8443',
    ]);
    expect(out).toContain('  # 2 requests, 2 jobs of web, first seen 2026-11-20\n');
    expect(out).toContain('  # - { group: amazon-s3, with: { region: us-west-2 } }');
    expect(out).toContain('b.s3.us-west-2.amazonaws.com:443');
    for (const host of ['typo.example', 'once.example', 'late.example']) expect(out).toContain(`  # - ${host}\n`);
    expect(out).not.toMatch(/- gist.*\n.*- gist|# - gist|- telemetry.*\n.*- telemetry|^ {2}- pastebin/m);
    expect(out).toContain(`#   ${history.configFile}:`);
    expect(out).toContain('# Unused rules are not looked for: the records cover 2 of the 30 days that it takes');
  });

  it('gives the same as JSON, and takes other bounds', async () => {
    const { json } = await typeJson<{ lines: SuggestedLine[] }>([...args, '--min-builds', '3'], { now: NOW });
    const host = json.lines.find((line) => line.pattern === 'git.corp.example');
    expect(host).toMatchObject({ by: 'host', ports: [443, 8443], review: ['few-jobs'], evidence: { jobs: 2 } });
    const other = await typeJson<{ lines: SuggestedLine[] }>([...args, '--pipeline', 'api'], { now: NOW });
    expect(other.json.lines).toEqual([]);
  });

  it('refuses a number that is none', async () => {
    const { code, err } = await type([...args, '--min-builds', 'two']);
    expect(code).toBe(2);
    expect(err).toContain('--min-builds two');
  });

  it('makes a patch, with what it knows and does not know before it', async () => {
    const { code, out } = await type([...args, '--diff'], { now: NOW });
    expect(code).toBe(0);
    const [before, diff] = [out.slice(0, out.indexOf('--- ')), out.slice(out.indexOf('--- '))];
    expect(before).toMatch(/^(?:# .*\n)+$/);
    expect(diff).toMatch(new RegExp(`^--- ${history.configFile}\\n\\+\\+\\+ ${history.configFile}\\n@@ `));
    const whole = await type(args, { now: NOW });
    const file = join(history.dir, 'patched.yaml');
    writeFileSync(file, readFileSync(history.configFile));
    const { status } = spawnSync('patch', ['--silent', file], { input: out });
    expect(status).toBe(0);
    expect(whole.out).toBe(`${before}${readFileSync(file, 'utf8')}`);
  });
});

describe('suggest without anything to change', () => {
  it('makes an empty patch, which patch(1) takes; the remarks are for the reader', async () => {
    const { code, out, err } = await type([...args, '--pipeline', 'api', '--diff'], { now: NOW });
    expect({ code, out }).toEqual({ code: 0, out: '' });
    expect(err).toContain('Suggested from the records of');
  });
});

describe('suggest after a long time', () => {
  const DAYS = 24;
  const old = writeHistory(
    {
      allow: [
        { group: 'buildkite-agent' },
        { group: 'gitlab' },
        'used.example',
        'forgotten.example',
        { host: '*.corp.example', for: { pipeline: 'nightly' } },
        'tested.example',
      ],
      observe: { addresses: ['10.0.0.0/8'] },
      tests: [{ allow: 'tested.example:443' }],
    },
    [
      ...both('gitlab.com', { verdict: 'allow', hour: -50 * DAYS, rule: 'x', identity: claimed('weekly', 'w') }),
      ...both('used.example', { verdict: 'allow', rule: 'x' }),
      ...both('git.corp.example', { verdict: 'deny', reason: 'address-prohibited', dropped: ['10.1.2.3 private'] }),
      ...both('used.example', {
        verdict: 'deny',
        reason: 'address-prohibited',
        dropped: ['fd00::7 private', '169.254.1.1 metadata'],
      }),
      ...both('wiki.corp.example', { addresses: ['10.9.9.9'] }),
      ...both('public.example', { addresses: ['9.9.9.9'] }),
      ...both('used.example', { verdict: 'allow', rule: 'x', hour: 71 }),
    ],
  );
  const typed = ['suggest', '--config', old.configFile];

  it('comments out what nothing used, with the last use, and says of whom nothing is known', async () => {
    const { out } = await type(typed, { now: NOW });
    expect(out).toContain('  # unused for 30 days, last used 2026-10-01\n  # - group: gitlab\n');
    expect(out).toContain('  # unused for 30 days, and never before in the records\n  # - forgotten.example\n');
    expect(out).toContain('#   nightly: never seen\n#   weekly: last seen 2026-10-01\n');
    const { rules } = loadText(old.configFile, out);
    expect(rules.map(({ pattern }) => pattern.text)).toEqual(
      expect.arrayContaining(['used.example', '*.corp.example', 'tested.example', 'public.example']),
    );
  });

  it('takes nothing away where nothing was recorded: a proxy that stood still is no evidence', async () => {
    const later = NOW + 40 * DAYS * 3_600_000;
    const { code, out } = await type(typed, { now: later });
    expect(code).toBe(0);
    expect(out).toMatch(/^# Nothing was recorded from 2026-\S+ to 2027-\S+\.$/m);
    expect(out).toContain('# Unused rules are not looked for: nothing was recorded in the window.');
    expect(out).not.toContain('unused for');
    // With a window that reaches back to the records, the days count from the last of them.
    const far = await type([...typed, '--since', '90d', '--unused-after', '60'], { now: later });
    expect(far.out).toContain('the records cover 52 of the 60 days');
  });

  it('looks for unused rules only as the operator says', async () => {
    const { out } = await type([...typed, '--unused-after', '60'], { now: NOW });
    expect(out).toContain('# Unused rules are not looked for: the records cover 52 of the 60 days that it takes');
    expect(out).not.toContain('# - group: gitlab');
    const one = await type([...typed, '--pipeline', 'web'], { now: NOW });
    expect(one.out).toContain('# Unused rules are not looked for: one pipeline does not say what others need');
    const long = await type([...typed, '--since', '60d'], { now: NOW });
    expect(long.out).not.toContain('# - group: gitlab');
    expect(long.out).toContain('# unused for 59 days, and never before');
  });

  it('shows internal hosts with the addresses that were met', async () => {
    const { out } = await type(typed, { now: NOW });
    expect(out).toContain('# - { host: git.corp.example, ports: [443], addresses: ["10.1.2.3/32"] }');
    expect(out).toContain('# - { host: wiki.corp.example, ports: [443], addresses: ["10.9.9.9/32"] }');
    expect(out).toMatch(/# +refused, used\.example:443: internal; add there addresses: \[fd00::7\/128\], or the range/);
    expect(out).toContain('\n  - public.example\n');
  });
});

it('a name that is one letter off an allowed one is for review, and no report says to allow it', async () => {
  const near = writeHistory({ mode: 'observe', allow: ['github.com', 'api1.corp.example'] }, [
    ...both('gihub.com', {
      nearest: { pattern: 'github.com', rule: 'github.com', why: 'did you mean github.com?', fix: '' },
    }),
    ...both('api2.corp.example'),
  ]);
  const { json } = await typeJson<{ lines: { pattern: string; review: string[] }[] }>(
    ['suggest', '--config', near.configFile],
    { now: NOW },
  );
  // In the same domain it is the same owner's.
  expect(json.lines.map(({ pattern, review }) => [pattern, review])).toEqual([
    ['api2.corp.example', []],
    ['gihub.com', ['look-alike']],
  ]);
  const { out } = await type(['suggest', '--config', near.configFile], { now: NOW });
  expect(out).toContain(
    '  #   one letter off a host that is allowed: a slip of the pen, or a squatter\n  # - gihub.com\n',
  );
  const report = await type(['report', '--config', near.configFile, '--from', '2026-11-20'], { now: NOW });
  expect(report.out).toContain('Mend the name where it is asked for: did you mean github.com?');
  expect(report.out).not.toContain('Add under allow: - gihub.com');
});
