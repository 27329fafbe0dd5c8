// The past of a log: FILE, its rotated segments and the branches of upgrades, plain or compressed with gzip; which of them a
// time touches; and their lines, as a stream in bounded memory. Archives of other kinds are named and not read.
import fs from 'node:fs';
import path from 'node:path';
import { pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { SallyportError } from '../errors.ts';
import { LIMIT_SPECS } from '../limits.ts';
import { branchPaths, lastLine } from './branch.ts';
import { type AuditProblem, branchNamed } from './check.ts';
import {
  CHUNK_BYTES,
  COMPRESSED,
  LineSplitter,
  type RawLine,
  readFileLines,
  type Segment,
  segmentOf,
  siblings,
} from './read.ts';

export interface HistoryFile extends Segment {
  /** Time of its first sound line, milliseconds since 1970. */
  readonly firstMs: number;
}

export interface HistoryBranch extends HistoryFile {
  /** Name as the log gives it, without .gz. */
  readonly name: string;
  /** The line it goes on from. */
  readonly seq: number;
}

export interface History {
  /** In the order they were written. */
  readonly segments: readonly HistoryFile[];
  readonly branches: readonly HistoryBranch[];
  /** Plain files without one sound line in their first MiB. */
  readonly unreadable: readonly string[];
  /** Files that begin with the first line of another and are no packed copy of it: whoever made them hides what else is in them. */
  readonly doubles: readonly string[];
  /** Compressed files that could not be opened: of another kind than gzip, or damaged at their beginning. */
  readonly unopened: readonly string[];
}

/** Milliseconds since 1970; `from` is in it, `to` is not. */
export interface Window {
  readonly from: number;
  readonly to: number;
}

/** A drain takes no longer; then whatever was open in the old process is cut. */
const DRAIN_MS_MAX = LIMIT_SPECS.drain_timeout_ms.max;

/** What there is of a log. A segment that is there twice, packed and not, under one name, counts once. */
export async function listHistory(file: string): Promise<History> {
  const { plain, compressed } = siblings(file);
  const segments = new Map<string, HistoryFile>();
  const branches = new Map<string, HistoryBranch>();
  const unread = { unreadable: [] as string[], unopened: [] as string[], doubles: [] as string[] };
  // The plain ones first: they win.
  for (const at of [...plain, ...compressed]) {
    const found = await identified(at);
    if (found === 'unreadable' || found === 'unopened') unread[found].push(at);
    else if (found !== 'empty') {
      const known = segments.get(found.id);
      if (known === undefined) segments.set(found.id, found);
      else if (at.replace(COMPRESSED, '') !== known.path.replace(COMPRESSED, '')) unread.doubles.push(at);
    }
  }
  for (const { path: at, seq } of branchPaths(file, true)) {
    const name = path.basename(at, GZIP);
    const found = branches.has(name) ? 'empty' : await identified(at);
    if (found === 'unreadable' || found === 'unopened') unread[found].push(at);
    else if (found !== 'empty') branches.set(name, { ...found, name, seq });
  }
  const inOrder = [...segments.values()].sort((a, b) => a.firstSeq - b.firstSeq);
  return { segments: inOrder, branches: [...branches.values()], ...unread };
}

/**
 * What a window touches: the segments with its lines, with the one before and the one after, whose lines show that nothing is
 * missing at its ends; and the branches. Segments go by the time of their first line.
 */
export function touchedBy(history: History, { from, to }: Window): Pick<History, 'segments' | 'branches'> {
  const { segments, branches } = history;
  const first = Math.max(
    0,
    segments.findLastIndex(({ firstMs }) => firstMs < from),
  );
  const after = segments.findIndex(({ firstMs }, at) => at >= first && firstMs >= to);
  return {
    segments: segments.slice(first, after < 0 ? segments.length : after + 1),
    branches: branches.filter((branch) => branch.firstMs < to && lastMs(branch.path) >= from),
  };
}

/**
 * Where the log begins within the window or after it, and not with line 1, its first segment: what came before is not there.
 * Who asks without a beginning asks for what there is: retention deletes the oldest; archives that cannot be read are there, however.
 */
export function lacksBeginning({ segments, unopened }: History, { from, to }: Window): HistoryFile | null {
  const first = segments[0];
  if (first === undefined || first.firstSeq === 1 || first.firstMs < from) return null;
  return from > Number.NEGATIVE_INFINITY || unopened.length > 0 || first.firstMs >= to ? first : null;
}

/** Branches that first lines name, that are not there, and that may hold lines of the window. */
export function missingBranches(
  { segments, branches }: History,
  window: Window,
): { segment: HistoryFile; name: string }[] {
  const present = new Set(branches.map(({ name }) => name));
  return segments.flatMap((segment) => {
    const name = branchNamed(segment.first);
    return name === null || present.has(name) || !mayDrainInto(window, segment.firstMs) ? [] : [{ segment, name }];
  });
}

/** What the files themselves say against a log, before any line of them is looked at. */
export function fileProblems({ doubles, unreadable }: Pick<History, 'doubles' | 'unreadable'>): AuditProblem[] {
  const why = 'it begins as another file of the log does, and is not that file packed';
  return [
    ...doubles.map((file) => ({ file, line: 1, why })),
    ...unreadable.map((file) => ({ file, line: 0, why: 'no sound line in this file' })),
  ];
}

/** A file that is there no more, under no name. */
export function wentAway({ path: file }: HistoryFile): AuditProblem {
  return { file, line: 0, why: 'it went away while the log was read' };
}

/** True where an old process may have written something of the window after an upgrade at `ms`. */
export function mayDrainInto({ from, to }: Window, ms: number): boolean {
  return ms < to && ms + DRAIN_MS_MAX >= from;
}

/** Where a file of a history is now: logrotate may have renamed or packed it since it was listed. Null where it is gone. */
export async function pathNow(file: string, listed: HistoryFile): Promise<string | null> {
  const here = await identified(listed.path);
  if (typeof here === 'object' && here.id === listed.id) return listed.path;
  const { segments, branches } = await listHistory(file);
  return [...segments, ...branches].find(({ id }) => id === listed.id)?.path ?? null;
}

/**
 * The lines of a file, so many at once as are in a piece of it.
 * @throws SallyportError `audit-damaged` where it cannot be read to its end
 */
export async function* readBatches(file: string): AsyncGenerator<RawLine[]> {
  const splitter = new LineSplitter();
  for await (const chunk of chunksOf(file)) yield splitter.push(chunk.toString('latin1'));
  yield splitter.end();
}

/**
 * The bytes of a file, unpacked, piece after piece; each is good until the next is asked for.
 * @throws SallyportError `audit-damaged` where it cannot be read to its end: a damaged archive, a bad disk
 */
export async function* chunksOf(file: string): AsyncGenerator<Buffer> {
  try {
    yield* file.endsWith(GZIP) ? unpacked(file) : plainChunks(file);
  } catch (error) {
    throw new SallyportError('audit-damaged', `${file} cannot be read to its end: ${(error as Error).message}`);
  }
}

function unpacked(file: string): AsyncIterable<Buffer> {
  const source = fs.createReadStream(file, { highWaterMark: CHUNK_BYTES });
  // The callback has nothing to do: an error of either stream ends the loop that reads it.
  return pipeline(source, createGunzip({ chunkSize: CHUNK_BYTES }), () => undefined);
}

/** One buffer for all of them: a stream's buffers, a new one for each piece, cost as much as the reading. */
function* plainChunks(file: string): Generator<Buffer> {
  const chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);
  const fd = fs.openSync(file, 'r');
  try {
    for (let got = fs.readSync(fd, chunk); got > 0; got = fs.readSync(fd, chunk)) yield chunk.subarray(0, got);
  } finally {
    fs.closeSync(fd);
  }
}

const GZIP = '.gz';

async function identified(file: string): Promise<HistoryFile | 'empty' | 'unreadable' | 'unopened'> {
  const found = await segmentAt(file);
  return typeof found === 'object' ? { ...found, firstMs: Date.parse(found.first.time) } : found;
}

async function segmentAt(file: string): Promise<Segment | 'empty' | 'unreadable' | 'unopened'> {
  const stat = fs.statSync(file, { throwIfNoEntry: false });
  if (stat?.isFile() !== true || stat.size === 0) return 'empty';
  if (!COMPRESSED.test(file)) return segmentOf(file, readFileLines(file));
  if (!file.endsWith(GZIP)) return 'unopened';
  const head: RawLine[] = [];
  try {
    for await (const lines of readBatches(file)) {
      head.push(...lines);
      if ((head.at(-1)?.end ?? 0) > CHUNK_BYTES) break;
    }
  } catch {
    // Damaged further on, it is still a segment.
  }
  const found = segmentOf(file, head);
  return typeof found === 'object' ? found : 'unopened';
}

/** Time of the last line; where it cannot be told without reading the whole file, the end of time. */
function lastMs(file: string): number {
  const last = file.endsWith(GZIP) ? null : lastLine(file);
  return last === null ? Number.POSITIVE_INFINITY : Date.parse(last.time);
}
