// The section of a report on grants: which are about to lapse, and which nobody has used. PURE.
import { selectorText } from '../policy/selector.ts';
import type { Report } from './report.ts';
import { count, minute, type Section } from './section.ts';

export function grantsSection({ grants }: Report): Section {
  return {
    id: 'grants',
    title: 'Grants',
    about:
      'About to lapse, or never used: what is needed longer belongs in the policy, and what nobody needs can be revoked.',
    columns: [
      { title: 'Grant' },
      { title: 'Host' },
      { title: 'For' },
      { title: 'Until' },
      { title: 'Requests', right: true },
      { title: 'Last used' },
      { title: 'Owner' },
      { title: 'Reason', roomy: true },
    ],
    rows: grants.map((row) => ({
      cells: [
        row.id,
        `${row.host}:${row.port}`,
        selectorText(row.for),
        `${minute(row.expires)}${row.lapses ? ' (soon)' : ''}`,
        count(row.requests),
        row.last_used === null ? 'never' : minute(row.last_used),
        row.owner,
        row.reason,
      ],
      tone: row.lapses && row.last_used !== null ? 'warn' : 'quiet',
    })),
    total: grants.length,
    notes: [],
  };
}
