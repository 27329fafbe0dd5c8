// The report: which listed hosts were used, never used, denied or would be denied, and what was asked for beside them.
// Its JSON is a public interface. Every request of the window is counted in one row at most (required, optional, other),
// and every refusal in `denied` or `expected_denied` as well. It renders nothing and escapes nothing; the files named render-… do.
import { type Nearest, statedAttributes, type Verdict } from '../policy/record.ts';
import type { Store } from '../usage/store.ts';
import { HOUR_MS, OVERFLOW } from '../usage/tally.ts';
import { type Breakdown, readBreakdown, readTraffic, type Traffic } from './breakdown.ts';
import type { Dimension } from './dimension.ts';
import { type Direct, readDirect } from './direct.ts';
import { type Drift, readDrift } from './drift.ts';
import { type GrantRow, readGrantRows } from './grants.ts';
import { type Overflow, OverflowSums } from './overflow.ts';
import { type Paths, readPaths } from './paths.ts';
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
import { alarmsOf, isBuildkite, Refusals } from './refusals.ts';
import { type RowState, Rows } from './rows.ts';
import { readSingle, type SingleRow } from './single.ts';
import { endOf, Sums } from './sums.ts';
import { readTimeline, type Timeline } from './timeline.ts';
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
  /** The agent versions that use it, such as ">=3.122.0"; null for all. */
  readonly agent_versions: string | null;
  /** Where it failed, was refused or never seen: what that means and why it may still be needed. */
  readonly notes: readonly string[];
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
  /** What the same job or client was let through to within the second before: its answer likely redirected there. */
  readonly redirect_from: { readonly host: string; readonly port: number } | null;
}

/** The loudest lines of a report: a refused host of Buildkite itself. */
export interface Alarm {
  readonly verdict: Extract<Verdict, 'deny' | 'observe'>;
  readonly host: string;
  readonly port: number;
  readonly count: number;
  readonly last_seen: string;
  readonly message: string;
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

export interface Report extends Paths {
  readonly window: {
    /** What the counts cover: the requested window, cut to what was recorded at all; null where nothing was. */
    readonly from: string | null;
    readonly to: string | null;
    readonly requested: { readonly from: string; readonly to: string };
  };
  readonly filter: { readonly pipeline: string | null; readonly job: string | null };
  readonly alarms: readonly Alarm[];
  readonly required: readonly RequiredRow[];
  readonly optional: readonly OptionalGroup[];
  readonly other: readonly OtherRow[];
  readonly denied: readonly DeniedRow[];
  readonly denied_total: number;
  readonly would_deny: readonly DeniedRow[];
  readonly would_deny_total: number;
  readonly expected_denied: readonly DeniedRow[];
  /** At most PIPELINES_MAX of pipelines_total. */
  readonly pipelines: readonly PipelineRow[];
  readonly pipelines_total: number;
  readonly traffic: Traffic;
  readonly drift: Drift;
  /** Attempts past the proxy, as far as logs of the network were imported. */
  readonly direct: Direct;
  /** Grants that are about to lapse, or that nobody has used. */
  readonly grants: readonly GrantRow[];
  /** Hosts that one pipeline alone was let through to; at most SINGLE_MAX of single_pipeline_total. */
  readonly single_pipeline: readonly SingleRow[];
  readonly single_pipeline_total: number;
  /** null unless asked for. */
  readonly breakdown: Breakdown | null;
  /** null unless asked for. */
  readonly timeline: Timeline | null;
  readonly open: number;
  readonly totals: Totals;
  /** Requests beyond limits.usage_names_per_hour, counted without their names. */
  readonly overflow: Overflow;
  readonly damaged_lines: number;
  readonly missing_lines: number;
  /** More hosts than one report can hold: the least used are missing in the rows, not in the totals. */
  readonly truncated: boolean;
}

/** What takes a query of its own, for those who want it. */
export interface Parts {
  readonly by: Dimension | null;
  readonly timeline: boolean;
}

/** Reads the store and sums up the window. The store must have caught up with the log (projectOnce). */
export async function buildReport(
  store: Store,
  view: ReportView,
  filter: Filter,
  parts: Parts = { by: null, timeline: false },
): Promise<Report> {
  const { rows: targets, truncated } = await readTargets(store, filter);
  const rows = new Rows(view);
  const refusals = new Refusals(view);
  const sums = { all: new Sums(), malformed: new Sums() };
  const overflow = new OverflowSums();
  const hosts = new Set<string>();
  const agents = new Set<number>();
  for (const row of targets) {
    const end = endOf(row.verdict, row.reason, row.outcome);
    sums.all.add(row, end, row.verdict);
    if (row.host === '') sums.malformed.add(row, end, row.verdict);
    else if (row.host === OVERFLOW) {
      overflow.add(row, end);
      rows.addNameless(row, end);
    } else {
      hosts.add(row.host);
      rows.add(row, end);
      refusals.add(row, end);
      const slot = view.place(row.host, row.port, row.rule, row.grp);
      if (isBuildkite(row.host) || view.required.has(slot?.group ?? '')) agents.add(row.target_id);
    }
  }
  const open = await countOpen(store, filter, rows, sums.all);
  const facts = await readFacts(store);
  const refused = await refusals.finish(store, filter);
  const exact = truncated ? await readTotals(store, filter) : null;
  const window = windowOf(filter, facts);
  const pipelines = await readPipelines(store, filter);
  const single = await readSingle(store, filter, targets);
  return {
    window,
    filter: { pipeline: filter.pipeline, job: filter.job },
    alarms: alarmsOf(refused.denied, refused.would_deny),
    ...rows.finish(),
    ...refused,
    ...(await readPaths(store, filter)),
    pipelines: pipelines.rows,
    pipelines_total: pipelines.total,
    traffic: await readTraffic(store, filter, pipelines.named, [...agents]),
    drift: await readDrift(store, view, filter, targets, facts),
    direct: await readDirect(store, filter),
    grants: await readGrantRows(store, filter),
    single_pipeline: single.rows,
    single_pipeline_total: single.total,
    breakdown: parts.by === null ? null : await readBreakdown(store, filter, parts.by),
    timeline: parts.timeline ? await readTimeline(store, filter, inMs(window)) : null,
    open,
    totals: totalsOf(sums, open, hosts.size, exact),
    overflow: overflow.finish(),
    damaged_lines: facts.damagedLines,
    missing_lines: facts.missingLines,
    truncated,
  };
}

function totalsOf(
  { all, malformed }: { readonly all: Sums; readonly malformed: Sums },
  open: number,
  hosts: number,
  exact: Pick<Totals, 'requests' | 'bytes_up' | 'bytes_down'> | null,
): Totals {
  return {
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
    hosts,
  };
}

/** Adds the tunnels that are open now and fit the filter: a host whose one tunnel lasts for days is used, not unused. */
async function countOpen(store: Store, filter: Filter, rows: Rows, all: Sums): Promise<number> {
  let open = 0;
  for (const line of await readOpen(store)) {
    const time = Date.parse(line.time);
    const who = statedAttributes(line.identity);
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

function inMs({ from, to }: Report['window']): { from: number; to: number } | null {
  return from === null || to === null ? null : { from: Date.parse(from), to: Date.parse(to) };
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
