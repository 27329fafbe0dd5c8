// Takes the audit log into the usage store, batch by batch: tail → parse → tally → one transaction. It owns the open store,
// the tail and the names of the hours at hand, and drops all three whenever something goes wrong or another process was
// faster: the checkpoint in the store is the only thing that is believed afterwards. The branches that upgrades leave beside
// the log are counted after the lines before them, each from a checkpoint of its own.
import { branchPaths, isFinished } from '../audit/branch.ts';
import { type History, type HistoryFile, listHistory } from '../audit/history.ts';
import { LineReader, type ReadLine } from '../audit/line-reader.ts';
import { lineHash } from '../audit/parse.ts';
import { identify, listSegments, type Segment } from '../audit/read.ts';
import type { StorePlace } from '../config/store-place.ts';
import type { OperatorErrorCode, SallyportError } from '../errors.ts';
import type { Limits } from '../limits.ts';
import { ArchiveTail } from './archive-tail.ts';
import { KnownNames } from './known-names.ts';
import { addFault, type Reading, readingAfter } from './reading.ts';
import { Recent } from './recent.ts';
import type { Standing } from './roll-call.ts';
import { openStore, type Store } from './store.ts';
import { type Batch, bytesAfter, endOf, type LineSource, locate, type Position, Tail } from './tail.ts';
import { addLine, dayOf, hourOf } from './tally.ts';
import { writeBatch } from './write.ts';

export interface ProjectionProblem {
  readonly code: OperatorErrorCode | 'usage-lag';
  readonly message: string;
  readonly file?: string;
  /** Counts from 1. */
  readonly line?: number;
}

export interface ProjectionOptions {
  readonly auditFile: string;
  /** Where the usage store is, or a store that is open already and stays so. */
  readonly store: StorePlace | Store;
  readonly limits: Limits;
  readonly onProblem: (problem: ProjectionProblem) => void;
  /** Lines of one transaction. */
  readonly batchLines?: number;
  /** Reads archives that are packed with gzip too, for a store that is made for one report (archive-tail.ts). */
  readonly archives?: true;
  /** Waited for between the pieces of a batch, each a millisecond's work, unless it is half of usage_lag_bytes_warn behind. */
  readonly breathe?: () => Promise<void>;
}

export interface StepResult {
  readonly lines: number;
  /** There is more already, or the place changed: go on at once. */
  readonly more: boolean;
}

/** Of one transaction, which costs as much as some thousand lines. */
const BATCH_LINES = 20_000;
/** Read, counted and forgotten before the next are read. */
const PIECE_LINES = 250;
/** Before the first line. */
const NOWHERE = { file_id: '', offset: 0, seq: 0 };
const NOTHING: StepResult = { lines: 0, more: false };
const AGAIN: StepResult = { lines: 0, more: true };

interface Place {
  readonly tail: LineSource;
  readonly node: string;
  readonly log: string;
  readonly branch: boolean;
  readonly recent: Recent;
  /** The checkpoint as the store has it. */
  checkpoint: Position | null;
  /** Last sound line counted, to skip what stands twice and to see what is missing. */
  seq: number;
  hash: string;
  /** Damaged lines after it: their numbers are not missing. */
  damagedSince: number;
}

export class Projector {
  readonly #options: ProjectionOptions;
  readonly #max: number;
  readonly #names = new KnownNames();
  readonly #reader = new LineReader();
  #store: Store | null = null;
  /** Where the counting of the main log stood last. */
  #known: Pick<Position, 'file_id' | 'offset' | 'seq'> | null = null;
  #place: Place | null = null;
  /** What there is to read, where archives are read too. */
  #history: History | null = null;
  /** By path; null where the branch is ended and all of it is counted. */
  readonly #branches = new Map<string, Place | null>();

  constructor(options: ProjectionOptions) {
    this.#options = options;
    this.#max = options.batchLines ?? BATCH_LINES;
  }

  /** Counts the next batch. After an error the next call starts from the store's checkpoint. @throws SallyportError */
  async step(): Promise<StepResult> {
    try {
      return await this.#step();
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /** Lends the store, for what is kept in it besides counts. After an error it is opened anew. @throws SallyportError */
  async use<T>(work: (store: Store) => Promise<T>): Promise<T> {
    try {
      return await work(await this.#opened());
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /** Where it counts, for the roll call of nodes that share a store; null until it has found its place. */
  get standing(): Standing | null {
    if (this.#store === null || this.#place === null) return null;
    return { store: this.#store, node: this.#place.node, log: this.#place.log };
  }

  /**
   * How far the store is behind the log, in bytes, and the last seq it has. While the store is gone: behind what it last had; where
   * it was never reached, behind the end that the log had at the first call, which is the least it can be.
   */
  lag(): { bytes: number; seq: number } {
    const place = this.#place;
    if (place === null) {
      this.#known ??= { ...endOf(this.#options.auditFile), seq: 0 };
      return { bytes: bytesAfter(this.#options.auditFile, this.#known), seq: this.#known.seq };
    }
    let bytes = place.tail.behind();
    for (const branch of this.#branches.values()) bytes += branch?.tail.behind() ?? 0;
    return { bytes, seq: place.seq };
  }

  async close(): Promise<void> {
    this.#forgetPlace();
    const store = this.#store;
    this.#store = null;
    await store?.close();
  }

  async #step(): Promise<StepResult> {
    const store = await this.#opened();
    this.#place ??= await this.#located(store);
    if (this.#place === null) return NOTHING;
    this.#known = this.#place.checkpoint ?? NOWHERE;
    const main = await this.#count(store, this.#place);
    return main.more ? main : this.#countBranches(store, main.lines, this.#place);
  }

  /** One batch of each branch that goes on from a line that is counted: so the requests it ends are known to be open. */
  async #countBranches(store: Store, mainLines: number, main: Place): Promise<StepResult> {
    let lines = mainLines;
    for (const branch of this.#history?.branches ?? branchPaths(this.#options.auditFile)) {
      if (branch.seq > main.seq || this.#branches.get(branch.path) === null) continue;
      const place = this.#branches.get(branch.path) ?? (await this.#locatedBranch(store, branch.path, main.log));
      if (place === null) continue;
      this.#branches.set(branch.path, place);
      const step = await this.#count(store, place);
      lines += step.lines;
      if (step.more) return { lines, more: true };
      if (step.lines === 0 && (this.#history !== null || isFinished(branch.path))) {
        place.tail.close();
        this.#branches.set(branch.path, null);
      }
    }
    return { lines, more: false };
  }

  async #count(store: Store, place: Place): Promise<StepResult> {
    const reading = readingAfter(place);
    const { breathe, limits } = this.#options;
    // Once a batch: over rotated segments that means looking at each of them.
    const rests = breathe !== undefined && place.tail.behind() < limits.usage_lag_bytes_warn / 2;
    let last: Batch | null = null;
    for (;;) {
      const piece = await place.tail.next(Math.min(PIECE_LINES, this.#max - reading.lines));
      if (piece === 'moved') {
        this.#forgetPlace();
        return AGAIN;
      }
      if (piece === null) break;
      last = piece;
      await this.#read(store, place, piece, reading);
      if (!piece.more || reading.lines >= this.#max) break;
      if (rests) await breathe();
    }
    if (last === null) return NOTHING;
    if (!(await this.#write(store, place, last, reading))) {
      this.#forgetPlace();
      return AGAIN;
    }
    this.#report(reading);
    return { lines: reading.lines, more: last.more };
  }

  /** A rebuild puts a new file at the store's path: then the old one is left. */
  async #opened(): Promise<Store> {
    const { store, limits } = this.#options;
    if (typeof store !== 'string' && 'db' in store) return store;
    if (this.#store?.replaced()) await this.close();
    this.#store ??= await openStore(store, 'write', limits.usage_store_timeout_ms);
    return this.#store;
  }

  async #located(store: Store): Promise<Place | null> {
    if (this.#options.archives) this.#history ??= await listHistory(this.#options.auditFile);
    const listed = this.#history ?? listSegments(this.#options.auditFile);
    this.#leftOut(listed.doubles);
    const segments: readonly Segment[] = listed.segments;
    const segment = segments[0];
    if (segment === undefined) return null;
    const { first } = segment;
    const rows = await store.db
      .selectFrom('checkpoint')
      .innerJoin('node', 'node.id', 'checkpoint.node_id')
      .leftJoin('window', 'window.node_id', 'checkpoint.node_id')
      .select(['node.name', 'node.log', 'file_id', 'offset', 'seq', 'hash', 'window.last'])
      .execute();
    // The checkpoint of this log is the one that stands in one of its segments, or on the line before its first one.
    const own =
      rows.find(({ file_id }) => segments.some(({ id }) => id === file_id)) ??
      rows.find(({ name, hash }) => name === first.node && hash === first.prev);
    const namesakes = rows.filter(({ name }) => name === first.node);
    // Failing that: a file has one log, so it is what was made of it. A shared store may have another machine of that name.
    const row = own ?? (store.kind === 'sqlite' ? namesakes[0] : undefined);
    if (row === undefined && namesakes.length > 0) this.#apart(first.node);
    const checkpoint: Position | null = row === undefined ? null : positionOf(row);
    const untilMs = row?.last ?? Number.NEGATIVE_INFINITY;
    const who = { node: row?.name ?? first.node, log: row?.log ?? segment.id, branch: false };
    // Archives are read from their first line; what is counted already is known by its number.
    if (this.#history !== null) return this.#archived(this.#history.segments, who, checkpoint);
    return this.#placeIn(this.#options.auditFile, who, checkpoint, untilMs);
  }

  #leftOut(files: readonly string[]): void {
    for (const file of files) {
      const message = `${file} begins as another file of the log does and is not counted (\`sallyport audit verify\`)`;
      this.#options.onProblem({ code: 'audit-damaged', message, file });
    }
  }

  #apart(node: string): void {
    const message = `the usage store has another log of a node ${node}, which is counted apart; give each proxy a name of its own (\`node\`), or lines were deleted before they were counted`;
    this.#options.onProblem({ code: 'audit-damaged', message, file: this.#options.auditFile });
  }

  async #locatedBranch(store: Store, branch: string, log: string): Promise<Place | null> {
    const packed = this.#history?.branches.find(({ path }) => path === branch);
    const segment = packed ?? identify(branch);
    if (typeof segment !== 'object') return null;
    const { first } = segment;
    const row = await store.db
      .selectFrom('branch_checkpoint')
      .selectAll()
      .where('file_id', '=', segment.id)
      .executeTakeFirst();
    // Its checkpoint was found by its first line, so it is no other log: nothing of it is counted again.
    const checkpoint = row === undefined ? null : positionOf(row);
    const who = { node: first.node, log, branch: true };
    if (packed !== undefined) return this.#archived([packed], who, checkpoint);
    return this.#placeIn(branch, who, checkpoint, Number.POSITIVE_INFINITY);
  }

  #placeIn(
    file: string,
    who: Pick<Place, 'node' | 'log' | 'branch'>,
    checkpoint: Position | null,
    untilMs: number,
  ): Place | null {
    const at = locate(file, checkpoint, untilMs);
    if (at === null) return null;
    if (at.warning !== null) {
      this.#options.onProblem({ code: 'audit-damaged', message: at.warning, file: at.segment.path });
    }
    return placeOf(new Tail(file, at), who, checkpoint, at);
  }

  #archived(
    segments: readonly HistoryFile[],
    who: Pick<Place, 'node' | 'log' | 'branch'>,
    checkpoint: Position | null,
  ): Place {
    const unread = ({ code, message }: SallyportError) => this.#options.onProblem({ code, message });
    return placeOf(new ArchiveTail(segments, unread), who, checkpoint, checkpoint);
  }

  async #read(store: Store, place: Place, piece: Batch, reading: Reading): Promise<void> {
    const lines: { readonly read: ReadLine; readonly text: string }[] = [];
    for (const raw of piece.lines) {
      const line = raw.state === 'whole' ? this.#reader.read(raw.text) : null;
      if (line === null) {
        reading.damaged++;
        reading.damagedSince++;
        addFault(reading, { piece, offset: raw.offset, why: 'is damaged and could not be counted' });
        continue;
      }
      // Counted already: a copied segment, or a line that stands twice.
      if (line.seq <= reading.seq) continue;
      const missing = reading.seq === 0 ? 0 : line.seq - reading.seq - 1 - reading.damagedSince;
      if (missing > 0) {
        reading.missing += missing;
        addFault(reading, { piece, offset: raw.offset, why: `comes after ${missing} lines that are missing` });
      }
      reading.damagedSince = 0;
      reading.seq = line.seq;
      lines.push({ read: line, text: raw.text });
    }
    reading.lines += piece.lines.length;
    const last = lines.at(-1);
    if (last === undefined) return;
    reading.hash = lineHash(last.text);
    for (const hour of new Set(lines.map(({ read }) => hourOf(read.ms))))
      await this.#names.load(store, place.log, hour);
    const inside = lines.filter(({ read }) => read.kind !== 'note' && read.facts.tunnel !== undefined);
    for (const day of new Set(inside.map(({ read }) => dayOf(read.ms))))
      await this.#names.loadPaths(store, place.log, day);
    const names = (hour: number) => this.#names.of(hour);
    const paths = (day: number) => this.#names.paths(day);
    const { usage_names_per_hour: namesPerHour, usage_paths_per_day: pathsPerDay } = this.#options.limits;
    const bounds = { names, namesPerHour, paths, pathsPerDay, recent: place.recent };
    for (const { read, text } of lines) addLine(reading.tally, read, text, bounds);
  }

  /** After the commit, so that a batch that is tried again reports once. A wholly damaged file reports its first lines. */
  #report({ faults, moreFaults }: Reading): void {
    for (const { piece, offset, why } of faults) {
      const file = piece.segment.path;
      const line = piece.numberAt(offset);
      this.#options.onProblem({ code: 'audit-damaged', message: `${file}:${line} ${why}`, file, line });
    }
    if (moreFaults === 0) return;
    const file = faults.at(-1)?.piece.segment.path ?? '';
    this.#options.onProblem({ code: 'audit-damaged', message: `${file}: ${moreFaults} more such lines`, file });
  }

  async #write(store: Store, place: Place, last: Batch, reading: Reading): Promise<boolean> {
    const { tally, damaged, missing } = reading;
    const to: Position = { file_id: last.segment.id, offset: last.end, seq: reading.seq, hash: reading.hash };
    const { node, log, branch, checkpoint: from } = place;
    const write = { tally, node, log, branch, from, to, damagedLines: damaged, missingLines: missing };
    place.tail.flush();
    if (!(await writeBatch(store, write))) return false;
    place.checkpoint = to;
    if (!place.branch) this.#known = to;
    place.seq = reading.seq;
    place.hash = reading.hash;
    place.damagedSince = reading.damagedSince;
    this.#names.trim();
    return true;
  }

  #forgetPlace(): void {
    for (const place of [this.#place, ...this.#branches.values()]) place?.tail.close();
    this.#place = null;
    this.#history = null;
    this.#branches.clear();
    this.#names.clear();
  }
}

function positionOf({ file_id, offset, seq, hash }: Position): Position {
  return { file_id, offset, seq, hash };
}

function placeOf(
  tail: LineSource,
  who: Pick<Place, 'node' | 'log' | 'branch'>,
  checkpoint: Position | null,
  counted: Pick<Position, 'seq' | 'hash'> | null,
): Place {
  const { seq, hash } = counted ?? { seq: 0, hash: '' };
  return { tail, ...who, recent: new Recent(), checkpoint, seq, hash, damagedSince: 0 };
}
