// Every mistake in a catalog file is told with its file, line and column, all at once, and no catalog results.
import { describe, expect, test } from 'vitest';
import { added, freshFolders, GOOD, OWN, places, problems, shipped, write } from './folders.ts';

freshFolders();

describe('a mistake in a file is told where it stands', () => {
  const cases: [name: string, text: string, place: string, message: RegExp, hint?: RegExp][] = [
    [
      'an unknown key',
      GOOD.replace('        purpose:', '        multi_tennant: true\n        purpose:'),
      '10:9 config-unknown-key',
      /"multi_tennant" is not known/,
      /Did you mean multi_tenant\?/,
    ],
    [
      'an unknown key at the top',
      GOOD.replace('groups:', 'group:'),
      '3:1 config-unknown-key',
      /"group"/,
      /Did you mean groups\?/,
    ],
    [
      'an unknown key of a group',
      GOOD.replace('    title: One', '    titel: One'),
      '4:5 config-missing-key',
      /"title" is missing/,
    ],
    [
      'a key twice',
      GOOD.replace('    title: One', '    title: One\n    title: Two'),
      '6:5 config-duplicate-key',
      /unique/,
    ],
    [
      'a wrong value',
      GOOD.replace('confidence: doc', 'confidence: docs'),
      '12:21 config-value',
      /confidence is "docs"; allowed: doc, list/,
      /Did you mean doc\?/,
    ],
    ['a wrong type', GOOD.replace('host: one.example', 'host: 7'), '9:15 config-value', /host is 7; allowed: string/],
    [
      'a port out of range',
      GOOD.replace('        purpose:', '        ports: [443, 70000]\n        purpose:'),
      '10:22 config-value',
      /70000; allowed: at most 65535/,
    ],
    [
      'a fraction for a port',
      GOOD.replace('        purpose:', '        ports: [44.3]\n        purpose:'),
      '10:17 config-value',
      /44\.3/,
    ],
    ['an id that is not kebab-case', GOOD.replace('id: first', 'id: First_One'), '8:13 config-value', /kebab-case/],
    ['a missing key', GOOD.replace('        host: one.example\n', ''), '8:9 config-missing-key', /"host" is missing/],
    ['a wrong format number', GOOD.replace('format: 1', 'format: 2'), '1:9 config-value', /format is 2; allowed: 1/],
    [
      'a watched host that is no pattern',
      `${GOOD}watch:\n  - { host: "*.com", kind: doh, what: A, cite: B }\n`,
      `${GOOD.split('\n').length + 1}:13 config-pattern`,
      /whole public suffix/,
    ],
    [
      'a watched host of no known kind',
      `${GOOD}watch:\n  - { host: a.example, kind: dho, what: A, cite: B }\n`,
      `${GOOD.split('\n').length + 1}:30 config-value`,
      /kind is "dho"/,
      /Did you mean doh\?/,
    ],
    [
      'a host with a scheme',
      GOOD.replace('host: one.example', 'host: https://one.example/x'),
      '9:15 config-pattern',
      /no scheme/,
      /Write one\.example\./,
    ],
    ['a bracketed dot', GOOD.replace('host: one.example', 'host: one(.)example'), '9:15 config-pattern', /not allowed/],
    ['a public suffix', GOOD.replace('host: one.example', 'host: "*.com"'), '9:15 config-pattern', /public suffix/],
    ['everything', GOOD.replace('host: one.example', 'host: "*"'), '9:15 config-pattern', /every host/],
    [
      'an undeclared parameter',
      GOOD.replace('host: one.example', 'host: "{region}.example.org"'),
      '9:15 config-parameter',
      /does not declare/,
      /Declare region/,
    ],
    [
      'a misspelt parameter',
      GOOD.replace('host: one.example', 'host: "{regoin}.{region}.example.org"').replace(
        '    entries:',
        '    parameters: [{ name: region, about: r, example: x, kind: label, required: true }]\n    entries:',
      ),
      '10:15 config-parameter',
      /regoin/,
      /Did you mean \{region\}\?/,
    ],
    [
      'a parameter that no host uses',
      GOOD.replace(
        '    entries:',
        '    parameters:\n      - { name: region, about: r, example: x, kind: label, required: true }\n    entries:',
      ),
      '8:17 config-useless',
      /no host of group one uses/,
    ],
    [
      'a companion without a citation',
      GOOD.replace('        cite: the manual\n', ''),
      '8:9 config-missing-key',
      /no cite/,
    ],
    [
      'a companion without a confidence',
      GOOD.replace('        confidence: doc\n', ''),
      '8:9 config-missing-key',
      /no confidence/,
    ],
    ['no source', GOOD.replace('    source: companion\n', ''), '4:5 config-missing-key', /does not say its source/],
    [
      'the operator source',
      GOOD.replace('source: companion', 'source: operator'),
      '6:13 config-value',
      /published or companion/,
    ],
    [
      'a companion hidden in a published group',
      GOOD.replace('source: companion', 'source: published').replace(
        '        cite',
        '        source: companion\n        cite',
      ),
      '11:17 config-conflict',
      /without being asked for/,
    ],
    [
      'a published entry in a companion group',
      GOOD.replace('        cite', '        source: published\n        ports: [443]\n        cite'),
      '11:17 config-conflict',
      /companion group/,
    ],
    [
      'a published entry without ports',
      GOOD.replace('source: companion', 'source: published'),
      '8:9 config-missing-key',
      /no ports/,
    ],
    [
      'ssh without ports',
      GOOD.replace('        purpose:', '        scheme: ssh\n        purpose:'),
      '8:9 config-missing-key',
      /no ports/,
    ],
    [
      'paths over TLS',
      GOOD.replace('        cite', '        paths: [{ method: GET, path: /x }]\n        cite'),
      '11:16 config-conflict',
      /only in plain HTTP/,
    ],
    [
      'a path with an escape',
      GOOD.replace('        cite', '        paths: [{ method: GET, path: "/%2e" }]\n        cite'),
      '11:38 config-value',
      /no escape/,
    ],
    [
      'a metadata group without paths',
      GOOD.replace('    entries:', '    requires: proxy-host-identity\n    entries:'),
      '9:9 config-conflict',
      /via: direct and paths/,
    ],
    ['no mapping at all', '- one\n- two\n', '1:1 config-value', /the file is \["one","two"\]; allowed: a mapping/],
    ['an empty file', '', '1:1 config-empty', /is empty/],
    ['only comments', '# nothing\n', '1:1 config-empty', /is empty/],
    ['broken YAML', 'format: 1\ngroups: [\n', '3:1 config-syntax', /./],
    ['a tab for indentation', 'format: 1\ngroups:\n\t- id: x\n', '3:1 config-syntax', /[Tt]ab/],
    ['two documents', `${GOOD}---\nformat: 1\n`, '13:1 config-syntax', /documents/],
    [
      'an alias',
      GOOD.replace('title: One', 'title: &t One').replace('purpose: A host', 'purpose: *t'),
      '10:18 config-syntax',
      /alias \*t/,
    ],
    ['a tag', GOOD.replace('title: One', 'title: !secret One'), '5:12 config-syntax', /tag/],
  ];
  test.each(cases)('%s', (_name, text, place, message, hint) => {
    write(shipped, 'a.yaml', text);
    expect(places()).toContain(`catalog/a.yaml:${place}`);
    const found = problems().find(({ at, code }) => place === `${at?.line}:${at?.column} ${code}`);
    expect(found?.message).toMatch(message);
    expect(found?.hint).toMatch(hint ?? /./);
    expect(found?.severity).toBe('error');
  });
});

test('several mistakes in several files are told at once', () => {
  write(
    shipped,
    'a.yaml',
    GOOD.replace('host: one.example', 'host: "*.com"').replace(
      'confidence: doc',
      'confidence: doc\n      - { id: first, host: two.example, purpose: B, cite: c, confidence: doc }',
    ),
  );
  write(shipped, 'b.yaml', 'format: 1\nversion: "2"\n');
  write(added, 'own.yaml', OWN.replace('purpose', 'porpose'));
  expect(places()).toEqual([
    'catalog/a.yaml:13:15 config-conflict',
    'catalog/a.yaml:9:15 config-pattern',
    'catalog/b.yaml:2:10 config-conflict',
    'catalog.d/own.yaml:6:9 config-missing-key',
    'catalog.d/own.yaml:8:9 config-unknown-key',
  ]);
});
