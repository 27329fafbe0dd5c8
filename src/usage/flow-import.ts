// `sallyport import flows`: takes what a network's logs say of direct attempts into the usage store. A record is known by the hash of
// what it says, so the same line counts once, in whatever file and however often it comes. Everything is bounded: lines by the
// reader of files, rows of the store by limits.flow_rows_max; what is beyond is counted.
import { hash } from 'node:crypto';
import { readBatches } from '../audit/history.ts';
import { SallyportError } from '../errors.ts';
import { type Flow, type FlowRead, type FlowScope, type Standing, standingOf } from './flow.ts';
import { type KernelOptions, KernelReader } from './flow-kernel.ts';
import { VpcReader } from './flow-vpc.ts';
import { insertRows, type Trx } from './insert.ts';
import type { Schema } from './schema.ts';
import type { Store } from './store.ts';

export const FLOW_FORMATS = ['auto', 'vpc', 'kernel'] as const;
export type FlowFormat = (typeof FLOW_FORMATS)[number];

export interface FlowOptions extends KernelOptions {
  readonly format: FlowFormat;
  /** Of VPC flow logs without a head line; null for the default format. */
  readonly fields: readonly string[] | null;
  readonly scope: FlowScope;
  /** limits.flow_rows_max */
  readonly rowsMax: number;
}

export interface BadLine {
  readonly file: string;
  /** Counts from 1. */
  readonly line: number;
  readonly why: string;
}

export interface FlowImported {
  readonly file: string;
  readonly format: Exclude<FlowFormat, 'auto'>;
  readonly lines: number;
  /** Attempts of builds: new ones, and such as were known. */
  readonly taken: number;
  readonly known: number;
  /** Attempts that the store has no room for. */
  readonly overflow: number;
  /** Records that are no attempts. */
  readonly left: Readonly<Record<Exclude<Standing, 'attempt'>, number>>;
  /** Lines of something else, which a kernel's log is full of. */
  readonly other: number;
  /** Times of which the network says that it has lost records. */
  readonly lost: number;
  /** Lines that could not be understood; the first BAD_LINES_NAMED of them. */
  readonly bad: number;
  readonly bad_lines: readonly BadLine[];
}

export const BAD_LINES_NAMED = 20;
/** Records of one transaction: keys are random, so many at once share the pages that they change. */
const BATCH_ROWS = 20_000;
/** Some 128 bits: nobody makes two records with the same by chance, or on purpose to any use. */
const KEY_LENGTH = 22;

type FlowRow = Schema['flow'];

/**
 * Reads one file, plain or packed with gzip. What was taken before an error stays, and is known the next time.
 * @throws SallyportError `flow-log-invalid`: it cannot be read, or is of neither format; `store-unreadable`
 */
export async function importFlows(store: Store, file: string, options: FlowOptions): Promise<FlowImported> {
  const intake = new Intake(store, file, options);
  try {
    for await (const batch of readBatches(file)) {
      for (const { text, state } of batch) await intake.line(state === 'oversize' ? null : text.replace(/\r$/, ''));
    }
  } catch (error) {
    if (!(error instanceof SallyportError) || error.code !== 'audit-damaged') throw error;
    throw new SallyportError('flow-log-invalid', error.message, { cause: error });
  }
  return intake.finish();
}

interface Reader {
  knows(line: string): boolean;
  read(line: string): FlowRead;
}

class Intake {
  readonly #store: Store;
  readonly #file: string;
  readonly #options: FlowOptions;
  #format: FlowFormat;
  #reader: Reader | null = null;
  #rows = new Map<string, FlowRow>();
  /** Rows of the store. */
  #stored: number | null = null;
  #lines = 0;
  readonly #counts = { taken: 0, known: 0, overflow: 0, other: 0, lost: 0, bad: 0 };
  readonly #left = { foreign: 0, proxy: 0, answer: 0, local: 0 };
  readonly #bad: BadLine[] = [];

  constructor(store: Store, file: string, options: FlowOptions) {
    this.#store = store;
    this.#file = file;
    this.#options = options;
    this.#format = options.format;
  }

  /** null: longer than any line of a log. */
  async line(text: string | null): Promise<void> {
    this.#lines++;
    const read: FlowRead = text === null ? { kind: 'bad', why: 'it is too long' } : this.#read(text);
    if (read.kind === 'bad') this.#tell(read.why);
    else if (read.kind === 'other' || read.kind === 'lost') this.#counts[read.kind]++;
    else if (read.kind === 'flow') {
      const standing = standingOf(read.flow, this.#options.scope);
      if (standing !== 'attempt') this.#left[standing]++;
      else await this.#add(read.flow);
    }
  }

  async finish(): Promise<FlowImported> {
    await this.#flush();
    if (this.#format === 'auto')
      throw new SallyportError(
        'flow-log-invalid',
        `${this.#file}: none of its ${this.#lines} lines is of a VPC flow log or a packet that the kernel logged`,
      );
    const { taken, known, overflow, ...rest } = this.#counts;
    const found = { taken, known, overflow, left: this.#left, ...rest, bad_lines: this.#bad };
    return { file: this.#file, format: this.#format, lines: this.#lines, ...found };
  }

  /** The first line that is of a known format says which one the file has. */
  #read(text: string): FlowRead {
    if (this.#reader === null) {
      const { format, fields } = this.#options;
      const readers = { vpc: new VpcReader(fields ?? undefined), kernel: new KernelReader(this.#options) };
      const found = format === 'auto' ? (['kernel', 'vpc'] as const).find((name) => readers[name].knows(text)) : format;
      if (found === undefined) return { kind: 'other' };
      this.#format = found;
      this.#reader = readers[found];
    }
    return this.#reader.read(text);
  }

  #tell(why: string): void {
    this.#counts.bad++;
    if (this.#bad.length < BAD_LINES_NAMED) this.#bad.push({ file: this.#file, line: this.#lines, why });
  }

  async #add(flow: Flow): Promise<void> {
    const row = rowOf(flow, this.#format);
    if (this.#rows.has(row.key)) this.#counts.known++;
    else this.#rows.set(row.key, row);
    if (this.#rows.size >= BATCH_ROWS) await this.#flush();
  }

  async #flush(): Promise<void> {
    const rows = [...this.#rows.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
    this.#rows = new Map();
    if (rows.length === 0) return;
    const { taken, known, overflow } = await this.#write(rows);
    this.#counts.taken += taken;
    this.#counts.known += known;
    this.#counts.overflow += overflow;
  }

  async #write(rows: readonly FlowRow[]): Promise<{ taken: number; known: number; overflow: number }> {
    return this.#store.db.transaction().execute(async (trx) => {
      const found = await trx
        .selectFrom('flow')
        .select('key')
        .where(
          'key',
          'in',
          rows.map(({ key }) => key),
        )
        .execute();
      const here = new Set(found.map(({ key }) => key));
      const fresh = rows.filter(({ key }) => !here.has(key));
      this.#stored ??= await storedRows(trx);
      const fitting = fresh.slice(0, Math.max(0, this.#options.rowsMax - this.#stored));
      for (let at = 0; at < fitting.length; at += INSERT_ROWS)
        await insertRows(this.#store, trx, 'flow', fitting.slice(at, at + INSERT_ROWS))
          .onConflict((on) => on.doNothing())
          .execute();
      this.#stored += fitting.length;
      return { taken: fitting.length, known: here.size, overflow: fresh.length - fitting.length };
    });
  }
}

async function storedRows(trx: Trx): Promise<number> {
  const counted = await trx
    .selectFrom('flow')
    .select(({ fn }) => fn.countAll().as('rows'))
    .executeTakeFirst();
  return Number(counted?.rows ?? 0);
}

/** Of eleven columns each, below SQLite's 32,766 parameters. */
const INSERT_ROWS = 1_000;

function rowOf(flow: Flow, format: FlowFormat): FlowRow {
  const { first, last, client, host, clientPort, port, protocol, verdict, packets, bytes, uid, mark } = flow;
  const said = [format, mark, client, clientPort, host, port, protocol, verdict, first, last, packets, bytes];
  const key = hash('sha256', JSON.stringify(said), 'base64url').slice(0, KEY_LENGTH);
  return { key, first, last, client, host, port, protocol, verdict, packets, bytes, uid: uid ?? NO_UID };
}

const NO_UID = -1;
