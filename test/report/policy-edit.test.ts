// Edits of policy files as people write them: what comes in stands in a stable place, nothing else changes a byte, the result
// is the YAML that was meant, and patch(1) makes the same file of the diff.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { type Addition, editPolicy, type Removal } from '../../src/report/policy-edit.ts';
import { applyEdits, unifiedDiff } from '../../src/report/text-edits.ts';
import { tempDir, writeFile } from '../support/temp.ts';

const READY: Addition = { comments: ['2 requests'], item: 'new.example', review: false, extend: null };
const REVIEW: Addition = {
  comments: ['1 request'],
  item: '{ host: odd.example, ports: [22] }',
  review: true,
  extend: null,
};
const STS = (...values: string[]): Addition => ({
  ...{ comments: ['3 requests'], review: false },
  item: `{ group: amazon-sts, with: { region: [${values.join(', ')}] } }`,
  extend: { group: 'amazon-sts', parameter: 'region', values },
});

function edited(source: string, additions: readonly Addition[], removals: readonly Removal[] = []): string {
  const { edits } = editPolicy(source, ['suggested'], additions, removals);
  const after = applyEdits(source, edits);
  expect(patched(source, unifiedDiff(source, edits, 'policy.yaml'))).toBe(after);
  return after;
}

/** What patch(1) makes of the file. */
function patched(source: string, diff: string): string {
  const file = writeFile(join(tempDir('patch'), 'policy.yaml'), source);
  const { status, stdout, stderr } = spawnSync('patch', ['--silent', file], {
    input: `# remark\n${diff}`,
    encoding: 'utf8',
  });
  if (diff !== '') expect([status, stdout, stderr]).toEqual([0, '', '']);
  return readFileSync(file, 'utf8');
}

const allowOf = (text: string): unknown => (parse(text) as { allow: unknown }).allow;
const HOSTS: readonly [string, string][] = [
  [
    'a block list',
    'version: 1\nallow:\n  - a.example\n  - group: github # why\n    reason: builds\n\n  # tail\ndeny: []\n',
  ],
  ['a block list at the margin', 'allow:\n- a.example # x\n-   group: github\n\n\ndeny: []\n'],
  [
    'a last entry with a block scalar',
    'allow:\n  - host: a.example\n    reason: |\n      one\n\n      two\n\ndeny: []\n',
  ],
  ['an entry below its dash', 'allow:\n  -\n    # c\n    host: a.example\ndeny: []\n'],
  ['no line end at the end', 'version: 1\nallow:\n  - a.example'],
  ['lines that end with CRLF', 'version: 1\r\nallow:\r\n  - a.example # c\r\n\r\ndeny: []\r\n'],
  ['a byte-order mark', '\uFEFFallow:\n- a.example\nversion: 1\n'],
  ['an indented file', '  version: 1\n  allow:\n    - a.example\n'],
  ['a flow list', 'allow: [a.example, "b.example"] # c, d\nversion: 1\n'],
  ['a flow list with a comma at its end', 'allow: [a.example, ]\nversion: 1\n'],
  [
    'a flow list over lines',
    'allow: [\n  a.example, # one, two\n  { host: b.example, ports: [1, 2] } # last, none\n  ]\n',
  ],
  ['a flow list whose bracket is at the margin', 'allow: [\n  a.example,\n]\nversion: 1\n'],
  ['an empty list', 'allow: []  # nothing yet\nversion: 1\n'],
  ['an empty list with a comment in it', 'allow: [\n  # nothing\n  ]\nversion: 1\n'],
  ['an empty list with an anchor', 'allow: &none []\nversion: 1\n'],
  ['no list', '# only this\nversion: 1\nmode: observe # c\n# end\n'],
  ['no list, between marks', '---\nversion: 1\n...\n'],
  ['a flow file', '{ version: 1, allow: [a.example] }\n'],
  ['a flow file without a list', '{ version: 1 } # c\n'],
  ['anchors', 'x: &net [10.0.0.0/8]\nallow:\n  - &a { host: a.example, addresses: *net }\n  - *a\n'],
  ['an anchor on the list', 'allow: &list\n  - a.example\ndeny: []\n'],
  ['an alias for a list', 'expected_denials: &list [a.example, "*.b.example"]\nallow: *list\nversion: 1\n'],
  ['an explicit key', '? allow\n: - a.example\n? version\n: 1\n'],
  [
    'quotes, and a text that looks like a comment',
    "allow:\n  - 'a.example'\n  - {host: \"b.example\", reason: 'x # y'}\n",
  ],
];

describe.each(HOSTS)('an addition to %s', (what, source) => {
  const before = (allowOf(source) ?? []) as unknown[];

  it('stands behind what is there', () => {
    const after = edited(source, [READY, REVIEW]);
    expect(allowOf(after)).toEqual([...before, 'new.example']);
    expect({ ...(parse(after) as object), allow: null }).toEqual({ ...(parse(source) as object), allow: null });
    expect(after).toContain('# suggested');
    expect(after).toContain('# 2 requests');
  });

  it('only puts text in between, with the line ends of the file', () => {
    const { edits } = editPolicy(source, ['suggested'], [READY, REVIEW], []);
    const gone = edits.filter(({ remove }) => remove > 0).map(({ at, remove }) => source.slice(at, at + remove));
    // An empty list becomes a block list; an alias its own copy.
    expect(gone).toEqual(
      ({ 'an empty list': [' []'], 'an alias for a list': ['*list'] } as Record<string, string[]>)[what] ?? [],
    );
    if (source.includes('\r\n')) expect(applyEdits(source, edits).replaceAll('\r\n', '')).not.toContain('\n');
  });

  it('for review alone leaves the list as it is, and can be let in', () => {
    const after = edited(source, [REVIEW]);
    expect(allowOf(after)).toEqual(before);
    const let_in = after.replace(/# (- )?\{ host: odd/, '$1{ host: odd');
    expect(allowOf(let_in)).toEqual([...before, { host: 'odd.example', ports: [22] }]);
  });
});

describe('a new value of a group', () => {
  it.each([
    ['a value', 'region: us-west-2 # home', 'region: [us-west-2, eu-west-1] # home'],
    ['a value in quotes', 'region: "us-west-2"', 'region: ["us-west-2", eu-west-1]'],
    ['a list', 'region: [us-west-2, us-east-1 ]', 'region: [us-west-2, us-east-1, eu-west-1 ]'],
    ['a list with a comma at its end', 'region: [us-west-2,]', 'region: [us-west-2, eu-west-1,]'],
    ['a block list', 'region:\n        - us-west-2 # home', 'region:\n        - us-west-2 # home\n        - eu-west-1'],
  ])('goes into %s', (_, before, after) => {
    const source = (value: string, note = '') =>
      `allow:\n  - a.example\n${note}  - group: amazon-sts\n    with:\n      ${value}\n  - b.example\n`;
    expect(edited(source(before), [STS('eu-west-1')])).toBe(source(after, '  # 3 requests\n'));
  });

  it('goes into a flow entry, and says on which line', () => {
    const source = 'allow:\n  - { group: amazon-sts, with: { region: us-west-2 } }\n';
    expect(edited(source, [STS('eu-west-1', 'eu-west-2')])).toBe(
      'allow:\n  # 3 requests\n  - { group: amazon-sts, with: { region: [us-west-2, eu-west-1, eu-west-2] } }\n',
    );
    expect([...editPolicy(source, [], [STS('x')], []).extended.values()]).toEqual([2]);
  });

  it.each([
    ['the entry is limited', 'allow:\n  - { group: amazon-sts, with: { region: us-west-2 }, expires: 2027-01-01 }\n'],
    ['it is another group', 'allow:\n  - { group: amazon-s3, with: { region: us-west-2 } }\n'],
    ['the value has an anchor', 'allow:\n  - { group: amazon-sts, with: { region: &r us-west-2 } }\n'],
    [
      'the value is an alias',
      'allow:\n  - { host: a.example, owner: &r us-west-2 }\n  - { group: amazon-sts, with: { region: *r } }\n',
    ],
    ['the entry has an anchor', 'allow:\n  - &e { group: amazon-sts, with: { region: us-west-2 } }\n'],
    ['the list is in flow style', 'allow: [{ group: amazon-sts, with: { region: us-west-2 } }]\n'],
  ])('gets an entry of its own where %s', (_, source) => {
    const after = allowOf(edited(source, [STS('eu-west-1')])) as unknown[];
    expect(after).toEqual([
      ...(allowOf(source) as unknown[]),
      { group: 'amazon-sts', with: { region: ['eu-west-1'] } },
    ]);
  });

  it('goes into one entry once', () => {
    const source = 'allow:\n  - { group: amazon-sts, with: { region: us-west-2 } }\n';
    expect(allowOf(edited(source, [STS('a'), STS('b')]))).toEqual([
      { group: 'amazon-sts', with: { region: ['us-west-2', 'a'] } },
      { group: 'amazon-sts', with: { region: ['b'] } },
    ]);
  });
});

describe('an entry that goes', () => {
  const LONG =
    'allow:\n  # about a\n  - host: a.example # why\n    ports:\n    - 1\n\n    # inner\n    reason: |\n      x\n  - b.example\n';
  const unused = (line: number): Removal => ({ line, comments: ['unused'] });

  it('becomes a comment where it stands', () => {
    expect(edited(LONG, [], [unused(3)])).toBe(
      'allow:\n  # about a\n  # unused\n  # - host: a.example # why\n  #   ports:\n  #   - 1\n\n  #   # inner\n  #   reason: |\n  #     x\n  - b.example\n',
    );
  });

  it('goes while others come', () => {
    expect(allowOf(edited(LONG, [READY], [unused(3), unused(10)]))).toEqual(['new.example']);
  });

  it('stays where nothing would be left, or where something else needs it', () => {
    const kept = (source: string, lines: number[], more: Addition[] = []) => {
      const found = editPolicy(source, [], more, lines.map(unused));
      expect(found.removed.size).toBe(0);
    };
    kept('allow:\n  - a.example\n', [2]);
    kept('allow:\n  - a.example\n', [2], [REVIEW]);
    kept('allow:\n  - { host: a.example, addresses: &n [10.0.0.0/8] }\n  - { host: b.example, addresses: *n }\n', [2]);
    kept('allow: [a.example, b.example]\n', [1]);
    kept('allow:\n  - { group: amazon-sts, with: { region: a } }\n  - b.example\n', [2], [STS('b')]);
    kept('allow:\n  - a.example\n  - b.example\n', [7]);
  });
});

it('a diff of nothing is empty', () => expect(unifiedDiff('a\n', [], 'f')).toBe(''));

it('changes far apart are hunks of their own, near ones one', () => {
  const source = Array.from({ length: 40 }, (_, at) => `line ${at}\n`).join('');
  const at = (line: number) => source.indexOf(`line ${line}\n`);
  const insert = (line: number) => ({ at: at(line), remove: 0, text: 'new\n' });
  const edits = [insert(30), insert(2), { at: at(5), remove: 6, text: 'LINE 5' }];
  const diff = unifiedDiff(source, edits, 'f\u001b[31m');
  expect(diff.match(/^@@.*$/gm)).toEqual(['@@ -1,9 +1,10 @@', '@@ -28,6 +29,7 @@']);
  expect(diff).toContain('--- f\\u{1b}[31m\n');
  expect(patched(source, diff)).toBe(applyEdits(source, edits));
});
