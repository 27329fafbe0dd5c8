// Kysely over node:sqlite: one connection, its synchronous calls wrapped in promises. Kysely's own SQLite dialect expects the
// interface of better-sqlite3, which is a native package; the runtime's own SQLite needs none.
// Transactions of a writer begin IMMEDIATE, so that a reading statement in them never meets SQLITE_BUSY when it turns to writing.
import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite';
import {
  type CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  type Kysely,
  type QueryResult,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from 'kysely';

export interface SqliteDialectOptions {
  readonly database: DatabaseSync;
  readonly readOnly: boolean;
  /** Turns an error of SQLite into one that a person can act on. */
  readonly explain: (error: unknown) => unknown;
}

const STATEMENTS_MAX = 64;

export function sqliteDialect(options: SqliteDialectOptions): Dialect {
  return {
    createDriver: () => new SqliteDriver(options),
    createQueryCompiler: () => new SqliteQueryCompiler(),
    createAdapter: () => new SqliteAdapter(),
    createIntrospector: (db: Kysely<unknown>) => new SqliteIntrospector(db),
  };
}

class SqliteDriver implements Driver {
  readonly #options: SqliteDialectOptions;
  readonly #connection: SqliteConnection;
  // One connection: who holds it keeps the others waiting, or their statements would fall into its transaction.
  #busy: Promise<void> = Promise.resolve();
  #free: (() => void) | null = null;

  constructor(options: SqliteDialectOptions) {
    this.#options = options;
    this.#connection = new SqliteConnection(options);
  }

  async init(): Promise<void> {}

  async acquireConnection(): Promise<DatabaseConnection> {
    const before = this.#busy;
    let free = () => {};
    this.#busy = new Promise((resolve) => {
      free = resolve;
    });
    await before;
    this.#free = free;
    return this.#connection;
  }

  async releaseConnection(): Promise<void> {
    this.#free?.();
  }

  async beginTransaction(): Promise<void> {
    this.#connection.run(this.#options.readOnly ? 'BEGIN' : 'BEGIN IMMEDIATE');
  }

  async commitTransaction(): Promise<void> {
    this.#connection.run('COMMIT');
  }

  async rollbackTransaction(): Promise<void> {
    rollBack(this.#options.database);
  }

  async destroy(): Promise<void> {
    this.#connection.forget();
    this.#options.database.close();
  }
}

/**
 * Ends a transaction that failed, where it is still open: SQLite has rolled back by itself after some errors (full disk, I/O), and an error of
 * a second ROLLBACK would hide the first. It is tried, not asked for: Node before 22.16 does not know `isTransaction`.
 */
export function rollBack(database: DatabaseSync): void {
  try {
    database.exec('ROLLBACK');
  } catch {
    // There was none.
  }
}

class SqliteConnection implements DatabaseConnection {
  readonly #options: SqliteDialectOptions;
  readonly #statements = new Map<string, StatementSync>();

  constructor(options: SqliteDialectOptions) {
    this.#options = options;
  }

  run(sql: string): void {
    this.#explained(() => this.#options.database.exec(sql));
  }

  forget(): void {
    this.#statements.clear();
  }

  async executeQuery<R>(query: CompiledQuery): Promise<QueryResult<R>> {
    return this.#explained(() => {
      const statement = this.#prepare(query.sql);
      const values = query.parameters as SQLInputValue[];
      if (givesRows(query)) return { rows: statement.all(...values) as R[] };
      const { changes, lastInsertRowid } = statement.run(...values);
      return { rows: [], numAffectedRows: BigInt(changes), insertId: BigInt(lastInsertRowid) };
    });
  }

  async *streamQuery<R>(query: CompiledQuery): AsyncIterableIterator<QueryResult<R>> {
    // A statement of its own: a cached one that is stepped by two readers would be reset by the second.
    const statement = this.#explained(() => this.#options.database.prepare(query.sql));
    for (const row of statement.iterate(...(query.parameters as SQLInputValue[]))) yield { rows: [row as R] };
  }

  #prepare(sql: string): StatementSync {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    if (this.#statements.size >= STATEMENTS_MAX) this.#statements.clear();
    const statement = this.#options.database.prepare(sql);
    this.#statements.set(sql, statement);
    return statement;
  }

  #explained<T>(act: () => T): T {
    try {
      return act();
    } catch (error) {
      throw this.#options.explain(error);
    }
  }
}

/** Raw SQL may give rows too; asking for them is harmless where there are none. */
function givesRows({ query }: CompiledQuery): boolean {
  const writes =
    query.kind === 'InsertQueryNode' || query.kind === 'UpdateQueryNode' || query.kind === 'DeleteQueryNode';
  return !writes || query.returning !== undefined;
}
