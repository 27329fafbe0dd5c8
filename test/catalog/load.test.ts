// Loading: what the catalog is once it is read, what catalog.d may do, and what happens when a file cannot be read.
import { mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadCatalog, SHIPPED_CATALOG } from '../../src/catalog/load.ts';
import { added, freshFolders, GOOD, home, load, OWN, places, problems, shipped, write } from './folders.ts';

freshFolders();

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
      /only shipped groups/,
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
