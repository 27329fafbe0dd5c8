// The usage store: a SQLite file, or a PostgreSQL database that many proxies share (postgres.ts). It is made from the audit
// log and can be made again from it. Opening it checks that it is ours, sound and of a version we know; what is wrong is said
// with the command that mends it.
// The proxy's own thread never opens it: the projection worker and the CLI do. Readers see a steady picture while it is written (WAL).
import fs from 'node:fs';
import path from 'node:path';
import type { DatabaseSync as Database } from 'node:sqlite';
import { Kysely } from 'kysely';
import type { PostgresPlace, StorePlace } from '../config/store-place.ts';
import { SallyportError } from '../errors.ts';
import { DEFAULT_LIMITS } from '../limits.ts';
import type { Schema } from './schema.ts';
import { DatabaseSync } from './sqlite.ts';
import { rollBack, sqliteDialect } from './sqlite-dialect.ts';
import { MIGRATIONS } from './sqlite-schema.ts';

export interface Store {
  readonly kind: 'sqlite' | 'postgres';
  readonly db: Kysely<Schema>;
  /** True where a rebuild has put another file at the same path. */
  replaced(): boolean;
  close(): Promise<void>;
}

export type StoreMode = 'read' | 'write';

/** How long a statement waits for another process's transaction; a projection's lasts some tens of milliseconds. */
const BUSY_MS = 5_000;

/**
 * Opens the store, a file at once; `write` creates and migrates it, `read` never changes it and works while the projection writes.
 * Transactions of a store opened for writing begin IMMEDIATE.
 * @throws SallyportError `store-damaged` (mended by `sallyport usage rebuild`) or `store-unreadable`
 */
export function openStore(file: string, mode: StoreMode): Store;
export function openStore(place: StorePlace, mode: StoreMode, timeoutMs?: number): Store | Promise<Store>;
export function openStore(
  place: StorePlace,
  mode: StoreMode,
  timeoutMs: number = DEFAULT_LIMITS.usage_store_timeout_ms,
): Store | Promise<Store> {
  return typeof place === 'string' ? openFile(place, mode) : openDatabase(place, mode, timeoutMs);
}

/** pg is loaded only where it is used. */
async function openDatabase(place: PostgresPlace, mode: StoreMode, timeoutMs: number): Promise<Store> {
  const { openPostgres } = await import('./postgres.ts');
  const { db, close } = await openPostgres({ place, mode, timeoutMs });
  return { kind: 'postgres', db, replaced: () => false, close };
}

function openFile(file: string, mode: StoreMode): Store {
  let database: Database | null = null;
  try {
    if (mode === 'write') fs.mkdirSync(path.dirname(file), { recursive: true, mode: 0o750 });
    else if (!fs.existsSync(file))
      throw new Error('there is no such file; the proxy makes it, or `sallyport usage rebuild`');
    database = new DatabaseSync(file, { readOnly: mode === 'read', timeout: BUSY_MS });
    if (mode === 'write') database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL');
    // A migration may make a table anew that others refer to.
    database.exec('PRAGMA foreign_keys = OFF');
    migrate(database, mode);
    database.exec('PRAGMA foreign_keys = ON');
    const identity = fileIdentity(file);
    const explain = (error: unknown) => storeError(file, error);
    const db = new Kysely<Schema>({ dialect: sqliteDialect({ database, readOnly: mode === 'read', explain }) });
    return { kind: 'sqlite', db, replaced: () => fileIdentity(file) !== identity, close: () => db.destroy() };
  } catch (error) {
    database?.close();
    throw storeError(file, error);
  }
}

/** `dev:ino` of the file at a path; '' where there is none. */
function fileIdentity(file: string): string {
  const stat = fs.statSync(file, { throwIfNoEntry: false });
  return stat === undefined ? '' : `${stat.dev}:${stat.ino}`;
}

function migrate(database: Database, mode: StoreMode): void {
  const version = schemaVersion(database);
  if (version === MIGRATIONS.length) return;
  if (version > MIGRATIONS.length)
    throw new Error(`it was made by a newer Sallyport (schema ${version}, known ${MIGRATIONS.length})`);
  if (mode === 'read')
    throw new Error(
      `its schema is ${version}, not ${MIGRATIONS.length}; start the proxy once, or run \`sallyport usage rebuild\``,
    );
  // Two processes may open a new store at once: who waits here finds the work done.
  database.exec('BEGIN IMMEDIATE');
  try {
    for (let next = schemaVersion(database); next < MIGRATIONS.length; next++) database.exec(MIGRATIONS[next] ?? '');
    database
      .prepare(
        "INSERT INTO meta (key, value) VALUES ('schema_version', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
      )
      .run(String(MIGRATIONS.length));
    database.exec('COMMIT');
  } catch (error) {
    rollBack(database);
    throw error;
  }
}

/** 0 in an empty file. */
function schemaVersion(database: Database): number {
  const tables = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all() as { name: string }[];
  if (tables.length === 0) return 0;
  if (!tables.some((table) => table.name === 'meta')) throw new Error('it is a SQLite file of something else');
  const row = database.prepare("SELECT value FROM meta WHERE key = 'schema_version'").get() as
    | { value: string }
    | undefined;
  const version = Number(row?.value);
  if (!Number.isInteger(version) || version < 1) throw new Error('it is a SQLite file of something else');
  return version;
}

const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

/** Any error of SQLite or the file system, as one that names the file and what to do. */
export function storeError(file: string, error: unknown): SallyportError {
  if (error instanceof SallyportError) return error;
  const { errcode, message } = error as { errcode?: number; message?: string };
  // The low byte is the primary code; extended codes carry more above it.
  const primary = errcode === undefined ? 0 : errcode & 0xff;
  if (primary === SQLITE_CORRUPT || primary === SQLITE_NOTADB) {
    return new SallyportError('store-damaged', `${file}: ${message}; run \`sallyport usage rebuild\``, {
      cause: error,
    });
  }
  return new SallyportError('store-unreadable', `${file}: ${message ?? String(error)}`, { cause: error });
}
