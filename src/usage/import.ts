// `sallyport usage import`: takes exports of other stores in. Per log the file that counts further wins as a whole, so that
// any file may come twice, late, or in any order; a log that this store counts itself goes on from where the file ends.
// A file is taken in one transaction, and only where its end is there.
import fs from 'node:fs';
import readline from 'node:readline';
import { SallyportError } from '../errors.ts';
import type { Trx } from './insert.ts';
import { raiseDailyBefore } from './keep.ts';
import type { Store } from './store.ts';
import { createTally, keyOfActor, keyOfRule, keyOfTarget, type Tally } from './tally.ts';
import {
  type DeniedLine,
  type LogLine,
  type OpenLine,
  type PathLine,
  parseTransfer,
  type TransferLine,
  type UsageLine,
} from './transfer.ts';
import { forgetNodes, moveBranch, moveNode, nodeIds, writeTally } from './write.ts';

export interface Imported {
  readonly file: string;
  /** Logs whose counts are now those of the file. */
  readonly taken: number;
  /** Logs of which the store has as much, or more. */
  readonly known: number;
  readonly rows: number;
}

const CHUNK_ROWS = 5_000;

/** @throws SallyportError `export-invalid`: nothing of the file was taken; `store-unreadable` */
export async function importUsage(store: Store, file: string): Promise<Imported> {
  return store.db.transaction().execute(async (trx) => {
    const intake = new Intake(store, trx);
    let lines = 0;
    let ended = false;
    for await (const line of readLines(file)) {
      const parsed = ended ? null : parseTransfer(line);
      if (parsed === null || 'format' in parsed !== (lines === 0))
        throw invalid(file, `line ${lines + 1} is not one of a usage export`);
      if ('end' in parsed) {
        if (parsed.end !== lines) throw invalid(file, `it has ${lines} lines before its end, not ${parsed.end}`);
        ended = true;
      } else if (!(await intake.add(parsed))) throw invalid(file, `line ${lines + 1} belongs to no log`);
      lines++;
    }
    if (!ended) throw invalid(file, 'its end is missing: it was cut short');
    await intake.flush();
    return { file, taken: intake.taken, known: intake.known, rows: intake.rows };
  });
}

function invalid(file: string, what: string, cause?: unknown): SallyportError {
  return new SallyportError('export-invalid', `${file}: ${what}`, { cause });
}

async function* readLines(file: string): AsyncGenerator<string> {
  const input = fs.createReadStream(file, 'utf8');
  try {
    yield* readline.createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY });
  } catch (error) {
    throw error instanceof SallyportError ? error : invalid(file, (error as Error).message, error);
  } finally {
    input.destroy();
  }
}

class Intake {
  taken = 0;
  known = 0;
  rows = 0;
  readonly #store: Store;
  readonly #trx: Trx;
  #tally: Tally = createTally();
  #added = 0;
  /** Ids of the log at hand; null where it is not taken, or there is none yet. */
  #nodes: ReadonlyMap<string, number> | null = null;
  #names = new Set<string>();

  constructor(store: Store, trx: Trx) {
    this.#store = store;
    this.#trx = trx;
  }

  /** @returns false where the line stands in no log of its node */
  async add(line: Exclude<TransferLine, { end: number }>): Promise<boolean> {
    if ('format' in line) await raiseDailyBefore(this.#store, this.#trx, line.daily_before);
    else if ('log' in line) await this.#begin(line);
    else if ('denied' in line) this.#denied(line);
    else {
      if (!this.#names.has(line.node)) return false;
      if (this.#nodes !== null) this.#fact(line);
    }
    if (++this.#added >= CHUNK_ROWS) await this.flush();
    return true;
  }

  async flush(): Promise<void> {
    await writeTally(this.#store, this.#trx, this.#tally, this.#nodes ?? new Map());
    this.#tally = createTally();
    this.#added = 0;
  }

  async #begin(line: LogLine): Promise<void> {
    await this.flush();
    this.#names = new Set(line.nodes.map(({ name }) => name));
    this.#nodes = null;
    if (!(await this.#isNews(line))) {
      this.known++;
      return;
    }
    this.taken++;
    await forgetNodes(this.#trx, line.log);
    const nodes = await nodeIds(this.#trx, [line.node, ...this.#names], line.log);
    this.#nodes = nodes;
    const owner = nodes.get(line.node) ?? 0;
    await moveNode(this.#trx, owner, line.checkpoint);
    for (const branch of line.branches) await moveBranch(this.#trx, owner, branch);
    for (const { name, first, last, damaged_lines, missing_lines } of line.nodes) {
      if (first !== null && last !== null) this.#tally.windows.set(name, { first, last });
      await this.#trx
        .updateTable('node')
        .set({ damaged_lines, missing_lines })
        .where('id', '=', nodes.get(name) ?? 0)
        .execute();
    }
  }

  /** Lines of the log and of its branches that are counted, compared in that order. */
  async #isNews({ log, checkpoint, branches }: LogLine): Promise<boolean> {
    const known = await this.#trx
      .selectFrom('checkpoint')
      .innerJoin('node', 'node.id', 'checkpoint.node_id')
      .select(['seq'])
      .where('log', '=', log)
      .executeTakeFirst();
    if (known === undefined || known.seq !== checkpoint.seq) return known === undefined || known.seq < checkpoint.seq;
    const sum = await this.#trx
      .selectFrom('branch_checkpoint')
      .innerJoin('node', 'node.id', 'branch_checkpoint.node_id')
      .select(({ fn }) => fn.sum<number>('seq').as('seq'))
      .where('log', '=', log)
      .executeTakeFirst();
    return branches.reduce((all, { seq }) => all + seq, 0) > Number(sum?.seq ?? 0);
  }

  #fact(line: UsageLine | PathLine | OpenLine): void {
    const tally = this.#tally;
    if ('open' in line) {
      tally.opened.set(line.open, { node: line.node, line: line.line });
      return;
    }
    if ('day' in line) return this.#path(line);
    const { host, port, rule, group: grp, actor, ...row } = line;
    const [target, by, who] = [keyOfTarget({ host, port }), keyOfRule({ rule, grp }), keyOfActor(actor)];
    tally.targets.set(target, { host, port });
    tally.rules.set(by, { rule, grp });
    tally.actors.set(who, actor);
    tally.rows.set(`${this.rows++}`, { ...row, target, rule: by, actor: who });
  }

  #path({ host, port, actor, day: hour, ...row }: PathLine): void {
    const [target, who] = [keyOfTarget({ host, port }), keyOfActor(actor)];
    this.#tally.targets.set(target, { host, port });
    this.#tally.actors.set(who, actor);
    this.#tally.paths.set(`${this.rows++}`, { ...row, hour, target, actor: who });
  }

  #denied({ host, port, denied }: DeniedLine): void {
    const target = keyOfTarget({ host, port });
    this.#tally.targets.set(target, { host, port });
    this.#tally.denials.set(target, denied);
  }
}
