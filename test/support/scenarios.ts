// The scenario file as values, and the policy that a scenario asks for. Hosts in the file have a dot in brackets where a plain
// name must stand in the catalog alone; they are read back here.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import type { CatalogGroup } from '../../src/catalog/catalog.ts';
import { loadCatalog } from '../../src/catalog/load.ts';
import { LOOPBACK } from './world.ts';

export interface ScenarioEvent {
  readonly identity: 'agent' | 'job' | 'controller';
  readonly client: string;
  readonly method: 'CONNECT' | 'GET';
  readonly target: string;
  readonly count: number;
  readonly kb_up: number;
  readonly kb_down: number;
  readonly seed_only: 'allow' | 'deny';
  readonly expect: 'allow' | 'deny';
  readonly rule?: string;
}

export interface Scenario {
  readonly id: string;
  readonly title: string;
  readonly agent: { readonly region: string | null };
  readonly job: { readonly pipeline_slug: string; readonly job_id: string };
  readonly operator_rules: readonly { readonly host: string; readonly ports: readonly number[] }[];
  readonly events: readonly ScenarioEvent[];
}

/** Every scenario of test/fixtures/scenarios.yaml. */
export function readScenarios(): readonly Scenario[] {
  const text = readFileSync(join(import.meta.dirname, '..', 'fixtures', 'scenarios.yaml'), 'utf8');
  return (parse(text.replaceAll('(.)', '.')) as { scenarios: Scenario[] }).scenarios;
}

/** Values that the scenarios' own targets use. */
const ACCOUNT = '123456789012';

/** An allow entry for a group, or null where the scenario cannot fill its parameters. */
function groupRule(group: CatalogGroup, parameters: Readonly<Record<string, string>>): object | null {
  if (group.requires !== undefined) return null;
  const given: Record<string, string> = {};
  for (const { name, required } of group.parameters) {
    const value = parameters[name];
    if (value !== undefined) given[name] = value;
    else if (required) return null;
  }
  return { group: group.id, addresses: LOOPBACK, ...(Object.keys(given).length > 0 ? { with: given } : {}) };
}

/**
 * The allow list of a scenario: `seed` is what the published page names and nothing else; `all` adds every companion group
 * that the scenario's cloud has values for, and the operator's own rules.
 */
export function scenarioRules(scenario: Scenario, which: 'seed' | 'all'): object[] {
  const groups = [...loadCatalog().groups.values()];
  const { region } = scenario.agent;
  const parameters: Record<string, string> = which === 'seed' || region === null ? {} : { region, account: ACCOUNT };
  const rules = groups
    .filter((group) => which === 'all' || group.source === 'published')
    .map((group) => groupRule(group, parameters));
  const own = which === 'seed' ? [] : scenario.operator_rules.map((rule) => ({ ...rule, addresses: LOOPBACK }));
  return [...rules.filter((rule) => rule !== null), ...own];
}
