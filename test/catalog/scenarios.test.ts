// The recorded build scenarios name catalog entries: each must exist under that id, in the group that the tour uses,
// and must cover the target that the scenario says it allows.
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { loadCatalog } from '../../src/catalog/load.ts';

const here = (path: string) => new URL(path, import.meta.url);
const known = parse(readFileSync(here('../fixtures/scenario-rules.yaml'), 'utf8')) as Record<string, string>;
const catalog = loadCatalog();
const byId = new Map([...catalog.groups.values()].flatMap((group) => group.entries.map((entry) => [entry.id, entry])));

test.each(Object.entries(known))('%s stands in group %s', (id, group) => {
  expect(byId.get(id)?.group).toBe(group);
});

interface Event {
  target: string;
  method: string;
  rule?: string;
}

/** A host template as an expression: {x} is one label, *. one or more. */
function shape(host: string): RegExp {
  const text = host
    .replaceAll('.', '\\.')
    .replace('*', '[a-z0-9-]+(?:\\.[a-z0-9-]+)*')
    .replaceAll(/\{[a-z]+\}/g, '[a-z0-9-]+');
  return new RegExp(`^${text}$`);
}

const file = here('../../../shared/scenarios.yaml');
describe.runIf(existsSync(file))('the scenarios beside the checkout', () => {
  const scenarios = existsSync(file)
    ? (parse(readFileSync(file, 'utf8').replaceAll('(.)', '.')) as { scenarios: { events: Event[] }[] }).scenarios
    : [];
  const events = scenarios.flatMap((scenario) => scenario.events);
  const ruled = events.filter((event) => event.rule !== undefined && !event.rule.startsWith('op:'));

  test('the fixture lists every rule that they name', () => {
    expect(Object.keys(known)).toEqual(expect.arrayContaining([...new Set(ruled.map((event) => event.rule))]));
  });

  test('each rule covers the host and the port of its target', () => {
    for (const event of ruled) {
      const entry = byId.get(event.rule ?? '');
      const colon = event.target.lastIndexOf(':');
      expect(event.target.slice(0, colon)).toMatch(shape(entry?.host ?? ''));
      expect(entry?.ports).toContain(Number(event.target.slice(colon + 1)));
    }
  });
});
