// What a change of a policy gives and takes: by what rules let through, for whom, and not by their text.
import { describe, expect, it } from 'vitest';
import type { RuleSource } from '../../src/policy/compile.ts';
import { policyChanges } from '../../src/report/policy-diff.ts';
import { ruleText, whoText } from '../../src/report/render-check.ts';
import { cidr, DAY, deny, NOW, rule } from '../policy/support.ts';

const WEB = { for: { pipeline: ['web'] }, layer: 'pipelines/web.yaml' };

function changes(before: readonly RuleSource[], after: readonly RuleSource[]): string[] {
  return policyChanges(before, after, NOW).flatMap(({ for: who, gains, loses }) => [
    ...gains.map((one) => `${whoText(who)} + ${ruleText(one)}`),
    ...loses.map((one) => `${whoText(who)} - ${ruleText(one)}`),
  ]);
}

describe('a change', () => {
  it.each<[string, RuleSource[], RuleSource[], string[]]>([
    ['none', [rule('a.test')], [rule('a.test')], []],
    [
      'none where a rule moves and is written otherwise',
      [rule('a.test')],
      [rule('a.test', { ports: [443], protocol: 'tls', origin: 'x:9' })],
      [],
    ],
    ['a new host', [], [rule('a.test')], ['everyone + a.test:443 (tls)']],
    ['a host that goes', [rule('a.test')], [], ['everyone - a.test:443 (tls)']],
    ['none where a wildcard covers what goes', [rule('a.x.test'), rule('*.x.test')], [rule('*.x.test')], []],
    ['a wildcard in place of a name', [rule('a.x.test')], [rule('*.x.test')], ['everyone + *.x.test:443 (tls)']],
    [
      'the port that is new',
      [rule('a.test')],
      [rule('a.test', { ports: [443, 8443] })],
      ['everyone + a.test:8443 (tls)'],
    ],
    ['another protocol', [rule('a.test')], [rule('a.test', { protocol: 'any' })], ['everyone + a.test:443 (any)']],
    [
      'addresses',
      [rule('a.test')],
      [rule('a.test', { addresses: [cidr('10.0.0.0/8')] })],
      ['everyone + a.test:443 (tls) into 10.0.0.0/8'],
    ],
    ['for one pipeline', [], [rule('a.test', WEB)], ['pipeline web + a.test:443 (tls)']],
    ['none for a pipeline that has it from the base', [rule('a.test')], [rule('a.test'), rule('a.test', WEB)], []],
    ['from everyone to one pipeline', [rule('a.test')], [rule('a.test', WEB)], ['everyone - a.test:443 (tls)']],
    ['from one pipeline to everyone', [rule('a.test', WEB)], [rule('a.test')], ['everyone + a.test:443 (tls)']],
    [
      'to fewer of the same',
      [rule('a.test', WEB)],
      [rule('a.test', { for: { pipeline: ['web'], branch: ['main'] } })],
      ['pipeline web - a.test:443 (tls)'],
    ],
    [
      'to more of the same',
      [rule('a.test', WEB)],
      [rule('a.test', { for: { pipeline: ['w*'] } })],
      ['pipeline w* + a.test:443 (tls)'],
    ],
    ['a deny that comes', [rule('a.test')], [rule('a.test'), deny('a.test')], ['everyone - deny a.test:*']],
    ['a deny that goes', [deny('a.test', { ports: [22] })], [], ['everyone + deny a.test:22']],
    ['a host that comes and is denied', [deny('a.test')], [deny('a.test'), rule('a.test')], []],
    ['a rule that has expired goes', [rule('a.test', { expires: NOW - DAY })], [], []],
  ])('%s', (_, before, after, wanted) => expect(changes(before, after)).toEqual(wanted));
});
