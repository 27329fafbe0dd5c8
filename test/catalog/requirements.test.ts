// Proves that the shipped catalog holds the published network requirements: nothing missing, nothing added.
// The facts are a fixture, so that the proof needs no copy of the page; where a copy lies beside the checkout,
// the fixture itself is held against every host and port that the page names.
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import type { CatalogEntry } from '../../src/catalog/catalog.ts';
import { loadCatalog } from '../../src/catalog/load.ts';

interface Row {
  host: string | null;
  entry: string;
  group: string;
  need: string;
  ports: number[];
  ports_stated: boolean;
  protocol: string;
  via?: string;
  agent_versions?: string;
  condition: string;
  purpose: string[];
}

const plain = (host: string) => host.replaceAll('(.)', '.');
const here = (path: string) => new URL(path, import.meta.url);
const rows = (parse(readFileSync(here('../fixtures/requirements.yaml'), 'utf8')) as { rows: Row[] }).rows.map(
  (row) => ({
    ...row,
    host: row.host === null ? null : plain(row.host),
  }),
);
const catalog = loadCatalog();
const entries = [...catalog.groups.values()].flatMap((group) => [...group.entries]);
const byId = new Map(entries.map((entry) => [entry.id, entry]));

/** The facts of an entry, in the words of the fixture. */
function facts(entry: CatalogEntry | undefined): object | undefined {
  if (entry === undefined) return undefined;
  return {
    host: entry.host === '{host}' ? null : entry.host,
    group: entry.group,
    need: entry.need,
    ports: entry.ports,
    ports_stated: entry.ports_stated,
    protocol: entry.scheme,
    via: entry.via,
    agent_versions: entry.agent_versions,
    source: entry.source,
  };
}

test.each(rows)('$entry is in the catalog as the page has it', (row) => {
  const { entry, purpose, condition: _condition, ...rest } = row;
  const found = byId.get(entry);
  expect(facts(found)).toEqual({ via: 'proxy', agent_versions: undefined, source: 'published', ...rest });
  for (const word of purpose) expect(found?.purpose.toLowerCase()).toContain(word);
});

test('every published entry of the catalog is a row of the page', () => {
  const published = entries.filter((entry) => entry.source === 'published').map((entry) => entry.id);
  expect(published.sort()).toEqual(rows.map((row) => row.entry).sort());
});

test('only the three hosts that every agent must reach are required, in one group', () => {
  const required = entries.filter((entry) => entry.need === 'required').map((entry) => `${entry.group} ${entry.host}`);
  expect(required).toEqual(rows.filter((row) => row.need === 'required').map((row) => `${row.group} ${row.host}`));
  expect(new Set(required.map((line) => line.split(' ')[0]))).toEqual(new Set(['buildkite-agent']));
});

const SECTIONS: Record<string, RegExp> = {
  always: /^Required hosts$/,
  'custom artifact upload destination': /^Customer-managed artifact storage$/,
  'instance-local': /^Cloud instance metadata$/,
  'build jobs': /^Hosts your build jobs may need: /,
  'build jobs that use package registries': /^Hosts your build jobs may need$/,
};

test.each(rows)('$entry stands under the condition that the page gives it', (row) => {
  expect(catalog.groups.get(row.group)?.section).toMatch(SECTIONS[row.condition] ?? /^no such condition$/);
});

test('a host that the page describes without naming is a whole-name parameter', () => {
  for (const row of rows.filter((candidate) => candidate.host === null)) {
    const group = catalog.groups.get(row.group);
    expect(group?.parameters).toMatchObject([{ name: 'host', kind: 'host', required: true }]);
  }
});

const page = here('../../../shared/requirements.txt');
describe.runIf(existsSync(page))('the page beside the checkout', () => {
  const text = existsSync(page) ? plain(readFileSync(page, 'utf8')) : '';
  const hosts = [...text.matchAll(/`((?:\*\.)?[a-z0-9-]+(?:\.[a-z0-9-]+)+)`/g)].map((match) => match[1] ?? '');

  test('the fixture has every host that it names, and no other', () => {
    expect(hosts.length).toBeGreaterThan(15);
    const named = rows.flatMap((row) => (row.host === null ? [] : [row.host]));
    expect([...new Set(hosts)].sort()).toEqual(named.sort());
  });

  test('the fixture has every port that it states, for the hosts that it states it for', () => {
    const stated = new Set<string>();
    for (const line of text.split('\n')) {
      const match = /\(port (\d+)(, HTTP)?\)/.exec(line);
      if (match === null) continue;
      const facts = {
        ports: [Number(match[1])],
        ports_stated: true,
        protocol: match[2] === undefined ? 'https' : 'http',
      };
      const meant = meantBy(line);
      expect(meant.length, line).toBeGreaterThan(0);
      for (const row of meant) {
        expect(row).toMatchObject(facts);
        stated.add(row.entry);
      }
    }
    expect([...stated].sort()).toEqual(
      rows
        .filter((row) => row.ports_stated)
        .map((row) => row.entry)
        .sort(),
    );
  });

  /** The rows that a line with a port speaks of: the hosts on it, the table below it, or the host it only describes. */
  function meantBy(line: string): (typeof rows)[number][] {
    if (/ following hosts over HTTPS /.test(line)) return rows.filter((row) => row.need === 'required');
    if (line.startsWith('Artifactory |')) return rows.filter((row) => row.entry === 'art-artifactory');
    return rows.filter((row) => row.host !== null && line.includes(`\`${row.host}\``));
  }

  test('a host without a port on its line is marked so', () => {
    const lines = text.split('\n');
    for (const row of rows.filter((candidate) => !candidate.ports_stated && candidate.host !== null)) {
      const line = lines.find((candidate) => candidate.includes(`\`${row.host}\``));
      expect(line).toBeDefined();
      expect(line).not.toMatch(/port \d/);
    }
  });

  test('the hosts under its heading of required hosts are the required rows', () => {
    const section = text.slice(text.indexOf('## Required hosts'), text.indexOf('## Optional hosts'));
    const required = rows.filter((row) => row.need === 'required').map((row) => row.host);
    const firstCells = section
      .split('\n')
      .filter((line) => line.startsWith('`'))
      .map((line) => line.split('`')[1]);
    expect(firstCells).toEqual(required);
  });
});
