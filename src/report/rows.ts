// The listed hosts of a report: one row for each pattern and port of the catalog and of the own rules, with what was
// counted for it. A row exists whether or not anything was counted: "never used" is half of what a report is for.
import type { CatalogGroup } from '../catalog/catalog.ts';
import { hostText } from '../policy/authority.ts';
import type { HostRow, OptionalGroup, OtherRow, RequiredRow } from './report.ts';
import { type Counted, type End, Sums } from './sums.ts';
import { type ReportView, type Slot, slotKey } from './view.ts';

export type RowState = 'used' | 'unused' | 'failing' | 'denied' | 'would-deny';

/** Names listed behind one pattern. */
export const NAMES_MAX = 1_000;

interface Place {
  readonly host: string;
  readonly port: number;
  readonly rule: string;
  readonly grp: string;
}

interface Row {
  readonly slot: Slot;
  readonly sums: Sums;
  /** Sums of each concrete name, where the pattern has several. */
  readonly names: Map<string, Sums>;
  countedIn: string | null;
}

export class Rows {
  readonly #view: ReportView;
  readonly #rows = new Map<string, Row>();

  constructor(view: ReportView) {
    this.#view = view;
    for (const slot of view.listed) this.#row(slot);
  }

  add(row: Place & Counted & { readonly verdict: string }, end: End): void {
    this.#each(row, row.verdict === 'deny', (sums) => sums.add(row, end, row.verdict));
  }

  addOpen(place: Place, time: number, verdict: string): void {
    this.#each(place, false, (sums) => sums.addOpen(time, verdict));
  }

  /** A request beyond the limit of names counts for what let it through, among no names. */
  addNameless(row: Place & Counted & { readonly verdict: string }, end: End): void {
    const slot = this.#view.ofRule(row.rule, row.grp);
    if (slot !== null) this.#row(slot).sums.add(row, end, row.verdict);
  }

  #each(place: Place, refused: boolean, add: (sums: Sums) => void): void {
    const slot = this.#view.place(place.host, place.port, place.rule, place.grp) ?? strangerOf(place, refused);
    if (slot === null) return;
    const row = this.#row(slot);
    add(row.sums);
    if (slot.several) {
      let sums = row.names.get(place.host);
      if (sums === undefined) {
        sums = new Sums();
        row.names.set(place.host, sums);
      }
      add(sums);
    }
    if (slot.group === null) return;
    const own = this.#view.ownRule(place.host, place.port);
    if (own !== null) this.#row(own).countedIn = slot.group;
  }

  #row(slot: Slot): Row {
    const key = slotKey(slot);
    let row = this.#rows.get(key);
    if (row === undefined) {
      row = { slot, sums: new Sums(), names: new Map(), countedIn: null };
      this.#rows.set(key, row);
    }
    return row;
  }

  finish(): { required: RequiredRow[]; optional: OptionalGroup[]; other: OtherRow[] } {
    const byGroup = Map.groupBy(this.#rows.values(), ({ slot }) => slot.group);
    const required: RequiredRow[] = [];
    const optional: OptionalGroup[] = [];
    const known = new Set<string>();
    for (const { group, enabled } of this.#view.groups) {
      known.add(group.id);
      const rows = byGroup.get(group.id) ?? [];
      if (group.need === 'required') {
        for (const row of rows) required.push(requiredRow(group, hostRow(row)));
        continue;
      }
      const touched = rows.some(({ sums }) => sums.last > Number.NEGATIVE_INFINITY);
      if (group.source !== 'published' && !enabled && !touched) continue;
      const state = stateOf(sumOf(rows), false);
      optional.push({
        group: group.id,
        title: group.title,
        source: group.source,
        enabled,
        state,
        hosts: rows.map(hostRow),
      });
    }
    const other = [...byGroup]
      .filter(([group]) => group === null || !known.has(group))
      .flatMap(([, rows]) => rows)
      .map((row) => ({
        ...hostRow(row),
        ...(row.countedIn === null ? {} : { state: 'used' as const }),
        counted_in: row.countedIn,
      }));
    return { required, optional, other };
  }
}

const NEEDS_A_LOOK: Readonly<Record<Exclude<RowState, 'used' | 'would-deny'>, string>> = {
  unused: 'Never asked for in this window.',
  failing: 'Let through, and every attempt failed: agents cannot reach it through this proxy.',
  denied: 'Refused: agents that need it stop.',
};

/** What the catalog knows of a required host that did not work: the versions that use it, and the notes that name it. */
function requiredRow(group: CatalogGroup, row: HostRow): RequiredRow {
  const entry = group.entries.find(({ id }) => id === row.rule);
  const versions = entry?.agent_versions ?? null;
  const notes: string[] = [];
  if (row.state !== 'used' && row.state !== 'would-deny') {
    notes.push(NEEDS_A_LOOK[row.state]);
    if (versions !== null) notes.push(`Agents ${versions} use it: ${entry?.purpose ?? ''}.`);
    notes.push(...group.notes.filter((note) => note.startsWith(`${row.host} `)));
  }
  return { group: group.id, ...row, agent_versions: versions, notes };
}

/** Let through by a rule that stands in the policy no more: it keeps a row of its own. Refused strangers have none. */
function strangerOf({ host, port, rule, grp }: Place, refused: boolean): Slot | null {
  if (refused || rule === '') return null;
  return { group: grp === '' ? null : grp, rule, host: hostText(host), port, several: false };
}

function hostRow(row: Row): HostRow {
  const { slot, sums } = row;
  const passed = (name: Sums): number => name.tunnels + name.open + name.failed;
  const names = [...row.names].sort(
    ([a, x], [b, y]) => passed(y) - passed(x) || y.denied - x.denied || (a < b ? -1 : 1),
  );
  const used = names.filter(([, name]) => passed(name) > 0);
  const refused = names.filter(([, name]) => passed(name) === 0);
  return {
    host: slot.host,
    port: slot.port,
    rule: slot.rule,
    state: stateOf(sums, true),
    tunnels: sums.tunnels,
    open: sums.open,
    denied: sums.denied,
    would_deny: sums.wouldDeny,
    failed: sums.failed,
    bytes_up: sums.bytesUp,
    bytes_down: sums.bytesDown,
    first_seen: timeOf(sums.first),
    last_seen: timeOf(sums.last),
    names: used.slice(0, NAMES_MAX).map(([name]) => name),
    names_total: used.length,
    denied_names: refused.slice(0, NAMES_MAX).map(([name]) => name),
  };
}

/**
 * used: a rule let something through (a host whose every request failed is `failing`; a group is then used all the same).
 * Else denied, would-deny, or unused.
 */
function stateOf(
  sums: Pick<Sums, 'allowed' | 'tunnels' | 'open' | 'denied' | 'wouldDeny' | 'failed'>,
  ofHost: boolean,
): RowState {
  if (sums.allowed > 0) return ofHost && sums.tunnels + sums.open === 0 ? 'failing' : 'used';
  if (sums.denied > 0) return 'denied';
  if (sums.wouldDeny > 0) return 'would-deny';
  return 'unused';
}

function sumOf(rows: readonly Row[]): Pick<Sums, 'allowed' | 'tunnels' | 'open' | 'denied' | 'wouldDeny' | 'failed'> {
  const sum = { allowed: 0, tunnels: 0, open: 0, denied: 0, wouldDeny: 0, failed: 0 };
  for (const { sums } of rows) {
    sum.allowed += sums.allowed;
    sum.tunnels += sums.tunnels;
    sum.open += sums.open;
    sum.denied += sums.denied;
    sum.wouldDeny += sums.wouldDeny;
    sum.failed += sums.failed;
  }
  return sum;
}

function timeOf(ms: number): string | null {
  return Number.isFinite(ms) ? new Date(ms).toISOString() : null;
}
