// What was asked for below inspected hosts: method and path of what was let through, and of what was refused, with why and by whom.
// It is counted by the day, so the days in which the window begins and ends are whole. Who asked is kept of refusals alone: with a job in
// the filter there is nothing else to show.
import { type RawBuilder, sql } from 'kysely';
import { refusalHint } from '../errors.ts';
import type { Nearest } from '../policy/record.ts';
import type { Store } from '../usage/store.ts';
import { dayOf, hourOf } from '../usage/tally.ts';
import { type Filter, inNumbers, nearestOf } from './query.ts';
import type { Counted } from './sums.ts';

export interface PathRow {
  readonly host: string;
  readonly port: number;
  /** '' where path is `(overflow)`: beyond limits.usage_paths_per_day. */
  readonly method: string;
  readonly path: string;
  readonly requests: number;
  readonly bytes_up: number;
  readonly bytes_down: number;
  readonly first_seen: string;
  readonly last_seen: string;
}

export interface DeniedPath extends Omit<PathRow, 'bytes_up' | 'bytes_down'> {
  /** True where only observe mode let it through. */
  readonly would_deny: boolean;
  readonly reason: string;
  readonly nearest: Nearest | null;
  readonly hint: string;
  readonly pipelines: readonly string[];
  readonly jobs: readonly string[];
}

export interface Paths {
  /** At most PATHS_MAX of paths_total, the most asked for first. */
  readonly paths: readonly PathRow[];
  readonly paths_total: number;
  readonly denied_paths: readonly DeniedPath[];
  readonly denied_paths_total: number;
}

export const PATHS_MAX = 1_000;
/** Askers looked at behind all refusals. */
const ASKERS_MAX = 5_000;

interface Raw extends Counted {
  readonly target_id: number;
  readonly host: string;
  readonly port: number;
  readonly method: string;
  readonly path: string;
  readonly verdict: 'allow' | 'deny' | 'observe';
  readonly reason: string;
  readonly nearest: string;
}

/** Reads both lists. */
export async function readPaths(store: Store, filter: Filter): Promise<Paths> {
  const where = conditions(filter);
  const passed = await readRows(store, sql`${where} AND verdict = 'allow'`);
  const refused = await readRows(store, sql`${where} AND verdict <> 'allow'`);
  const askers = refused.rows.length === 0 ? new Map() : await readAskers(store, where);
  return {
    paths: passed.rows.map(({ target_id: _1, verdict: _2, reason: _3, nearest: _4, ...row }) => timed(row)),
    paths_total: passed.total,
    denied_paths: refused.rows.map((row) => deniedPath(row, askers)),
    denied_paths_total: refused.total,
  };
}

function conditions({ from, to, pipeline, job, proven }: Filter): RawBuilder<unknown> {
  const parts = [sql`hour BETWEEN ${dayOf(from)} AND ${hourOf(to)}`];
  if (pipeline !== null) parts.push(sql`pipeline_id IN (SELECT id FROM pipeline WHERE name = ${pipeline})`);
  if (job !== null) {
    const kind = proven ? sql`AND kind = 'job'` : sql``;
    parts.push(sql`actor_id IN (SELECT id FROM actor WHERE job = ${job} ${kind})`);
  }
  return sql.join(parts, sql` AND `);
}

async function readRows(store: Store, where: RawBuilder<unknown>): Promise<{ rows: Raw[]; total: number }> {
  const grouped = sql`
    SELECT target_id, method, path, verdict, reason, sum(requests) AS requests, sum(bytes_up) AS bytes_up,
      sum(bytes_down) AS bytes_down, min(first_seen) AS first_seen, max(last_seen) AS last_seen, max(nearest) AS nearest
    FROM path WHERE ${where} GROUP BY target_id, method, path, verdict, reason`;
  const { rows } = await sql<Raw>`
    SELECT t.host, t.port, s.* FROM (${grouped} ORDER BY sum(requests) DESC, path LIMIT ${PATHS_MAX}) AS s
    JOIN target AS t ON t.id = s.target_id ORDER BY s.requests DESC, t.host, s.path, s.method`.execute(store.db);
  const numbers = rows.map(inNumbers);
  if (rows.length < PATHS_MAX) return { rows: numbers, total: rows.length };
  const counted = await sql<{ total: number }>`SELECT count(*) AS total FROM (${grouped}) AS s`.execute(store.db);
  return { rows: numbers, total: Number(counted.rows[0]?.total ?? rows.length) };
}

type Askers = ReadonlyMap<string, { readonly pipelines: Set<string>; readonly jobs: Set<string> }>;

async function readAskers(store: Store, where: RawBuilder<unknown>): Promise<Askers> {
  const { rows } = await sql<Pick<Raw, 'target_id' | 'method' | 'path' | 'reason'> & { pipeline: string; job: string }>`
    SELECT DISTINCT u.target_id, u.method, u.path, u.reason, a.pipeline, a.job FROM (
      SELECT * FROM path WHERE ${where} AND verdict <> 'allow' ORDER BY last_seen DESC LIMIT ${ASKERS_MAX}
    ) AS u JOIN actor AS a ON a.id = u.actor_id`.execute(store.db);
  const askers = new Map<string, { pipelines: Set<string>; jobs: Set<string> }>();
  for (const row of rows) {
    const known = askers.get(keyOf(row)) ?? { pipelines: new Set(), jobs: new Set() };
    askers.set(keyOf(row), known);
    if (row.pipeline !== '') known.pipelines.add(row.pipeline);
    if (row.job !== '') known.jobs.add(row.job);
  }
  return askers;
}

function keyOf({ target_id, method, path, reason }: Pick<Raw, 'target_id' | 'method' | 'path' | 'reason'>): string {
  return JSON.stringify([target_id, method, path, reason]);
}

function deniedPath(row: Raw, askers: Askers): DeniedPath {
  const { target_id: _1, verdict, bytes_up: _2, bytes_down: _3, nearest: text, ...rest } = row;
  const nearest = nearestOf(text);
  const who = askers.get(keyOf(row));
  return {
    ...timed(rest),
    would_deny: verdict === 'observe',
    nearest,
    hint: hintOf(row, nearest),
    pipelines: [...(who?.pipelines ?? [])].sort(),
    jobs: [...(who?.jobs ?? [])].sort(),
  };
}

/** The line to add below the rule of the host, else what the registry says. */
function hintOf({ host, port, reason }: Raw, nearest: Nearest | null): string {
  if (nearest !== null && nearest.fix !== '') return `Add under the rule of ${host}: ${nearest.fix}`;
  return nearest === null ? refusalHint(reason, host, port) : nearest.why;
}

function timed<T extends { readonly first_seen: number; readonly last_seen: number }>(
  row: T,
): Omit<T, 'first_seen' | 'last_seen'> & { readonly first_seen: string; readonly last_seen: string } {
  return {
    ...row,
    first_seen: new Date(row.first_seen).toISOString(),
    last_seen: new Date(row.last_seen).toISOString(),
  };
}
