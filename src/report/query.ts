// The SQL of a report: sums straight from the usage store's indexes. It hands out rows and interprets nothing; what a verdict
// and an outcome mean for a report is said once, in sums.ts. Sums are numbers on SQLite and texts on PostgreSQL: both are
// made numbers here. A million usage rows take about a second, because each query reads one index in its own order.
import { type RawBuilder, sql } from 'kysely';
import { OUTCOMES } from '../errors.ts';
import type { DecidedLine, Nearest } from '../policy/record.ts';
import { dailyBefore } from '../usage/keep.ts';
import type { Store } from '../usage/store.ts';
import { DAY_HOURS, hourOf } from '../usage/tally.ts';
import { CHALLENGE, type Counted, NOT_DENIED } from './sums.ts';

/** Sums of one host, rule and kind of end are at most this many rows; the largest are kept, the rest counts in the totals. */
export const ROWS_MAX = 200_000;
/** Anybody may claim to be a pipeline, and another one with each request. */
export const PIPELINES_MAX = 1_000;
/** Actors looked at behind one refused host. */
const ACTORS_MAX = 100;
const CHUNK = 500;

export interface Filter {
  /** Milliseconds; whole hours are read. */
  readonly from: number;
  readonly to: number;
  readonly pipeline: string | null;
  readonly job: string | null;
  /** Of the job only what it has proven to be its own: anybody may claim its id. */
  readonly proven?: true;
}

export interface TargetRow extends Counted {
  readonly target_id: number;
  readonly host: string;
  readonly port: number;
  readonly rule: string;
  readonly grp: string;
  readonly verdict: 'allow' | 'deny' | 'observe';
  readonly reason: string;
  readonly outcome: string;
  /** Least and greatest id of the pipelines that asked: the same where there is one. */
  readonly pipeline_low: number;
  readonly pipeline_high: number;
}

export interface PipelineRow extends EndSums {
  readonly pipeline: string;
  readonly claimed: boolean;
  readonly jobs: number;
  readonly hosts: number;
}

/** The last refusal of a target. */
export interface DenialRow {
  readonly reason: string;
  readonly nearest: Nearest | null;
}

/** A nearest miss as the store has it: JSON, or '' for none. */
export function nearestOf(text: string): Nearest | null {
  return text === '' ? null : (JSON.parse(text) as Nearest);
}

/** The hours of the window, both ends included; whole days where counts are kept, or late ones come, by the day. */
async function hoursOf(
  store: Store,
  { from, to }: Pick<Filter, 'from' | 'to'>,
): Promise<[first: number, last: number]> {
  return wholeHours(from, to, await dailyBefore(store));
}

/** The hours that a window is rounded outwards to, both ends included. */
export function wholeHours(from: number, to: number, daily: number): [first: number, last: number] {
  const [first, last] = [hourOf(from), hourOf(to)];
  const day = (hour: number): number => Math.floor(hour / DAY_HOURS) * DAY_HOURS;
  return [first < daily ? day(first) : first, last < daily ? day(last) + DAY_HOURS - 1 : last];
}

/** The conditions on `usage`: the window, and who. */
export async function conditions(store: Store, filter: Filter): Promise<RawBuilder<unknown>> {
  const parts: RawBuilder<unknown>[] = [];
  if (filter.pipeline !== null) {
    parts.push(sql`pipeline_id IN (SELECT id FROM pipeline WHERE name = ${filter.pipeline})`);
  }
  if (filter.job !== null) {
    const proven = filter.proven ? sql`AND kind = 'job'` : sql``;
    parts.push(sql`actor_id IN (SELECT id FROM actor WHERE job = ${filter.job} ${proven})`);
  }
  const [first, last] = await hoursOf(store, filter);
  // The planner would read the table by hour and sort a million rows; the plus takes that choice away. It is the right
  // choice only for a small part of what is stored, or where few rows are looked up by another index.
  const wide = parts.length === 0 && (await isWide(store, first, last));
  parts.push(wide ? sql`+hour BETWEEN ${first} AND ${last}` : sql`hour BETWEEN ${first} AND ${last}`);
  return sql.join(parts, sql` AND `);
}

async function isWide(store: Store, first: number, last: number): Promise<boolean> {
  const { rows } = await sql<{ low: number | null; high: number | null }>`
    SELECT (SELECT min(hour) FROM usage) AS low, (SELECT max(hour) FROM usage) AS high`.execute(store.db);
  const low = Number(rows[0]?.low ?? 0);
  const high = Number(rows[0]?.high ?? 0);
  const covered = Math.min(last, high) - Math.max(first, low) + 1;
  return covered * 8 > high - low + 1;
}

/** Sums by target, rule and kind of end. `truncated`: there were more than are handed out. */
export async function readTargets(store: Store, filter: Filter): Promise<{ rows: TargetRow[]; truncated: boolean }> {
  const where = await conditions(store, filter);
  const { rows } = await sql<TargetRow>`
    SELECT s.target_id, t.host, t.port, r.rule, r.grp, s.verdict, s.reason, s.outcome,
      s.requests, s.bytes_up, s.bytes_down, s.first_seen, s.last_seen, s.pipeline_low, s.pipeline_high
    FROM (
      SELECT target_id, rule_id, verdict, reason, outcome, sum(requests) AS requests, sum(bytes_up) AS bytes_up,
        sum(bytes_down) AS bytes_down, min(first_seen) AS first_seen, max(last_seen) AS last_seen,
        min(pipeline_id) AS pipeline_low, max(pipeline_id) AS pipeline_high
      FROM usage WHERE ${where}
      GROUP BY target_id, rule_id, verdict, reason, outcome
      ORDER BY sum(requests) DESC LIMIT ${ROWS_MAX + 1}
    ) AS s JOIN target AS t ON t.id = s.target_id JOIN rule AS r ON r.id = s.rule_id`.execute(store.db);
  return { rows: rows.slice(0, ROWS_MAX).map(inNumbers), truncated: rows.length > ROWS_MAX };
}

/** A row with sums: PostgreSQL gives them as text. */
export function inNumbers<Row extends Counted>(row: Row): Row {
  return {
    ...row,
    requests: Number(row.requests),
    bytes_up: Number(row.bytes_up),
    bytes_down: Number(row.bytes_down),
    first_seen: Number(row.first_seen),
    last_seen: Number(row.last_seen),
  };
}

const LET_THROUGH = sql.join(['', ...Object.keys(OUTCOMES)]);
const SPARED = sql.join([...NOT_DENIED]);

/** endOf (sums.ts) as sums over usage rows. The most frequent outcome and reason come first: a look into the lists for every row costs a quarter more. */
export const END_SUMS = sql`
  sum(CASE WHEN verdict = 'deny' THEN 0 WHEN outcome = 'closed' THEN requests WHEN outcome IN (${LET_THROUGH}) THEN requests ELSE 0 END) AS tunnels,
  sum(CASE WHEN verdict <> 'deny' THEN 0 WHEN reason = 'host-not-allowed' THEN requests WHEN reason NOT IN (${SPARED}) THEN requests ELSE 0 END) AS denied,
  sum(CASE WHEN verdict = 'observe' THEN requests ELSE 0 END) AS would_deny,
  sum(CASE WHEN verdict <> 'deny' THEN (CASE WHEN outcome = 'closed' OR outcome IN (${LET_THROUGH}) THEN 0 ELSE requests END)
    WHEN reason = 'host-not-allowed' OR reason = ${CHALLENGE} OR reason NOT IN (${SPARED}) THEN 0 ELSE requests END) AS failed,
  sum(bytes_up) AS bytes_up, sum(bytes_down) AS bytes_down, min(first_seen) AS first_seen, max(last_seen) AS last_seen`;

/** Requests by their end, and payload bytes. */
export interface EndCounts {
  readonly tunnels: number;
  readonly denied: number;
  /** The part of tunnels and failed that only observe mode let through. */
  readonly would_deny: number;
  readonly failed: number;
  readonly bytes_up: number;
  readonly bytes_down: number;
}

/** The members of EndCounts, to sum rows up by. */
export const END_COUNTS = ['tunnels', 'denied', 'would_deny', 'failed', 'bytes_up', 'bytes_down'] as const;

/** What END_SUMS gives, as numbers. */
export interface EndSums extends EndCounts {
  /** RFC 3339; null where nothing was seen. */
  readonly first_seen: string | null;
  readonly last_seen: string | null;
}

export type Raw<T> = { readonly [K in keyof T]: number | string | null };

/** Sums are numbers on SQLite and texts on PostgreSQL, and null where no row was summed up. */
export function endSums(row: Raw<EndSums>): EndSums {
  const time = (ms: number | string | null): string | null => (ms === null ? null : new Date(Number(ms)).toISOString());
  return {
    tunnels: Number(row.tunnels ?? 0),
    denied: Number(row.denied ?? 0),
    would_deny: Number(row.would_deny ?? 0),
    failed: Number(row.failed ?? 0),
    bytes_up: Number(row.bytes_up ?? 0),
    bytes_down: Number(row.bytes_down ?? 0),
    first_seen: time(row.first_seen),
    last_seen: time(row.last_seen),
  };
}

/** A condition on ids, of which there may be more than a statement has parameters. */
export function among(store: Store, id: RawBuilder<unknown>, ids: readonly number[]): RawBuilder<unknown> {
  return store.kind === 'sqlite'
    ? sql`${id} IN (SELECT value FROM json_each(${JSON.stringify(ids)}))`
    : sql`${id} = ANY(${ids}::bigint[])`;
}

export interface Pipelines {
  /** Those who did most come first; where there are more than PIPELINES_MAX, claimed ones are left out first. */
  readonly rows: PipelineRow[];
  readonly total: number;
  /** Of all that have a name. */
  readonly named: EndSums;
}

const NAMED = sql`FILTER (WHERE p.name <> '') OVER ()`;
/** END_SUMS of all named pipelines, in each row, with `named_` before their names. */
const NAMED_SUMS = sql.join([
  ...END_COUNTS.map((name) => sql`sum(s.${sql.ref(name)}) ${NAMED} AS ${sql.ref(`named_${name}`)}`),
  sql`min(s.first_seen) ${NAMED} AS named_first_seen, max(s.last_seen) ${NAMED} AS named_last_seen`,
]);
type NamedSums = { readonly [Name in keyof EndSums as `named_${Name}`]: Raw<EndSums>[Name] };

/** What each pipeline did; rows without a pipeline have the name ''. */
export async function readPipelines(store: Store, filter: Filter): Promise<Pipelines> {
  const where = await conditions(store, filter);
  const { rows } = await sql<
    Raw<EndSums> & NamedSums & { id: number; pipeline: string; claimed: number; hosts: number; total: number }
  >`
    SELECT p.id, p.name AS pipeline, p.claimed, s.*, count(*) OVER () AS total, ${NAMED_SUMS}
    FROM (
      SELECT pipeline_id, count(DISTINCT target_id) AS hosts, ${END_SUMS}
      FROM usage WHERE ${where}
      GROUP BY pipeline_id
    ) AS s JOIN pipeline AS p ON p.id = s.pipeline_id
    ORDER BY p.claimed, s.tunnels + s.denied DESC, p.name LIMIT ${PIPELINES_MAX}`.execute(store.db);
  const jobs = await readJobs(
    store,
    filter,
    rows.map(({ id }) => id),
  );
  const found = rows.map((row) => ({
    pipeline: row.pipeline,
    claimed: Number(row.claimed) === 1,
    jobs: jobs.get(row.id) ?? 0,
    hosts: Number(row.hosts),
    ...endSums(row),
  }));
  const weight = ({ tunnels, denied }: PipelineRow): number => tunnels + denied;
  found.sort((a, b) => weight(b) - weight(a) || (a.pipeline < b.pipeline ? -1 : a.pipeline > b.pipeline ? 1 : 0));
  return { rows: found, total: Number(rows[0]?.total ?? 0), named: namedSums(rows[0]) };
}

function namedSums(row: NamedSums | undefined): EndSums {
  return endSums({
    tunnels: row?.named_tunnels ?? 0,
    denied: row?.named_denied ?? 0,
    would_deny: row?.named_would_deny ?? 0,
    failed: row?.named_failed ?? 0,
    bytes_up: row?.named_bytes_up ?? 0,
    bytes_down: row?.named_bytes_down ?? 0,
    first_seen: row?.named_first_seen ?? null,
    last_seen: row?.named_last_seen ?? null,
  });
}

/** Different jobs of each of these pipelines in the window. */
async function readJobs(store: Store, filter: Filter, pipelines: readonly number[]): Promise<Map<number, number>> {
  const [first, last] = await hoursOf(store, filter);
  // The sign keeps SQLite from beginning at the ids: it would read all actors for each of them.
  const who = [sql`a.job <> ''`, among(store, sql`+p.id`, pipelines)];
  if (filter.pipeline !== null) who.push(sql`a.pipeline = ${filter.pipeline}`);
  if (filter.job !== null) who.push(sql`a.job = ${filter.job}`);
  const { rows } = await sql<{ id: number; jobs: number }>`
    SELECT p.id, count(DISTINCT a.job) AS jobs
    FROM actor AS a JOIN pipeline AS p ON p.name = a.pipeline AND p.claimed = (CASE a.kind WHEN 'claimed' THEN 1 ELSE 0 END)
    WHERE ${sql.join(who, sql` AND `)}
      AND EXISTS (SELECT 1 FROM usage AS u WHERE u.actor_id = a.id AND u.hour BETWEEN ${first} AND ${last})
    GROUP BY p.id`.execute(store.db);
  return new Map(rows.map((row) => [row.id, Number(row.jobs)]));
}

export interface Totals {
  readonly requests: number;
  readonly bytes_up: number;
  readonly bytes_down: number;
}

/** Sums over everything; needed only where readTargets had to leave rows out. */
export async function readTotals(store: Store, filter: Filter): Promise<Totals> {
  const where = await conditions(store, filter);
  const { rows } = await sql<Totals>`
    SELECT coalesce(sum(requests), 0) AS requests, coalesce(sum(bytes_up), 0) AS bytes_up,
      coalesce(sum(bytes_down), 0) AS bytes_down FROM usage WHERE ${where}`.execute(store.db);
  const row = rows[0];
  return {
    requests: Number(row?.requests ?? 0),
    bytes_up: Number(row?.bytes_up ?? 0),
    bytes_down: Number(row?.bytes_down ?? 0),
  };
}

/** The last refusal of each of these targets. */
export async function readDenials(store: Store, targets: readonly number[]): Promise<Map<number, DenialRow>> {
  const found = new Map<number, DenialRow>();
  for (let at = 0; at < targets.length; at += CHUNK) {
    const rows = await store.db
      .selectFrom('denial')
      .select(['target_id', 'reason', 'nearest'])
      .where('target_id', 'in', targets.slice(at, at + CHUNK))
      .execute();
    for (const row of rows) found.set(row.target_id, { reason: row.reason, nearest: nearestOf(row.nearest) });
  }
  return found;
}

/** Where a refused request to each of these targets was likely sent from (schema.redirect), if that was seen since `from`. */
export async function readRedirects(
  store: Store,
  targets: readonly number[],
  from: number,
): Promise<Map<number, { host: string; port: number }>> {
  const found = new Map<number, { host: string; port: number }>();
  for (let at = 0; at < targets.length; at += CHUNK) {
    const rows = await store.db
      .selectFrom('redirect')
      .select(['target_id', 'host', 'port'])
      .where('target_id', 'in', targets.slice(at, at + CHUNK))
      .where('votes', '>', 0)
      .where('last_seen', '>=', from)
      .execute();
    for (const { target_id, host, port } of rows) found.set(target_id, { host, port });
  }
  return found;
}

/** Pipelines and jobs behind the refusals of a target for a reason; of the first ACTORS_MAX actors. */
export async function readWho(
  store: Store,
  filter: Filter,
  target: number,
  reason: string,
): Promise<{ pipelines: string[]; jobs: string[] }> {
  const [first, last] = await hoursOf(store, filter);
  const who: RawBuilder<unknown>[] = [sql`TRUE`];
  if (filter.pipeline !== null) who.push(sql`a.pipeline = ${filter.pipeline}`);
  if (filter.job !== null) who.push(sql`a.job = ${filter.job}`);
  const { rows } = await sql<{ pipeline: string; job: string }>`
    SELECT DISTINCT a.pipeline, a.job FROM actor AS a JOIN (
      SELECT DISTINCT actor_id FROM usage
      WHERE verdict <> 'allow' AND target_id = ${target} AND reason = ${reason} AND hour BETWEEN ${first} AND ${last}
      LIMIT ${ACTORS_MAX}
    ) AS u ON u.actor_id = a.id WHERE ${sql.join(who, sql` AND `)}`.execute(store.db);
  const distinct = (values: string[]): string[] => [...new Set(values)].filter((value) => value !== '').sort();
  return { pipelines: distinct(rows.map(({ pipeline }) => pipeline)), jobs: distinct(rows.map(({ job }) => job)) };
}

/** Tunnels that are open: let through, not ended. They are counted in no hour yet. What is asked inside one is none. */
export async function readOpen(store: Store): Promise<DecidedLine[]> {
  const rows = await store.db.selectFrom('open_request').select('line').execute();
  return rows.map(({ line }) => JSON.parse(line) as DecidedLine).filter(({ tunnel }) => tunnel === undefined);
}

export interface Facts {
  /** First and last record, ms; null in an empty store. */
  readonly first: number | null;
  readonly last: number | null;
  readonly damagedLines: number;
  readonly missingLines: number;
  /** Hours before it are kept by the day. */
  readonly dailyBefore: number;
}

export async function readFacts(store: Store): Promise<Facts> {
  const window = await store.db
    .selectFrom('window')
    .select(({ fn }) => [fn.min('first').as('first'), fn.max('last').as('last')])
    .executeTakeFirst();
  const lost = await store.db
    .selectFrom('node')
    .select(({ fn }) => [fn.sum<number>('damaged_lines').as('damaged'), fn.sum<number>('missing_lines').as('missing')])
    .executeTakeFirst();
  const numberOrNull = (value: unknown): number | null =>
    value === null || value === undefined ? null : Number(value);
  return {
    first: numberOrNull(window?.first),
    last: numberOrNull(window?.last),
    damagedLines: Number(lost?.damaged ?? 0),
    missingLines: Number(lost?.missing ?? 0),
    dailyBefore: await dailyBefore(store),
  };
}
