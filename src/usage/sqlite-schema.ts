// The tables of an embedded usage store as SQL (schema.ts has their types). PURE.
// A migration is added at the end and never changed afterwards; meta.schema_version counts them.
import { ACTOR_COLUMNS, FIRST_ACTOR_COLUMNS, PATH_KEY, USAGE_KEY } from './schema.ts';

const quoted = (columns: readonly string[]): string => columns.map((name) => `"${name}"`).join(', ');

/** They run with foreign keys off. */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE node (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
  CREATE TABLE target (id INTEGER PRIMARY KEY, host TEXT NOT NULL, port INTEGER NOT NULL, UNIQUE (host, port));
  CREATE TABLE actor (
    id INTEGER PRIMARY KEY,
    ${FIRST_ACTOR_COLUMNS.map((name) => `"${name}" TEXT NOT NULL`).join(', ')},
    UNIQUE (${quoted(FIRST_ACTOR_COLUMNS)})
  );
  CREATE TABLE rule (id INTEGER PRIMARY KEY, rule TEXT NOT NULL, grp TEXT NOT NULL, UNIQUE (rule, grp));
  CREATE TABLE pipeline (id INTEGER PRIMARY KEY, name TEXT NOT NULL, claimed INTEGER NOT NULL, UNIQUE (name, claimed));
  CREATE TABLE usage (
    hour INTEGER NOT NULL,
    node_id INTEGER NOT NULL REFERENCES node (id),
    target_id INTEGER NOT NULL REFERENCES target (id),
    actor_id INTEGER NOT NULL REFERENCES actor (id),
    rule_id INTEGER NOT NULL REFERENCES rule (id),
    pipeline_id INTEGER NOT NULL REFERENCES pipeline (id),
    kind TEXT NOT NULL,
    verdict TEXT NOT NULL,
    reason TEXT NOT NULL,
    outcome TEXT NOT NULL,
    requests INTEGER NOT NULL,
    bytes_up INTEGER NOT NULL,
    bytes_down INTEGER NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    PRIMARY KEY (${USAGE_KEY.join(', ')})
  ) WITHOUT ROWID;
  -- Reports read these indexes in order and alone: a million rows are summed in half a second, without sorting.
  CREATE INDEX usage_by_target ON usage
    (target_id, rule_id, verdict, reason, outcome, hour, requests, bytes_up, bytes_down, first_seen, last_seen);
  CREATE INDEX usage_by_pipeline ON usage (pipeline_id, target_id, hour, verdict, reason, outcome, requests);
  CREATE INDEX usage_by_actor ON usage (actor_id, hour);
  CREATE INDEX usage_refused ON usage (target_id, reason, actor_id, hour) WHERE verdict <> 'allow';
  CREATE TABLE denial (
    target_id INTEGER PRIMARY KEY REFERENCES target (id),
    reason TEXT NOT NULL,
    nearest TEXT NOT NULL,
    rule TEXT NOT NULL,
    last_seen INTEGER NOT NULL
  );
  CREATE TABLE open_request (
    id TEXT PRIMARY KEY,
    node_id INTEGER NOT NULL REFERENCES node (id),
    line TEXT NOT NULL
  ) WITHOUT ROWID;
  CREATE TABLE checkpoint (
    node_id INTEGER PRIMARY KEY REFERENCES node (id),
    file_id TEXT NOT NULL,
    "offset" INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    hash TEXT NOT NULL
  );
  CREATE TABLE "window" (node_id INTEGER PRIMARY KEY REFERENCES node (id), first INTEGER NOT NULL, last INTEGER NOT NULL);
  `,
  `
  CREATE TABLE branch_checkpoint (
    file_id TEXT PRIMARY KEY,
    "offset" INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    hash TEXT NOT NULL
  ) WITHOUT ROWID;
  `,
  // Nodes are told apart by their log, so that many of them can share one store, or be merged into one.
  `
  CREATE TABLE node_new (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    log TEXT NOT NULL DEFAULT '',
    damaged_lines INTEGER NOT NULL DEFAULT 0,
    missing_lines INTEGER NOT NULL DEFAULT 0,
    UNIQUE (name, log)
  );
  INSERT INTO node_new (id, name, log)
    SELECT id, name,
      coalesce((SELECT file_id FROM checkpoint WHERE node_id = node.id), (SELECT file_id FROM checkpoint LIMIT 1), '')
      FROM node;
  UPDATE node_new SET
    damaged_lines = coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'damaged_lines'), 0),
    missing_lines = coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'missing_lines'), 0)
    WHERE id = (SELECT min(id) FROM node);
  DELETE FROM meta WHERE key IN ('damaged_lines', 'missing_lines');
  DROP TABLE node;
  ALTER TABLE node_new RENAME TO node;
  CREATE TABLE open_new (
    node_id INTEGER NOT NULL REFERENCES node (id),
    id TEXT NOT NULL,
    line TEXT NOT NULL,
    PRIMARY KEY (node_id, id)
  ) WITHOUT ROWID;
  INSERT INTO open_new SELECT node_id, id, line FROM open_request;
  DROP TABLE open_request;
  ALTER TABLE open_new RENAME TO open_request;
  CREATE TABLE branch_new (
    file_id TEXT PRIMARY KEY,
    node_id INTEGER NOT NULL REFERENCES node (id),
    "offset" INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    hash TEXT NOT NULL
  ) WITHOUT ROWID;
  INSERT INTO branch_new
    SELECT file_id, (SELECT min(node_id) FROM checkpoint), "offset", seq, hash FROM branch_checkpoint
    WHERE EXISTS (SELECT 1 FROM checkpoint);
  DROP TABLE branch_checkpoint;
  ALTER TABLE branch_new RENAME TO branch_checkpoint;
  `,
  // Reports by agent; sums and times by target, pipeline and actor from an index alone; whence a refused request may have been sent.
  `
  CREATE TABLE actor_2 (
    id INTEGER PRIMARY KEY,
    ${ACTOR_COLUMNS.map((name) => `"${name}" TEXT NOT NULL`).join(', ')},
    UNIQUE (${quoted(ACTOR_COLUMNS)})
  );
  INSERT INTO actor_2 (id, ${quoted(FIRST_ACTOR_COLUMNS)}, agent) SELECT id, ${quoted(FIRST_ACTOR_COLUMNS)}, '' FROM actor;
  DROP TABLE actor;
  ALTER TABLE actor_2 RENAME TO actor;
  DROP INDEX usage_by_target;
  CREATE INDEX usage_by_target ON usage
    (target_id, rule_id, verdict, reason, outcome, hour, pipeline_id, requests, bytes_up, bytes_down, first_seen, last_seen);
  DROP INDEX usage_by_pipeline;
  CREATE INDEX usage_by_pipeline ON usage
    (pipeline_id, target_id, hour, verdict, reason, outcome, requests, bytes_up, bytes_down, first_seen, last_seen);
  DROP INDEX usage_by_actor;
  CREATE INDEX usage_by_actor ON usage
    (actor_id, hour, target_id, verdict, reason, outcome, requests, bytes_up, bytes_down, first_seen, last_seen);
  CREATE TABLE redirect (
    target_id INTEGER PRIMARY KEY REFERENCES target (id),
    host TEXT NOT NULL,
    port INTEGER NOT NULL,
    votes INTEGER NOT NULL,
    last_seen INTEGER NOT NULL
  );
  `,
  // Attempts past the proxy.
  `
  CREATE TABLE flow (
    key TEXT PRIMARY KEY,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    client TEXT NOT NULL,
    host TEXT NOT NULL,
    port INTEGER NOT NULL,
    protocol TEXT NOT NULL,
    verdict TEXT NOT NULL,
    packets INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    uid INTEGER NOT NULL
  ) WITHOUT ROWID;
  CREATE INDEX flow_by_time ON flow (last);
  `,
  // What commands granted, and what each process says of itself.
  `
  CREATE TABLE granted (
    id TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    port INTEGER NOT NULL,
    protocol TEXT NOT NULL,
    addresses TEXT NOT NULL,
    selector TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    revoked INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL,
    owner TEXT NOT NULL,
    granted_by TEXT NOT NULL,
    revoked_by TEXT NOT NULL DEFAULT ''
  );
  CREATE INDEX granted_by_end ON granted (expires);
  CREATE TABLE instance (
    name TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    version TEXT NOT NULL,
    policy TEXT NOT NULL,
    mode TEXT NOT NULL,
    source TEXT NOT NULL,
    layers_broken INTEGER NOT NULL,
    grants INTEGER NOT NULL,
    since INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    lag INTEGER NOT NULL,
    PRIMARY KEY (name, host)
  );
  `,
  // A running job asks for its own counts. Of proven jobs alone: what a client claims may be longer than an index takes.
  `
  CREATE INDEX actor_of_job ON actor (job) WHERE kind = 'job';
  `,
  // Requests inside inspected CONNECTs.
  `
  CREATE TABLE path (
    hour INTEGER NOT NULL,
    node_id INTEGER NOT NULL REFERENCES node (id),
    target_id INTEGER NOT NULL REFERENCES target (id),
    actor_id INTEGER NOT NULL REFERENCES actor (id),
    pipeline_id INTEGER NOT NULL REFERENCES pipeline (id),
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    verdict TEXT NOT NULL,
    reason TEXT NOT NULL,
    requests INTEGER NOT NULL,
    bytes_up INTEGER NOT NULL,
    bytes_down INTEGER NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    nearest TEXT NOT NULL,
    PRIMARY KEY (${PATH_KEY.join(', ')})
  ) WITHOUT ROWID;
  CREATE INDEX path_by_target ON path (target_id, hour);
  CREATE INDEX path_by_actor ON path (actor_id, hour);
  `,
];
