// `sallyport suggest` over a real audit log and store: what it prints is a policy that loads and lets through what was needed.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadConfigHere } from '../../src/config/load.ts';
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
const history = writeHistory(
  { allow: [{ group: 'buildkite-agent' }], deny: ['gist.github.com'], expected_denials: ['telemetry.example'] },
  EVENTS,
);
const args = ['suggest', '--config', history.configFile, '--since', '2026-11-20'];

describe('suggest', () => {
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
    expect(out).not.toMatch(/gist|telemetry|^ {2}- pastebin/m);
    expect(out).toContain(`#   ${history.configFile}:`);
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
});
