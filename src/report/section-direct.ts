// The section of a report on direct attempts that never reached the proxy. PURE.
import type { Report } from './report.ts';
import { minute, type Section, some } from './section.ts';
import { destinationText } from './words.ts';

/** What `import flows` found, those that got out first. */
export function directSection({ direct: { rows, rows_total: total, truncated } }: Report, namesMax: number): Section {
  const fixes = new Set(rows.map(({ fix: { title, text } }) => `${title}: ${text}`));
  return {
    id: 'direct',
    title: 'Direct attempts that never reached the proxy',
    about: 'From the logs of the network that were imported; jobs are those that the client ran at that time.',
    columns: [
      { title: 'Host' },
      { title: 'Attempts', right: true },
      { title: 'Network' },
      { title: 'Likely fix' },
      { title: 'Pipelines' },
      { title: 'Jobs' },
      { title: 'Client' },
      { title: 'First seen', roomy: true },
      { title: 'Last seen', roomy: true },
    ],
    rows: rows.map((row) => ({
      cells: [
        destinationText(row),
        String(row.attempts),
        row.verdict === 'accept' ? 'LET OUT' : 'refused',
        row.fix.title,
        `${some(row.pipelines, row.pipelines.length, namesMax)}${row.claimed ? ' (claimed)' : ''}`,
        some(row.jobs, row.jobs.length, namesMax),
        row.client,
        minute(row.first_seen),
        minute(row.last_seen),
      ],
      tone: row.verdict === 'accept' ? 'bad' : 'plain',
    })),
    total,
    notes: [...fixes, ...(truncated ? ['There are more attempts than one report reads: the latest are here.'] : [])],
  };
}
