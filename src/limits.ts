// Every bound of the proxy: name with its unit, default, allowed range, and what happens at the edge.
// config exposes each under `limits:` by the same name; docs/configuration.md lists the same set (test/house.test.ts).

export interface LimitSpec {
  readonly default: number;
  readonly min: number;
  readonly max: number;
  /** What the limit bounds and what happens when it is hit. */
  readonly about: string;
}

// biome-ignore format: a table, one limit a line
export const LIMIT_SPECS = {
  head_bytes: { default: 16_384, min: 1_024, max: 262_144, about: 'Bytes of a request head; more is 431.' },
  head_fields: { default: 100, min: 10, max: 1_000, about: 'Header lines of a request; more is 431.' },
  head_timeout_ms: { default: 20_000, min: 100, max: 60_000, about: 'Time for the first byte of a connection, then it is closed; and from there, or the end of the last request, for the whole head, then 408.' },
  proxy_header_bytes: { default: 4_096, min: 52, max: 65_551, about: 'Bytes of a PROXY protocol header, its TLVs included; more closes the connection.' },
  keep_alive_idle_ms: { default: 60_000, min: 1_000, max: 600_000, about: 'Idle time of a plain-HTTP connection between two requests; then it is closed.' },
  origin_idle_ms: { default: 10_000, min: 100, max: 600_000, about: 'Time that a connection to an origin of plain HTTP is kept for another request to it; less where the origin says less.' },
  origin_idle_max: { default: 32, min: 1, max: 10_000, about: 'Connections that are kept for one origin; more are closed when their answer is through.' },
  origins_idle_max: { default: 1_024, min: 1, max: 1_000_000, about: 'Connections that are kept for all origins by the short road of the native engine; more are closed when their answer is through.' },
  waiting_requests_max: { default: 64, min: 1, max: 1_000, about: 'Pipelined plain-HTTP requests of one connection that wait for the one before; more closes it.' },
  connections_max: { default: 8_000, min: 10, max: 1_000_000, about: 'Client connections in all, tunnels included; more is 503.' },
  client_connections_max: { default: 4_000, min: 1, max: 1_000_000, about: 'Client connections of one source address; more is 503.' },
  client_rate_per_s: { default: 2_000, min: 1, max: 1_000_000, about: 'New connections a second of one source address (token bucket of one second); more is 503.' },
  clients_tracked_max: { default: 65_536, min: 1_024, max: 1_048_576, about: 'Source addresses whose counts are held; the idle ones are forgotten first.' },
  client_tunnels_max: { default: 4_000, min: 1, max: 1_000_000, about: 'Open tunnels of one source address; more is 503.' },
  tunnels_max: { default: 8_000, min: 1, max: 1_000_000, about: 'Open tunnels in all; more is 503.' },
  dns_timeout_ms: { default: 5_000, min: 100, max: 60_000, about: 'Time for one name to resolve; then 504.' },
  dns_addresses_max: { default: 16, min: 1, max: 256, about: 'Addresses of one answer that are looked at; the rest is ignored.' },
  dns_cache_entries: { default: 10_000, min: 0, max: 1_000_000, about: 'Names held in the DNS cache; the least used is dropped. 0 switches it off.' },
  dns_cache_ttl_max_ms: { default: 300_000, min: 0, max: 86_400_000, about: 'Longest time an answer is held, whatever its TTL.' },
  dns_negative_ttl_ms: { default: 2_000, min: 0, max: 60_000, about: 'Time a failed look-up is held.' },
  dns_pending_max: { default: 512, min: 1, max: 100_000, about: 'Different names being resolved at once; more is 502.' },
  client_dns_pending_max: { default: 128, min: 1, max: 100_000, about: 'Different names being resolved at once for one source address; more is 502.' },
  connect_timeout_ms: { default: 10_000, min: 100, max: 120_000, about: 'Time for the origin connection over all its addresses; then 504.' },
  connect_attempt_delay_ms: { default: 250, min: 10, max: 2_000, about: 'Wait before the next address is tried beside the last (RFC 8305 §5).' },
  hello_bytes: { default: 65_536, min: 2_048, max: 262_144, about: 'Bytes held while the first client message is checked; more closes the tunnel.' },
  inspected_target_bytes: { default: 8_192, min: 256, max: 65_536, about: 'Characters of the path and query of an inspected request; a longer one is refused as ambiguous where its path decides.' },
  upload_budgets_max: { default: 65_536, min: 1, max: 1_048_576, about: 'Jobs (or askers) times inspected rules whose uploads are counted for `max_upload_mb`; the ones used least recently begin anew.' },
  upload_budget_ms: { default: 86_400_000, min: 60_000, max: 2_592_000_000, about: 'Time after which the uploads of a job (or asker) to an inspected rule are counted anew.' },
  hello_timeout_ms: { default: 10_000, min: 100, max: 60_000, about: 'Time for the first client message of a checked tunnel; then it is closed.' },
  tunnel_idle_ms: { default: 3_600_000, min: 600_000, max: 86_400_000, about: 'Time without a byte in either direction; then the tunnel is closed.' },
  upstream_response_timeout_ms: { default: 300_000, min: 1_000, max: 3_600_000, about: 'Time without progress on a plain-HTTP exchange; then 504 or a cut.' },
  drain_timeout_ms: { default: 1_800_000, min: 0, max: 86_400_000, about: 'Time that what is open gets after SIGTERM or an upgrade; then it is cut.' },
  drain_spread_ms: { default: 60_000, min: 0, max: 3_600_000, about: "Time over which a drain cuts the streams of the agents one after another, once nothing else is open or the drain's last part of that length begins." },
  upgrade_timeout_ms: { default: 60_000, min: 1_000, max: 600_000, about: 'Time in which the new process of an upgrade must be ready; then it is ended and the old one goes on.' },
  credentials_cached_max: { default: 16_384, min: 64, max: 1_048_576, about: 'Verified credentials that are remembered by their digest; the least used are verified again.' },
  credentials_ttl_ms: { default: 300_000, min: 1_000, max: 86_400_000, about: 'Time that a verified password is believed without being verified again.' },
  verifications_pending_max: { default: 128, min: 1, max: 10_000, about: 'Different credentials being verified at once, half of them of one source address; more is 503.' },
  password_attempts_per_min: { default: 30, min: 1, max: 100_000, about: 'Wrong passwords of one source address in a minute; then its further ones get 407 unread.' },
  jwks_timeout_ms: { default: 5_000, min: 100, max: 60_000, about: "Time for the token issuer's keys, for the connection and again for the answer; then they count as unavailable." },
  jwks_bytes: { default: 262_144, min: 1_024, max: 16_777_216, about: "Bytes of the token issuer's keys; more is an error, and the keys that are known stay." },
  jwks_refresh_ms: { default: 600_000, min: 1_000, max: 86_400_000, about: "Time after which the token issuer's keys are fetched again, beside the requests." },
  jwks_stale_max_ms: { default: 86_400_000, min: 1_000, max: 2_592_000_000, about: "Time that the token issuer's keys count while they cannot be fetched again; then tokens get 503." },
  jwks_retry_ms: { default: 30_000, min: 100, max: 3_600_000, about: 'Least time between two fetches of keys because a token names an unknown one, and the longest wait after failures; tokens with unknown keys are refused meanwhile.' },
  tls_handshake_timeout_ms: { default: 10_000, min: 100, max: 60_000, about: 'Time for the TLS handshake of a client, and of an inspected origin; then the connection is closed.' },
  inspect_leaves_max: { default: 1_000, min: 1, max: 100_000, about: 'Hosts whose certificate for inspected connections is kept; the least used is made again.' },
  inspect_streams_max: { default: 128, min: 1, max: 10_000, about: 'HTTP/2 streams at once on one inspected connection; more are refused by the protocol (REFUSED_STREAM).' },
  leases_max: { default: 16_384, min: 1, max: 1_048_576, about: 'Leases of jobs at once; more is 503.' },
  job_report_wait_ms: { default: 10_000, min: 0, max: 60_000, about: 'Longest time that the report of a job waits for records that are not counted yet.' },
  job_reports_pending_max: { default: 64, min: 1, max: 10_000, about: 'Reports of jobs being made at once; more is 503.' },
  audit_field_bytes: { default: 1_024, min: 256, max: 8_192, about: 'Characters of one untrusted text in a record; the rest is cut and marked.' },
  audit_sync_interval_ms: { default: 1_000, min: 10, max: 60_000, about: 'Time between two flushes of the audit log to the disk, off the data plane; what a crash of the host may lose.' },
  audit_heartbeat_ms: { default: 60_000, min: 1_000, max: 3_600_000, about: 'Longest silence of the audit log: where nothing else is written, a heartbeat note is; `audit verify` calls twice that without a line a gap.' },
  audit_disk_warn_percent: { default: 20, min: 0, max: 100, about: "Free part of the audit log's disk below which the operational log warns." },
  audit_disk_min_percent: { default: 5, min: 0, max: 100, about: "Free part of the audit log's disk below which /readyz says not ready." },
  admin_connections_max: { default: 256, min: 8, max: 65_536, about: 'Connections of the admin listener; more are closed at once.' },
  admin_streams_max: { default: 16, min: 1, max: 1_000, about: 'Streams of events (`/v1/events`) at once; more is 503.' },
  admin_stream_bytes: { default: 1_048_576, min: 4_096, max: 67_108_864, about: 'Bytes that wait for one reader of events; what comes beyond is dropped for it, and it is told how much.' },
  admin_events_max: { default: 4_096, min: 16, max: 1_000_000, about: 'Events that are kept for readers who come back, in a KiB each (fewer where their lines are longer); of older ones they are told that they are gone.' },
  admin_reports_max: { default: 8, min: 1, max: 100, about: 'Reports and suggestions of the admin listener that wait or run; more is 503.' },
  admin_report_timeout_ms: { default: 60_000, min: 1_000, max: 600_000, about: 'Time for one report or suggestion of the admin listener; then its thread is ended and 503 is answered.' },
  config_bytes: { default: 33_554_432, min: 1_024, max: 268_435_456, about: 'Bytes of one configuration or catalog file; more is an error.' },
  layer_bytes: { default: 1_048_576, min: 1_024, max: 33_554_432, about: 'Bytes of one file of a pipeline; a larger one is a broken layer.' },
  layer_files_max: { default: 1_000, min: 1, max: 100_000, about: 'Files of layers; what is beyond in the order of `layers` is left out, and is a broken layer.' },
  ship_interval_ms: { default: 60_000, min: 1_000, max: 3_600_000, about: 'Time between two looks for closed segments of the audit log that are to be shipped.' },
  ship_timeout_ms: { default: 30_000, min: 1_000, max: 600_000, about: 'Time in which nothing moves in a request to an S3-compatible store; then it is tried again.' },
  ship_attempts_max: { default: 4, min: 1, max: 20, about: 'Attempts of one request to an S3-compatible store, with growing waits between them; then the round has failed, and the next one goes on.' },
  ship_roster_max: { default: 1_000, min: 1, max: 100_000, about: 'Logs of other nodes that a checkpoint names; those that have been silent longest are left out.' },
  policy_poll_ms: { default: 60_000, min: 100, max: 86_400_000, about: 'Time between two looks for a newer policy bundle; after a failure a look comes sooner, then later and later up to it.' },
  policy_fetch_timeout_ms: { default: 30_000, min: 100, max: 600_000, about: 'Time for one fetch of a policy bundle.' },
  policy_bundle_bytes: { default: 33_554_432, min: 1_024, max: 268_435_456, about: 'Bytes of a policy bundle; a larger one is not taken.' },
  watch_interval_ms: { default: 1_000, min: 100, max: 3_600_000, about: 'Time between two looks at the policy files; a change counts when the next look sees no further one.' },
  grant_duration_max_h: { default: 168, min: 1, max: 8_760, about: 'Hours that a grant may last; a longer one is refused, by the command and by each node.' },
  grants_max: { default: 1_000, min: 1, max: 100_000, about: 'Grants that count at once; the command refuses more, and a node takes the oldest.' },
  grants_poll_ms: { default: 2_000, min: 100, max: 60_000, about: 'Time between two looks at the grants in the usage store.' },
  usage_names_per_hour: { default: 50_000, min: 100, max: 10_000_000, about: 'Different hosts counted by name in one hour, and as many who ask, and as many who only claim to be somebody; further ones are counted together as overflow.' },
  usage_paths_per_day: { default: 1_000, min: 10, max: 1_000_000, about: 'Different methods and paths of one inspected host that are counted by name in a day; further ones are counted together as overflow.' },
  usage_store_timeout_ms: { default: 30_000, min: 100, max: 3_600_000, about: 'Time for an answer of a PostgreSQL usage store; then the connection is dropped and the batch is tried again later.' },
  usage_lag_bytes_warn: { default: 67_108_864, min: 1_048_576, max: 10_737_418_240, about: 'Audit bytes not yet in the usage store; more is a warning in the operational log.' },
  flow_rows_max: { default: 1_000_000, min: 1_000, max: 100_000_000, about: 'Records of `import flows` that the usage store holds, some 200 bytes each; `import flows` counts further ones and leaves them.' },
  replay_rows_max: { default: 20_000, min: 100, max: 1_000_000, about: 'Rows of a replay (host, asker, answer), for each of newly fail and newly pass; requests beyond are counted in no row.' },
  replay_pipelines_max: { default: 10_000, min: 10, max: 1_000_000, about: 'Pipelines that a replay tells apart; requests of further ones are counted for none.' },
  replay_hosts_max: { default: 1_000, min: 1, max: 100_000, about: 'Hosts that a replay names for one pipeline; further ones are not named.' },
  replay_jobs_max: { default: 1_000, min: 1, max: 100_000, about: 'Jobs that a replay tells apart in one row; its count stops there.' },
} as const satisfies Record<string, LimitSpec>;

export type LimitName = keyof typeof LIMIT_SPECS;
export type Limits = Readonly<Record<LimitName, number>>;

export const LIMIT_NAMES = Object.keys(LIMIT_SPECS) as readonly LimitName[];

export const DEFAULT_LIMITS: Limits = Object.freeze(
  Object.fromEntries(LIMIT_NAMES.map((name) => [name, LIMIT_SPECS[name].default])) as Record<LimitName, number>,
);

/**
 * What a process holds of something that all workers have together: each gets its part, so that together they hold no more than the
 * policy file says. Caches, times and sizes are each worker's own.
 */
const DIVIDED = [
  'connections_max',
  'client_connections_max',
  'client_rate_per_s',
  'client_tunnels_max',
  'tunnels_max',
  'dns_pending_max',
  'client_dns_pending_max',
  'verifications_pending_max',
  'job_reports_pending_max',
] as const satisfies readonly LimitName[];

/** What `workers` may be at most. */
export const WORKERS_MAX = 256;

/** The limits of one of so many workers: rounded down, but at least 1. */
export function dividedLimits(limits: Limits, workers: number): Limits {
  const parts = DIVIDED.map((name) => [name, Math.max(1, Math.floor(limits[name] / workers))]);
  return Object.freeze({ ...limits, ...(Object.fromEntries(parts) as Partial<Limits>) });
}

/** Of each pair the first cannot exceed the second, nor reach it where it must be below. */
const RELATIONS: readonly {
  readonly lesser: LimitName;
  readonly relation: 'cannot exceed' | 'must be below';
  readonly greater: LimitName;
  readonly why?: string;
}[] = [
  { lesser: 'connect_attempt_delay_ms', relation: 'must be below', greater: 'connect_timeout_ms' },
  { lesser: 'tunnels_max', relation: 'cannot exceed', greater: 'connections_max', why: 'every tunnel is a connection' },
  { lesser: 'client_connections_max', relation: 'cannot exceed', greater: 'connections_max' },
  { lesser: 'jwks_refresh_ms', relation: 'cannot exceed', greater: 'jwks_stale_max_ms' },
];

/**
 * Checks a set of limits against its ranges and relations.
 * @returns one `{ name, message }` for each that does not hold; empty when all do
 */
export function limitProblems(limits: Limits): { name: LimitName; message: string }[] {
  const found: { name: LimitName; message: string }[] = [];
  for (const name of LIMIT_NAMES) {
    const spec = LIMIT_SPECS[name];
    const value = limits[name];
    if (!Number.isInteger(value) || value < spec.min || value > spec.max) {
      found.push({ name, message: `${name} is ${value}; allowed are whole numbers from ${spec.min} to ${spec.max}` });
    }
  }
  for (const { lesser, relation, greater, why } of RELATIONS) {
    const isEqualGood = relation === 'cannot exceed';
    if (limits[lesser] < limits[greater] || (isEqualGood && limits[lesser] === limits[greater])) continue;
    found.push({ name: lesser, message: `${lesser} ${relation} ${greater}${why === undefined ? '' : `: ${why}`}` });
  }
  return found;
}

/** What is timed: a CONNECT from its head to its 200, its dial, a look-up. */
export type Timing = 'setup' | 'dial' | 'dns';

/** Counts how often each limit was hit; the metrics page and the drain summary read it. */
export interface Meter {
  hit(limit: LimitName): void;
  readonly hits: ReadonlyMap<LimitName, number>;
  /** Hears of each time in milliseconds; absent where nobody wants to know. */
  readonly timed?: (what: Timing, ms: number) => void;
}

/** A Meter that keeps plain counts. */
export function createMeter(timed?: Meter['timed']): Meter {
  const hits = new Map<LimitName, number>();
  const hit = (limit: LimitName): void => void hits.set(limit, (hits.get(limit) ?? 0) + 1);
  return timed === undefined ? { hits, hit } : { hits, hit, timed };
}
