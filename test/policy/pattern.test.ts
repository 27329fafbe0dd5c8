// What may stand in a policy as a host, and the spelling that is offered instead: docs/threat-model.md, "Wildcards".

import { describe, expect, test } from 'vitest';
import { isMultiTenant, type Pattern, parsePattern, parseRuleText } from '../../src/policy/pattern.ts';
import fc from '../support/property.ts';

function pattern(text: string): Pattern {
  const result = parsePattern(text);
  if (!result.ok) throw new Error(result.problem);
  return result.pattern;
}

describe('a pattern that is accepted', () => {
  test.each([
    ['github.com', 'exact', 'github.com', 'github.com'],
    ['GitHub.com', 'exact', 'github.com', 'github.com'],
    ['localhost', 'exact', 'localhost', 'localhost'],
    ['build.localhost', 'exact', 'build.localhost', 'build.localhost'],
    ['git.corp', 'exact', 'git.corp', 'git.corp'],
    ['*.s3.amazonaws.com', 'wildcard', 's3.amazonaws.com', '*.s3.amazonaws.com'],
    ['*.Blob.core.Windows.net', 'wildcard', 'blob.core.windows.net', '*.blob.core.windows.net'],
    ['*.corp', 'wildcard', 'corp', '*.corp'],
    ['*.github.io', 'wildcard', 'github.io', '*.github.io'],
    ['10.0.0.1', 'address', '10.0.0.1', '10.0.0.1'],
    ['::1', 'address', '::1', '[::1]'],
    ['[2001:DB8::1]', 'address', '2001:db8::1', '[2001:db8::1]'],
  ])('%s', (raw, kind, host, text) => {
    expect(parsePattern(raw)).toEqual({ ok: true, pattern: { kind, host, text } });
  });
});

describe('a pattern that is refused', () => {
  const cases: [raw: string, problem: RegExp, suggestion: string | null][] = [
    ['', /empty/, null],
    ['*', /open the proxy to every host/, null],
    ['*.', /no domain after/, null],
    ['*.com', /public suffix/, null],
    ['*.co.uk', /public suffix/, null],
    ['*.COM', /public suffix/, null],
    ['com', /public suffix/, null],
    ['co.uk', /public suffix/, null],
    ['*.*.acme.dev', /stands only once/, '*.acme.dev'],
    ['*.*.x', /stands only once/, '*.x'],
    ['a.*.b.dev', /whole first label/, '*.b.dev'],
    ['*x.com', /whole first label/, '*.x.com'],
    ['*example.com', /whole first label/, '*.example.com'],
    ['api-*.acme.dev', /whole first label/, '*.acme.dev'],
    ['**.acme.dev', /whole first label/, '*.acme.dev'],
    ['*com', /whole first label/, null],
    ['?.acme.dev', /position 1/, null],
    ['https://Example.com/', /no scheme/, 'example.com'],
    ['https://u:p@Example.com:8443/x?y', /no scheme/, 'example.com'],
    ['https://*.example.com', /no scheme/, '*.example.com'],
    ['example.com/', /no path/, 'example.com'],
    ['example.com/releases', /no path/, 'example.com'],
    ['10.0.0.0/8', /no path/, '10.0.0.0'],
    ['example.com:8443', /no port/, 'example.com'],
    ['example.com.', /no trailing dot/, 'example.com'],
    ['*.example.com.', /no trailing dot/, '*.example.com'],
    ['.example.com', /empty label/, '*.example.com'],
    ['example..com', /empty label/, null],
    [' example.com', /space at position 1/, 'example.com'],
    ['example.com ', /space at position 12/, 'example.com'],
    ['exa mple.com', /space at position 4/, null],
    ['ex\u00e4mple.com', /non-ASCII character U\+00E4/, null],
    ['user@example.com', /user information/, 'example.com'],
    ['*.localhost', /this machine/, null],
    ['*.a.localhost', /this machine/, null],
    ['*.10.0.0.1', /IP address has no names/, null],
    ['*.1', /ends in a number/, null],
    ['*.[::1]', /position|IP address/, null],
    ['0x7f.1', /ends in a number/, null],
    ['127.1', /ends in a number/, null],
    ['::ffff:10.0.0.1', /v4-mapped/, '10.0.0.1'],
    ['[::ffff:10.0.0.1]', /v4-mapped/, '10.0.0.1'],
    ['fe80::1%eth0', /zone id/, null],
    [`https://${'a'.repeat(2_000)}/`, /no scheme/, null],
  ];
  test.each(cases)('%j', (raw, problem, suggestion) => {
    expect(parsePattern(raw)).toEqual({ ok: false, problem: expect.stringMatching(problem), suggestion });
  });
});

describe('the string form of a rule', () => {
  test.each([
    ['github.com', 'github.com', null],
    ['github.com:22', 'github.com', 22],
    ['*.acme.dev:8443', '*.acme.dev', 8443],
    ['[::1]:443', '[::1]', 443],
    ['[::1]', '[::1]', null],
    ['::1', '[::1]', null],
    ['10.0.0.1:80', '10.0.0.1', 80],
  ])('%s', (raw, text, port) => {
    expect(parseRuleText(raw)).toMatchObject({ ok: true, pattern: { text }, port });
  });

  test.each([
    ['acme.dev:0', /1 to 65535/, 'acme.dev'],
    ['acme.dev:', /1 to 65535/, 'acme.dev'],
    ['acme.dev:0443', /1 to 65535/, 'acme.dev'],
    ['acme.dev:65536', /1 to 65535/, 'acme.dev'],
    ['acme.dev:https', /1 to 65535/, 'acme.dev'],
    ['acme.dev:1:2', /not an IPv6 address/, null],
    ['https://Acme.dev:8443/x', /no scheme/, 'acme.dev:8443'],
    ['*acme.dev:8443', /whole first label/, '*.acme.dev:8443'],
    ['*.com:443', /public suffix/, null],
    ['*:443', /open the proxy/, null],
  ])('%s is refused', (raw, problem, suggestion) => {
    expect(parseRuleText(raw)).toEqual({ ok: false, problem: expect.stringMatching(problem), suggestion });
  });
});

const pieces = fc
  .array(
    fc.constantFrom('*', '.', 'a', 'acme', 'dev', 'com', ':443', '://', '/', '[', ']', '::1', '@', ' ', '10', 'X'),
    {
      maxLength: 8,
    },
  )
  .map((parts) => parts.join(''));

test('a canonical pattern is a fixed point, and a suggestion is always a pattern', () => {
  fc.assert(
    fc.property(pieces, (raw) => {
      const result = parsePattern(raw);
      if (result.ok) expect(parsePattern(result.pattern.text)).toEqual(result);
      else if (result.suggestion !== null) expect(pattern(result.suggestion).text).toBe(result.suggestion);
      const rule = parseRuleText(raw);
      if (!rule.ok && rule.suggestion !== null) expect(parseRuleText(rule.suggestion).ok, rule.suggestion).toBe(true);
    }),
    { numRuns: 1_000 },
  );
});

test.each([
  ['*.s3.amazonaws.com', true],
  ['s3.amazonaws.com', true],
  ['*.blob.core.windows.net', true],
  ['*.github.io', true],
  ['my-bucket.s3.amazonaws.com', false],
  ['*.my-bucket.s3.amazonaws.com', false],
  ['*.github.com', false],
  ['*.corp', false],
  ['10.0.0.1', false],
])('%s: anyone may own a name there: %s', (text, expected) => {
  expect(isMultiTenant(pattern(text))).toBe(expected);
});
