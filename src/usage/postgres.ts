// Kysely over pg: one connection, whose every wait is bounded, and which is dropped at the first error that is not the
// server's own answer. pg by itself waits for ever on a server that accepts and says nothing, also when it closes.
// bigint and numeric come as numbers here, so that sums are the same as from SQLite; what passes 2^53 (9 PB) is not exact.
// No message names more of the place than showStore does.
import fs from 'node:fs';
import net from 'node:net';
import tls from 'node:tls';
import { Kysely, PostgresDialect, type PostgresPool, sql } from 'kysely';
import pg from 'pg';
import { type PostgresPlace, showStore } from '../config/store-place.ts';
import { SallyportError } from '../errors.ts';
import { POSTGRES_MIGRATIONS } from './postgres-schema.ts';
import type { Schema } from './schema.ts';

export interface PostgresOptions {
  readonly place: PostgresPlace;
  readonly mode: 'read' | 'write';
  /** For each statement, and for the connection. */
  readonly timeoutMs: number;
}

/** Any number will do, as long as everybody takes the same: "sallyport" in ASCII, cut to 63 bits. */
const MIGRATION_LOCK = 0x73616c6c79;
/** For the server's goodbye when we close; then the socket is destroyed. */
const CLOSE_MS = 1_000;

/**
 * Connects; `write` makes and migrates the tables, one process at a time.
 * @throws SallyportError `store-unreadable`
 */
export async function openPostgres(
  options: PostgresOptions,
): Promise<{ db: Kysely<Schema>; close: () => Promise<void> }> {
  let db: Kysely<Schema> | null = null;
  try {
    db = new Kysely<Schema>({ dialect: new PostgresDialect({ pool: createPool(options) }) });
    await migrate(db, options.mode);
    const made = db;
    return { db, close: () => made.destroy() };
  } catch (error) {
    await db?.destroy();
    throw postgresError(options.place, error);
  }
}

function createPool(options: PostgresOptions): PostgresPool {
  const { place, timeoutMs } = options;
  const sockets = new Set<net.Socket>();
  const dropAll = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  const pool = new pg.Pool({
    ...clientConfig(options),
    max: 1,
    stream: () => {
      const socket = new net.Socket();
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      return socket;
    },
  });
  // An idle connection that ends (a restart) says so here; the next statement makes a new one.
  pool.on('error', () => undefined);
  // And one in use says so to its statement, and besides as an event.
  pool.on('connect', (client) => client.on('error', () => undefined));
  const explained = (error: unknown): unknown => {
    // The server answered: the connection is sound, and a rollback gets through. Otherwise nothing will.
    if (!(error instanceof pg.DatabaseError)) dropAll();
    return postgresError(place, error);
  };
  const query = async (client: pg.PoolClient, text: string, values: readonly unknown[]) => {
    try {
      return await client.query(text, [...values]);
    } catch (error) {
      throw explained(error);
    }
  };
  const connect = async () => {
    const client = await bounded(pool.connect(), timeoutMs, dropAll).catch((error: unknown) => {
      throw explained(error);
    });
    return {
      query: (text: string, values: readonly unknown[] = []) => query(client, text, values),
      release: (destroy?: boolean) => client.release(destroy),
    };
  };
  const end = async (): Promise<void> => {
    await bounded(pool.end(), CLOSE_MS, dropAll).catch(() => undefined);
    dropAll();
  };
  return { connect, end, options: {} } as unknown as PostgresPool;
}

function clientConfig({ place, timeoutMs }: PostgresOptions): pg.PoolConfig {
  const { host, port, database, user, password, passwordFile } = place;
  return {
    host,
    port,
    database,
    ...(user === null ? {} : { user }),
    ...(passwordFile === null ? {} : { password: () => firstLine(passwordFile) }),
    ...(password === null ? {} : { password }),
    ssl: place.ssl === 'disable' ? false : tlsOptions(place),
    application_name: 'sallyport',
    keepAlive: true,
    query_timeout: timeoutMs,
    statement_timeout: timeoutMs,
    // A node that dies inside a transaction must not keep the others waiting for its rows.
    idle_in_transaction_session_timeout: timeoutMs,
    types: {
      getTypeParser: (oid: number, format?: 'text' | 'binary') => parserOf(oid, format),
    } as pg.CustomTypesConfig,
  };
}

const { INT8, NUMERIC } = pg.types.builtins;

function parserOf(oid: number, format: 'text' | 'binary' = 'text'): unknown {
  return oid === INT8 || oid === NUMERIC ? Number : pg.types.getTypeParser(oid, format as 'text');
}

function tlsOptions(place: PostgresPlace): tls.ConnectionOptions {
  const { ssl, host, rootCert, cert, key } = place;
  return {
    minVersion: 'TLSv1.2',
    rejectUnauthorized: ssl !== 'require',
    // pg gives no host for an address; and the authority alone is asked for by verify-ca.
    checkServerIdentity: (_, peer) => (ssl === 'verify-full' ? tls.checkServerIdentity(host, peer) : undefined),
    ...(rootCert === null ? {} : { ca: fs.readFileSync(rootCert) }),
    ...(cert === null || key === null ? {} : { cert: fs.readFileSync(cert), key: fs.readFileSync(key) }),
  };
}

function firstLine(file: string): string {
  return fs.readFileSync(file, 'utf8').split(/\r?\n/, 1)[0] ?? '';
}

/** Settles with the promise, or acts and rejects after a time. */
function bounded<T>(promise: Promise<T>, ms: number, act: () => void): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      act();
      reject(new Error(`no answer in ${ms} ms`));
    }, ms);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

async function migrate(db: Kysely<Schema>, mode: 'read' | 'write'): Promise<void> {
  const known = POSTGRES_MIGRATIONS.length;
  const found = await schemaVersion(db);
  if (found > known) throw new Error(`it was made by a newer Sallyport (schema ${found}, known ${known})`);
  if (found === known) return;
  if (mode === 'read') throw new Error(`its schema is ${found}, not ${known}; the proxy makes it at its start`);
  await db.transaction().execute(async (trx) => {
    // Who waits here finds the work done.
    await sql`SELECT pg_advisory_xact_lock(${MIGRATION_LOCK})`.execute(trx);
    const version = await schemaVersion(trx);
    if (version === 0) await refuseOthers(trx);
    for (const statements of POSTGRES_MIGRATIONS.slice(version)) {
      for (const statement of statements.split(';')) if (statement.trim() !== '') await sql.raw(statement).execute(trx);
    }
    await trx
      .insertInto('meta')
      .values({ key: 'schema_version', value: String(Math.max(version, known)) })
      .onConflict((on) => on.column('key').doUpdateSet((eb) => ({ value: eb.ref('excluded.value') })))
      .execute();
  });
}

/** 0 where there are no tables yet. */
async function schemaVersion(db: Kysely<Schema>): Promise<number> {
  // Not to_regclass: within a transaction it may go on saying that there is none, after another one has made it.
  const { rows } = await sql<{ found: number }>`
    SELECT count(*) AS found FROM pg_tables
    WHERE schemaname = current_schema() AND tablename IN ('meta', 'checkpoint')`.execute(db);
  if (rows[0]?.found !== 2) return 0;
  const row = await db.selectFrom('meta').select('value').where('key', '=', 'schema_version').executeTakeFirst();
  return Number(row?.value ?? 0);
}

async function refuseOthers(db: Kysely<Schema>): Promise<void> {
  const { rows } = await sql<{ encoding: string; tables: number }>`
    SELECT current_setting('server_encoding') AS encoding,
      (SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()) AS tables`.execute(db);
  if (rows[0]?.encoding !== 'UTF8')
    throw new Error(`its encoding is ${rows[0]?.encoding}; make the database with UTF8`);
  if (rows[0].tables > 0) throw new Error('it is a database of something else; give Sallyport one of its own');
}

/** Any error of pg or the network, as one that names the store without its password. */
function postgresError(place: PostgresPlace, error: unknown): SallyportError {
  if (error instanceof SallyportError) return error;
  // Several addresses were tried: the message is empty then.
  const inner = error instanceof AggregateError && error.message === '' ? error.errors[0] : error;
  const { message } = inner as { message?: string };
  return new SallyportError('store-unreadable', `${showStore(place)}: ${message || String(inner)}`, {
    hint: 'Check the server, the user and its rights; what is not counted stays in the audit log and is counted later.',
    cause: error,
  });
}
