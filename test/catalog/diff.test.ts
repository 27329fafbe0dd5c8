// What counts as a difference between two catalogs: what is let through and to whom it matters, not how it is described.
import { expect, it } from 'vitest';
import { catalogChanges } from '../../src/catalog/diff.ts';
import { loadCatalog } from '../../src/catalog/load.ts';
import { added, freshFolders, GOOD, home, OWN, shipped, write } from './folders.ts';

freshFolders();

const MORE = `      - id: second
        host: "*.two.example"
        ports: [443, 8443]
        purpose: Another host
        cite: the manual
        confidence: doc
`;

function changes(before: string, after: string) {
  write(shipped, 'one.yaml', before);
  const accepted = loadCatalog([added], shipped);
  write(shipped, 'one.yaml', after);
  return catalogChanges(accepted, loadCatalog([], shipped));
}

it('finds what came, what went, and what changed', () => {
  expect(changes(GOOD, GOOD + MORE)).toEqual([
    {
      kind: 'added',
      group: 'one',
      entry: 'second',
      host: '*.two.example',
      ports: [443, 8443],
      need: 'optional',
      what: [],
    },
  ]);
  expect(changes(GOOD + MORE, GOOD)).toEqual([expect.objectContaining({ kind: 'removed', entry: 'second' })]);
  const port = GOOD.replace(
    'host: one.example',
    'host: 1.example\n        ports: [80]\n        scheme: http\n        multi_tenant: true',
  );
  expect(changes(GOOD, port)).toEqual([
    expect.objectContaining({
      kind: 'changed',
      host: '1.example',
      what: ['host one.example → 1.example', 'ports 443 → 80', 'scheme https → http', 'shared false → true'],
    }),
  ]);
});

it('finds a group that came, and what has become required', () => {
  const group = `  - id: two\n    title: Two\n    need: required\n    source: companion\n    entries:\n${MORE}`;
  expect(changes(GOOD, GOOD + group)).toEqual([
    expect.objectContaining({ kind: 'added', group: 'two', need: 'required' }),
  ]);
  expect(changes(GOOD, GOOD.replace('title: One', 'title: One\n    need: required'))).toEqual([
    expect.objectContaining({ kind: 'changed', need: 'required', what: ['need optional → required'] }),
  ]);
});

it('finds a header field that a path no longer wants', () => {
  const paths = (field: string) =>
    GOOD.replace(
      'host: one.example',
      `host: one.example\n        ports: [80]\n        scheme: http\n        paths: [{ method: GET, path: /tags${field} }]`,
    );
  expect(changes(paths(', field: { name: metadata-flavor, value: Google }'), paths(''))).toEqual([
    expect.objectContaining({
      kind: 'changed',
      what: ['paths GET /tags (with metadata-flavor: Google) → GET /tags'],
    }),
  ]);
});

it('takes no notice of words, order and the operator’s own groups', () => {
  write(added, 'own.yaml', OWN);
  expect(changes(GOOD, GOOD.replace('A host', 'The host').replace('the manual', 'the source'))).toEqual([]);
  const [head, entry] = [GOOD.slice(0, GOOD.indexOf('      - id')), GOOD.slice(GOOD.indexOf('      - id'))];
  expect(changes(GOOD + MORE, head + MORE + entry)).toEqual([]);
  expect(home).not.toBe('');
});
