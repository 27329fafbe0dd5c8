// The sections of a report on what was asked for below inspected hosts: what was refused there, and what was let through. PURE.
import { OVERFLOW } from '../usage/tally.ts';
import type { Report } from './report.ts';
import { BYTES, bytes, count, minute, type Section, some, TIMES, times } from './section.ts';

export function deniedPathsSection(report: Report, namesMax: number): Section {
  return {
    id: 'denied-paths',
    title: 'Denied below inspected hosts',
    about: '',
    columns: [
      { title: 'Host' },
      { title: 'Method' },
      { title: 'Path' },
      { title: 'Count', right: true },
      { title: 'Reason' },
      { title: 'What to do' },
      { title: 'Pipelines' },
      { title: 'Jobs', roomy: true },
      { title: 'First seen', roomy: true },
      { title: 'Last seen', roomy: true },
    ],
    rows: report.denied_paths.map((row) => ({
      cells: [
        `${row.host}:${row.port}`,
        row.method,
        row.path,
        count(row.requests),
        row.would_deny ? `${row.reason} (observed)` : row.reason,
        row.hint,
        some(row.pipelines, row.pipelines.length, namesMax),
        some(row.jobs, row.jobs.length, namesMax),
        minute(row.first_seen),
        minute(row.last_seen),
      ],
      tone: row.would_deny ? 'warn' : 'plain',
    })),
    total: report.denied_paths_total,
    notes: [],
  };
}

export function pathsSection(report: Report): Section {
  const cut = [...report.paths, ...report.denied_paths].some(({ path }) => path === OVERFLOW);
  return {
    id: 'paths',
    title: 'Below inspected hosts',
    about: '',
    columns: [
      { title: 'Host' },
      { title: 'Method' },
      { title: 'Path' },
      { title: 'Requests', right: true },
      ...BYTES,
      ...TIMES,
    ],
    rows: report.paths.map((row) => ({
      cells: [`${row.host}:${row.port}`, row.method, row.path, count(row.requests), ...bytes(row), ...times(row)],
      tone: row.path === OVERFLOW ? 'warn' : 'plain',
    })),
    total: report.paths_total,
    notes: cut ? [`A day tells limits.usage_paths_per_day paths of a host apart; ${OVERFLOW} are the others.`] : [],
  };
}
