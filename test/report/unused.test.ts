// Which rules may go: never without evidence.
import { describe, expect, it } from 'vitest';
import { loadConfigHere } from '../../src/config/load-here.ts';
import { Policy } from '../../src/policy/decide.ts';
import { ANONYMOUS, type Identity } from '../../src/policy/record.ts';
import { standingOf } from '../../src/report/standing.ts';
import { type UseRow, unusedRules } from '../../src/report/unused.ts';

const DAY = 86_400_000;
const NOW = Date.UTC(2026, 10, 24);
const FILE = 'p.yaml';
const POLICY = `version: 1
allow:
  - group: buildkite-agent
  - group: gitlab
  - a.example
  - { host: a.example, ports: [8443] }
  - { host: d.example, for: { pipeline: "deploy-*" } }
`;

const use = (host: string, days: number, identity: Identity = ANONYMOUS, port = 443): UseRow => ({
  ...{ host, port, kind: 'connect', identity, allowed: null, last_seen: NOW - days * DAY },
});

function unused(uses: readonly UseRow[], tested: readonly string[] = []): string[] {
  const policy = new Policy(loadConfigHere({ file: FILE, text: POLICY, now: NOW }).policy);
  const standing = (row: UseRow) => standingOf(policy, row, NOW);
  const input = { rules: policy.rules(), uses, standing, before: NOW - 30 * DAY, days: 30, tested: new Set(tested) };
  return unusedRules(input).map(({ origin, last }) => `${origin} ${last === null ? 'never' : (NOW - last) / DAY}`);
}

describe('unused', () => {
  it.each<[string, UseRow[], string[]]>([
    [
      'nothing was used: required groups and rules for who was not seen stay',
      [],
      ['p.yaml:4 never', 'p.yaml:5 never', 'p.yaml:6 never'],
    ],
    ['one host of a group is enough', [use('gitlab.com', 1)], ['p.yaml:5 never', 'p.yaml:6 never']],
    ['a use long ago is none', [use('a.example', 31), use('gitlab.com', 30)], ['p.yaml:5 31', 'p.yaml:6 never']],
    ['each port by itself', [use('a.example', 1, ANONYMOUS, 8443)], ['p.yaml:4 never', 'p.yaml:5 never']],
    [
      'a rule for a pipeline that was seen, and did not use it',
      [use('a.example', 1, { kind: 'job', attributes: { pipeline: 'deploy-web' }, claimed: {} })],
      ['p.yaml:4 never', 'p.yaml:6 never', 'p.yaml:7 never'],
    ],
    [
      'who only claims to be that pipeline was not seen',
      [use('a.example', 1, { kind: 'claimed', attributes: {}, claimed: { pipeline: 'deploy-web' } })],
      ['p.yaml:4 never', 'p.yaml:6 never'],
    ],
  ])('%s', (_, uses, found) => expect(unused(uses)).toEqual(found));

  it('keeps what a test of the file needs', () =>
    expect(unused([], ['p.yaml:5'])).toEqual(['p.yaml:4 never', 'p.yaml:6 never']));
});
