// The smaller pages: open tunnels, the suggested policy, and health with the limits.
import { useState } from 'preact/hooks';
import type { z } from 'zod';
import type * as shapes from '../schemas.ts';
import { ApiError, cutTunnel } from './api.ts';
import { Answer, Badge, Copy, Empty, Search } from './parts.tsx';
import { bytes, endpoint, inert, span, when, who } from './show.ts';
import { type Loaded, useJson } from './use.ts';
import { type Column, VirtualTable } from './virtual-table.tsx';

type Tunnels = z.output<typeof shapes.tunnelsAnswer>;
const TUNNELS_MS = 3_000;

export function TunnelsPage() {
  const open = useJson<Tunnels>('/v1/tunnels?limit=2000', TUNNELS_MS);
  const [search, setSearch] = useState('');
  const [asked, setAsked] = useState<string | null>(null);
  const [said, setSaid] = useState('');
  const cut = async (id: string, name: string): Promise<void> => {
    if (asked !== id) return setAsked(id);
    setAsked(null);
    await cutTunnel(id).then(
      () => setSaid(`Cut: ${name}`),
      (error) => setSaid(error instanceof ApiError ? `${error.message} ${error.hint}` : 'It could not be cut.'),
    );
    open.reload();
  };
  const columns: Column<Tunnels['tunnels'][number]>[] = [
    {
      head: 'Host',
      width: 'minmax(14rem, 2fr)',
      cell: ({ host, port }) => <span dir="ltr">{endpoint(host, port)}</span>,
    },
    { head: 'Who', width: 'minmax(10rem, 1fr)', cell: ({ identity, client }) => who(identity, client) },
    { head: 'Rule', width: 'minmax(8rem, 1fr)', cell: ({ group, rule, reason }) => inert(group ?? rule ?? reason) },
    { head: 'Age', width: '5rem', right: true, cell: ({ age_s }) => span(age_s) },
    { head: 'Up', width: '5rem', right: true, cell: ({ bytes_up }) => bytes(bytes_up) },
    { head: 'Down', width: '5rem', right: true, cell: ({ bytes_down }) => bytes(bytes_down) },
    {
      head: 'Cut',
      width: '7rem',
      cell: ({ id, host, port }) => {
        const name = endpoint(host, port);
        return (
          <button
            type="button"
            class={asked === id ? 'small bad' : 'small'}
            aria-label={`${asked === id ? 'Really cut' : 'Cut'} ${name}`}
            onClick={() => void cut(id, name)}
          >
            {asked === id ? 'Really?' : 'Cut'}
          </button>
        );
      },
    },
  ];
  return (
    <section aria-labelledby="tunnels-title">
      <header>
        <h2 id="tunnels-title">Open tunnels</h2>
        <Search label="Host or pipeline" value={search} onChange={setSearch} />
      </header>
      <p role="status">{said}</p>
      <Answer of={open} what="what is open">
        {({ tunnels, total }) => {
          const rows = tunnels.filter(({ host, identity, client }) =>
            `${host} ${who(identity, client)}`.includes(search),
          );
          if (rows.length === 0) return <Empty>{total === 0 ? 'Nothing is open.' : 'Nothing fits the search.'}</Empty>;
          return (
            <>
              <p class="muted">
                {rows.length} of {total}
              </p>
              <VirtualTable label="Open tunnels" rows={rows} columns={columns} rowKey={({ id }) => id} />
            </>
          );
        }}
      </Answer>
    </section>
  );
}

interface Suggestion {
  readonly diff: string;
  readonly lines: readonly unknown[];
  readonly unused: readonly unknown[];
  readonly no_removals: string | null;
}

export function SuggestPage({ range }: { readonly range: string }) {
  const suggestion = useJson<Suggestion>(`/v1/suggest?from=${range}`);
  return (
    <section aria-labelledby="suggest-title">
      <h2 id="suggest-title">Suggested policy</h2>
      <p class="muted">
        The smallest policy that this window needs, as a patch of the policy file. Nothing is changed until you apply
        it.
      </p>
      <Answer of={suggestion} what="the suggestion">
        {({ diff, no_removals }) => (
          <>
            {no_removals !== null && <p class="note">Unused rules were not looked for: {inert(no_removals)}.</p>}
            {diff === '' ? (
              <Empty>The policy has all that this window needs.</Empty>
            ) : (
              <>
                <Copy text={diff} label="Copy patch" about="of the policy file" />
                <pre class="diff" role="region" tabIndex={0} aria-label="Patch of the policy file" dir="ltr">
                  {diff.split('\n').map((line, at) => (
                    <span key={at} class={line.startsWith('+') ? 'good' : line.startsWith('-') ? 'bad' : ''}>
                      {`${inert(line)}\n`}
                    </span>
                  ))}
                </pre>
              </>
            )}
          </>
        )}
      </Answer>
    </section>
  );
}

export type Status = z.output<typeof shapes.statusAnswer>;

export function HealthPage({ status }: { readonly status: Loaded<Status> }) {
  const columns: Column<Status['limits'][number]>[] = [
    { head: 'Limit', width: 'minmax(14rem, 1fr)', cell: ({ name }) => <code>{name}</code> },
    { head: 'Set to', width: '8rem', right: true, cell: ({ value }) => value.toLocaleString() },
    {
      head: 'Hit',
      width: '6rem',
      right: true,
      cell: ({ hits }) => (hits > 0 ? <strong class="warn">{hits}</strong> : '0'),
    },
    { head: 'What it bounds', width: 'minmax(16rem, 3fr)', cell: ({ about }) => <span title={about}>{about}</span> },
  ];
  return (
    <section aria-labelledby="health-title">
      <h2 id="health-title">Health</h2>
      <Answer of={status} what="health">
        {(data) => (
          <>
            <dl class="facts">
              <dt>State</dt>
              <dd>{data.not_ready === null ? <Badge state="ready" /> : `not ready: ${inert(data.not_ready)}`}</dd>
              <dt>Runs since</dt>
              <dd>
                {when(data.started)}, version {data.version}, {data.engine} engine, node {inert(data.node)}
              </dd>
              <dt>Policy</dt>
              <dd>
                {data.policy.digest}, {data.policy.rules} rules, mode {data.mode}, since {when(data.policy.since)},
                reloads: {data.policy.reloads.loaded} taken, {data.policy.reloads.refused} refused
              </dd>
              <dt>Open</dt>
              <dd>
                {data.open.tunnels} tunnels, {data.open.requests} requests, {data.open.connections} connections
              </dd>
              <dt>Audit log</dt>
              <dd>
                {data.audit.lines} lines, {data.audit.failures} failures, {data.audit.dropped} dropped
                {data.audit.last_error === null ? '' : `; ${inert(data.audit.last_error)}`}
              </dd>
              <dt>Usage store</dt>
              <dd>
                {data.store.lag_bytes} bytes behind
                {data.store.lag_seconds === null ? ', not counted yet' : `, ${span(data.store.lag_seconds)} ago`}
              </dd>
              <dt>Names</dt>
              <dd>
                {data.dns.hits} from the cache, {data.dns.misses} looked up, {data.dns.failures} failed
              </dd>
            </dl>
            <h3>Limits</h3>
            <VirtualTable
              label="Limits"
              rows={[...data.limits].sort((a, b) => b.hits - a.hits)}
              columns={columns}
              rowKey={({ name }) => name}
            />
          </>
        )}
      </Answer>
    </section>
  );
}
