// A report as text: CSV for spreadsheets, Markdown for annotations and tickets; the terminal's table is in render-table.ts.
// Everything in a report came from clients: each cell goes through inert.ts, whatever it holds.
import { csvCell, markdownCell } from './inert.ts';
import type { DeniedRow, HostRow, Report } from './report.ts';
import { bytesText, summaryLines, windowText } from './words.ts';

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
] as const;

type CsvRow = Partial<Record<(typeof CSV_HEAD)[number], string | number | null>>;

/** RFC 4180 with CR LF; one row for each host of a section. The window stands in each row: a file of rows has no other place. */
export function renderCsv(report: Report): string {
  const window = { window_from: report.window.from, window_to: report.window.to };
  const rows: CsvRow[] = [];
  for (const [section, list] of [
    ['denied', report.denied],
    ['would-deny', report.would_deny],
    ['expected-denied', report.expected_denied],
  ] as const) {
    rows.push(...list.map((row) => deniedCells(section, row)));
  }
  rows.push(
    ...report.required.map((row) => ({ section: 'required', group: row.group, enabled: 'true', ...hostCells(row) })),
  );
  for (const { group, enabled, hosts } of report.optional) {
    rows.push(...hosts.map((row) => ({ section: 'optional', group, enabled: String(enabled), ...hostCells(row) })));
  }
  rows.push(...report.other.map((row) => ({ section: 'other', group: row.counted_in, ...hostCells(row) })));
  const line = (cells: readonly (string | number | null)[]): string => `${cells.map(csvCell).join(',')}\r\n`;
  return (
    line(CSV_HEAD) + rows.map((row) => line(CSV_HEAD.map((name) => ({ ...row, ...window })[name] ?? null))).join('')
  );
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
  };
}

const MARKDOWN_ROWS_MAX = 200;
const MARKDOWN_NAMES_MAX = 10;

/** GitHub-flavoured Markdown, safe to paste where HTML is rendered. */
export function renderMarkdown(report: Report): string {
  const parts = [
    '## Egress report',
    '',
    `Window: ${markdownCell(windowText(report))}`,
    '',
    ...summaryLines(report).map((line) => `- ${markdownCell(line)}`),
    '',
  ];
  const loud = report.denied.filter(({ buildkite }) => buildkite);
  for (const { host, port, count } of loud) {
    parts.push(`> **Buildkite host refused ${count} times: ${markdownCell(`${host}:${port}`)}. Builds may stop.**`, '');
  }
  parts.push(...section('Denied', DENIED_HEAD, report.denied.map(deniedLine), report.denied_total));
  parts.push(...section('Would be denied', DENIED_HEAD, report.would_deny.map(deniedLine), report.would_deny_total));
  parts.push(
    ...section(
      'Required hosts',
      HOST_HEAD,
      report.required.map((row) => hostLine(row.group, row)),
    ),
  );
  const used = report.optional.filter(({ state }) => state !== 'unused');
  const unused = report.optional.filter(({ state }) => state === 'unused');
  parts.push(
    ...section(
      'Optional hosts',
      HOST_HEAD,
      used.flatMap(({ group, hosts }) => hosts.map((row) => hostLine(group, row))),
    ),
  );
  parts.push(
    ...section(
      'Optional groups never used',
      ['Group', 'Title', 'Switched on'],
      unused.map(({ group, title, enabled }) => [group, title, enabled ? 'yes' : 'no']),
    ),
  );
  parts.push(
    ...section(
      'Own rules',
      HOST_HEAD,
      report.other.map((row) => hostLine(row.counted_in ?? '', row)),
    ),
  );
  parts.push(
    ...section(
      'Pipelines',
      ['Pipeline', 'Jobs', 'Tunnels', 'Denied', 'Hosts'],
      report.pipelines.map((row) => [
        `${row.pipeline || '(none)'}${row.claimed ? ' (claimed)' : ''}`,
        row.jobs,
        row.tunnels,
        row.denied,
        row.hosts,
      ]),
    ),
  );
  return `${parts.join('\n').trimEnd()}\n`;
}

type Cells = readonly (string | number | null)[];
const DENIED_HEAD = ['Host', 'Count', 'Reason', 'What to do', 'Pipelines', 'Last seen'];
const HOST_HEAD = ['Group', 'Host', 'State', 'Tunnels', 'Denied', 'Failed', 'Up', 'Down', 'Names'];

function deniedLine(row: DeniedRow): Cells {
  return [
    `${row.host}:${row.port}`,
    row.count,
    row.reason,
    row.hint,
    some(row.pipelines, row.pipelines.length),
    row.last_seen,
  ];
}

function hostLine(group: string, row: HostRow): Cells {
  const names = some(row.names, row.names_total);
  return [
    group,
    `${row.host}:${row.port}`,
    row.state,
    row.tunnels + row.open,
    row.denied,
    row.failed,
    bytesText(row.bytes_up),
    bytesText(row.bytes_down),
    names,
  ];
}

function some(names: readonly string[], total: number): string {
  const shown = names.slice(0, MARKDOWN_NAMES_MAX);
  return `${shown.join(', ')}${total > shown.length ? ` and ${total - shown.length} more` : ''}`;
}

function section(title: string, head: readonly string[], rows: readonly Cells[], total = rows.length): string[] {
  if (rows.length === 0) return [];
  const line = (cells: Cells): string => `| ${cells.map(markdownCell).join(' | ')} |`;
  const shown = rows.slice(0, MARKDOWN_ROWS_MAX);
  const parts = [`### ${title}`, '', line(head), `| ${head.map(() => '---').join(' | ')} |`, ...shown.map(line), ''];
  if (total > shown.length) parts.push(`${total - shown.length} more are in the JSON format.`, '');
  return parts;
}
