// A report for a terminal: what needs an operator's eye first (refusals, Buildkite's own hosts loudest), then what was used,
// then what was not. Long lists are cut with their rest counted; the JSON format has them whole.
import { inert } from './inert.ts';
import type { DeniedRow, HostRow, Report } from './report.ts';
import { textTable } from './text-table.ts';
import { bytesText, summaryLines, windowText } from './words.ts';

export interface RenderOptions {
  /** Columns; Infinity where nothing may be cut. */
  readonly width: number;
  readonly paint: (style: 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'alarm', text: string) => string;
}

const ROWS_MAX = 50;
const NAMES_MAX = 5;

export function renderTable(report: Report, options: RenderOptions): string {
  const parts = [
    `${options.paint('bold', 'Egress report')}  ${inert(windowText(report))}`,
    ...summaryLines(report).map((line) => `  ${inert(line)}`),
    '',
  ];
  for (const row of report.denied.filter(({ buildkite }) => buildkite)) {
    parts.push(
      options.paint(
        'alarm',
        `!! BUILDKITE HOST REFUSED ${row.count} TIMES: ${inert(row.host)}:${row.port}: builds may stop`,
      ),
      `   ${inert(row.hint)}`,
      '',
    );
  }
  parts.push(...denied('DENIED', 'red', report.denied, report.denied_total, options));
  parts.push(...denied('WOULD BE DENIED', 'yellow', report.would_deny, report.would_deny_total, options));
  parts.push(
    ...hosts(
      'REQUIRED',
      report.required.map((row) => [row.group, row]),
      options,
    ),
  );
  const used = report.optional.filter(({ state }) => state !== 'unused');
  parts.push(
    ...hosts(
      'OPTIONAL',
      used.flatMap(({ group, enabled, hosts: list }) =>
        list.map((row): Line => [enabled ? group : `${group} (off)`, row]),
      ),
      options,
    ),
  );
  parts.push(
    ...hosts(
      'OWN RULES',
      report.other.map((row): Line => [row.counted_in === null ? '' : `see ${row.counted_in}`, row]),
      options,
    ),
  );
  parts.push(...neverUsed(report, options));
  parts.push(...pipelines(report, options));
  return `${parts.join('\n').trimEnd()}\n`;
}

function denied(
  title: string,
  style: 'red' | 'yellow',
  list: readonly DeniedRow[],
  total: number,
  options: RenderOptions,
): string[] {
  if (list.length === 0) return [];
  const shown = list.slice(0, ROWS_MAX);
  const rows = shown.map((row) => [
    `${row.host}:${row.port}`,
    String(row.count),
    row.reason,
    row.hint,
    some(row.pipelines, row.pipelines.length),
  ]);
  const table = textTable(['host', 'count', 'reason', 'what to do', 'pipelines'], rows, {
    width: options.width,
    right: [1],
    indent: 2,
    paint: (line, place) => (shown[place]?.buildkite ? options.paint(style, line) : line),
  });
  return [options.paint('bold', `${title} (${total})`), table.trimEnd(), ...rest(total - shown.length), ''];
}

type Line = readonly [group: string, row: HostRow];

function hosts(title: string, list: readonly Line[], options: RenderOptions): string[] {
  if (list.length === 0) return [];
  const shown = list.slice(0, ROWS_MAX);
  const rows = shown.map(([group, row]) => [
    group,
    `${row.host}:${row.port}`,
    row.state,
    count(row.tunnels),
    count(row.open),
    count(row.denied),
    count(row.failed),
    row.bytes_up === 0 ? '' : bytesText(row.bytes_up),
    row.bytes_down === 0 ? '' : bytesText(row.bytes_down),
    some(row.names, row.names_total),
  ]);
  const table = textTable(
    ['group', 'host', 'state', 'tunnels', 'open', 'denied', 'failed', 'up', 'down', 'names'],
    rows,
    {
      width: options.width,
      right: [3, 4, 5, 6, 7, 8],
      indent: 2,
      paint: (line, place) => paintState(shown[place]?.[1].state, line, options),
    },
  );
  return [options.paint('bold', title), table.trimEnd(), ...rest(list.length - shown.length), ''];
}

function paintState(state: HostRow['state'] | undefined, line: string, { paint }: RenderOptions): string {
  if (state === 'failing' || state === 'denied') return paint('red', line);
  if (state === 'would-deny') return paint('yellow', line);
  return state === 'unused' ? paint('dim', line) : line;
}

function neverUsed(report: Report, options: RenderOptions): string[] {
  const unused = report.optional.filter(({ state }) => state === 'unused');
  if (unused.length === 0) return [];
  const rows = unused.map(({ group, title, enabled }) => [group, enabled ? 'switched on' : 'off', title]);
  return [
    options.paint('bold', 'OPTIONAL, NEVER USED'),
    textTable(['group', '', 'title'], rows, { width: options.width, right: [], indent: 2 }).trimEnd(),
    '',
  ];
}

function pipelines(report: Report, options: RenderOptions): string[] {
  if (report.pipelines.length === 0) return [];
  const shown = report.pipelines.slice(0, ROWS_MAX);
  const rows = shown.map((row) => [
    row.pipeline === '' ? '(none)' : row.pipeline,
    row.claimed ? 'claimed' : '',
    String(row.jobs),
    String(row.tunnels),
    String(row.denied),
    String(row.hosts),
  ]);
  const table = textTable(['pipeline', '', 'jobs', 'tunnels', 'denied', 'hosts'], rows, {
    width: options.width,
    right: [2, 3, 4, 5],
    indent: 2,
  });
  return [options.paint('bold', 'PIPELINES'), table.trimEnd(), ...rest(report.pipelines.length - shown.length), ''];
}

function count(value: number): string {
  return value === 0 ? '' : String(value);
}

function some(names: readonly string[], total: number): string {
  const shown = names.slice(0, NAMES_MAX);
  return `${shown.join(' ')}${total > shown.length ? ` +${total - shown.length}` : ''}`;
}

function rest(more: number): string[] {
  return more > 0 ? [`  … and ${more} more: --format json`] : [];
}
