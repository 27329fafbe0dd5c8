// Compiled policies: what a worker hands over decides as what it made, and nothing is lost or widened on the way.

import { describe, expect, test } from 'vitest';
import { compilePolicy, literalSuffix, policyTransfer, type RuleSource } from '../../src/policy/compile.ts';
import { type Decision, Policy } from '../../src/policy/decide.ts';
import fc from '../support/property.ts';
import { cidr, connect, DAY, deny, forward, NOW, proven, rule, source } from './support.ts';

const RULES: readonly RuleSource[] = [
  rule('api.test', { ports: [443, 8443], reason: 'caf\u00e9 \u2603 \u{1f512}' }),
  rule('*.api.test', { for: { pipeline: ['web'] }, expires: NOW + DAY }),
  rule('git.test', { ports: [22], addresses: [cidr('10.0.0.0/8')] }),
  rule('169.254.169.254', { ports: [80], metadata: true, paths: [{ method: 'GET', path: '/tags' }] }),
  deny('bad.api.test'),
];
const REQUESTS = [
  connect('api.test:443'),
  connect('x.api.test:443'),
  connect('x.api.test:443', { identity: proven({ pipeline: 'web' }) }),
  connect('bad.api.test:443'),
  connect('git.test:22'),
  connect('aip.test:443'),
  connect('pypi.test:443'),
  forward('169.254.169.254:80', '/tags/x'),
  forward('169.254.169.254:80', '/iam'),
];
const SOURCE = source(RULES, {
  hints: [{ pattern: 'pypi.test', group: 'pypi', parameters: [], ports: [443], enabled: false }],
  modes: [{ for: { queue: ['x'] }, mode: 'observe' }],
  self: [{ address: '127.0.0.1', port: 3128 }],
});

const answers = (policy: Policy): Decision[] => REQUESTS.map((request) => policy.decide(request));

test('a policy that was transferred decides as before, and the sender keeps nothing', () => {
  const compiled = compilePolicy(SOURCE);
  const before = answers(new Policy(compiled));
  const transfer = policyTransfer(compiled);
  const moved = structuredClone(compiled, { transfer });
  expect(answers(new Policy(moved))).toEqual(before);
  expect(new Policy(moved).digest).toBe('test');
  expect(compiled.trie.table.length).toBe(0);
  expect(compiled.textBytes.length).toBe(0);
});

test('a policy that was copied decides as before', () => {
  const compiled = compilePolicy(SOURCE);
  expect(answers(new Policy(structuredClone(compiled)))).toEqual(answers(new Policy(compiled)));
});

test('the transfer list has every array of the policy, each buffer once', () => {
  const compiled = compilePolicy(SOURCE);
  const transfer = policyTransfer(compiled);
  expect(new Set(transfer).size).toBe(transfer.length);
  const buffers = [compiled, compiled.trie, compiled.hintTrie].flatMap((holder) =>
    Object.values(holder).flatMap((value: unknown) => (ArrayBuffer.isView(value) ? [value.buffer] : [])),
  );
  expect(new Set(buffers)).toEqual(new Set(transfer));
});

test('equal content has one row, whatever object it came in', () => {
  const compiled = compilePolicy(
    source(
      Array.from({ length: 50 }, (_, i) =>
        rule(`h${i}.test`, { ports: [443, 22], for: { queue: ['a'] }, addresses: [cidr('10.0.0.0/8')] }),
      ),
    ),
  );
  expect(compiled.ports).toEqual([null, [443, 22]]);
  expect(compiled.selectors).toEqual([null, { queue: ['a'] }]);
  expect(compiled.addresses).toHaveLength(2);
  expect(compiled.paths).toEqual([null]);
});

test('an empty list is not the same as none: it never opens anything', () => {
  const policy = new Policy(
    compilePolicy(source([rule('a.test', { ports: [] }), rule('b.test', { ports: [80], paths: [] })])),
  );
  expect(policy.decide(connect('a.test:443'))).toMatchObject({ verdict: 'deny', reason: 'port-not-allowed' });
  expect(policy.decide(forward('b.test:80'))).toMatchObject({ verdict: 'deny', reason: 'path-not-allowed' });
});

test('texts of any length and script come back whole', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ reason: fc.string({ unit: 'grapheme', maxLength: 300 }), owner: fc.string() }), {
        maxLength: 20,
      }),
      (texts) => {
        const rules = texts.map((text, index) => rule(`h${index}.test`, text));
        const views = [...new Policy(compilePolicy(source(rules))).rules()];
        expect(views.map(({ reason, owner }) => ({ reason, owner }))).toEqual(texts);
      },
    ),
    { numRuns: 100 },
  );
});

test('a text larger than the first buffer', () => {
  const reason = '\u2603'.repeat(100_000);
  const policy = new Policy(
    compilePolicy(source([rule('a.test'), rule('b.test', { reason }), rule('c.test', { reason: 'short' })])),
  );
  expect([...policy.rules()].map((view) => view.reason)).toEqual([null, reason, 'short']);
});

test('the same rule gives the same frozen object', () => {
  const policy = new Policy(compilePolicy(SOURCE));
  const first = policy.decide(connect('api.test:443'));
  const second = policy.decide(connect('api.test:443'));
  expect(first).toMatchObject({ verdict: 'allow' });
  if (first.verdict !== 'allow' || second.verdict !== 'allow') return;
  expect(first.rule).toBe(second.rule);
  expect(Object.isFrozen(first.rule)).toBe(true);
});

describe('the literal end of a template', () => {
  test.each([
    ['*.s3.{region}.amazonaws.test', 'amazonaws.test'],
    ['*.s3.amazonaws.test', 's3.amazonaws.test'],
    ['pypi.test', 'pypi.test'],
    ['prod-{region}.x.test', 'x.test'],
    ['{host}', ''],
    ['a.{zone}', ''],
  ])('%s: %j', (template, suffix) => {
    expect(literalSuffix(template)).toBe(suffix);
  });
});
