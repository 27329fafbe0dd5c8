// What a report needs to know of the policy and the catalog: to which row of the report a host belongs. A counted request
// names its group and rule as they were then; the policy may have changed since, so the host itself has the last word.
// It reads no file and judges no request: a row says where a host is listed, not whether it would pass today.
import { type Catalog, type CatalogEntry, type CatalogGroup, templateParameters } from '../catalog/catalog.ts';
import type { Pattern } from '../policy/pattern.ts';
import type { RuleView } from '../policy/view.ts';
import { Placer } from './placer.ts';

/** A line of the report: one pattern and port of a catalog entry or of an own rule. */
export interface Slot {
  /** Catalog group; null for an own rule. */
  readonly group: string | null;
  /** Catalog entry id, or the rule's `file:line`. */
  readonly rule: string;
  /** As written, or as it stands with its parameters: `*.s3.us-west-2.amazonaws.com`. */
  readonly host: string;
  readonly port: number;
  /** Several hosts are behind it, so its names are listed. */
  readonly several: boolean;
}

export interface GroupFacts {
  readonly group: CatalogGroup;
  /** Whether the policy uses it. */
  readonly enabled: boolean;
}

export interface ReportView {
  readonly groups: readonly GroupFacts[];
  /** Ids of the groups that are required. */
  readonly required: ReadonlySet<string>;
  /** Slots that are shown whether or not anything was counted in them, in the order of the report. */
  readonly listed: readonly Slot[];
  /** The slot of a host and port, or null where neither catalog nor policy knows it. */
  place(host: string, port: number, rule: string, group: string): Slot | null;
  /** A slot of what a record names as its rule, where it is listed: its first one. */
  ofRule(rule: string, group: string): Slot | null;
  /** Whether the own rules of the policy also name it: such traffic is counted with its catalog group. */
  ownRule(host: string, port: number): Slot | null;
  isExpected(host: string): boolean;
}

export interface ViewInput {
  readonly catalog: Catalog;
  readonly rules: Iterable<RuleView>;
  readonly expectedDenials: readonly Pattern[];
}

/** Prepares the look-ups of one report. */
export function createView(input: ViewInput): ReportView {
  const rules = [...input.rules].filter((rule) => rule.effect === 'allow');
  const enabled = new Set(rules.flatMap((rule) => (rule.group === null ? [] : [rule.group])));
  const groups = [...input.catalog.groups.values()].map((group) => ({ group, enabled: enabled.has(group.id) }));
  const catalog = new Placer();
  const own = new Placer();
  const listed: Slot[] = [];
  for (const rule of rules) {
    // Ports are the rule's own where it names some; an allow without ports means 443.
    for (const port of rule.ports ?? [443]) {
      const slot: Slot = {
        group: rule.group,
        rule: rule.id,
        host: rule.pattern,
        port,
        several: rule.kind === 'wildcard',
      };
      listed.push(slot);
      (rule.group === null ? own : catalog).add(slot, RANK_ENABLED);
    }
  }
  for (const { group, enabled: on } of groups) {
    for (const entry of group.entries) addEntry(catalog, listed, group, entry, on);
  }
  const expected = new Placer();
  for (const pattern of input.expectedDenials) {
    expected.add({ group: null, rule: '', host: pattern.text, port: 0, several: pattern.kind === 'wildcard' }, 0);
  }
  const slots = unique(listed);
  const ruled = new Map([...slots].reverse().map((slot) => [JSON.stringify([slot.rule, slot.group ?? '']), slot]));
  return {
    groups,
    required: new Set(groups.flatMap(({ group }) => (group.need === 'required' ? [group.id] : []))),
    listed: slots,
    place: (host, port, rule, group) =>
      catalog.find(host, port, { rule, group }) ?? own.find(host, port, { rule, group: '' }),
    ofRule: (rule, group) => ruled.get(JSON.stringify([rule, group])) ?? null,
    ownRule: (host, port) => own.find(host, port, { rule: '', group: '' }),
    isExpected: (host) => expected.find(host, 0, { rule: '', group: '' }) !== null,
  };
}

/** Where two groups list the same host, what the policy uses is named first, then what is published. */
const RANK_ENABLED = 0;
const RANKS: Readonly<Record<CatalogEntry['source'], number>> = { published: 1, operator: 2, companion: 3 };

function addEntry(catalog: Placer, listed: Slot[], group: CatalogGroup, entry: CatalogEntry, on: boolean): void {
  const template = templateParameters(entry.host).length > 0;
  for (const port of entry.ports) {
    const slot: Slot = {
      group: group.id,
      rule: entry.id,
      host: entry.host,
      port,
      several: template || entry.host.startsWith('*.'),
    };
    catalog.add(slot, on ? RANK_ENABLED : RANKS[group.source]);
    // A group in use is listed by the rules that it became; one that is not, by what it would become.
    if (!on) listed.push(slot);
  }
}

function unique(slots: readonly Slot[]): Slot[] {
  const known = new Map(slots.map((slot) => [slotKey(slot), slot]));
  return [...known.values()];
}

export function slotKey({ group, rule, host, port }: Slot): string {
  return JSON.stringify([group, group === null ? rule : '', host, port]);
}
