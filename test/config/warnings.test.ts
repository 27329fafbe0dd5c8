// Warnings: what makes a file odd and not invalid. Each has a line, and none keeps the policy from loading. Rules: lint.test.ts.
import { describe, expect, it } from 'vitest';
import { connect, inFolderOfItsOwn, loadText, NOW } from './support.ts';

inFolderOfItsOwn();

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
  it('nothing allowed', () => {
    const found = warnings('version: 1\n');
    expect(found.places).toEqual(['config-useless 1']);
    expect(found.text).toContain('every request is refused');
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
    ['admin for others, with TLS', 'admin: { listen: 0.0.0.0:3129, tls: { cert: a, key: b } }', [], ''],
    ['no admin', 'admin: off', [], ''],
    ['no admin, as false', 'admin: false', [], ''],
  ])('%s', (_, lines, places, words) => {
    const found = warnings(`version: 1\n${lines}\n${rule}`);
    expect(found.places).toEqual(places);
    expect(found.text).toContain(words);
  });
});
