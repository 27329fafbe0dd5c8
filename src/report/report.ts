// The report: which listed hosts were used, never used, denied or would be denied, and what was asked for beside them.
// Its JSON is a public interface. Every request of the window is counted in one row at most (required, optional, other),
// and every refusal in `denied` or `expected_denied` as well. It renders nothing and escapes nothing; render.ts does.
import type { Nearest } from '../policy/record.ts';
import type { Store } from '../usage/store.ts';
import { OVERFLOW } from '../usage/tally.ts';
import {
  type Facts,
  type Filter,
  type PipelineRow,
  readFacts,
  readOpen,
  readPipelines,
  readTargets,
  readTotals,
  wholeHours,
} from './query.ts';
import { Refusals } from './refusals.ts';
import { type RowState, Rows } from './rows.ts';
import { endOf, Sums } from './sums.ts';
import type { ReportView } from './view.ts';

export type { Filter };

/** Counts of one host, with the concrete names behind a wildcard. Times are RFC 3339, null where nothing was seen. */
export interface HostRow {
  readonly host: string;
  readonly port: number;
  /** Catalog entry id, or `file:line` of an own rule. */
  readonly rule: string;
  readonly state: RowState;
  readonly tunnels: number;
  /** Tunnels that are open now; they are in no other count. */
  readonly open: number;
  readonly denied: number;
  readonly would_deny: number;
  readonly failed: number;
  readonly bytes_up: number;
  readonly bytes_down: number;
  readonly first_seen: string | null;
  readonly last_seen: string | null;
  /** Names that were let through, the most used first; at most NAMES_MAX of names_total. Empty where host is one name. */
  readonly names: readonly string[];
  readonly names_total: number;
  /** Names that were only refused. */
  readonly denied_names: readonly string[];
}

export interface RequiredRow extends HostRow {
  readonly group: string;
}

export interface OptionalGroup {
  readonly group: string;
  readonly title: string;
  readonly source: string;
  readonly enabled: boolean;
  readonly state: RowState;
  readonly hosts: readonly HostRow[];
}

export interface OtherRow extends HostRow {
  /** Catalog group that counts this rule's hosts, where the catalog lists them; the counts here are then 0. */
  readonly counted_in: string | null;
}

/** A host and why it was refused (denied), or would have been (would_deny). */
export interface DeniedRow {
  readonly host: string;
  readonly port: number;
  readonly count: number;
  readonly reason: string;
  readonly nearest: Nearest | null;
  readonly hint: string;
  readonly first_seen: string;
  readonly last_seen: string;
  readonly pipelines: readonly string[];
  readonly jobs: readonly string[];
  /** A host of Buildkite itself: builds may stop, look here first. */
  readonly buildkite: boolean;
}

export interface Totals {
  readonly requests: number;
  readonly tunnels: number;
  readonly open: number;
  readonly denied: number;
  readonly would_deny: number;
  readonly failed: number;
  /** Answered with 407: credentials were asked for. */
  readonly challenged: number;
  /** Refused because no host could be read in them. */
  readonly malformed: number;
  readonly bytes_up: number;
  readonly bytes_down: number;
  readonly hosts: number;
}

export interface Report {
  readonly window: {
    /** What the counts cover: the requested window, cut to what was recorded at all; null where nothing was. */
    readonly from: string | null;
    readonly to: string | null;
    readonly requested: { readonly from: string; readonly to: string };
  };
  readonly filter: { readonly pipeline: string | null; readonly job: string | null };
  readonly required: readonly RequiredRow[];
  readonly optional: readonly OptionalGroup[];
  readonly other: readonly OtherRow[];
  readonly denied: readonly DeniedRow[];
  readonly denied_total: number;
  readonly would_deny: readonly DeniedRow[];
  readonly would_deny_total: number;
  readonly expected_denied: readonly DeniedRow[];
  readonly pipelines: readonly PipelineRow[];
  readonly open: number;
  readonly totals: Totals;
  /** Requests beyond limits.usage_names_per_hour, counted without their names. */
  readonly overflow: { readonly tunnels: number; readonly denied: number; readonly failed: number };
  readonly damaged_lines: number;
  readonly missing_lines: number;
  /** More hosts than one report can hold: the least used are missing in the rows, not in the totals. */
  readonly truncated: boolean;
}

const HOUR_MS = 3_600_000;

/** Reads the store and sums up the window. The store must have caught up with the log (projectOnce). */
export async function buildReport(store: Store, view: ReportView, filter: Filter): Promise<Report> {
  const { rows: targets, truncated } = await readTargets(store, filter);
  const rows = new Rows(view);
  const refusals = new Refusals(view);
  const [all, overflow, malformed] = [new Sums(), new Sums(), new Sums()];
  const hosts = new Set<string>();
  for (const row of targets) {
    const end = endOf(row.verdict, row.reason, row.outcome);
    all.add(row, end, row.verdict);
    if (row.host === '') malformed.add(row, end, row.verdict);
    else if (row.host === OVERFLOW) overflow.add(row, end, row.verdict);
    else {
      hosts.add(row.host);
      rows.add(row, end);
      refusals.add(row, end);
    }
  }
  const open = await countOpen(store, filter, rows, all);
  const facts = await readFacts(store);
  const refused = await refusals.finish(store, filter);
  const exact = truncated ? await readTotals(store, filter) : null;
  return {
    window: windowOf(filter, facts),
    filter: { pipeline: filter.pipeline, job: filter.job },
    ...rows.finish(),
    ...refused,
    pipelines: await readPipelines(store, filter),
    open,
    totals: {
      requests: (exact?.requests ?? all.tunnels + all.denied + all.failed + all.challenged) + open,
      tunnels: all.tunnels,
      open,
      denied: all.denied - malformed.denied,
      would_deny: all.wouldDeny,
      failed: all.failed,
      challenged: all.challenged,
      malformed: malformed.denied,
      bytes_up: exact?.bytes_up ?? all.bytesUp,
      bytes_down: exact?.bytes_down ?? all.bytesDown,
      hosts: hosts.size,
    },
    overflow: { tunnels: overflow.tunnels, denied: overflow.denied, failed: overflow.failed },
    damaged_lines: facts.damagedLines,
    missing_lines: facts.missingLines,
    truncated,
  };
}

/** Adds the tunnels that are open now and fit the filter: a host whose one tunnel lasts for days is used, not unused. */
async function countOpen(store: Store, filter: Filter, rows: Rows, all: Sums): Promise<number> {
  let open = 0;
  for (const line of await readOpen(store)) {
    const time = Date.parse(line.time);
    const who = line.identity.kind === 'claimed' ? line.identity.claimed : line.identity.attributes;
    if (time > filter.to || line.host === null || line.port === null) continue;
    if (filter.pipeline !== null && who.pipeline !== filter.pipeline) continue;
    if (filter.job !== null && who.job !== filter.job) continue;
    open += 1;
    all.addOpen(time, line.verdict);
    rows.addOpen(
      { host: line.host, port: line.port, rule: line.rule ?? '', grp: line.group ?? '' },
      time,
      line.verdict,
    );
  }
  return open;
}

function windowOf(filter: Filter, facts: Facts): Report['window'] {
  const requested = { from: iso(filter.from), to: iso(filter.to) };
  if (facts.first === null || facts.last === null) return { from: null, to: null, requested };
  // Counts are kept by the hour, long ones by the day: the one in which the window begins or ends is whole.
  const [firstHour, lastHour] = wholeHours(filter.from, filter.to, facts.dailyBefore);
  const from = Math.max(facts.first, firstHour * HOUR_MS);
  const to = Math.min(facts.last, (lastHour + 1) * HOUR_MS - 1);
  return from > to ? { from: null, to: null, requested } : { from: iso(from), to: iso(to), requested };
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
