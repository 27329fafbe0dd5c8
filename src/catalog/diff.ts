// What is different between two catalogs, as far as it decides or concerns an operator: hosts that came, went or changed what they
// let through. PURE. A changed sentence (a purpose, a citation) is no difference here.
import { pathRuleText } from '../policy/paths.ts';
import type { Catalog, CatalogEntry, CatalogGroup } from './catalog.ts';

export interface CatalogChange {
  readonly kind: 'added' | 'removed' | 'changed';
  readonly group: string;
  readonly entry: string;
  readonly host: string;
  readonly ports: readonly number[];
  /** Of the newer catalog; of the older one for what was removed. */
  readonly need: CatalogEntry['need'];
  /** What is not the same, in words: "ports 443 → 443, 8443". Empty for added and removed. */
  readonly what: readonly string[];
}

/**
 * Changes from the catalog that is accepted to another, in the order of that one's groups; what was removed comes last in its group.
 * The operator's own groups (catalog.d) belong to neither.
 */
export function catalogChanges(accepted: Catalog, offered: Catalog): CatalogChange[] {
  const groups = [...offered.groups.values(), ...accepted.groups.values()];
  const ids = new Set(groups.flatMap(({ id, source }) => (source === 'operator' ? [] : [id])));
  return [...ids].flatMap((id) => groupChanges(accepted.groups.get(id), offered.groups.get(id)));
}

function groupChanges(before: CatalogGroup | undefined, after: CatalogGroup | undefined): CatalogChange[] {
  const old = new Map((before?.entries ?? []).map((entry) => [entry.id, entry]));
  const changes: CatalogChange[] = [];
  for (const entry of after?.entries ?? []) {
    const known = old.get(entry.id);
    old.delete(entry.id);
    if (known === undefined) changes.push(change('added', entry, []));
    else {
      const what = differences(known, entry);
      // What an operator must state before the group is used belongs to each of its entries.
      if (before?.requires !== after?.requires)
        what.push(`requires ${before?.requires ?? 'nothing'} → ${after?.requires ?? 'nothing'}`);
      if (what.length > 0) changes.push(change('changed', entry, what));
    }
  }
  for (const entry of old.values()) changes.push(change('removed', entry, []));
  return changes;
}

function change(kind: CatalogChange['kind'], entry: CatalogEntry, what: readonly string[]): CatalogChange {
  const { group, id, host, ports, need } = entry;
  return { kind, group, entry: id, host, ports, need, what };
}

function differences(before: CatalogEntry, after: CatalogEntry): string[] {
  const facts: [string, string, string][] = [
    ['host', before.host, after.host],
    ['ports', before.ports.join(', '), after.ports.join(', ')],
    ['scheme', before.scheme, after.scheme],
    ['need', before.need, after.need],
    ['via', before.via, after.via],
    ['agents', before.agent_versions ?? 'all', after.agent_versions ?? 'all'],
    ['shared', String(before.multi_tenant), String(after.multi_tenant)],
    ['paths', pathsText(before), pathsText(after)],
  ];
  return facts.flatMap(([name, old, now]) => (old === now ? [] : [`${name} ${old} → ${now}`]));
}

function pathsText({ paths }: CatalogEntry): string {
  if (paths === undefined) return 'every path';
  return paths.map(pathRuleText).join(', ');
}
