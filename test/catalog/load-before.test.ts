// What the build has read of the shipped catalog: it is that of the files, all of it, and it stands for no other text.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { catalogFiles, loadCatalog, SHIPPED_CATALOG } from '../../src/catalog/load.ts';
import { readBefore, textDigest } from '../../src/catalog/load-before.ts';
import { freshFolders, load, places, shipped, write } from './folders.ts';

freshFolders();

const FILES = Object.entries(catalogFiles());

test.each(FILES)('%s was read, and says the same', (_, text) => {
  expect(readBefore().get(textDigest(text))).toEqual(parse(text));
});

test('there is nothing else in it', () => {
  expect(readBefore().size).toBe(FILES.length);
});

test('the catalog is the one that the files alone give', () => {
  // A comment makes another text of each.
  for (const [name, text] of FILES) write(shipped, name, `${text}# read anew\n`);
  expect(load().digest).toBe(loadCatalog().digest);
});

test('a changed file is read as it stands', () => {
  for (const [name, text] of FILES)
    write(shipped, name, text.replace('host: agent.buildkite.com', 'host: changed.example'));
  const hosts = [...load().groups.values()].flatMap(({ entries }) => entries.map(({ host }) => host));
  expect(hosts).toContain('changed.example');
  expect(hosts).not.toContain('agent.buildkite.com');
});

test('a problem of a file that was read before has its line', () => {
  for (const [file, text] of FILES) write(shipped, file, text);
  const text = readFileSync(join(SHIPPED_CATALOG, 'source-control.yaml'), 'utf8');
  write(shipped, 'z.yaml', text);
  const line = text.split('\n').findIndex((one) => one.startsWith('  - id:')) + 1;
  expect(places()[0]).toBe(`catalog/z.yaml:${line}:9 config-conflict`);
});
