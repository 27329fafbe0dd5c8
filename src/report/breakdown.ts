// Sums by who asked: by pipeline, step, job, agent or client (`report --by`), and the agents' own traffic apart from the jobs'.
// One pass over an index gives the sums of each actor; what an actor is called comes after that.
import { type RawBuilder, sql } from 'kysely';
import type { Store } from '../usage/store.ts';
import type { Dimension } from './dimension.ts';
import { among, conditions, END_SUMS, type EndSums, endSums, type Filter, type Raw } from './query.ts';

export interface BreakdownRow extends EndSums {
  /** '' where none is known, and by agent and client. */
  readonly pipeline: string;
  /** The step, job, agent or client; '' where none is known, and by pipeline. */
  readonly name: string;
  /** The client only says so. */
  readonly claimed: boolean;
  /** Different jobs. */
  readonly jobs: number;
}

export interface Breakdown {
  readonly by: Dimension;
  /** Those with the most requests first; at most BREAKDOWN_MAX of rows_total. */
  readonly rows: readonly BreakdownRow[];
  readonly rows_total: number;
}

const BREAKDOWN_MAX = 1_000;

const NONE = sql`''`;
const CLAIMED = sql`(CASE a.kind WHEN 'claimed' THEN 1 ELSE 0 END)`;
/** Pipeline, name and claim of an actor. A step or a job is one of its pipeline; agents and clients serve many. */
const KEYS: Readonly<Record<Dimension, readonly [RawBuilder<unknown>, RawBuilder<unknown>, RawBuilder<unknown>]>> = {
  pipeline: [sql`a.pipeline`, NONE, CLAIMED],
  step: [sql`a.pipeline`, sql`a.step`, CLAIMED],
  job: [sql`a.pipeline`, sql`a.job`, CLAIMED],
  agent: [NONE, sql`a.agent`, CLAIMED],
  // The source address is what the kernel saw, whatever else the client says.
  client: [NONE, sql`a.client`, sql`0`],
};

export async function readBreakdown(store: Store, filter: Filter, by: Dimension): Promise<Breakdown> {
  const where = await conditions(store, filter);
  const [pipeline, name, claimed] = KEYS[by];
  const { rows } = await sql<
    Raw<EndSums> & { pipeline: string; name: string; claimed: number; jobs: number; rows_total: number }
  >`
    SELECT x.pipeline, x.name, x.claimed, count(DISTINCT nullif(x.job, '')) AS jobs,
      sum(x.tunnels) AS tunnels, sum(x.denied) AS denied, sum(x.would_deny) AS would_deny, sum(x.failed) AS failed,
      sum(x.bytes_up) AS bytes_up, sum(x.bytes_down) AS bytes_down, min(x.first_seen) AS first_seen,
      max(x.last_seen) AS last_seen, count(*) OVER () AS rows_total
    FROM (
      SELECT ${pipeline} AS pipeline, ${name} AS name, ${claimed} AS claimed, a.job, s.*
      FROM (SELECT actor_id, ${END_SUMS} FROM usage WHERE ${where} GROUP BY actor_id) AS s
        JOIN actor AS a ON a.id = s.actor_id
    ) AS x
    GROUP BY x.pipeline, x.name, x.claimed
    ORDER BY sum(x.tunnels + x.denied + x.failed) DESC, x.pipeline, x.name LIMIT ${BREAKDOWN_MAX}`.execute(store.db);
  return {
    by,
    rows: rows.map((row) => ({
      pipeline: row.pipeline,
      name: row.name,
      claimed: Number(row.claimed) === 1,
      jobs: Number(row.jobs),
      ...endSums(row),
    })),
    rows_total: Number(rows[0]?.rows_total ?? 0),
  };
}

/** Requests of jobs (a pipeline is known), of agents (none is, and the host is one that agents need), and all others. */
export interface Traffic {
  readonly jobs: EndSums;
  readonly agents: EndSums;
  readonly unattributed: EndSums;
}

/**
 * @param jobs what all pipelines with a name did
 * @param agents ids of the targets that agents need
 */
export async function readTraffic(
  store: Store,
  filter: Filter,
  jobs: EndSums,
  agents: readonly number[],
): Promise<Traffic> {
  const where = await conditions(store, filter);
  const { rows } = await sql<Raw<EndSums> & { whose: string }>`
    SELECT CASE WHEN ${among(store, sql`target_id`, agents)} THEN 'agents' ELSE 'unattributed' END AS whose, ${END_SUMS}
    FROM usage WHERE pipeline_id IN (SELECT id FROM pipeline WHERE name = '') AND ${where} GROUP BY 1`.execute(
    store.db,
  );
  const of = (name: keyof Traffic): EndSums => endSums(rows.find(({ whose }) => whose === name) ?? NOTHING);
  return { jobs, agents: of('agents'), unattributed: of('unattributed') };
}

const NOTHING: Raw<EndSums> = {
  tunnels: 0,
  denied: 0,
  would_deny: 0,
  failed: 0,
  bytes_up: 0,
  bytes_down: 0,
  first_seen: null,
  last_seen: null,
};
