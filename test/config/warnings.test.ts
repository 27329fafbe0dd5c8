// Warnings: what makes a file odd and not invalid. Each has a line, and none keeps the policy from loading.
import { describe, expect, it } from 'vitest';
import { connect, loadText, NOW } from './support.ts';

/** `code line` of each warning, and the whole text of all. */
function warnings(text: string, now = NOW): { places: string[]; text: string } {
  const { error, problems } = loadText(text, { now });
  if (error !== null) throw error;
  expect(problems.every((one) => one.severity === 'warning')).toBe(true);
  return {
    places: problems.map((one) => `${one.code} ${one.at?.line}`),
    text: problems.map((one) => `${one.message} ${one.hint}`).join('\n'),
  };
}

const policy = (...lines: string[]): string => `version: 1\nallow:\n${lines.map((line) => `  - ${line}\n`).join('')}`;

describe('rules', () => {
  it.each<[string, string, string[], string]>([
    ['expired', policy('{ host: a.example, expires: 2026-11-23 }'), ['config-expired 3'], '2026-11-23'],
    [
      'expired group, told once',
      policy('{ group: buildkite-agent, expires: 2020-01-01 }'),
      ['config-expired 3'],
      'group buildkite-agent',
    ],
    [
      'expired deny',
      `${policy('a.example')}deny: [{ host: b.example, expires: 2020-02-29 }]\n`,
      ['config-expired 4'],
      '2020-02-29',
    ],
    ['valid on its last day', policy('{ host: a.example, expires: 2026-11-24 }'), [], ''],
    ['twice', policy('a.example', 'A.example:443'), ['config-useless 4'], 'policy.yaml:3'],
    [
      'twice, with the default protocol spelled out',
      policy('a.example', '{ host: a.example, protocol: tls, ports: [443] }'),
      ['config-useless 4'],
      'twice',
    ],
    ['not twice: another port', policy('a.example', 'a.example:8443'), [], ''],
    ['not twice: for somebody else', policy('a.example', '{ host: a.example, for: { queue: x } }'), [], ''],
    [
      'not twice: two groups share hosts',
      policy('group: amazon-s3', '{ group: amazon-s3, with: { region: us-west-2 } }'),
      [],
      '',
    ],
    ['under a deny', `${policy('a.example')}deny: [a.example]\n`, ['config-useless 3'], 'policy.yaml:4'],
    ['under a wider deny', `${policy('"*.a.b.example"')}deny: ["*.b.example"]\n`, ['config-useless 3'], '*.b.example'],
    ['not under a deny of what is below it', `${policy('b.example')}deny: ["*.b.example"]\n`, [], ''],
    ['not under a narrower deny', `${policy('"*.b.example"')}deny: [a.b.example]\n`, [], ''],
    ['not under a deny of another port', `${policy('a.example')}deny: ["a.example:22"]\n`, [], ''],
    [
      'under two denies that cover its ports together',
      `${policy('{ host: a.example, ports: [22, 443] }')}deny: ["a.example:22", "*.example.org", "a.example:443"]\n`,
      ['config-useless 3'],
      'policy.yaml:4',
    ],
    ['not under a deny for somebody', `${policy('a.example')}deny: [{ host: a.example, for: { queue: x } }]\n`, [], ''],
    ['a wildcard of strangers', policy('"*.s3.amazonaws.com:8443"'), ['config-conflict 3'], "stranger's account"],
    ['metadata by address', policy('169.254.169.254:80'), ['config-useless 3'], 'sallyport env'],
    ['metadata by name', policy('metadata.google.internal:80'), ['config-useless 3'], 'instance-metadata'],
    [
      'an address guard switched off',
      policy('{ host: a.example, addresses: [0.0.0.0/0] }'),
      ['config-conflict 3'],
      'any address',
    ],
    ['nothing allowed', 'version: 1\n', ['config-useless 1'], 'every request is refused'],
    ['a companion group is fine', policy('group: google-auth'), [], ''],
  ])('%s', (_, text, places, words) => {
    const found = warnings(text);
    expect(found.places).toEqual(places);
    expect(found.text).toContain(words);
  });

  it('an expired rule is inert', () => {
    const outcome = loadText(policy('{ host: a.example, expires: 2026-11-23 }'));
    expect(connect(outcome, 'a.example:443')).toMatchObject({ verdict: 'deny', reason: 'rule-expired' });
  });

  it('a rule is valid to the last millisecond of its day in UTC', () => {
    const last = Date.UTC(2026, 10, 23, 23, 59, 59, 999);
    const outcome = loadText(policy('{ host: a.example, expires: 2026-11-23 }'), { now: last });
    expect(outcome.problems).toEqual([]);
    expect(connect(outcome, 'a.example:443', undefined, last).verdict).toBe('allow');
    expect(connect(outcome, 'a.example:443', undefined, last + 1).verdict).toBe('deny');
  });
});

describe('listeners', () => {
  const rule = 'allow: [a.example]\n';
  it.each<[string, string, string[], string]>([
    [
      'open to everyone',
      'listen: 0.0.0.0:3128\nclients: { from: [10.0.0.0/8, 0.0.0.0/0] }',
      ['config-conflict 3'],
      'OPEN TO EVERYONE',
    ],
    [
      'open to everyone on IPv6',
      'listen: "[::]:3128"\nclients: { from: ["::/0"] }',
      ['config-conflict 3'],
      'OPEN TO EVERYONE',
    ],
    ['on a network, for this machine only', 'listen: 10.0.0.5:3128', ['config-conflict 2'], 'only this machine'],
    ['on a network, for its clients', 'listen: 10.0.0.5:3128\nclients: { from: [10.0.0.0/8] }', [], ''],
    ['everyone, on loopback', 'clients: { from: [0.0.0.0/0] }', [], ''],
    ['admin for everyone', 'admin: 0.0.0.0:3129', ['config-conflict 2'], 'no password'],
    ['no admin', 'admin: off', [], ''],
    ['no admin, as false', 'admin: false', [], ''],
  ])('%s', (_, lines, places, words) => {
    const found = warnings(`version: 1\n${lines}\n${rule}`);
    expect(found.places).toEqual(places);
    expect(found.text).toContain(words);
  });
});
