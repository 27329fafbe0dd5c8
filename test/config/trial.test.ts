// The `tests:` of a policy file: which hold, which refuse the file, and what a failing one says.
import { describe, expect, it } from 'vitest';
import { inFolderOfItsOwn, loadText, NOW } from './support.ts';

inFolderOfItsOwn();

const BASE = `version: 1
allow:
  - github.com
  - archive.example:80
  - { host: release.example, for: { pipeline: "deploy-*" }, accept: [dead, loose-selector], reason: a test proves it }
  - { host: trial.example, mode: observe }
  - { host: old.example, expires: 2026-11-23 }
  - { group: instance-metadata, i_understand: proxy-host-identity, accept: [metadata], reason: one machine }
deny: [gist.github.com]
tests:
`;

const run = (test: string, head = BASE, now = NOW) => loadText(`${head}  - ${test}\n`, { now });

describe('a test that holds', () => {
  it.each([
    'allow: github.com:443',
    'deny: github.com:22',
    'deny: pastebin.example:443',
    'deny: gist.github.com:443',
    'deny: release.example:443',
    '{ allow: release.example:443, as: { pipeline: deploy-web } }',
    '{ deny: release.example:443, as: { pipeline: web } }',
    'observe: trial.example:443',
    'allow: archive.example:80',
    '{ deny: archive.example:80, method: CONNECT }',
    'allow: http://archive.example/debian/',
    '{ allow: "http://archive.example/", method: POST }',
    'deny: http://169.254.169.254/latest/meta-data/iam/security-credentials/',
    'deny: "[::1]:443"',
  ])('%s', (test) => {
    const { error, problems } = run(test);
    expect(error).toBeNull();
    expect(problems.filter((one) => one.code !== 'lint-expired')).toEqual([]);
  });

  it('wants deny and the file only observes: it would be refused', () => {
    const outcome = run('deny: pastebin.example:443', 'version: 1\nmode: observe\nallow: [github.com]\ntests:\n');
    expect(outcome.error).toBeNull();
  });
});

describe('a test that fails', () => {
  it.each<[string, string[]]>([
    ['allow: pastebin.example:443', ['wants allow', 'deny (host-not-allowed)']],
    ['deny: github.com:443', ['wants deny', 'allow, by github.com at policy.yaml:3']],
    ['allow: gist.github.com:443', ['host-denied, by gist.github.com at policy.yaml:9']],
    ['allow: github.com:22', ['port-not-allowed', 'Nearest is github.com', 'policy.yaml:3'].slice(0, 2)],
    ['allow: release.example:443', ['challenge (credentials-required, by release.example at policy.yaml:5)']],
    ['observe: github.com:443', ['wants observe', 'allow']],
  ])('%s', (test, words) => {
    const { error, problems } = run(test);
    expect(error?.code).toBe('policy-test-failed');
    expect(problems[0]).toMatchObject({ code: 'policy-test-failed', severity: 'error', at: { line: 11 } });
    for (const word of words) expect(`${problems[0]?.message} ${problems[0]?.hint}`).toContain(word);
  });

  it('only because a rule has expired is a warning: time makes no file invalid', () => {
    const { error, problems } = run('allow: old.example:443');
    expect(error).toBeNull();
    expect(problems).toMatchObject([
      { code: 'lint-expired', at: { line: 7 } },
      { code: 'policy-test-failed', severity: 'warning', at: { line: 11 } },
    ]);
    expect(run('allow: old.example:443', BASE, NOW - 86_400_000).problems).toEqual([]);
  });
});

describe('a test that is no test', () => {
  it.each<[string, string, string]>([
    ['{}', 'config-missing-key', 'neither allow, deny nor observe'],
    ['{ allow: github.com:443, deny: github.com:443 }', 'config-conflict', 'both allow and deny'],
    ['allow: github.com', 'config-value', 'Did you mean github.com:443?'],
    ['allow: github.com/x', 'config-value', 'Did you mean github.com:443?'],
    ['allow: http://user@github.com/', 'config-value', 'http://user@github.com/'],
    ['{ allow: "http://github.com/", method: CONNECT }', 'config-conflict', 'CONNECT'],
    ['{ allow: github.com:80, method: get }', 'config-value', 'capitals'],
    ['{ allow: github.com:443, as: { pipelin: x } }', 'config-unknown-key', 'Did you mean pipeline?'],
  ])('%s', (test, code, words) => {
    const { error, problems } = run(test);
    expect(error).not.toBeNull();
    const found = problems.find((one) => one.code === code);
    expect(`${found?.message} ${found?.hint}`).toContain(words);
    expect(found?.at?.line).toBe(11);
  });
});

describe('a test of a request below its host', () => {
  const head = `version: 1
inspection: { ca: { cert: ca.pem, key: ca.key } }
allow:
  - { host: git.example, inspect: true, git: { fetch: "**", push: [acme/*] }, allow: [{ path: /acme/**, headers: { x-a: b } }] }
  - { host: late.example, inspect: true, read_only: true, expires: 2026-11-23 }
  - open.example
tests:
`;

  it.each([
    'allow: https://git.example/acme/x',
    '{ allow: "https://git.example/acme/x/git-receive-pack", method: POST }',
    '{ deny: "https://git.example/evil/x/git-receive-pack", method: POST }',
    '{ deny: "https://git.example/acme/x", method: DELETE }',
    'deny: https://git.example/acme/../x',
    'deny: https://git.example:8443/acme/x',
    'deny: https://other.example/acme/x',
    'allow: https://open.example/anything',
  ])('that holds: %s', (test) => {
    const { error } = run(test, head);
    expect(error).toBeNull();
  });

  it.each<[string, string[]]>([
    [
      'allow: https://git.example/evil',
      ['deny (request-not-allowed, by git.example at policy.yaml:4)', 'Nearest is GET, HEAD /acme/**'],
    ],
    ['deny: https://open.example/x', ['allow, by open.example at policy.yaml:6; the rule is not inspected']],
    ['{ allow: "https://git.example/acme/x", method: CONNECT }', ['a URL is never asked for by CONNECT']],
    ['allow: https://git.example/acme/x#y', ['"#" at position']],
  ])('that fails: %s', (test, words) => {
    const { error, problems } = run(test, head);
    expect(error).not.toBeNull();
    for (const word of words) expect(`${problems[0]?.message} ${problems[0]?.hint}`).toContain(word);
  });

  it('that held before its rule expired is a warning', () => {
    const { error, problems } = run('allow: https://late.example/x', head);
    expect(error).toBeNull();
    expect(problems.map(({ code }) => code)).toContain('policy-test-failed');
  });
});
