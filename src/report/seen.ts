// The SQL of `suggest`: who asked for what, by identity, since a policy lets through by identity; and what the whole store
// knows of pipelines and of the last use. It hands out rows; what they are to the policy in force is said in standing.ts.
import { type RawBuilder, sql } from 'kysely';
import { type Attributes, type DecidedLine, type Identity, statedAttributes } from '../policy/record.ts';
import type { Store } from '../usage/store.ts';
import { HOUR_MS } from '../usage/tally.ts';
import { conditions, type Filter, ROWS_MAX, readOpen } from './query.ts';
import type { SeenRow } from './suggest.ts';
import { endOf } from './sums.ts';
import type { UseRow } from './unused.ts';

/** Requests to the proxy itself. */
const JOB_API = [
  'job-path',
  'job-method',
  'job-request',
  'job-token-required',
  'job-of-others',
  'job-api-off',
] as const;

/** Refusals that say nothing about what a build needs. */
const NOT_NEEDED: ReadonlySet<string> = new Set([
  'client-not-allowed',
  'self-prohibited',
  'metadata-prohibited',
  ...JOB_API,
]);

/** Attributes that the store keeps of who asked; `job` is added where jobs are counted. */
const WHO = ['organization', 'pipeline', 'branch', 'step', 'queue', 'user'] as const;

type WhoRow = Record<(typeof WHO)[number], string> & { readonly kind: Identity['kind']; readonly job?: string };

interface TargetColumns {
  readonly host: string;
  readonly port: number;
  readonly asked: SeenRow['kind'];
  readonly verdict: 'allow' | 'deny' | 'observe';
  readonly reason: string;
  readonly outcome: string;
  readonly rule: string;
  readonly grp: string;
  readonly requests: number;
  readonly first_seen: number;
  readonly last_seen: number;
}

/** The sums by target, kind of request, asker, rule and kind of end. */
async function read(
  store: Store,
  where: RawBuilder<unknown>,
  who: readonly string[],
): Promise<(TargetColumns & WhoRow)[]> {
  const actor = sql.join(who.map((name) => sql.ref(`a.${name}`)));
  const { rows } = await sql<TargetColumns & WhoRow>`
    SELECT t.host, t.port, u.kind AS asked, ${actor}, u.verdict, u.reason, u.outcome, r.rule, r.grp,
      sum(u.requests) AS requests, min(u.first_seen) AS first_seen, max(u.last_seen) AS last_seen
    FROM usage AS u JOIN target AS t ON t.id = u.target_id JOIN actor AS a ON a.id = u.actor_id
      JOIN rule AS r ON r.id = u.rule_id
    WHERE ${where}
    GROUP BY t.host, t.port, u.kind, ${actor}, u.verdict, u.reason, u.outcome, r.rule, r.grp
    ORDER BY sum(u.requests) DESC LIMIT ${ROWS_MAX + 1}`.execute(store.db);
  return rows;
}

function identityOf(row: WhoRow): Identity {
  const given: Record<string, string> = {};
  for (const name of [...WHO, 'job'] as const) {
    const value = row[name];
    if (value !== undefined && value !== '') given[name] = value;
  }
  const isClaim = row.kind === 'claimed';
  return { kind: row.kind, attributes: isClaim ? {} : (given as Attributes), claimed: isClaim ? given : {} };
}

function allowedBy(verdict: string, rule: string, group: string): SeenRow['allowed'] {
  return verdict === 'allow' && rule !== '' ? { rule, group: group === '' ? null : group } : null;
}

/** Who asked for what in the window, requests that are still open among them. */
export async function readSeen(store: Store, filter: Filter): Promise<{ rows: SeenRow[]; truncated: boolean }> {
  const rows = await read(store, await conditions(store, filter), ['kind', ...WHO, 'job']);
  const seen = rows.slice(0, ROWS_MAX).flatMap((row): SeenRow[] => {
    const { host, port, asked: kind, verdict, reason } = row;
    const end = endOf(verdict, reason, row.outcome);
    if (end === 'challenge' || NOT_NEEDED.has(reason) || (end === 'failed' && verdict === 'deny')) return [];
    const requests = Number(row.requests);
    // What was refused for not being listed was never tried: that says nothing against it.
    const answered = end === 'failed' ? 0 : requests;
    const times = { first_seen: Number(row.first_seen), last_seen: Number(row.last_seen) };
    const allowed = allowedBy(verdict, row.rule, row.grp);
    return [{ host, port, kind, identity: identityOf(row), allowed, requests, answered, ...times }];
  });
  for (const line of await readOpen(store)) {
    const row = openRow(line, filter.to);
    const { pipeline, job } = statedAttributes(line.identity);
    if (row === null || row.first_seen > filter.to) continue;
    if (filter.pipeline !== null && filter.pipeline !== pipeline) continue;
    if (filter.job === null || filter.job === job) seen.push(row);
  }
  return { rows: seen, truncated: rows.length > ROWS_MAX };
}

/** A tunnel that is open now is in use, however long ago it was opened. */
function openRow(line: DecidedLine, now: number): SeenRow | null {
  const { host, port, method, identity, verdict, rule, group } = line;
  if (host === null || port === null) return null;
  const times = { first_seen: Date.parse(line.time), last_seen: now };
  const allowed = allowedBy(verdict, rule ?? '', group ?? '');
  const kind = method === 'CONNECT' ? 'connect' : 'forward';
  return { host, port, kind, identity, allowed, requests: 1, answered: 1, ...times };
}

/** What was ever asked for, and when last; without the jobs. */
export async function readUses(store: Store): Promise<{ rows: UseRow[]; truncated: boolean }> {
  const rows = await read(store, sql`TRUE`, ['kind', ...WHO]);
  const uses = rows.slice(0, ROWS_MAX).map((row): UseRow => {
    const { host, port, asked: kind, verdict, rule, grp } = row;
    const last_seen = Number(row.last_seen);
    return { host, port, kind, identity: identityOf(row), allowed: allowedBy(verdict, rule, grp), last_seen };
  });
  for (const line of await readOpen(store)) {
    const row = openRow(line, Number.POSITIVE_INFINITY);
    if (row !== null) uses.push(row);
  }
  return { rows: uses, truncated: rows.length > ROWS_MAX };
}

/** Every pipeline in the store, proven or claimed, with the time of its last request. */
export async function readPipelinesSeen(store: Store): Promise<Map<string, number>> {
  const { rows } = await sql<{ name: string; last_seen: number }>`
    SELECT p.name, s.last_seen FROM (
      SELECT pipeline_id, max(last_seen) AS last_seen FROM usage GROUP BY pipeline_id
    ) AS s JOIN pipeline AS p ON p.id = s.pipeline_id WHERE p.name <> ''`.execute(store.db);
  const seen = new Map<string, number>();
  for (const row of rows) seen.set(row.name, Math.max(seen.get(row.name) ?? 0, Number(row.last_seen)));
  return seen;
}

/** Where the counts begin, ms; null in an empty store. */
export async function readBegin(store: Store): Promise<number | null> {
  const { rows } = await sql<{ hour: number | null }>`SELECT min(hour) AS hour FROM usage`.execute(store.db);
  const hour = rows[0]?.hour ?? null;
  return hour === null ? null : Number(hour) * HOUR_MS;
}
