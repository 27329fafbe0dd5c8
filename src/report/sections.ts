// A report as sections of rows, in the order in which an operator needs them: refusals first, then what is new, then what
// worked, then who asked. Terminal, Markdown and HTML show these; what a cell says is decided here, how it is made harmless
// is theirs: cells are raw text from clients. PURE.
import { authorityText } from '../policy/authority.ts';
import type { BreakdownRow } from './breakdown.ts';
import type { DeniedRow, HostRow, Report } from './report.ts';
import {
  BYTES,
  bytes,
  COUNTS,
  called,
  count,
  counts,
  minute,
  type Section,
  some,
  TIMES,
  type Tone,
  times,
} from './section.ts';
import { directSection } from './section-direct.ts';
import { grantsSection } from './section-grants.ts';
import { deniedPathsSection, pathsSection } from './section-paths.ts';

/** @param namesMax names of one cell; the rest of them is counted */
export function sectionsOf(report: Report, namesMax: number): Section[] {
  const sections = [
    refused('denied', 'Denied', '', report.denied, report.denied_total, 'bad', namesMax),
    refused(
      'would-deny',
      'Would be denied',
      'Let through by observe mode only.',
      report.would_deny,
      report.would_deny_total,
      'warn',
      namesMax,
    ),
    deniedPathsSection(report, namesMax),
    directSection(report, namesMax),
    grantsSection(report),
    drift(report, namesMax),
    {
      ...hosts(
        'required',
        'Required hosts',
        report.required.map((row) => [row.group, row]),
        namesMax,
      ),
      notes: report.required.flatMap(({ host, port, notes }) =>
        notes.length === 0 ? [] : [`About ${host}:${port}: ${notes.join(' ')}`],
      ),
    },
    hosts(
      'optional',
      'Optional hosts',
      report.optional
        .filter(({ state }) => state !== 'unused')
        .flatMap(({ group, enabled, hosts: list }) =>
          list.map((row): Listed => [enabled ? group : `${group} (off)`, row]),
        ),
      namesMax,
    ),
    hosts(
      'own',
      'Own rules',
      report.other.map((row): Listed => [row.counted_in === null ? '' : `see ${row.counted_in}`, row]),
      namesMax,
    ),
    pathsSection(report),
    neverUsed(report),
    overflow(report),
    traffic(report),
    pipelines(report),
    breakdown(report),
    single(report),
  ];
  return sections.filter(({ rows, about, id }) => rows.length > 0 || (id === 'drift' && about !== ''));
}

/** What expected_denials kept out of the list of refusals. */
export function expectedSection(report: Report, namesMax: number): Section {
  const { expected_denied: rows } = report;
  const about = 'Refused, as expected_denials says: nothing to do.';
  const done = rows.map((row) => ({ ...row, hint: '' }));
  return refused('expected', 'Expected refusals', about, done, done.length, 'quiet', namesMax);
}

function refused(
  id: string,
  title: string,
  about: string,
  rows: readonly DeniedRow[],
  total: number,
  tone: Tone,
  namesMax: number,
): Section {
  return {
    id,
    title,
    about,
    columns: [
      { title: 'Host' },
      { title: 'Count', right: true },
      { title: 'Reason' },
      { title: 'What to do' },
      { title: 'Pipelines' },
      { title: 'Jobs', roomy: true },
      { title: 'First seen', roomy: true },
      { title: 'Last seen', roomy: true },
    ],
    rows: rows.map((row) => ({
      cells: [
        authorityText(row.host, row.port),
        String(row.count),
        row.reason,
        whatToDo(row),
        some(row.pipelines, row.pipelines.length, namesMax),
        some(row.jobs, row.jobs.length, namesMax),
        minute(row.first_seen),
        minute(row.last_seen),
      ],
      tone: row.buildkite ? tone : 'plain',
    })),
    total,
    notes: [],
  };
}

function whatToDo({ hint, redirect_from: from }: DeniedRow): string {
  const redirect = from === null ? [] : [`(likely a redirect from ${authorityText(from.host, from.port)})`];
  return [...(hint === '' ? [] : [hint]), ...redirect].join(' ');
}

function drift({ drift: found, filter }: Report, namesMax: number): Section {
  const { from, to, recorded_from: recorded } = found.previous;
  const since = recorded === null || recorded <= from ? '' : ` (recorded from ${minute(recorded)} on)`;
  const known = `Not asked for in the window before, ${minute(from)} to ${minute(to)}${since}.`;
  const unknown = `Nothing was recorded in the window before, ${minute(from)} to ${minute(to)}: what is new is not known.`;
  // With a filter, or a report of the first days, there may be nothing to say.
  const about = recorded === null ? unknown : found.hosts.length > 0 || filter.job !== null ? known : '';
  return {
    id: 'drift',
    title: 'New in this window',
    about,
    columns: [
      { title: 'Host' },
      { title: 'Group' },
      ...COUNTS,
      { title: 'Pipelines' },
      { title: 'First seen', roomy: true },
      { title: 'Last seen', roomy: true },
    ],
    rows: found.hosts.map((row) => ({
      cells: [
        authorityText(row.host, row.port),
        row.group || row.rule,
        ...counts(row),
        some(row.pipelines, row.pipelines.length, namesMax),
        minute(row.first_seen),
        minute(row.last_seen),
      ],
      tone: row.tunnels === 0 && row.denied > 0 ? 'bad' : 'plain',
    })),
    total: found.hosts_total,
    notes: [],
  };
}

type Listed = readonly [group: string, row: HostRow];

const TONES: Readonly<Record<HostRow['state'], Tone>> = {
  used: 'plain',
  unused: 'quiet',
  failing: 'bad',
  denied: 'bad',
  'would-deny': 'warn',
};

function hosts(id: string, title: string, list: readonly Listed[], namesMax: number): Section {
  return {
    id,
    title,
    about: '',
    columns: [
      { title: 'Group' },
      { title: 'Host' },
      { title: 'State' },
      { title: 'Tunnels', right: true },
      { title: 'Open', right: true },
      { title: 'Denied', right: true },
      { title: 'Failed', right: true },
      ...BYTES,
      { title: 'Names' },
      { title: 'First seen', roomy: true },
      { title: 'Last seen', roomy: true },
    ],
    rows: list.map(([group, row]) => ({
      cells: [
        group,
        `${row.host}:${row.port}`,
        row.state,
        count(row.tunnels),
        count(row.open),
        count(row.denied),
        count(row.failed),
        ...bytes(row),
        some(row.names, row.names_total, namesMax),
        minute(row.first_seen),
        minute(row.last_seen),
      ],
      tone: TONES[row.state],
    })),
    total: list.length,
    notes: [],
  };
}

function neverUsed(report: Report): Section {
  const unused = report.optional.filter(({ state }) => state === 'unused');
  return {
    id: 'never-used',
    title: 'Optional groups never used',
    about: '',
    columns: [{ title: 'Group' }, { title: 'Switched' }, { title: 'Title' }],
    rows: unused.map(({ group, enabled, title }) => ({
      cells: [group, enabled ? 'on' : 'off', title],
      tone: enabled ? 'plain' : 'quiet',
    })),
    total: unused.length,
    notes: [],
  };
}

function overflow({ overflow: { groups } }: Report): Section {
  return {
    id: 'overflow',
    title: 'Beyond the limit of names',
    about: 'An hour tells limits.usage_names_per_hour hosts apart; these requests are counted without theirs.',
    columns: [{ title: 'Group' }, { title: 'Rule' }, ...COUNTS, ...BYTES, ...TIMES],
    rows: groups.map((row) => ({
      cells: [row.group || '(none)', row.rule, ...counts(row), ...bytes(row), ...times(row)],
      tone: 'warn',
    })),
    total: groups.length,
    notes: [],
  };
}

function traffic({ traffic: { jobs, agents, unattributed }, totals }: Report): Section {
  const rows = (
    [
      ['Jobs (a pipeline is known)', jobs],
      ['Agents (none is, to hosts that agents need)', agents],
      ['Unattributed', unattributed],
    ] as const
  ).map(([name, sums]) => ({ cells: [name, ...counts(sums), ...bytes(sums), ...times(sums)], tone: 'plain' as const }));
  return {
    id: 'traffic',
    title: 'Agents and jobs',
    about: '',
    columns: [{ title: 'Traffic of' }, ...COUNTS, ...BYTES, ...TIMES],
    rows: totals.requests === 0 ? [] : rows,
    total: rows.length,
    notes: [],
  };
}

function pipelines(report: Report): Section {
  return {
    id: 'pipelines',
    title: 'Pipelines',
    about: '',
    columns: [
      { title: 'Pipeline' },
      { title: 'Jobs', right: true },
      { title: 'Hosts', right: true },
      ...COUNTS,
      ...BYTES,
      ...TIMES,
    ],
    rows: report.pipelines.map((row) => ({
      cells: [
        called(row.pipeline, row),
        count(row.jobs),
        count(row.hosts),
        ...counts(row),
        ...bytes(row),
        ...times(row),
      ],
      tone: 'plain',
    })),
    total: report.pipelines_total,
    notes: [],
  };
}

function breakdown({ breakdown: found }: Report): Section {
  const by = found?.by ?? 'pipeline';
  const rows = found?.rows ?? [];
  const nameOf = ({ pipeline, name }: BreakdownRow): string => (by === 'pipeline' ? pipeline : name);
  return {
    id: 'by',
    title: `By ${by}`,
    about: '',
    columns: [
      { title: by === 'pipeline' ? 'Pipeline' : `${by.charAt(0).toUpperCase()}${by.slice(1)}` },
      ...(by === 'step' || by === 'job' ? [{ title: 'Pipeline' }] : []),
      { title: 'Jobs', right: true },
      ...COUNTS,
      ...BYTES,
      ...TIMES.map(({ title }) => ({ title })),
    ],
    rows: rows.map((row) => ({
      cells: [
        called(nameOf(row), row),
        ...(by === 'step' || by === 'job' ? [row.pipeline] : []),
        count(row.jobs),
        ...counts(row),
        ...bytes(row),
        ...times(row),
      ],
      tone: 'plain',
    })),
    total: found?.rows_total ?? 0,
    notes: [],
  };
}

function single(report: Report): Section {
  return {
    id: 'single',
    title: 'Hosts that only one pipeline uses',
    about: '',
    columns: [
      { title: 'Pipeline' },
      { title: 'Host' },
      { title: 'Requests', right: true },
      { title: 'Last seen', roomy: true },
    ],
    rows: report.single_pipeline.map((row) => ({
      cells: [row.pipeline, authorityText(row.host, row.port), count(row.requests), minute(row.last_seen)],
      tone: 'plain',
    })),
    total: report.single_pipeline_total,
    notes: [],
  };
}
