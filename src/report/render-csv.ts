// A report as CSV for spreadsheets. Everything in a report came from clients: each cell goes through inert.ts, whatever it holds.
import { authorityText } from '../policy/authority.ts';
import type { DirectRow } from './direct.ts';
import { csvCell } from './inert.ts';
import type { DeniedPath, PathRow } from './paths.ts';
import type { EndSums } from './query.ts';
import type { DeniedRow, HostRow, Report } from './report.ts';

const CSV_HEAD = [
  'section',
  'group',
  'enabled',
  'host',
  'port',
  'rule',
  'state',
  'tunnels',
  'open',
  'denied',
  'would_deny',
  'failed',
  'bytes_up',
  'bytes_down',
  'reason',
  'nearest',
  'hint',
  'pipelines',
  'jobs',
  'names',
  'first_seen',
  'last_seen',
  'window_from',
  'window_to',
  'alarm',
  'redirect_from',
  'pipeline',
  'name',
  'agent_versions',
  'notes',
  'protocol',
  'attempts',
  'client',
  'method',
  'path',
] as const;

type CsvRow = Partial<Record<(typeof CSV_HEAD)[number], string | number | null>>;

/** RFC 4180 with CR LF; one row for each host of a section. The window stands in each row: a file of rows has no other place. */
export function renderCsv(report: Report): string {
  const window = { window_from: report.window.from, window_to: report.window.to };
  const refused = (
    [
      ['denied', report.denied],
      ['would-deny', report.would_deny],
      ['expected-denied', report.expected_denied],
    ] as const
  ).flatMap(([section, list]) => list.map((row) => deniedCells(section, row)));
  const required = report.required.map((row) => ({
    section: 'required',
    group: row.group,
    enabled: 'true',
    ...hostCells(row),
    agent_versions: row.agent_versions,
    notes: row.notes.join(' '),
  }));
  const optional = report.optional.flatMap(({ group, enabled, hosts }) =>
    hosts.map((row) => ({ section: 'optional', group, enabled: String(enabled), ...hostCells(row) })),
  );
  // Joined as lists: a call has room for some tens of thousands of arguments, and a report may have more rows.
  const rows: CsvRow[] = refused.concat(
    report.denied_paths.map(deniedPathCells),
    report.paths.map(pathCells),
    report.direct.rows.map(directCells),
    required,
    optional,
    report.other.map((row) => ({ section: 'other', group: row.counted_in, ...hostCells(row) })),
    whoRows(report),
  );
  const line = (cells: readonly (string | number | null)[]): string => `${cells.map(csvCell).join(',')}\r\n`;
  const cells = (row: CsvRow): string => {
    const all: CsvRow = { ...row, ...window };
    return line(CSV_HEAD.map((name) => all[name] ?? null));
  };
  return line(CSV_HEAD) + rows.map(cells).join('');
}

function deniedPathCells({ would_deny: observed, requests, nearest, ...row }: DeniedPath): CsvRow {
  const { host, port, method, path, reason, hint, first_seen, last_seen } = row;
  const counted = observed ? { state: 'would-deny', would_deny: requests } : { state: 'denied', denied: requests };
  const who = { pipelines: row.pipelines.join(' '), jobs: row.jobs.join(' ') };
  const why = { reason, nearest: nearest?.pattern ?? null, hint };
  return { section: 'denied-path', host, port, method, path, ...counted, ...why, ...who, first_seen, last_seen };
}

/** Their requests stand as `tunnels`: the column of what was let through. */
function pathCells({ requests: tunnels, ...row }: PathRow): CsvRow {
  return { section: 'path', state: 'used', tunnels, ...row };
}

function directCells({ fix, ...row }: DirectRow): CsvRow {
  const { host, port, protocol, attempts, client, verdict, first_seen, last_seen } = row;
  const who = { pipelines: row.pipelines.join(' '), jobs: row.jobs.join(' '), name: row.claimed ? 'claimed' : '' };
  const said = { state: verdict === 'accept' ? 'let-out' : 'refused', reason: fix.kind, hint: fix.text };
  return { section: 'direct', host, port, protocol, attempts, client, ...said, ...who, first_seen, last_seen };
}

/** Rows that say who: agents and jobs, what is new, what one pipeline alone uses, and the breakdown. */
function whoRows(report: Report): CsvRow[] {
  const rows: CsvRow[] = Object.entries(report.traffic).map(([name, sums]) => ({
    section: 'traffic',
    name,
    ...sumCells(sums),
  }));
  for (const { host, port, group, rule, pipelines, ...row } of report.drift.hosts) {
    const { tunnels, denied, would_deny, failed, first_seen, last_seen } = row;
    const counts = { tunnels, denied, would_deny, failed, first_seen, last_seen };
    rows.push({ section: 'new', group, host, port, rule, ...counts, pipelines: pipelines.join(' ') });
  }
  for (const { pipeline, host, port, requests: tunnels, last_seen } of report.single_pipeline)
    rows.push({ section: 'single-pipeline', pipeline, host, port, tunnels, last_seen });
  for (const row of report.pipelines)
    rows.push({ section: 'pipeline', pipeline: row.pipeline, name: row.claimed ? 'claimed' : '', ...sumCells(row) });
  for (const { group, rule, ...row } of report.overflow.groups)
    rows.push({ section: 'overflow', group, rule, ...sumCells(row) });
  for (const row of report.breakdown?.rows ?? [])
    rows.push({
      section: `by-${report.breakdown?.by}`,
      pipeline: row.pipeline,
      name: row.name,
      ...sumCells(row),
    });
  return rows;
}

function sumCells(row: EndSums): CsvRow {
  const { tunnels, denied, would_deny, failed, bytes_up, bytes_down, first_seen, last_seen } = row;
  return { tunnels, denied, would_deny, failed, bytes_up, bytes_down, first_seen, last_seen };
}

function hostCells(row: HostRow): CsvRow {
  const {
    host,
    port,
    rule,
    state,
    tunnels,
    open,
    denied,
    would_deny,
    failed,
    bytes_up,
    bytes_down,
    first_seen,
    last_seen,
  } = row;
  const counts = { tunnels, open, denied, would_deny, failed, bytes_up, bytes_down };
  return { host, port, rule, state, ...counts, names: row.names.join(' '), first_seen, last_seen };
}

function deniedCells(section: 'denied' | 'would-deny' | 'expected-denied', row: DeniedRow): CsvRow {
  const { host, port, count, reason, nearest, hint, pipelines, jobs, first_seen, last_seen } = row;
  const counted = section === 'would-deny' ? { would_deny: count } : { denied: count };
  return {
    section,
    host,
    port,
    state: section === 'would-deny' ? 'would-deny' : 'denied',
    ...counted,
    reason,
    nearest: nearest?.pattern ?? null,
    hint,
    pipelines: pipelines.join(' '),
    jobs: jobs.join(' '),
    first_seen,
    last_seen,
    alarm: row.buildkite && section !== 'expected-denied' ? 'BUILDKITE HOST: jobs may stop' : null,
    redirect_from: row.redirect_from === null ? null : authorityText(row.redirect_from.host, row.redirect_from.port),
  };
}
