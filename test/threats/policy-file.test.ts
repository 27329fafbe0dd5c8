// The rows of docs/threat-model.md on what an operator may get wrong: a bad pattern, a bad key or an over-wide listener is
// refused at start with the line named, before anything listens.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { sallyport } from '../support/proxy-process.ts';
import { tempDir, writeFile } from '../support/temp.ts';

const CASE_MS = 20_000;

/** Starts `serve` on a file with `allow` as its fourth line, which must refuse to start and name that line. */
async function refusedAtStart(lines: readonly string[], line: number, code: string): Promise<string> {
  const dir = tempDir('policy');
  const text = ['version: 1', 'listen: 127.0.0.1:0', 'admin: 127.0.0.1:0', ...lines, ''].join('\n');
  const file = writeFile(join(dir, 'sallyport.yaml'), text);
  const done = await sallyport(['serve', '--config', file], { cwd: dir });
  expect(done.stdout).toBe('');
  expect(done.code).toBe(1);
  expect(done.stderr).toContain(code);
  expect(done.stderr).toMatch(new RegExp(`sallyport\\.yaml:${line}:\\d+`));
  expect(done.stderr).not.toMatch(/^\s+at /m);
  expect(existsSync(join(dir, 'data'))).toBe(false);
  return done.stderr;
}

const quoted = (text: string): string => JSON.stringify(text);

const PATTERNS: readonly (readonly [string, string])[] = [
  ['a star', '*'],
  ['a star and a dot', '*.'],
  ['a public suffix', '*.com'],
  ['a public suffix of two labels', '*.co.uk'],
  ['a public suffix without a star', 'com'],
  ['two stars', '*.*.example.com'],
  ['a star in the middle', 'a.*.example.com'],
  ['a star without a dot', '*example.com'],
  ['a star at the end', 'example.*'],
  ['a scheme', 'https://example.com'],
  ['a path', 'example.com/'],
  ['a space', 'exa mple.com'],
  ['a space at the end', 'example.com '],
  ['a tab', 'example.com\t'],
  ['a line end', 'example.com\n'],
  ['a NUL', 'example.com\0'],
  ['a non-ASCII letter', 'exämple.com'],
  ['full-width letters', 'ｅxample.com'],
  ['a zero-width space', 'example\u200b.com'],
  ['a trailing dot', 'example.com.'],
  ['a leading dot', '.example.com'],
  ['an empty label', 'example..com'],
  ['an empty pattern', ''],
  ['user information', 'user@example.com'],
  ['a regular expression', '^.*example\\.com$'],
  ['alternatives', '(a|b).example.com'],
  ['a comma list', 'a.example.com,b.example.com'],
  ['a port that is none', 'example.com:99999'],
  ['a port with a sign', 'example.com:+443'],
  ['a port range', 'example.com:1-65535'],
  ['a star as a port', 'example.com:*'],
  ['a wildcard over addresses', '*.0.0.1'],
  ['an address range as a host', '10.0.0.0/8'],
  ['an octal address', '0177.0.0.1'],
  ['a decimal address', '2130706433'],
  ['a v4-mapped address', '[::ffff:127.0.0.1]'],
  ['a zone id', '[fe80::1%eth0]'],
  ['everything below localhost', '*.localhost'],
  ['percent-encoding', '%2a.example.com'],
  ['a label of 64 bytes', `${'a'.repeat(64)}.example.com`],
  ['a name of 8 KiB', `${'a.'.repeat(4_096)}example.com`],
];

describe('F1 a pattern that is wider than it looks, or no pattern, is refused at start with its line', () => {
  // One file with all of them: a pattern that passed would be a line that is not named.
  let said = '';
  beforeAll(async () => {
    const lines = ['allow:', '  - good.example.com', ...PATTERNS.map(([, pattern]) => `  - ${quoted(pattern)}`)];
    said = await refusedAtStart(lines, 6, 'config-pattern');
  });

  it.each(PATTERNS.map(([name], at) => [name, at + 6] as const))('%s', (_, line) => {
    expect(said).toMatch(new RegExp(`sallyport\\.yaml:${line}:\\d+`));
  });

  it('the good one beside them is not named', () => {
    expect(said).not.toMatch(/sallyport\.yaml:5:/);
  });

  it.each(['*', '*.com'])('%s alone', { timeout: CASE_MS }, async (pattern) => {
    await refusedAtStart(['allow:', '  - good.example.com', `  - ${quoted(pattern)}`], 6, 'config-pattern');
  });
});

describe('F2 the same in a mapping and in a deny, where a pattern that matches nothing would be an open door', () => {
  it.each([
    ['a star under host', ['allow:', `  - host: "*"`], 5, 'config-pattern'],
    ['a star in deny', ['allow: []', 'deny:', '  - "*.com"'], 6, 'config-pattern'],
    ['a trailing dot in deny', ['allow: []', 'deny: [ "gist.example.com." ]'], 5, 'config-pattern'],
    ['a scheme in deny', ['allow: []', 'deny:', '  - host: https://gist.example.com'], 6, 'config-pattern'],
  ] as const)('%s', { timeout: CASE_MS }, async (_, lines, line, code) => {
    await refusedAtStart(lines, line, code);
  });
});

describe('F3 a typo in a key or a value never opens or closes anything silently', () => {
  it.each([
    ['deny misspelt', ['allow: []', 'denny: [ gist.example.com ]'], 5, 'config-unknown-key'],
    ['mode misspelt', ['allow: []', 'mode: enforced'], 5, 'config-value'],
    [
      'a rule with a key that is not known',
      ['allow:', '  - host: a.example.com', '    port: 443'],
      6,
      'config-unknown-key',
    ],
    ['ports as text', ['allow:', '  - host: a.example.com', '    ports: ["443"]'], 6, 'config-value'],
    ['port 0', ['allow:', '  - host: a.example.com', '    ports: [0]'], 6, 'config-value'],
    ['a protocol that is none', ['allow:', '  - host: a.example.com', '    protocol: tcp'], 6, 'config-value'],
    [
      'a range with bits beyond its length',
      ['allow:', '  - host: a.example.com', '    addresses: [10.0.0.5/8]'],
      6,
      'config-cidr',
    ],
    ['a date that is none', ['allow:', '  - host: a.example.com', '    expires: 2026-02-30'], 6, 'config-value'],
    ['a limit out of its range', ['allow: []', 'limits:', '  head_timeout_ms: 0'], 6, 'config-'],
    ['a limit that is not known', ['allow: []', 'limits:', '  head_timeout: 5'], 6, 'config-unknown-key'],
    ['metadata without the sentence that opts in', ['allow:', '  - group: instance-metadata'], 5, 'config-'],
  ] as const)('%s', { timeout: CASE_MS }, async (_, lines, line, code) => {
    await refusedAtStart(lines, line, code);
  });
});
