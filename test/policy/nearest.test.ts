// The nearest miss: the right rule, the right words, a fix that loads, nothing that the client may not see, bounded work.
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import type { HintSource } from '../../src/policy/compile.ts';
import type { Decision, PolicyRequest } from '../../src/policy/decide.ts';
import { dateText, yamlScalar } from '../../src/policy/nearest-text.ts';
import { parsePattern } from '../../src/policy/pattern.ts';
import type { Nearest } from '../../src/policy/record.ts';
import { connect, DAY, deny, forward, NOW, policy, proven, rule } from './support.ts';

function nearestOf(decision: Decision): Nearest | null {
  return decision.verdict === 'deny' || decision.verdict === 'observe' ? decision.nearest : null;
}

const hint = (pattern: string, group: string, more: Partial<HintSource> = {}): HintSource => ({
  pattern,
  group,
  parameters: [...pattern.matchAll(/\{(\w+)\}/g)].map((match) => match[1] ?? ''),
  ports: [443],
  enabled: false,
  ...more,
});

const HINTS = [
  hint('pypi.test', 'pypi'),
  hint('*.s3.amazonaws.test', 'amazon-s3'),
  hint('*.s3.{region}.amazonaws.test', 'amazon-s3'),
  hint('s3.{region}.amazonaws.test', 'amazon-s3'),
  hint('{account}.dkr.ecr.{region}.amazonaws.test', 'amazon-ecr'),
  hint('prod-{region}-starport-layer-bucket.s3.{region}.amazonaws.test', 'amazon-ecr'),
  hint('{host}', 'artifactory'),
];

function ask(request: PolicyRequest, rules = [rule('api.test')], hints: readonly HintSource[] = []): Nearest | null {
  return nearestOf(policy(rules, { hints }).decide(request));
}

describe('a rule names the host and does not let it through', () => {
  test('another port', () => {
    expect(ask(connect('api.test:22'), [rule('api.test', { ports: [443, 8443], id: 'p.yaml:3' })])).toEqual({
      pattern: 'api.test',
      rule: 'p.yaml:3',
      why: 'api.test is allowed on port 443, 8443, not on 22',
      fix: '{ host: api.test, ports: [22] }',
    });
  });

  test('another protocol', () => {
    const http = [rule('h.test', { ports: [80, 443], protocol: 'http' })];
    expect(ask(connect('h.test:443'), http)).toMatchObject({
      why: 'h.test is allowed for protocol http, which does not admit a CONNECT tunnel',
      fix: '{ host: h.test, protocol: tls }',
    });
    const tls = [rule('h.test', { ports: [80, 443], protocol: 'tls' })];
    expect(ask(forward('h.test:80'), tls)).toMatchObject({
      why: 'h.test is allowed for protocol tls, which does not admit plain http:// requests',
      fix: '{ host: h.test, ports: [80], protocol: http }',
    });
  });

  test('expired: its last day, and a fix with a new one', () => {
    expect(ask(connect('api.test:443'), [rule('api.test', { expires: NOW - 1, origin: 'p.yaml:4' })])).toMatchObject({
      why: 'the rule api.test at p.yaml:4 expired; its last day was 2026-11-23 (UTC)',
      fix: '{ host: api.test, expires: 2027-02-22 }',
    });
  });

  test('selected for others: the rule is not shown', () => {
    const rules = [rule('api.test', { for: { pipeline: ['deploy'] }, id: 'secret' })];
    expect(ask(connect('api.test:443', { identity: proven({ pipeline: 'web', queue: 'x' }) }), rules)).toEqual({
      pattern: 'api.test',
      rule: null,
      why: 'api.test is allowed for other clients; no rule selects this one',
      fix: '{ host: api.test, for: { pipeline: web } }',
    });
  });

  test('denied: the line and its reason, and no fix', () => {
    const rules = [rule('*.test'), deny('gist.test', { id: 'p.yaml:9', origin: 'p.yaml:9', reason: 'leaks' })];
    expect(ask(connect('gist.test:443'), rules)).toEqual({
      pattern: 'gist.test',
      rule: 'p.yaml:9',
      why: 'gist.test is denied by gist.test at p.yaml:9 (leaks); a deny always wins',
      fix: '',
    });
  });

  test('path-bound', () => {
    const paths = ['/a', '/b', '/c', '/d'].map((path) => ({ method: 'GET', path }));
    expect(ask(forward('h.test:80', '/x'), [rule('h.test', { ports: [80], paths })])?.why).toBe(
      'h.test is open only for GET /a/…, GET /b/…, GET /c/… and 1 more',
    );
  });
});

describe('no rule names the host', () => {
  test('the apex of a wildcard', () => {
    expect(ask(connect('acme.test:443'), [rule('*.acme.test')])).toMatchObject({
      pattern: '*.acme.test',
      why: '*.acme.test covers the names below acme.test, not acme.test itself',
      fix: '{ host: acme.test }',
    });
  });

  test('a name below an exact entry', () => {
    expect(ask(connect('a.b.api.test:8443'))).toMatchObject({
      pattern: 'api.test',
      why: 'api.test is an exact entry; it does not cover names below it',
      fix: '{ host: a.b.api.test, ports: [8443] }',
    });
  });

  test.each([
    ['one letter more', 'githubb.test'],
    ['one letter less', 'gthub.test'],
    ['another letter', 'gitbub.test'],
    ['two swapped', 'gihtub.test'],
    ['in the last label', 'github.tesst'],
  ])('a slip of the pen: %s', (_why, host) => {
    const nearest = ask(connect(`${host}:443`), [rule('github.test')]);
    expect(nearest?.why).toBe('did you mean github.test? One letter differs from what github.test allows');
    // A look-alike may be a squatter's: no ready line to allow it.
    expect(nearest?.fix).toBe('');
  });

  test('a slip under a wildcard names the corrected host', () => {
    expect(ask(connect('bucket.stroage.test:443'), [rule('*.storage.test')])?.why).toBe(
      'did you mean bucket.storage.test? One letter differs from what *.storage.test allows',
    );
  });

  test.each([
    ['short labels differ by nature', 'b.test', [rule('a.test')]],
    ['two letters off', 'gitbubb.test', [rule('github.test')]],
    ['the apex of a misspelt wildcard', 'stroage.test', [rule('*.storage.test')]],
    ['nothing near', 'pastebin.invalid', [rule('github.test')]],
    ['an expired rule is not offered', 'gihtub.test', [rule('github.test', { expires: NOW - DAY })]],
    ['a deny rule is not offered', 'gihtub.test', [deny('github.test')]],
    ['an empty policy', 'api.test', []],
  ])('%s: nothing is said', (_why, host, rules) => {
    expect(ask(connect(`${host}:443`), rules)).toBeNull();
  });

  test.each([
    ['apex', 'secret.test', '*.secret.test'],
    ['below', 'a.secret.test', 'secret.test'],
    ['slip', 'secrat.test', 'secret.test'],
  ])('a rule for others is never shown: %s', (_why, host, pattern) => {
    const rules = [rule(pattern, { for: { pipeline: ['deploy'] } })];
    expect(ask(connect(`${host}:443`, { identity: proven({ pipeline: 'web' }) }), rules)).toBeNull();
    expect(ask(connect(`${host}:443`), rules)).toBeNull();
    expect(ask(connect(`${host}:443`, { identity: proven({ pipeline: 'deploy' }) }), rules)).not.toBeNull();
  });
});

describe('the catalog knows the host', () => {
  const s3 = [rule('*.s3.amazonaws.test')];

  test('a group that is not switched on', () => {
    expect(ask(connect('pypi.test:443'), [rule('api.test')], HINTS)).toEqual({
      pattern: 'pypi.test',
      rule: null,
      why: 'pypi.test is pypi.test of catalog group pypi, which the policy does not use',
      fix: '{ group: pypi }',
    });
  });

  test('with the value of its parameter', () => {
    expect(ask(connect('bucket.s3.us-west-2.amazonaws.test:443'), [rule('api.test')], HINTS)).toMatchObject({
      pattern: '*.s3.{region}.amazonaws.test',
      rule: null,
      fix: '{ group: amazon-s3, with: { region: us-west-2 } }',
    });
  });

  test('a group that is on without the value', () => {
    const on = HINTS.map((one) => (one.group === 'amazon-s3' ? { ...one, enabled: true } : one));
    expect(ask(connect('bucket.s3.us-west-2.amazonaws.test:443'), s3, on)).toMatchObject({
      why: 'bucket.s3.us-west-2.amazonaws.test is *.s3.{region}.amazonaws.test of catalog group amazon-s3, which is on without region us-west-2',
      fix: '{ group: amazon-s3, with: { region: us-west-2 } }',
    });
  });

  test('several parameters', () => {
    expect(ask(connect('123456789012.dkr.ecr.eu-west-1.amazonaws.test:443'), [], HINTS)?.fix).toBe(
      '{ group: amazon-ecr, with: { account: "123456789012", region: eu-west-1 } }',
    );
  });

  test('the most literal entry wins', () => {
    const host = 'prod-us-west-2-starport-layer-bucket.s3.us-west-2.amazonaws.test';
    expect(ask(connect(`${host}:443`), [], HINTS)?.fix).toBe('{ group: amazon-ecr, with: { region: us-west-2 } }');
  });

  test('among equals a group that is on wins, then the entry with fewer parameters', () => {
    const wide = hint('*.s3.{region}.amazonaws.test', 'amazon-s3');
    const narrow = hint('{bucket}.s3.{region}.amazonaws.test', 'amazon-s3-bucket');
    const request = connect('logs.s3.eu-west-1.amazonaws.test:443');
    expect(ask(request, [], [narrow, wide])?.fix).toBe('{ group: amazon-s3, with: { region: eu-west-1 } }');
    expect(ask(request, [], [wide, { ...narrow, enabled: true }])?.fix).toBe(
      '{ group: amazon-s3-bucket, with: { bucket: logs, region: eu-west-1 } }',
    );
  });

  test('one parameter has one value', () => {
    const host = 'prod-us-west-2-starport-layer-bucket.s3.eu-west-1.amazonaws.test';
    expect(ask(connect(`${host}:443`), [], HINTS)?.fix).toBe('{ group: amazon-s3, with: { region: eu-west-1 } }');
  });

  test.each([
    ['another port', 'pypi.test:22'],
    ['the apex of a template', 'amazonaws.test:443'],
    ['a parameter is one label', 's3.a.b.amazonaws.test:443'],
    ['a template that is all parameter says nothing', 'artifactory.corp:443'],
  ])('%s', (_why, target) => {
    expect(ask(connect(target), [], HINTS)).toBeNull();
  });
});

describe('the work is bounded', () => {
  test('a domain with thousands of names gives no spelling help', () => {
    const many = Array.from({ length: 1_000 }, (_, index) => rule(`name-${index}-x.big.test`));
    expect(ask(connect('name-5-y.big.test:443'), many)).toBeNull();
    expect(ask(connect('name-5-y.big.test:443'), many.slice(0, 100))?.why).toMatch(/did you mean name-5-x/);
  });

  test('candidates that lead nowhere run out', () => {
    const word = (index: number): string => `labe${String.fromCharCode(97 + (index % 26))}${index < 26 ? '' : index}`;
    const rules = Array.from({ length: 26 }, (_, index) => rule(`else.${word(index)}.test`));
    expect(ask(connect('host.label1.test:443'), rules)).toBeNull();
  });
});

describe('fixes are YAML of one allow entry', () => {
  test.each([
    [connect('[2001:db8::1]:22'), [rule('[2001:db8::1]')], { host: '[2001:db8::1]', ports: [22] }],
    [connect('10.0.0.1:22'), [rule('10.0.0.1')], { host: '10.0.0.1', ports: [22] }],
    [forward('api.test:8080'), [rule('api.test')], { host: 'api.test', ports: [8080], protocol: 'http' }],
    [forward('api.test:80'), [rule('api.test')], { host: 'api.test', ports: [80] }],
    [connect('api.test:80'), [rule('api.test')], { host: 'api.test', ports: [80], protocol: 'any' }],
    [connect('x.on:443'), [rule('*.x.on')], { host: 'x.on' }],
    [connect('_x.api.test:443'), [rule('api.test')], { host: '_x.api.test' }],
  ])('%#', (request, rules, entry) => {
    const fix = ask(request, rules)?.fix;
    expect(fix === undefined ? null : parse(fix)).toEqual(entry);
  });

  test.each([
    'web',
    'a "quoted" name',
    'x: y',
    '*',
    'true',
    'No',
    '123',
    '1e3',
    '',
    '- x',
    '#',
    'caf\u00e9',
    'a,b',
    '{x}',
  ])('a scalar stays a string: %j', (text) => {
    expect(parse(`{ key: ${yamlScalar(text)} }`)).toEqual({ key: text });
  });

  test('the suggested host is a pattern', () => {
    const fix = ask(connect('a.api.test:443'))?.fix ?? '';
    expect(parsePattern((parse(fix) as { host: string }).host).ok).toBe(true);
  });
});

test('dates are those of the calendar', () => {
  for (let day = -800_000; day < 800_000; day += 997) {
    const iso = new Date(day * DAY).toISOString();
    if (/^\d{4}-/.test(iso)) expect(dateText(day * DAY)).toBe(iso.slice(0, 10));
  }
  for (const date of ['2024-02-29', '2000-02-29', '2026-12-31', '2027-01-01', '1970-01-01', '2100-03-01']) {
    expect(dateText(Date.parse(`${date}T23:59:59.999Z`))).toBe(date);
  }
});
