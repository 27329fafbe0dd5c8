// docs/catalog.md is made from the catalog; a change of one without the other fails here.
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { catalogDoc, DOC_FILE } from '../../scripts/catalog-doc.ts';
import { loadCatalog } from '../../src/catalog/load.ts';

const doc = readFileSync(DOC_FILE, 'utf8');
const catalog = loadCatalog();

test('docs/catalog.md equals what scripts/catalog-doc.ts writes', () => {
  expect(doc).toBe(catalogDoc(doc, catalog));
});

test('every group and entry has its line', () => {
  for (const group of catalog.groups.values()) {
    expect(doc).toContain(`### \`${group.id}\``);
    for (const entry of group.entries) expect(doc).toContain(`| \`${entry.id}\` |`);
  }
});

test('a document without its marks is refused, not overwritten', () => {
  expect(() => catalogDoc('# nothing\n', catalog)).toThrow(/marks/);
});
