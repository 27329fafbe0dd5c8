// Direct attempts that never reached the proxy: what `import flows` took from the network's logs, joined with what the usage store
// knows of the jobs of that client at that time. A client that runs several jobs at once has several candidates, and all are named.
import { sql } from 'kysely';
import { statedAttributes } from '../policy/record.ts';
import { dailyBefore } from '../usage/keep.ts';
import type { Store } from '../usage/store.ts';
import { HOUR_MS } from '../usage/tally.ts';
import { type Fix, fixOf } from './direct-fix.ts';
import { type Filter, readOpen, wholeHours } from './query.ts';

export interface DirectRow {
  /** Address; names stand in no log of a network. */
  readonly host: string;
  readonly port: number;
  readonly protocol: string;
  /** What the network did: `reject` refused it, `accept` let it out past the proxy. */
  readonly verdict: 'reject' | 'accept';
  /** Records of the log; one may stand for several packets. */
  readonly attempts: number;
  readonly packets: number;
  readonly bytes: number;
  readonly client: string;
  /** Jobs of that client at that time and their pipelines; empty where none is known. */
  readonly jobs: readonly string[];
  readonly pipelines: readonly string[];
  /** Some of them are only what a client said of itself. */
  readonly claimed: boolean;
  readonly first_seen: string;
  readonly last_seen: string;
  readonly fix: Fix;
}

export interface Direct {
  /** At most DIRECT_MAX of rows_total; those that got out come first. */
  readonly rows: readonly DirectRow[];
  readonly rows_total: number;
  readonly attempts: number;
  /** More than GROUPS_MAX targets and minutes: the latest are there. */
  readonly truncated: boolean;
}

const DIRECT_MAX = 2_000;
const GROUPS_MAX = 100_000;
const MINUTE_MS = 60_000;
/**
 * What a job asked for is counted when it ended, and a job may start with a direct attempt: so far before its first request and
 * after its last one an attempt may still be its own.
 */
const SLACK_MS = 2 * MINUTE_MS;
/** Jobs around an attempt that are looked at; a machine runs fewer at once. */
const JOBS_NEAR = 256;
/** Jobs named in one row. */
const CANDIDATES_MAX = 8;
const CHUNK = 500;
/** A job may have begun before the window. */
const REACH_HOURS = 24;

interface Group {
  readonly client: string;
  readonly host: string;
  readonly port: number;
  readonly protocol: string;
  readonly verdict: 'reject' | 'accept';
  readonly root: number;
  readonly attempts: number;
  readonly packets: number;
  readonly bytes: number;
  readonly first: number;
  readonly last: number;
}

interface Job {
  readonly job: string;
  readonly pipeline: string;
  readonly claimed: boolean;
  first: number;
  last: number;
}

/** Reads the attempts of the window, whole hours of it. */
export async function readDirect(store: Store, filter: Filter): Promise<Direct> {
  const [low, high] = wholeHours(filter.from, filter.to, await dailyBefore(store));
  const [from, to] = [low * HOUR_MS, (high + 1) * HOUR_MS - 1];
  const { rows: groups } = await sql<Group>`
    SELECT client, host, port, protocol, verdict, CASE uid WHEN 0 THEN 1 ELSE 0 END AS root, count(*) AS attempts,
      sum(packets) AS packets, sum(bytes) AS bytes, min(first) AS first, max(last) AS last
    FROM flow WHERE last BETWEEN ${from} AND ${to}
    GROUP BY client, host, port, protocol, verdict, CASE uid WHEN 0 THEN 1 ELSE 0 END, last / ${sql.lit(MINUTE_MS)}
    ORDER BY max(last) DESC LIMIT ${GROUPS_MAX + 1}`.execute(store.db);
  const found = groups.slice(0, GROUPS_MAX);
  const jobs = await readJobs(store, new Set(found.map(({ client }) => client)), low, high);
  const rows = sumUp(found, jobs, filter);
  rows.sort((a, b) => rank(a) - rank(b) || b.attempts - a.attempts || (a.last_seen < b.last_seen ? 1 : -1));
  const attempts = rows.reduce((sum, row) => sum + row.attempts, 0);
  return { rows: rows.slice(0, DIRECT_MAX), rows_total: rows.length, attempts, truncated: groups.length > GROUPS_MAX };
}

const rank = ({ verdict }: DirectRow): number => (verdict === 'accept' ? 0 : 1);

interface Sum extends Omit<DirectRow, 'first_seen' | 'last_seen'> {
  readonly first: number;
  readonly last: number;
}

function sumUp(groups: readonly Group[], jobs: ReadonlyMap<string, readonly Job[]>, filter: Filter): DirectRow[] {
  const sums = new Map<string, Sum>();
  for (const group of groups) {
    const who = candidates(jobs.get(group.client) ?? [], Number(group.first), Number(group.last));
    if (filter.job !== null && !who.some(({ job }) => job === filter.job)) continue;
    if (filter.pipeline !== null && !who.some(({ pipeline }) => pipeline === filter.pipeline)) continue;
    const sum = sumOf(group, who);
    const key = JSON.stringify([sum.client, sum.host, sum.port, sum.protocol, sum.verdict, group.root, sum.jobs]);
    const known = sums.get(key);
    sums.set(key, known === undefined ? sum : added(known, sum));
  }
  const time = (ms: number): string => new Date(ms).toISOString();
  return [...sums.values()].map(({ first, last, ...sum }) => ({
    ...sum,
    first_seen: time(first),
    last_seen: time(last),
  }));
}

function sumOf(group: Group, who: readonly Job[]): Sum {
  const { client, host, port, protocol, verdict } = group;
  const distinct = (values: string[]): string[] => [...new Set(values)].filter((value) => value !== '').sort();
  return {
    host,
    port,
    protocol,
    verdict,
    attempts: Number(group.attempts),
    packets: Number(group.packets),
    bytes: Number(group.bytes),
    client,
    jobs: distinct(who.map(({ job }) => job)),
    pipelines: distinct(who.map(({ pipeline }) => pipeline)),
    claimed: who.some(({ claimed }) => claimed),
    first: Number(group.first),
    last: Number(group.last),
    fix: fixOf({ host, port, protocol, root: Number(group.root) === 1 }),
  };
}

function added(a: Sum, b: Sum): Sum {
  return {
    ...a,
    attempts: a.attempts + b.attempts,
    packets: a.packets + b.packets,
    bytes: a.bytes + b.bytes,
    first: Math.min(a.first, b.first),
    last: Math.max(a.last, b.last),
  };
}

/** The jobs that ran meanwhile; failing that, those that ran a little before or after. */
function candidates(jobs: readonly Job[], from: number, to: number): Job[] {
  let end = jobs.length;
  for (let start = 0; start < end; ) {
    const middle = (start + end) >>> 1;
    if ((jobs[middle]?.first ?? 0) - SLACK_MS > to) end = middle;
    else start = middle + 1;
  }
  const near = jobs.slice(Math.max(0, end - JOBS_NEAR), end).filter(({ last }) => last + SLACK_MS >= from);
  const during = near.filter(({ first, last }) => first <= to && last >= from);
  return (during.length > 0 ? during : near).slice(-CANDIDATES_MAX);
}

/** By client, in the order in which they began. */
async function readJobs(
  store: Store,
  clients: ReadonlySet<string>,
  low: number,
  high: number,
): Promise<Map<string, Job[]>> {
  const found = new Map<string, Map<string, Job>>();
  const add = (client: string, { job, pipeline, claimed, first, last }: Job): void => {
    const of = found.get(client) ?? new Map<string, Job>();
    found.set(client, of);
    const key = JSON.stringify([job, pipeline, claimed]);
    const known = of.get(key);
    if (known === undefined) of.set(key, { job, pipeline, claimed, first, last });
    else {
      known.first = Math.min(known.first, first);
      known.last = Math.max(known.last, last);
    }
  };
  const all = [...clients];
  for (let at = 0; at < all.length; at += CHUNK) {
    const { rows } = await sql<{
      client: string;
      kind: string;
      pipeline: string;
      job: string;
      first: number;
      last: number;
    }>`
      SELECT a.client, a.kind, a.pipeline, a.job, min(u.first_seen) AS first, max(u.last_seen) AS last
      FROM actor AS a JOIN usage AS u ON u.actor_id = a.id
      WHERE a.job <> '' AND a.client IN (${sql.join(all.slice(at, at + CHUNK))})
        AND u.hour BETWEEN ${low - REACH_HOURS} AND ${high + REACH_HOURS}
      GROUP BY a.client, a.kind, a.pipeline, a.job`.execute(store.db);
    for (const { client, kind, pipeline, job, first, last } of rows)
      add(client, { job, pipeline, claimed: kind === 'claimed', first: Number(first), last: Number(last) });
  }
  for (const { client, identity, time } of await readOpen(store)) {
    const claimed = identity.kind === 'claimed';
    const { job = '', pipeline = '' } = statedAttributes(identity);
    const first = Date.parse(time);
    if (job !== '' && clients.has(client))
      add(client, { job, pipeline, claimed, first, last: Number.MAX_SAFE_INTEGER });
  }
  return new Map([...found].map(([client, of]) => [client, [...of.values()].sort((a, b) => a.first - b.first)]));
}
