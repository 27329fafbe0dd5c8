// Who asked for how much: by pipeline, step, job, agent or client. A pipeline's or job's name narrows the usage page to it.

import type { BreakdownRow } from '../../report/breakdown.ts';
import type { Dimension } from '../../report/dimension.ts';
import { Answer, Empty } from './parts.tsx';
import { bytes, inert, when } from './show.ts';
import type { ReportAnswer } from './usage.tsx';
import type { Loaded } from './use.ts';
import { type Column, VirtualTable } from './virtual-table.tsx';

/** What the usage page is narrowed to; '' for everything. */
export interface Scope {
  readonly pipeline: string;
  readonly job: string;
}

export const ALL: Scope = { pipeline: '', job: '' };
const DIMENSIONS: readonly Dimension[] = ['pipeline', 'step', 'job', 'agent', 'client'];

export function WhoPage({
  report,
  by,
  onBy,
  onScope,
}: {
  readonly report: Loaded<ReportAnswer>;
  readonly by: Dimension;
  readonly onBy: (by: Dimension) => void;
  readonly onScope: (scope: Scope) => void;
}) {
  const columns: Column<BreakdownRow>[] = [
    { head: 'Who', width: 'minmax(14rem, 2fr)', cell: (row) => <Name row={row} by={by} onScope={onScope} /> },
    { head: 'Jobs', width: '5rem', right: true, cell: ({ jobs }) => jobs },
    { head: 'Tunnels', width: '6rem', right: true, cell: ({ tunnels }) => tunnels },
    { head: 'Refused', width: '6rem', right: true, cell: ({ denied }) => denied },
    { head: 'Failed', width: '6rem', right: true, cell: ({ failed }) => failed },
    { head: 'Up', width: '6rem', right: true, cell: ({ bytes_up }) => bytes(bytes_up) },
    { head: 'Down', width: '6rem', right: true, cell: ({ bytes_down }) => bytes(bytes_down) },
    { head: 'Last seen', width: '11rem', cell: ({ last_seen }) => when(last_seen) },
  ];
  return (
    <section aria-labelledby="who-title">
      <header>
        <h2 id="who-title">Who asked</h2>
        <label class="inline">
          by{' '}
          <select value={by} onChange={(event) => onBy(event.currentTarget.value as Dimension)}>
            {DIMENSIONS.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
      </header>
      <Answer of={report} what="the report">
        {({ breakdown }) => {
          if (breakdown === null || breakdown.by !== by) return <Empty>Loading …</Empty>;
          if (breakdown.rows.length === 0) return <Empty>No request in this window.</Empty>;
          return (
            <>
              <p class="muted">
                {breakdown.rows.length} of {breakdown.rows_total}
              </p>
              <VirtualTable
                label={`Usage by ${by}`}
                rows={breakdown.rows}
                columns={columns}
                rowKey={({ pipeline, name, claimed }) => JSON.stringify([pipeline, name, claimed])}
              />
            </>
          );
        }}
      </Answer>
    </section>
  );
}

function Name({
  row: { pipeline, name, claimed },
  by,
  onScope,
}: {
  readonly row: BreakdownRow;
  readonly by: Dimension;
  readonly onScope: (scope: Scope) => void;
}) {
  const parts = [pipeline, name].filter((part) => part !== '');
  if (parts.length === 0) return <span class="muted">(not said)</span>;
  const text = `${inert(parts.join(' / '))}${claimed ? ' (claimed)' : ''}`;
  const scope = { pipeline, job: by === 'job' ? name : '' };
  if (by === 'agent' || by === 'client' || (scope.pipeline === '' && scope.job === '')) return <>{text}</>;
  return (
    <button type="button" class="link" onClick={() => onScope(scope)}>
      {text}
    </button>
  );
}
