// Loading: every mistake in a catalog file is told with its file, line and column, all at once, and no catalog results.
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Catalog } from '../../src/catalog/catalog.ts';
import { loadCatalog, SHIPPED_CATALOG } from '../../src/catalog/load.ts';
import { type Problem, SallyportError } from '../../src/errors.ts';

let home: string;
let shipped: string;
let added: string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'sallyport-catalog-'));
  shipped = join(home, 'catalog');
  added = join(home, 'catalog.d');
  mkdirSync(shipped);
  mkdirSync(added);
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

const GOOD = `format: 1
version: "1"
groups:
  - id: one
    title: One
    source: companion
    entries:
      - id: first
        host: one.example
        purpose: A host
        cite: the manual
        confidence: doc
`;

const OWN = `format: 1
groups:
  - id: corp
    title: Corp
    entries:
      - id: corp-git
        host: git.corp.example
        purpose: Our Git host
`;

function write(folder: string, name: string, text: string | Buffer): void {
  writeFileSync(join(folder, name), text);
}

function load(): Catalog {
  return loadCatalog([added], shipped);
}

function problems(): readonly Problem[] {
  try {
    load();
  } catch (error) {
    expect(error).toBeInstanceOf(SallyportError);
    if (error instanceof SallyportError) {
      expect(error.code).toBe('catalog-invalid');
      return error.problems;
    }
  }
  return [];
}

/** As "name:line:column code". */
function places(): string[] {
  return problems().map(({ at, code }) => `${at?.file.slice(home.length + 1)}:${at?.line}:${at?.column} ${code}`);
}

test('the shipped catalog loads, has a version, and its digest is stable', () => {
  const catalog = loadCatalog();
  expect(catalog.version).toMatch(/^\d{4}\.\d{2}/);
  expect(catalog.digest).toMatch(/^sha256:[0-9a-f]{64}$/);
  expect(loadCatalog([SHIPPED_CATALOG]).digest).toBe(catalog.digest);
  expect(catalog.groups.size).toBeGreaterThan(50);
});

test('the loaded catalog cannot be changed', () => {
  const group = loadCatalog().groups.get('buildkite-agent');
  expect(() => Object.assign(group?.entries[0] ?? {}, { host: 'evil.example' })).toThrow(TypeError);
  expect(() => Object.assign(group?.entries ?? {}, { length: 0 })).toThrow(TypeError);
});

test('a folder that does not exist adds nothing', () => {
  expect(loadCatalog([join(home, 'nowhere')]).digest).toBe(loadCatalog().digest);
});

test('an entry takes its defaults from its scheme, its group and its folder', () => {
  write(shipped, 'a.yaml', GOOD);
  write(added, 'own.yaml', OWN);
  expect(load().groups.get('corp')).toMatchObject({
    source: 'operator',
    need: 'optional',
    parameters: [],
    entries: [
      {
        id: 'corp-git',
        group: 'corp',
        ports: [443],
        scheme: 'https',
        need: 'optional',
        source: 'operator',
        via: 'proxy',
        multi_tenant: false,
        ports_stated: true,
      },
    ],
  });
});

test('the digest follows the content, not the order of keys or the comments', () => {
  write(shipped, 'a.yaml', GOOD);
  const before = load().digest;
  write(
    shipped,
    'a.yaml',
    `# a comment\n${GOOD.replace('    title: One\n    source: companion\n', '    source: companion\n    title: One\n')}`,
  );
  expect(load().digest).toBe(before);
  write(added, 'own.yaml', OWN);
  const withOwn = load().digest;
  expect(withOwn).not.toBe(before);
  write(added, 'own.yaml', OWN.replace('git.corp', 'scm.corp'));
  expect(load().digest).not.toBe(withOwn);
});

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

describe('catalog.d may add, not redefine', () => {
  const cases: [name: string, text: string, place: string, message: RegExp][] = [
    [
      'a shipped group',
      OWN.replace('id: corp\n', 'id: one\n'),
      '3:9 config-conflict',
      /group id one belongs to the shipped catalog/,
    ],
    [
      'a shipped entry',
      OWN.replace('corp-git', 'first'),
      '6:13 config-conflict',
      /entry id first belongs to the shipped catalog/,
    ],
    [
      'the version',
      OWN.replace('format: 1', 'format: 1\nversion: "9"'),
      '2:10 config-conflict',
      /a file in catalog.d has none/,
    ],
    [
      'the published source',
      OWN.replace('    title', '    source: published\n    title'),
      '4:13 config-value',
      /allowed is operator/,
    ],
    [
      'the source of an entry',
      OWN.replace('        purpose', '        source: companion\n        purpose'),
      '8:17 config-value',
      /allowed is operator/,
    ],
    [
      'the metadata class',
      OWN.replace('    title', '    requires: proxy-host-identity\n    title'),
      '4:15 config-conflict',
      /only the shipped group/,
    ],
  ];
  test.each(cases)('%s', (_name, text, place, message) => {
    write(shipped, 'a.yaml', GOOD);
    write(added, 'own.yaml', text);
    const found = problems().find(({ at, code }) => `${at?.line}:${at?.column} ${code}` === place);
    expect(found?.message).toMatch(message);
    expect(found?.at?.file).toBe(join(added, 'own.yaml'));
  });

  test('two of its own files with one id', () => {
    write(shipped, 'a.yaml', GOOD);
    write(added, 'a.yaml', OWN);
    write(added, 'b.yaml', OWN);
    expect(places()).toEqual(['catalog.d/b.yaml:3:9 config-conflict', 'catalog.d/b.yaml:6:13 config-conflict']);
  });
});

describe('what cannot be read', () => {
  test('a shipped folder that is missing', () => {
    rmSync(shipped, { recursive: true });
    expect(places()).toEqual(['catalog:1:1 config-unreadable']);
  });

  test('a shipped folder without a file', () => {
    expect(places()).toEqual(['catalog:1:1 config-empty']);
  });

  test('a shipped folder without a version', () => {
    write(shipped, 'a.yaml', GOOD.replace('version: "1"\n', ''));
    expect(places()).toEqual(['catalog/a.yaml:1:1 config-missing-key']);
    expect(problems()[0]?.message).toMatch(/version/);
  });

  test('bytes that are not UTF-8', () => {
    write(shipped, 'a.yaml', Buffer.concat([Buffer.from(GOOD), Buffer.from([0x23, 0xff, 0xfe, 0x0a])]));
    expect(places()).toEqual(['catalog/a.yaml:1:1 config-unreadable']);
  });

  test('a folder with the name of a file', () => {
    write(shipped, 'a.yaml', GOOD);
    mkdirSync(join(added, 'own.yaml'));
    expect(places()).toEqual(['catalog.d/own.yaml:1:1 config-unreadable']);
  });

  test.skipIf(process.platform === 'win32')('a device without an end', () => {
    write(shipped, 'a.yaml', GOOD);
    symlinkSync('/dev/zero', join(added, 'zero.yaml'));
    expect(places()).toEqual(['catalog.d/zero.yaml:1:1 config-unreadable']);
  });

  test('files that are no YAML files, and backups of editors, are left alone', () => {
    write(shipped, 'a.yaml', GOOD);
    for (const name of ['README.md', '.a.yaml.swp', '.hidden.yaml', 'a.yaml~']) write(added, name, '{{{');
    expect(load().groups.size).toBe(1);
  });
});
