// The tables of the usage store as Kysely sees them; their SQL is in sqlite-schema.ts and postgres-schema.ts. Facts are rows of
// `usage` and `path`; what repeats is a dimension with an id. Texts are never NULL ('' says none), because NULLs are all different in a
// unique index.
import type { Generated } from 'kysely';

export interface Schema {
  /** schema_version; daily_before: hours before it are summed up, or being summed up, by the day (keep.ts). */
  meta: { key: string; value: string };
  /**
   * A node's audit log. Two machines with one name are two nodes here: `log` is the Segment.id of the first line that was met.
   * damaged_lines and missing_lines could not be counted.
   */
  node: {
    id: Generated<number>;
    name: string;
    log: Generated<string>;
    damaged_lines: Generated<number>;
    missing_lines: Generated<number>;
  };
  /** host '' = could not be parsed, OVERFLOW = beyond limits.usage_names_per_hour; port 0 = none. */
  target: { id: Generated<number>; host: string; port: number };
  actor: { id: Generated<number> } & ActorColumns;
  rule: { id: Generated<number>; rule: string; grp: string };
  /** The pipelines among the actors, for reports by pipeline; claimed: 1 where the client only says so. name '' = none. */
  pipeline: { id: Generated<number>; name: string; claimed: 0 | 1 };
  usage: UsageColumns;
  /** Requests inside inspected CONNECTs, by the day; they are no rows of `usage`, which has their CONNECT. */
  path: PathColumns;
  /** The last refusal (or would-be refusal) of each target. nearest: JSON of record.Nearest, or ''. last_seen: ms. */
  denial: { target_id: number; reason: string; nearest: string; rule: string; last_seen: number };
  /**
   * The target that was let through to the same job or client within a second before this one was refused: whichever came
   * most often, by majority vote (one row for each target, whatever a client asks for). last_seen: ms, of the last vote for it.
   */
  redirect: { target_id: number; host: string; port: number; votes: number; last_seen: number };
  /** Let through, not ended yet. line: the decided line as in the log. */
  open_request: { id: string; node_id: number; line: string };
  /** How far the log of a node is counted; written in the transaction that counts. One a log. */
  checkpoint: { node_id: number; file_id: string; offset: number; seq: number; hash: string };
  /** The same for a branch of the log (audit/branch.ts), by its Segment.id. */
  branch_checkpoint: { file_id: string; node_id: number; offset: number; seq: number; hash: string };
  /**
   * Attempts past the proxy, as a network's own logs say (flow-import.ts). key: hash of the record. first, last: ms. host: an address;
   * uid: user of the process, -1 where it is not known. It is not of the audit log, and no node's.
   */
  flow: {
    key: string;
    first: number;
    last: number;
    client: string;
    host: string;
    port: number;
    protocol: string;
    verdict: 'accept' | 'reject';
    packets: number;
    bytes: number;
    uid: number;
  };
  /** What commands granted (policy/grant.ts). It is no count: it cannot be made again from the log. revoked 0: it was not. */
  granted: GrantedColumns;
  /** What each process said last of itself; one a name and machine. since, seen: ms. */
  instance: InstanceColumns;
  /** First and last record of a node, ms. */
  window: { node_id: number; first: number; last: number };
}

/** Who asked: the proven attributes, or for kind `claimed` the claimed ones; client is the source address. */
export interface ActorColumns {
  kind: string;
  organization: string;
  pipeline: string;
  branch: string;
  step: string;
  queue: string;
  job: string;
  agent: string;
  user: string;
  client: string;
}

export interface UsageColumns {
  /** Whole hours since the epoch (UTC), of the line that finished the request. */
  hour: number;
  node_id: number;
  target_id: number;
  actor_id: number;
  rule_id: number;
  /** Follows from the actor; stands here so that a report by pipeline needs no join over a million rows. */
  pipeline_id: number;
  kind: 'connect' | 'forward';
  verdict: 'allow' | 'deny' | 'observe';
  reason: string;
  /** '' where the decided line had none. */
  outcome: string;
  requests: number;
  bytes_up: number;
  bytes_down: number;
  /** ms since the epoch. */
  first_seen: number;
  last_seen: number;
}

export interface PathColumns {
  /** The first hour of the day (UTC), as rows of `usage` have it that are kept by the day. */
  hour: number;
  node_id: number;
  target_id: number;
  /** Who asked: of what was let through, the pipeline alone. */
  actor_id: number;
  pipeline_id: number;
  /** '' with path OVERFLOW. */
  method: string;
  /** Without the query; OVERFLOW beyond limits.usage_paths_per_day. */
  path: string;
  verdict: 'allow' | 'deny' | 'observe';
  reason: string;
  requests: number;
  bytes_up: number;
  bytes_down: number;
  first_seen: number;
  last_seen: number;
  /** Of the last refusal: JSON of record.Nearest, or ''. */
  nearest: string;
}

/** addresses and selector are JSON; protocol '' is by port; times are ms. */
export interface GrantedColumns {
  id: string;
  host: string;
  port: number;
  protocol: string;
  addresses: string;
  selector: string;
  created: number;
  expires: number;
  revoked: number;
  reason: string;
  owner: string;
  granted_by: string;
  revoked_by: string;
}

/** since: when the policy came into force; seen: when the process last said it. */
export interface InstanceColumns {
  name: string;
  host: string;
  pid: number;
  version: string;
  policy: string;
  mode: string;
  source: string;
  layers_broken: number;
  grants: number;
  since: number;
  seen: number;
  /** Bytes of its audit log that it had not counted then. */
  lag: number;
}

export const ACTOR_COLUMNS = [
  'kind',
  'organization',
  'pipeline',
  'branch',
  'step',
  'queue',
  'job',
  'agent',
  'user',
  'client',
] as const satisfies readonly (keyof ActorColumns)[];

export const USAGE_KEY = [
  'hour',
  'node_id',
  'target_id',
  'actor_id',
  'rule_id',
  'kind',
  'verdict',
  'reason',
  'outcome',
] as const satisfies readonly (keyof UsageColumns)[];

export const PATH_KEY = [
  'hour',
  'node_id',
  'target_id',
  'actor_id',
  'method',
  'path',
  'verdict',
  'reason',
] as const satisfies readonly (keyof PathColumns)[];

/** The columns of `actor` in the first version of a store. */
export const FIRST_ACTOR_COLUMNS = ACTOR_COLUMNS.filter((name) => name !== 'agent');
