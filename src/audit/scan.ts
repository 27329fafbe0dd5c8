// What a writer must know before it may append: last seq and hash, a torn end, and the requests that a killed process left open.
// For those it streams the current segment whole, without parsing (some 300 MB/s); older segments only as far back as the
// `reopen` note says, which names the oldest request that was open then. From the last `start` note on would not be less:
// finding that note means reading the same bytes, and without rotation it may stand at the very beginning.
import fs from 'node:fs';
import { SallyportError } from '../errors.ts';
import type { DecidedLine } from '../policy/record.ts';
import { FIRST_PREV } from './line.ts';
import { lineHash, parseLine } from './parse.ts';
import { identify, listSegments, type RawLine, readFileLines, type Segment } from './read.ts';

export interface Tail {
  readonly seq: number;
  /** `prev` of the next line. */
  readonly prev: string;
  /** Policy digest of the last line; '' in a new log. */
  readonly policy: string;
  /** Bytes after the last newline of FILE: a line that a crash cut short. */
  readonly torn: { readonly offset: number; readonly bytes: number } | null;
  /** FILE holds no line, but rotated segments do: the first line to write is a `reopen` note. */
  readonly rotated: boolean;
  readonly open: readonly DecidedLine[];
}

export interface Place {
  readonly file: string;
  readonly offset: number;
  readonly end: number;
}

/**
 * Reads the end of a log, and who is open in it. `forkSeq`: the last fork (branch.ts); what was open there is its branch's.
 * @throws SallyportError `audit-damaged` where the last whole line cannot be continued from
 */
export function scanTail(file: string, forkSeq = 0): Tail {
  const { segments } = listSegments(file);
  const current = identify(file);
  if (current === 'unreadable') throw damaged(file, 1, 'no sound line in it');
  const open = new Map<string, Place>();
  let torn: Tail['torn'] = null;
  let last: { file: string; number: number; text: string } | null = null;
  for (const segment of segments.slice(firstNeeded(segments))) {
    let number = 0;
    for (const line of readFileLines(segment.path)) {
      number++;
      if (line.state === 'torn') {
        // In an older segment it is the trace of a crash before the rotation; the chain goes on after it.
        if (segment.path === file) torn = { offset: line.offset, bytes: line.end - line.offset };
        continue;
      }
      follow(open, segment.path, line);
      last = { file: segment.path, number, text: line.text };
    }
  }
  torn ??= tornAlone(file, current);
  if (last === null) return { seq: 0, prev: FIRST_PREV, policy: '', torn, rotated: false, open: [] };
  const end = parseLine(last.text);
  if (end === null) throw damaged(last.file, last.number, 'the last line is not a line of an audit log');
  const rotated = current === 'empty';
  return {
    seq: end.seq,
    prev: lineHash(last.text),
    policy: end.policy,
    torn,
    rotated,
    open: [...open.values()].map(decidedAt).filter(({ seq }) => seq > forkSeq),
  };
}

/** FILE may hold nothing but a torn first line; then it is no segment yet. */
export function tornAlone(file: string, current: Segment | 'empty'): Tail['torn'] {
  const bytes = current === 'empty' && fs.existsSync(file) ? fs.statSync(file).size : 0;
  return bytes === 0 ? null : { offset: 0, bytes };
}

/** Index of the segment from which on no open request can be missed. */
function firstNeeded(segments: readonly Segment[]): number {
  for (let index = segments.length - 1; index > 0; index--) {
    const segment = segments[index] as Segment;
    const note = segment.first;
    if (note.event !== 'reopen') continue;
    const oldest = note.detail['oldest_open'];
    if (typeof oldest !== 'number') return index;
    const holding = segments.findLastIndex((candidate) => candidate.firstSeq <= oldest);
    return Math.max(0, holding);
  }
  return 0;
}

// `{"time":"2026-01-31T00:00:00.000Z","seq":` is 41 characters in every line.
const SEQ_AT = 41;
const DECIDED = ',"event":"decided","id":"';
const ENDED = ',"event":"ended","id":"';

/** The number of a sound line, without parsing it. */
export function seqAt(text: string): number {
  return Number(text.slice(SEQ_AT, text.indexOf(',', SEQ_AT)));
}

/** Substrings are enough: inside a JSON string every quote is escaped, so a key with its quotes is a key. */
export function follow(open: Map<string, Place>, file: string, line: RawLine): void {
  const { text } = line;
  const comma = text.indexOf(',', SEQ_AT);
  if (text.startsWith(ENDED, comma)) {
    open.delete(idAt(text, comma + ENDED.length));
  } else if (text.startsWith(DECIDED, comma)) {
    if (text.includes('"verdict":"deny"') || text.includes('"outcome":"')) return;
    // A slice would keep the whole chunk in memory for as long as the request stays open; so it is copied.
    const id = Buffer.from(idAt(text, comma + DECIDED.length), 'latin1').toString('latin1');
    open.set(id, { file, offset: line.offset, end: line.end });
  }
}

function idAt(text: string, at: number): string {
  return text.slice(at, text.indexOf('"', at));
}

export function decidedAt(place: Place): DecidedLine {
  const bytes = Buffer.alloc(place.end - place.offset - 1);
  const fd = fs.openSync(place.file, 'r');
  try {
    fs.readSync(fd, bytes, 0, bytes.length, place.offset);
  } finally {
    fs.closeSync(fd);
  }
  const line = parseLine(bytes.toString('latin1'));
  if (line?.event !== 'decided') throw damaged(place.file, 0, `the line at byte ${place.offset} is damaged`);
  return line;
}

export function damaged(file: string, line: number, why: string): SallyportError {
  const at = line === 0 ? file : `${file}:${line}`;
  return new SallyportError('audit-damaged', `${at}: ${why}; run \`sallyport audit repair\``, {
    problems: [
      {
        code: 'audit-damaged',
        severity: 'error',
        at: { file, line: Math.max(1, line), column: 1 },
        message: why,
        hint: 'sallyport audit repair',
      },
    ],
  });
}
