// What was used in the window: the time line, the groups that are optional (used, unused, refused), and every host with the names
// behind its wildcard.
import { useMemo, useState } from 'preact/hooks';
import type { HostRow, OptionalGroup, Report } from '../../report/report.ts';
import { Spark, Timeline } from './charts.tsx';
import { Answer, Badge, Empty, Search } from './parts.tsx';
import { bytes, endpoint, inert, when } from './show.ts';
import type { Loaded } from './use.ts';
import { type Column, VirtualTable } from './virtual-table.tsx';

export type ReportAnswer = Report & { readonly group_timelines: Readonly<Record<string, readonly number[]>> };

interface Row extends HostRow {
  readonly group: string;
}

export function UsagePage({ report }: { readonly report: Loaded<ReportAnswer> }) {
  return (
    <section aria-labelledby="usage-title">
      <h2 id="usage-title">Usage</h2>
      <Answer of={report} what="the report">
        {(data) => (
          <>
            <p class="muted">
              {data.totals.requests} requests to {data.totals.hosts} hosts, {data.totals.denied} refused,{' '}
              {bytes(data.totals.bytes_up)} up, {bytes(data.totals.bytes_down)} down; recorded from{' '}
              {when(data.window.from)} to {when(data.window.to)}
            </p>
            {data.timeline !== null && data.timeline.points.length > 0 && <Timeline points={data.timeline.points} />}
            <Groups groups={data.optional} timelines={data.group_timelines} />
            <Hosts data={data} />
          </>
        )}
      </Answer>
    </section>
  );
}

function Groups({
  groups,
  timelines,
}: {
  readonly groups: readonly OptionalGroup[];
  readonly timelines: ReportAnswer['group_timelines'];
}) {
  const shown = groups.filter(({ enabled, state }) => enabled || state !== 'unused');
  return (
    <>
      <h3>Optional groups</h3>
      {shown.length === 0 && <Empty>No optional group is switched on, and nothing asked for one.</Empty>}
      <ul class="groups">
        {shown.map(({ group, title, enabled, state, hosts }) => (
          <li key={group}>
            <div>
              <Badge state={state} />
              <strong>{group}</strong>
              <span class="muted">{enabled ? '' : 'not switched on'}</span>
            </div>
            <p class="muted">{title}</p>
            <Spark values={timelines[group] ?? []} label={`Tunnels of ${group} over the window`} />
            <span class="muted">
              {hosts.reduce((sum, { tunnels }) => sum + tunnels, 0)} tunnels,{' '}
              {hosts.reduce((sum, { denied }) => sum + denied, 0)} refused
            </span>
          </li>
        ))}
      </ul>
    </>
  );
}

function Hosts({ data }: { readonly data: ReportAnswer }) {
  const [search, setSearch] = useState('');
  const [open, setOpen] = useState<string | null>(null);
  const all = useMemo(() => rowsOf(data), [data]);
  const wanted = search.toLowerCase();
  const rows = all.filter(({ host, group, names, rule }) =>
    `${host} ${group} ${rule} ${names.join(' ')}`.includes(wanted),
  );
  const chosen = all.find((row) => keyOf(row) === open);
  const columns: Column<Row>[] = [
    { head: 'State', width: '7.5rem', cell: ({ state }) => <Badge state={state} /> },
    {
      head: 'Host',
      width: 'minmax(14rem, 2fr)',
      cell: (row) =>
        row.names_total === 0 ? (
          <span dir="ltr">{endpoint(row.host, row.port)}</span>
        ) : (
          <button
            type="button"
            class="link"
            dir="ltr"
            aria-expanded={keyOf(row) === open}
            onClick={() => setOpen(keyOf(row) === open ? null : keyOf(row))}
          >
            {endpoint(row.host, row.port)} <span class="muted">({row.names_total} names)</span>
          </button>
        ),
    },
    {
      head: 'Group or rule',
      width: 'minmax(9rem, 1fr)',
      cell: ({ group, rule }) => inert(group === '' ? rule : group),
    },
    { head: 'Tunnels', width: '6rem', right: true, cell: ({ tunnels }) => tunnels },
    { head: 'Refused', width: '6rem', right: true, cell: ({ denied }) => denied },
    { head: 'Down', width: '6rem', right: true, cell: ({ bytes_down }) => bytes(bytes_down) },
    { head: 'Last seen', width: '11rem', cell: ({ last_seen }) => when(last_seen) },
  ];
  return (
    <>
      <header>
        <h3>Hosts</h3>
        <Search label="Host, group or rule" value={search} onChange={setSearch} />
      </header>
      <p class="muted" role="status">
        {rows.length} of {all.length} hosts
      </p>
      {rows.length === 0 ? (
        <Empty>No host fits.</Empty>
      ) : (
        <VirtualTable label="Hosts" rows={rows} columns={columns} rowKey={keyOf} />
      )}
      {chosen !== undefined && (
        <aside aria-label={`Names behind ${chosen.host}`}>
          <h4 dir="ltr">{endpoint(chosen.host, chosen.port)}</h4>
          <p class="muted">
            {chosen.names.length} of {chosen.names_total} names, the most used first
          </p>
          <ul class="names">
            {chosen.names.map((name) => (
              <li key={name} dir="ltr">
                {inert(name)}
              </li>
            ))}
          </ul>
        </aside>
      )}
    </>
  );
}

const keyOf = ({ host, port, rule, group, state }: Row): string => JSON.stringify([host, port, rule, group, state]);

/** Every host once: those of the catalog, own rules, and what was refused without one. */
function rowsOf({ required, optional, other, denied }: ReportAnswer): Row[] {
  const refused = denied.map(
    ({ host, port, count, reason, first_seen, last_seen }): Row => ({
      ...{
        host,
        port,
        rule: reason,
        group: '',
        state: 'denied',
        tunnels: 0,
        open: 0,
        denied: count,
        would_deny: 0,
        failed: 0,
      },
      ...{ bytes_up: 0, bytes_down: 0, first_seen, last_seen, names: [], names_total: 0, denied_names: [] },
    }),
  );
  const groups = optional.flatMap(({ group, hosts }) => hosts.map((row) => ({ ...row, group })));
  const own = other.filter(({ counted_in }) => counted_in === null).map((row) => ({ ...row, group: '' }));
  const seen = new Set([...required, ...groups, ...own].map(({ host, port }) => `${host}:${port}`));
  return [...refused.filter(({ host, port }) => !seen.has(`${host}:${port}`)), ...required, ...own, ...groups];
}
