// Live refusals: what is refused, or would have been, as it happens; the same host for the same asker is one line with a count.
// Each says why, what mends it, and gives the rule to copy.
import { useCallback, useEffect, useState } from 'preact/hooks';
import { REQUEST_ERRORS } from '../../errors.ts';
import type { StreamEvent } from './api.ts';
import { Badge, Copy, Empty, Search } from './parts.tsx';
import { bestRule, clock, endpoint, hostRule, inert, who } from './show.ts';
import { type Connection, useEvents } from './use.ts';

const KEPT_MAX = 300;
const PATH = '/v1/events?denied=true&last=200';

interface Refusal {
  /** What is the same refusal. */
  readonly same: string;
  readonly count: number;
  readonly time: string;
  readonly host: string | null;
  readonly port: number | null;
  readonly target: string;
  readonly method: string;
  readonly verdict: string;
  readonly reason: string;
  readonly asker: string;
  readonly nearest: { readonly why: string; readonly fix: string } | null;
}

export interface Live {
  readonly refusals: readonly Refusal[];
  readonly missed: number;
  readonly connection: Connection;
}

/** Collects the refusals; lives above the pages, so that none is lost while another page is looked at. */
export function useLive(): Live {
  const [refusals, setRefusals] = useState<readonly Refusal[]>([]);
  const [missed, setMissed] = useState(0);
  const take = useCallback(({ event, data }: StreamEvent) => {
    if (event === 'dropped') setMissed((before) => before + data.events);
    // What a check cut after its 200 is refused by its ended record.
    if (event === 'decided' || event === 'ended') setRefusals((before) => added(before, refusalOf(data)));
  }, []);
  const connection = useEvents(PATH, take);
  return { refusals, missed, connection };
}

// biome-ignore lint/suspicious/noExplicitAny: a record as the API documents it
function refusalOf(record: any): Refusal {
  const asker = who(record.identity, record.client);
  const { time, host, port, target = '', method, verdict, reason, nearest = null } = record;
  const same = JSON.stringify([host, port, target, method, verdict, reason, asker]);
  return { same, count: 1, time, host, port, target, method, verdict, reason, asker, nearest };
}

function added(before: readonly Refusal[], one: Refusal): readonly Refusal[] {
  const known = before.find(({ same }) => same === one.same);
  const rest = known === undefined ? before : before.filter((each) => each !== known);
  return [{ ...one, count: (known?.count ?? 0) + 1 }, ...rest].slice(0, KEPT_MAX);
}

export function LivePage({ live }: { readonly live: Live }) {
  const [search, setSearch] = useState('');
  const { refusals, missed } = live;
  const shown = refusals.filter(({ host, target, asker, reason }) =>
    `${host ?? target} ${asker} ${reason}`.includes(search),
  );
  return (
    <section aria-labelledby="live-title">
      <header>
        <h2 id="live-title">Live refusals</h2>
        <Search label="Host, pipeline or reason" value={search} onChange={setSearch} />
      </header>
      <Announcer latest={refusals[0]} />
      {missed > 0 && (
        <p class="note">{missed} events were missed by this page; the audit log and the report have them.</p>
      )}
      {shown.length === 0 ? (
        <Empty>
          {refusals.length === 0 ? 'Nothing is refused. What is will appear here at once.' : 'Nothing fits the search.'}
        </Empty>
      ) : (
        <ul class="refusals">
          {shown.map((refusal) => (
            <Line key={refusal.same} {...refusal} />
          ))}
        </ul>
      )}
    </section>
  );
}

function Line(refusal: Refusal) {
  const { host, port, target, verdict, reason, asker, nearest, time, count } = refusal;
  const name = host === null ? inert(target) : endpoint(host, port);
  const rule = bestRule(refusal);
  const byHost = hostRule(refusal);
  return (
    <li>
      <div class="what">
        <Badge state={verdict === 'deny' ? 'denied' : 'would-deny'} />
        <strong class="host" dir="ltr">
          {name}
        </strong>
        {count > 1 && <span class="count">×{count}</span>}
        <span class="muted">
          {asker}, <time dateTime={time}>{clock(time)}</time>
        </span>
      </div>
      <p class="why">
        <code>{reason}</code> {nearest === null ? hintOf(reason, host, port) : inert(nearest.why)}
      </p>
      <div class="actions">
        {rule !== null && (
          <>
            <code class="rule" dir="ltr">
              {inert(rule)}
            </code>
            <Copy text={rule} label="Copy rule" about={name} />
          </>
        )}
        {byHost !== null && byHost !== rule && <Copy text={byHost} label="Copy host rule" about={name} />}
      </div>
    </li>
  );
}

/** What the registry says of the code: what it means, and what to do. */
function hintOf(reason: string, host: string | null, port: number | null): string {
  if (!Object.hasOwn(REQUEST_ERRORS, reason)) return '';
  const { title, hint } = REQUEST_ERRORS[reason as keyof typeof REQUEST_ERRORS];
  return inert(`${title} ${hint}`.replaceAll('{host}', host ?? '').replaceAll('{port}', String(port ?? '')));
}

const SAY_MS = 2_000;

/** Tells a screen reader of the newest refusal, not of each of a flood. */
function Announcer({ latest }: { readonly latest: Refusal | undefined }) {
  const [said, setSaid] = useState('');
  useEffect(() => {
    if (latest === undefined) return;
    const timer = setTimeout(() => setSaid(`Refused: ${endpoint(latest.host, latest.port)}, ${latest.reason}`), SAY_MS);
    return () => clearTimeout(timer);
  }, [latest]);
  return (
    <p class="unseen" role="status" aria-live="polite">
      {said}
    </p>
  );
}
