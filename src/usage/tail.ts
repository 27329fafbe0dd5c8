// Follows the audit log from a checkpoint: through FILE as it grows, and over its rotated segments in order.
// A line without its newline is still being written and waits; only when a later segment has begun is it known to be torn.
// It holds the segment open, so that a rename or a deletion by logrotate takes nothing away.
import fs from 'node:fs';
import { lineHash, parseLine } from '../audit/parse.ts';
import { lineNumberAt, listSegments, type RawLine, readFileLines, readLines, type Segment } from '../audit/read.ts';

export interface Position {
  /** Segment.id of the audit log. */
  readonly file_id: string;
  /** Byte after the last line that is counted. */
  readonly offset: number;
  /** seq and hash of the last sound line that is counted; 0 and '' before the first. */
  readonly seq: number;
  readonly hash: string;
}

/** Where to go on, and what is known to be wrong there. */
export interface Located {
  readonly segment: Segment;
  readonly offset: number;
  readonly seq: number;
  readonly hash: string;
  readonly warning: string | null;
}

/**
 * Finds the place after a checkpoint. The segment may have been renamed, cut by a repair, or deleted since; then the last
 * counted line is looked up by its seq and hash. Where it is nowhere, it is another log, or the same one without its end: then
 * their time tells the lines that are counted, so that none of them is counted twice.
 * @param untilMs time of the last counted line
 * @returns null while there is no line at all
 */
export function locate(file: string, checkpoint: Position | null, untilMs: number): Located | null {
  const { segments } = listSegments(file);
  const first = segments[0];
  if (first === undefined) return null;
  const start = { segment: first, offset: 0, seq: 0, hash: '', warning: null };
  if (checkpoint === null) return start;
  const { seq, hash } = checkpoint;
  const same = segments.find((segment) => segment.id === checkpoint.file_id);
  if (same !== undefined && endsLine(same.path, checkpoint.offset)) return { ...start, segment: same, ...checkpoint };
  const holding = segments.findLast((segment) => segment.firstSeq <= seq);
  // Rotated away and deleted meanwhile: the gap in the numbers will be counted as missing lines.
  if (holding === undefined) return { ...start, seq, hash };
  let counted: Located | null = null;
  for (const line of readFileLines(holding.path)) {
    const parsed = line.state === 'whole' ? parseLine(line.text) : null;
    if (parsed === null || parsed.seq > seq) continue;
    counted = { segment: holding, offset: line.end, seq, hash, warning: null };
    if (parsed.seq === seq && lineHash(line.text) === hash) return counted;
  }
  // The same log without its end (an old copy was put back): what it says up to that number is counted already.
  if (same !== undefined && counted !== null)
    return { ...counted, warning: `the log has lost its end: ${seq} was counted` };
  const warning = 'this is not the log that was counted before; what is later than the last counted line is counted';
  return { ...(lastUntil(segments, untilMs) ?? start), warning };
}

/** The end of a log as it is now; a place before any line where there is none. */
export function endOf(file: string): Pick<Position, 'file_id' | 'offset'> {
  const last = listSegments(file).segments.at(-1);
  return last === undefined ? { file_id: '', offset: 0 } : { file_id: last.id, offset: fs.statSync(last.path).size };
}

/** Bytes of a log after a place, over all segments; all there are where its segment is gone. */
export function bytesAfter(file: string, { file_id, offset }: Pick<Position, 'file_id' | 'offset'>): number {
  const { segments } = listSegments(file);
  const from = segments.findIndex(({ id }) => id === file_id);
  return segments.slice(Math.max(0, from)).reduce((sum, { id, path }) => {
    const size = fs.statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    return sum + (id === file_id ? Math.max(0, size - offset) : size);
  }, 0);
}

/** The place after the last line that is not later than a time; null where all are later. */
function lastUntil(segments: readonly Segment[], untilMs: number): Omit<Located, 'warning'> | null {
  for (const segment of segments.toReversed()) {
    let found: Omit<Located, 'warning'> | null = null;
    for (const line of readFileLines(segment.path)) {
      const parsed = line.state === 'whole' ? parseLine(line.text) : null;
      if (parsed === null || Date.parse(parsed.time) > untilMs) continue;
      found = { segment, offset: line.end, seq: parsed.seq, hash: lineHash(line.text) };
    }
    if (found !== null) return found;
  }
  return null;
}

/** True where the file reaches to the offset and a line ends there. */
function endsLine(file: string, offset: number): boolean {
  if (offset === 0) return true;
  const byte = Buffer.alloc(1);
  const fd = fs.openSync(file, 'r');
  try {
    return fs.readSync(fd, byte, 0, 1, offset - 1) === 1 && byte[0] === 0x0a;
  } finally {
    fs.closeSync(fd);
  }
}

export interface Batch {
  readonly segment: Segment;
  readonly lines: readonly RawLine[];
  /** Byte after the last of them. */
  readonly end: number;
  /** More lines are there already, or a later segment may be. */
  readonly more: boolean;
  /** Number of the line that starts at a byte of the segment, counting from 1: for messages, it may read the file up to there. */
  numberAt(offset: number): number;
}

/** Where lines come from, segment after segment. */
export interface LineSource {
  next(max: number): Batch | null | 'moved' | Promise<Batch | null>;
  behind(): number;
  flush(): void;
  close(): void;
}

export class Tail implements LineSource {
  readonly #file: string;
  #segment: Segment;
  #fd: number;
  #offset: number;
  #lines: Generator<RawLine> | null = null;

  constructor(file: string, at: { readonly segment: Segment; readonly offset: number }) {
    this.#file = file;
    this.#segment = at.segment;
    this.#offset = at.offset;
    this.#fd = fs.openSync(at.segment.path, 'r');
  }

  get segment(): Segment {
    return this.#segment;
  }

  get offset(): number {
    return this.#offset;
  }

  close(): void {
    fs.closeSync(this.#fd);
  }

  /**
   * The next lines of one segment, at most `max`; null when there are none yet; `moved` where the file became shorter than
   * what was read (cut by a repair), so that the place must be located again.
   */
  next(max: number): Batch | null | 'moved' {
    for (;;) {
      if (fs.fstatSync(this.#fd).size < this.#offset) return 'moved';
      const lines = this.#read(max, false);
      if (lines.length > 0) return this.#batch(lines, max);
      const newer = this.#newer();
      if (newer === null) return null;
      // The newer segment's first line was written after the last of this one: whatever this one will ever hold is there now.
      const last = this.#read(max, true);
      if (last.length > 0) return this.#batch(last, max);
      // What was handed out of it is counted later, when another file is open.
      this.flush();
      fs.closeSync(this.#fd);
      this.#lines = null;
      this.#fd = fs.openSync(newer.path, 'r');
      this.#segment = newer;
      this.#offset = 0;
    }
  }

  /** Bytes not yet read, over all segments. */
  behind(): number {
    let bytes = Math.max(0, fs.fstatSync(this.#fd).size - this.#offset);
    if (this.#isCurrent()) return bytes;
    for (const segment of listSegments(this.#file).segments) {
      if (segment.firstSeq > this.#segment.firstSeq) bytes += fs.statSync(segment.path).size;
    }
    return bytes;
  }

  /** Flushes the segment to the disk: what is counted must not be lost by the log when the host crashes. */
  flush(): void {
    fs.fdatasyncSync(this.#fd);
  }

  #batch(lines: readonly RawLine[], max: number): Batch {
    const more = lines.length >= max || !this.#isCurrent();
    const segment = this.#segment;
    return { segment, lines, end: this.#offset, more, numberAt: (offset) => lineNumberAt(segment.path, offset) };
  }

  #read(max: number, final: boolean): RawLine[] {
    const found: RawLine[] = [];
    this.#lines ??= readLines(this.#fd, this.#offset);
    while (found.length < max) {
      const next = this.#lines.next();
      if (next.done === true || (next.value.state === 'torn' && !final)) {
        // What comes later needs a fresh look at the file.
        this.#lines = null;
        break;
      }
      found.push(next.value);
      this.#offset = next.value.end;
    }
    return found;
  }

  /** FILE itself is the newest; only when we read another file is there anything to look for. */
  #newer(): Segment | null {
    if (this.#isCurrent()) return null;
    const { segments } = listSegments(this.#file);
    return segments.find((segment) => segment.firstSeq > this.#segment.firstSeq) ?? null;
  }

  #isCurrent(): boolean {
    const current = fs.statSync(this.#file, { throwIfNoEntry: false });
    const own = fs.fstatSync(this.#fd);
    return current !== undefined && current.dev === own.dev && current.ino === own.ino;
  }
}
