// Expansion of groups: which patterns a group gives for which parameters, and how a wrong parameter is answered.

import { describe, expect, test } from 'vitest';
import {
  type CatalogGroup,
  EXPANSION_MAX,
  expandGroup,
  nearestGroup,
  type ParameterValues,
} from '../../src/catalog/catalog.ts';
import { loadCatalog } from '../../src/catalog/load.ts';
import { isMultiTenant } from '../../src/policy/pattern.ts';
import fc from '../support/property.ts';

const catalog = loadCatalog();

function group(id: string): CatalogGroup {
  const found = catalog.groups.get(id);
  if (found === undefined) throw new Error(`no group ${id}`);
  return found;
}

function patterns(id: string, given: ParameterValues = {}): string[] {
  const expansion = expandGroup(group(id), given);
  if (!expansion.ok) throw new Error(JSON.stringify(expansion.problems));
  return expansion.entries.map((expanded) => expanded.pattern.text);
}

function problems(id: string, given: ParameterValues) {
  const expansion = expandGroup(group(id), given);
  return expansion.ok ? [] : expansion.problems;
}

test('a group without parameters gives its hosts in order', () => {
  expect(patterns('buildkite-agent')).toEqual([
    'agent-edge.buildkite.com',
    'agent.buildkite.com',
    'buildkiteartifacts.com',
  ]);
});

test('amazon-s3 without a region is the published wildcard alone', () => {
  expect(patterns('amazon-s3')).toEqual(['*.s3.amazonaws.com']);
});

test('amazon-s3 with a region adds the names that the SDK asks for, marked as companions', () => {
  const expansion = expandGroup(group('amazon-s3'), { region: 'us-west-2' });
  expect(expansion.ok && expansion.entries.map(({ entry, pattern }) => [pattern.text, entry.id, entry.source])).toEqual(
    [
      ['*.s3.amazonaws.com', 'art-s3', 'published'],
      ['*.s3.us-west-2.amazonaws.com', 'aws-s3-regional', 'companion'],
      ['s3.us-west-2.amazonaws.com', 'aws-s3-regional-path', 'companion'],
    ],
  );
});

test('a list of values expands to each, and two lists to each combination', () => {
  expect(patterns('amazon-kms', { region: ['us-west-2', 'eu-west-1'] })).toEqual([
    'kms.us-west-2.amazonaws.com',
    'kms.eu-west-1.amazonaws.com',
  ]);
  const registries = patterns('amazon-ecr', {
    account: ['111111111111', '222222222222'],
    region: ['us-west-2', 'eu-west-1'],
  });
  expect(registries.filter((host) => host.includes('.dkr.'))).toHaveLength(4);
  expect(registries).toContain('222222222222.dkr.ecr.eu-west-1.amazonaws.com');
});

test('a parameter that stands twice in a template has one value in it', () => {
  const layers = patterns('amazon-ecr', { account: '111111111111', region: ['us-west-2', 'eu-west-1'] }).filter(
    (host) => host.startsWith('prod-'),
  );
  expect(layers).toEqual([
    'prod-us-west-2-starport-layer-bucket.s3.us-west-2.amazonaws.com',
    'prod-eu-west-1-starport-layer-bucket.s3.eu-west-1.amazonaws.com',
  ]);
});

test('a whole-name parameter takes a name, a wildcard or an address', () => {
  expect(patterns('artifactory', { host: 'artifactory.corp.example' })).toEqual(['artifactory.corp.example']);
  expect(patterns('other-services', { host: ['*.corp.example', '192.0.2.7', 'Deploy.Example'] })).toEqual([
    '*.corp.example',
    '192.0.2.7',
    'deploy.example',
  ]);
});

describe('a wrong parameter', () => {
  const cases: [name: string, id: string, given: ParameterValues, found: object][] = [
    [
      'missing',
      'artifactory',
      {},
      {
        parameter: 'host',
        index: null,
        message: expect.stringContaining('needs parameter host'),
        hint: expect.stringContaining('host: artifactory.corp.example'),
      },
    ],
    [
      'misspelt',
      'amazon-s3',
      { regoin: 'us-west-2' },
      { parameter: 'regoin', message: expect.stringContaining('takes region'), hint: 'Did you mean region?' },
    ],
    [
      'unknown, where the group has none',
      'github',
      { host: 'x.example' },
      { parameter: 'host', message: expect.stringContaining('takes no parameters') },
    ],
    [
      'with a dot in a label',
      'amazon-s3',
      { region: 'us-west-2.evil' },
      { parameter: 'region', index: null, message: expect.stringContaining('"us-west-2.evil" is not one DNS label') },
    ],
    [
      'with a star in a label',
      'amazon-ecr',
      { account: '*', region: 'us-west-2' },
      { parameter: 'account', message: expect.stringContaining('not one DNS label') },
    ],
    [
      'empty',
      'amazon-s3',
      { region: '' },
      { parameter: 'region', message: expect.stringContaining('not one DNS label') },
    ],
    [
      'an empty list',
      'amazon-s3',
      { region: [] },
      { parameter: 'region', message: expect.stringContaining('has no value') },
    ],
    [
      'twice in a list',
      'amazon-s3',
      { region: ['us-west-2', 'US-west-2'] },
      { parameter: 'region', index: 1, message: expect.stringContaining('stands twice') },
    ],
    [
      'a URL for a host',
      'artifactory',
      { host: 'https://artifactory.corp.example/x' },
      { parameter: 'host', message: expect.stringContaining('write artifactory.corp.example') },
    ],
    ['a public suffix for a host', 'other-services', { host: '*.com' }, { parameter: 'host', index: null }],
    ['everything for a host', 'internal-git', { host: '*' }, { parameter: 'host' }],
    [
      'an inherited name',
      'amazon-s3',
      JSON.parse('{"__proto__": "us-west-2"}') as ParameterValues,
      { parameter: '__proto__' },
    ],
    [
      'a digit account in its example',
      'amazon-ecr',
      { region: 'us-west-2' },
      { parameter: 'account', hint: expect.stringContaining('account: "123456789012"') },
    ],
  ];
  test.each(cases)('%s', (_name, id, given, found) => {
    expect(problems(id, given)).toEqual([expect.objectContaining(found)]);
  });

  test('several are told at once, with their place in the list', () => {
    expect(problems('amazon-ecr', { region: ['us-west-2', 'eu west 1', 'a.b'], acount: '1' })).toMatchObject([
      { parameter: 'acount', index: null },
      { parameter: 'account', index: null },
      { parameter: 'region', index: 1 },
      { parameter: 'region', index: 2 },
    ]);
  });

  test('too many combinations are refused, not built', () => {
    const many = Array.from({ length: EXPANSION_MAX }, (_, index) => `a${index}`);
    expect(problems('amazon-ecr', { account: many, region: ['us-west-2', 'eu-west-1'] })).toMatchObject([
      { message: expect.stringContaining(`more than ${EXPANSION_MAX}`) },
    ]);
  });
});

test('whatever a label parameter is given, the pattern stays under the domain of its template', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.domain(), fc.stringMatching(/^[a-z0-9.*-]{1,20}$/)), (region) => {
      const expansion = expandGroup(group('amazon-s3'), { region });
      if (!expansion.ok) return;
      for (const { pattern } of expansion.entries.slice(1)) {
        expect(pattern.host.endsWith('.amazonaws.com')).toBe(true);
        expect(pattern.host.split('.')).toHaveLength(4);
      }
    }),
    { numRuns: 500 },
  );
});

/** Every group of the catalog with the examples of its parameters. */
const expanded = [...catalog.groups.values()].map((each) => {
  const given = Object.fromEntries(each.parameters.map((parameter) => [parameter.name, parameter.example]));
  const expansion = expandGroup(each, given);
  return { id: each.id, entries: expansion.ok ? expansion.entries : [] };
});

test.each(expanded)('$id expands with the examples of its own parameters', ({ id, entries }) => {
  expect(entries).toHaveLength(group(id).entries.length);
});

test('every wildcard under which anyone may own a name is marked, and carries a caution', () => {
  const wildcards = expanded.flatMap(({ entries }) => entries).filter(({ pattern }) => pattern.kind === 'wildcard');
  expect(wildcards.length).toBeGreaterThan(3);
  for (const { entry, pattern } of wildcards) {
    if (isMultiTenant(pattern)) expect([entry.id, entry.multi_tenant]).toEqual([entry.id, true]);
    if (entry.multi_tenant) expect(entry.caution).toBeDefined();
  }
});

test('only wildcards by name are marked multi-tenant', () => {
  const marked = expanded.flatMap(({ entries }) => entries).filter(({ entry }) => entry.multi_tenant);
  expect(marked.map(({ entry }) => entry.id).sort()).toEqual([
    'art-azure',
    'art-s3',
    'aws-s3-dualstack',
    'aws-s3-regional',
  ]);
  for (const { pattern } of marked) expect(pattern.kind).toBe('wildcard');
});

test('no published group lets a companion through that was not asked for', () => {
  for (const each of catalog.groups.values()) {
    if (each.source !== 'published') continue;
    const given = Object.fromEntries(
      each.parameters.filter((parameter) => parameter.required).map((parameter) => [parameter.name, parameter.example]),
    );
    const expansion = expandGroup(each, given);
    expect(expansion.ok && expansion.entries.map(({ entry }) => entry.source)).toSatisfy(
      (sources: string[]) => sources.length > 0 && sources.every((source) => source === 'published'),
    );
  }
});

describe('the nearest group', () => {
  test.each([
    ['amazon-s4', 'amazon-s3'],
    ['buildkite-agnet', 'buildkite-agent'],
    ['Buildkite_Agent', 'buildkite-agent'],
    ['dockerhub', 'docker-hub'],
    ['s3', 'amazon-s3'],
    ['aws-s3', 'amazon-s3'],
    ['metadata', 'instance-metadata'],
    ['docker', 'docker-hub'],
    ['zzzzzz', null],
    ['', null],
    ['x'.repeat(100_000), null],
  ])('of %.20s is %s', (word, near) => {
    expect(nearestGroup(catalog, word)).toBe(near);
  });
});
