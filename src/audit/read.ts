// Reads the audit log: its segments (FILE and what logrotate made of it) in order, and the raw lines of one segment.
// Used by the projection, verify, repair and the CLI. It judges nothing but the framing: a line ends with a newline and is
// at most LINE_BYTES_MAX long; so a damaged file costs bounded memory.
import fs from 'node:fs';
import path from 'node:path';
import { LINE_BYTES_MAX } from './line.ts';
import { lineHash, parseLine, type StoredLine } from './parse.ts';

export interface Segment {
  readonly path: string;
  /** Stays the same when the file is renamed, copied or restored: its first seq and the hash of its first line. */
  readonly id: string;
  readonly firstSeq: number;
  /** Its first sound line. */
  readonly first: StoredLine;
}

export interface RawLine {
  /** The bytes as Latin-1, without the newline; the first characters only where the line is `oversize`. */
  readonly text: string;
  /** Byte offset of the line, and of what follows its newline. */
  readonly offset: number;
  readonly end: number;
  /** `torn`: the file ends before a newline. `oversize`: longer than any line that is written. */
  readonly state: 'whole' | 'torn' | 'oversize';
}

/** So much is read at once. */
export const CHUNK_BYTES = 1_048_576;
/** The same where the first line is all that is wanted: nearly every one is shorter, longer ones take several reads. */
export const FIRST_BYTES = 4_096;
const EXCERPT = 200;

/** Cuts the text of a file (Latin-1) into lines, chunk after chunk; holds one unfinished line at most. */
export class LineSplitter {
  #carry = '';
  /** Where the unfinished line begins, and where the next chunk does. */
  #offset: number;
  #position: number;
  #oversize = false;

  constructor(from = 0) {
    this.#offset = from;
    this.#position = from;
  }

  /** The lines that end in this chunk. */
  push(text: string): RawLine[] {
    const lines: RawLine[] = [];
    let start = 0;
    for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', start)) {
      const end = this.#position + at + 1;
      const long = this.#oversize || this.#carry.length + at - start > LINE_BYTES_MAX;
      const line = this.#carry === '' ? text.slice(start, at) : this.#carry + text.slice(start, at);
      const offset = this.#offset;
      lines.push(
        long
          ? { text: line.slice(0, EXCERPT), offset, end, state: 'oversize' }
          : { text: line, offset, end, state: 'whole' },
      );
      this.#carry = '';
      this.#oversize = false;
      this.#offset = end;
      start = at + 1;
    }
    this.#position += text.length;
    if (!this.#oversize) this.#carry += text.slice(start);
    if (this.#carry.length > LINE_BYTES_MAX) {
      this.#oversize = true;
      this.#carry = this.#carry.slice(0, EXCERPT);
    }
    return lines;
  }

  /** What stands after the last newline: one line or none. */
  end(): RawLine[] {
    if (this.#position === this.#offset) return [];
    const state = this.#oversize ? 'oversize' : 'torn';
    return [{ text: this.#carry, offset: this.#offset, end: this.#position, state }];
  }
}

/** Yields the lines of an open file from a byte offset to its present end, read so many bytes at once. */
export function* readLines(fd: number, from = 0, bytes = CHUNK_BYTES): Generator<RawLine> {
  const chunk = Buffer.allocUnsafe(bytes);
  const splitter = new LineSplitter(from);
  let position = from;
  for (;;) {
    const got = fs.readSync(fd, chunk, 0, bytes, position);
    if (got === 0) break;
    position += got;
    for (const line of splitter.push(chunk.toString('latin1', 0, got))) yield line;
  }
  for (const line of splitter.end()) yield line;
}

/** Opens a file, yields its lines from an offset, closes it. */
export function* readFileLines(file: string, from = 0, bytes = CHUNK_BYTES): Generator<RawLine> {
  const fd = fs.openSync(file, 'r');
  try {
    yield* readLines(fd, from, bytes);
  } finally {
    fs.closeSync(fd);
  }
}

/** Most lines are shorter by far. */
const LAST_BYTES = 131_072;

/** The last line of a file that has its newline; null where there is none, or it is longer than the last bytes. `torn`: more stands behind it. */
export function lastWholeLine(file: string): { readonly text: string; readonly torn: boolean } | null {
  const fd = fs.openSync(file, 'r');
  try {
    const { size } = fs.fstatSync(fd);
    const bytes = Buffer.alloc(Math.min(size, LAST_BYTES));
    const got = fs.readSync(fd, bytes, 0, bytes.length, size - bytes.length);
    const lines = bytes.toString('latin1', 0, got).split('\n');
    const text = lines.at(-2);
    return text === undefined ? null : { text, torn: lines.at(-1) !== '' };
  } finally {
    fs.closeSync(fd);
  }
}

/** logrotate's names: FILE.1, FILE-20260131, FILE-2026-01-31T00…; not FILE.lock, FILE.torn-…, FILE.damaged-…. */
const ROTATED = /^[.-][0-9][0-9A-Za-z:._-]*$/;
export const COMPRESSED = /\.(?:gz|bz2|xz|zst|lz4)$/;

/** Paths of FILE and its rotated siblings, in no certain order; compressed ones apart. */
export function siblings(file: string): { plain: string[]; compressed: string[] } {
  const directory = path.dirname(file);
  const base = path.basename(file);
  const found = { plain: [] as string[], compressed: [] as string[] };
  if (!fs.existsSync(directory)) return found;
  for (const name of fs.readdirSync(directory).sort()) {
    const suffix = name.slice(base.length);
    if (!name.startsWith(base) || (suffix !== '' && !ROTATED.test(suffix))) continue;
    (COMPRESSED.test(name) ? found.compressed : found.plain).push(path.join(directory, name));
  }
  return found;
}

export interface Listed {
  readonly segments: Segment[];
  /** Files without one sound line in their first MiB. */
  readonly unreadable: string[];
  /** Files that begin with the first line of another: copies, or made to hide what else is in them. They are not read. */
  readonly doubles: string[];
  readonly compressed: string[];
}

/**
 * The segments of a log in the order they were written: by the first seq in each, not by name or time of the file.
 * A file without one sound line in its first MiB is in `unreadable`; empty files are left out.
 */
export function listSegments(file: string): Listed {
  const { plain, compressed } = siblings(file);
  const segments: Segment[] = [];
  const unreadable: string[] = [];
  const doubles: string[] = [];
  for (const candidate of plain) {
    const segment = identify(candidate);
    if (segment === 'unreadable') unreadable.push(candidate);
    else if (segment === 'empty') continue;
    // FILE is listed before the others, so that a copy of its beginning never stands for it.
    else if (segments.some(({ id }) => id === segment.id)) doubles.push(candidate);
    else segments.push(segment);
  }
  segments.sort((a, b) => a.firstSeq - b.firstSeq);
  return { segments, unreadable, doubles, compressed };
}

/** Which segment a file is. A file whose only line is still being written counts as empty. */
export function identify(file: string): Segment | 'empty' | 'unreadable' {
  if (!fs.existsSync(file) || !fs.statSync(file).isFile()) return 'empty';
  return segmentOf(file, readFileLines(file, 0, FIRST_BYTES));
}

/** Which segment a file is, by its first lines. */
export function segmentOf(file: string, lines: Iterable<RawLine>): Segment | 'empty' | 'unreadable' {
  let first: string | null = null;
  for (const line of lines) {
    if (line.state === 'torn' && first === null) return 'empty';
    first ??= line.text;
    const parsed = line.state === 'whole' ? parseLine(line.text) : null;
    if (parsed !== null) {
      return { path: file, id: `${parsed.seq}:${lineHash(first).slice(0, 32)}`, firstSeq: parsed.seq, first: parsed };
    }
    if (line.end > CHUNK_BYTES) break;
  }
  return first === null ? 'empty' : 'unreadable';
}

/** Number of the line that starts at an offset, counting from 1. For messages only: it reads the file up to there. */
export function lineNumberAt(file: string, offset: number): number {
  let number = 1;
  for (const line of readFileLines(file)) {
    if (line.offset >= offset) break;
    number++;
  }
  return number;
}
