// `sallyport usage export`: all that a store has, as lines of text, log by log, as it is at one moment. The file appears whole
// or not at all.
import fs from 'node:fs';
import { type RawBuilder, sql } from 'kysely';
import { SallyportError } from '../errors.ts';
import type { Trx } from './insert.ts';
import { dailyBefore } from './keep.ts';
import { ACTOR_COLUMNS, PATH_KEY, type UsageColumns } from './schema.ts';
import type { Store } from './store.ts';
import type { LogLine, TransferLine } from './transfer.ts';

const PAGE = 5_000;

/** @returns logs and rows that were written @throws SallyportError `export-unwritable`, `store-unreadable` */
export async function exportUsage(store: Store, file: string, now: Date): Promise<{ logs: number; rows: number }> {
  const part = `${file}.part-${process.pid}`;
  let fd: number | null = null;
  try {
    fd = fs.openSync(part, 'wx', 0o640);
    const done = await writeAll(store, fd, now);
    fs.fsyncSync(fd);
    fs.closeSync(fd);
    fd = null;
    fs.renameSync(part, file);
    return done;
  } catch (error) {
    if (fd !== null) {
      fs.closeSync(fd);
      fs.rmSync(part, { force: true });
    }
    if (error instanceof SallyportError) throw error;
    throw new SallyportError('export-unwritable', `${file}: ${(error as Error).message}`, { cause: error });
  }
}

async function writeAll(store: Store, fd: number, now: Date): Promise<{ logs: number; rows: number }> {
  let lines = 0;
  const write = (some: readonly TransferLine[]): void => {
    if (some.length > 0) fs.writeSync(fd, some.map((line) => `${JSON.stringify(line)}\n`).join(''));
    lines += some.length;
  };
  const snapshot = store.db.transaction();
  const done = await (store.kind === 'postgres' ? snapshot.setIsolationLevel('repeatable read') : snapshot).execute(
    async (trx) => {
      const daily_before = await dailyBefore({ ...store, db: trx });
      write([{ format: 'sallyport-usage', version: 1, exported: now.toISOString(), daily_before }]);
      const logs = await readLogs(trx);
      let rows = 0;
      for (const log of logs) {
        write([log]);
        for await (const page of usageOf(trx, log.log)) {
          write(page);
          rows += page.length;
        }
        for await (const page of pathsOf(trx, log.log)) {
          write(page);
          rows += page.length;
        }
        write(await openOf(trx, log.log));
      }
      write(await denials(trx));
      return { logs: logs.length, rows };
    },
  );
  write([{ end: lines }]);
  return done;
}

async function readLogs(trx: Trx): Promise<LogLine[]> {
  const owners = await trx
    .selectFrom('checkpoint')
    .innerJoin('node', 'node.id', 'checkpoint.node_id')
    .select(['node.log', 'node.name', 'file_id', 'offset', 'seq', 'hash'])
    .orderBy('node.log')
    .execute();
  const logs: LogLine[] = [];
  for (const { log, name, ...checkpoint } of owners) {
    const nodes = await trx
      .selectFrom('node')
      .leftJoin('window', 'window.node_id', 'node.id')
      .select(['name', 'first', 'last', 'damaged_lines', 'missing_lines'])
      .where('log', '=', log)
      .orderBy('name')
      .execute();
    const branches = await trx
      .selectFrom('branch_checkpoint')
      .innerJoin('node', 'node.id', 'node_id')
      .select(['file_id', 'offset', 'seq', 'hash'])
      .where('log', '=', log)
      .execute();
    logs.push({ log, node: name, checkpoint, branches, nodes });
  }
  return logs;
}

type Row = Record<string, string | number>;

const ORDER = [
  'node_id',
  'hour',
  'target_id',
  'actor_id',
  'rule_id',
  'kind',
  'verdict',
  'reason',
  'outcome',
] as const satisfies readonly (keyof UsageColumns)[];

function usageOf(trx: Trx, log: string): AsyncGenerator<TransferLine[]> {
  const select = sql`
    SELECT n.name AS node, u.*, t.host, t.port, r.rule, r.grp, ${actorColumns()}
    FROM usage AS u JOIN node AS n ON n.id = u.node_id JOIN target AS t ON t.id = u.target_id
      JOIN rule AS r ON r.id = u.rule_id JOIN actor AS a ON a.id = u.actor_id
    WHERE n.log = ${log}`;
  return pagesOf(trx, select, ORDER, lineOf);
}

function pathsOf(trx: Trx, log: string): AsyncGenerator<TransferLine[]> {
  const select = sql`
    SELECT n.name AS node, u.*, t.host, t.port, ${actorColumns()}
    FROM path AS u JOIN node AS n ON n.id = u.node_id JOIN target AS t ON t.id = u.target_id
      JOIN actor AS a ON a.id = u.actor_id
    WHERE n.log = ${log}`;
  return pagesOf(trx, select, PATH_KEY, pathLineOf);
}

/** The rows of a query with a WHERE, page by page. @param key of the table that is called u; no two rows have the same */
async function* pagesOf(
  trx: Trx,
  select: RawBuilder<unknown>,
  key: readonly string[],
  line: (row: Row) => TransferLine,
): AsyncGenerator<TransferLine[]> {
  const columns = sql.join(key.map((name) => sql.ref(`u.${name}`)));
  let after: readonly unknown[] | null = null;
  for (;;) {
    const next: RawBuilder<unknown> = after === null ? sql`TRUE` : sql`(${columns}) > (${sql.join(after)})`;
    const query = sql<Row>`${select} AND ${next} ORDER BY ${columns} LIMIT ${PAGE}`;
    const rows: Row[] = (await query.execute(trx)).rows;
    const last = rows.at(-1);
    if (last === undefined) return;
    yield rows.map(line);
    after = key.map((name) => last[name]);
  }
}

function actorColumns(): RawBuilder<unknown> {
  return sql.join(ACTOR_COLUMNS.map((name) => sql`a.${sql.ref(name)} AS ${sql.ref(`actor_${name}`)}`));
}

function actorOf(row: Row): Row {
  return Object.fromEntries(ACTOR_COLUMNS.map((name) => [name, row[`actor_${name}`] ?? '']));
}

function lineOf(row: Row): TransferLine {
  const { node, hour, host, port, rule, grp, kind, verdict, reason, outcome } = row;
  const { requests, bytes_up, bytes_down, first_seen, last_seen } = row;
  const sums = { requests, bytes_up, bytes_down, first_seen, last_seen };
  return {
    node,
    hour,
    host,
    port,
    rule,
    group: grp,
    actor: actorOf(row),
    kind,
    verdict,
    reason,
    outcome,
    ...sums,
  } as TransferLine;
}

function pathLineOf(row: Row): TransferLine {
  const { node, hour: day, host, port, method, path, verdict, reason, nearest } = row;
  const { requests, bytes_up, bytes_down, first_seen, last_seen } = row;
  const sums = { requests, bytes_up, bytes_down, first_seen, last_seen, nearest };
  return { node, day, host, port, actor: actorOf(row), method, path, verdict, reason, ...sums } as TransferLine;
}

async function openOf(trx: Trx, log: string): Promise<TransferLine[]> {
  const rows = await trx
    .selectFrom('open_request as o')
    .innerJoin('node as n', 'n.id', 'o.node_id')
    .select(['n.name as node', 'o.id as open', 'o.line'])
    .where('n.log', '=', log)
    .execute();
  return rows;
}

async function denials(trx: Trx): Promise<TransferLine[]> {
  const rows = await trx
    .selectFrom('denial as d')
    .innerJoin('target as t', 't.id', 'd.target_id')
    .select(['t.host', 't.port', 'd.reason', 'd.nearest', 'd.rule', 'd.last_seen'])
    .execute();
  return rows.map(({ host, port, ...denied }) => ({ host, port, denied }));
}
