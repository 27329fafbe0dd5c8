// `sallyport audit repair`: makes a log writable again whose end is damaged (a bad disk, an editor, a crash of the host).
// Nothing is thrown away: what follows the last sound line goes to a file of its own, and a gap note says so in the chain.
// Damage in the middle stays where it is; `sallyport audit verify` names it, and no repair can bring back what stood there.
import fs from 'node:fs';
import path from 'node:path';
import { SallyportError } from '../errors.ts';
import { unwritable } from './append.ts';
import { FIRST_PREV, LineWriter } from './line.ts';
import { takeLock } from './lock.ts';
import { lineHash, parseLine, type StoredLine } from './parse.ts';
import { listSegments, readFileLines } from './read.ts';
import { quote } from './text.ts';

export interface RepairOptions {
  readonly file: string;
  readonly now: () => Date;
}

export interface Repair {
  /** Where the damaged bytes are now; null where the end was sound and nothing was done. */
  readonly movedTo: string | null;
  readonly movedBytes: number;
  /** Last sound line; 0 where there was none. */
  readonly lastSeq: number;
}

interface Sound {
  readonly end: number;
  readonly line: StoredLine;
  readonly hash: string;
}

/**
 * Moves everything after the last sound line of FILE to FILE.damaged-TIME and writes a `gap` note.
 * @throws SallyportError `audit-locked` while a proxy writes the log, `audit-unwritable`
 */
export function repairAudit(options: RepairOptions): Repair {
  if (!fs.existsSync(options.file)) throw unwritable(options.file, new Error('there is no such file'));
  const lock = takeLock(options.file);
  try {
    return repair(options);
  } catch (error) {
    throw error instanceof SallyportError ? error : unwritable(options.file, error);
  } finally {
    lock.release();
  }
}

function repair({ file, now }: RepairOptions): Repair {
  const size = fs.statSync(file).size;
  const inFile = lastSound(file);
  const kept = inFile?.end ?? 0;
  if (kept === size) return { movedTo: null, movedBytes: 0, lastSeq: inFile?.line.seq ?? 0 };
  const before = inFile ?? lastSoundBefore(file);
  const time = now().toISOString();
  const movedTo = `${file}.damaged-${time.replace(/[:.]/g, '')}`;
  copyTail(file, kept, movedTo);
  fs.truncateSync(file, kept);
  const detail = { moved_bytes: size - kept, moved_to: path.basename(movedTo) };
  const stamp = { time, seq: (before?.line.seq ?? 0) + 1, node: quote(before?.line.node ?? '', 1_024) };
  const note = new LineWriter(1_024).note(stamp, { event: 'gap', policy: before?.line.policy ?? '', detail });
  fs.appendFileSync(file, `${note},"prev":"${before?.hash ?? FIRST_PREV}"}\n`, { mode: 0o640, flush: true });
  return { movedTo, movedBytes: size - kept, lastSeq: before?.line.seq ?? 0 };
}

function lastSound(file: string): Sound | null {
  let found: { end: number; line: StoredLine; text: string } | null = null;
  for (const raw of readFileLines(file)) {
    const line = raw.state === 'whole' ? parseLine(raw.text) : null;
    if (line !== null) found = { end: raw.end, line, text: raw.text };
  }
  return found === null ? null : { end: found.end, line: found.line, hash: lineHash(found.text) };
}

/** The last sound line of the rotated segments, where FILE itself has none. */
function lastSoundBefore(file: string): Sound | null {
  const { segments } = listSegments(file);
  for (const segment of segments.toReversed()) {
    if (segment.path !== file) return lastSound(segment.path);
  }
  return null;
}

/** The copy is on the disk before anything is cut. */
function copyTail(file: string, from: number, to: string): void {
  const chunk = Buffer.allocUnsafe(1_048_576);
  const source = fs.openSync(file, 'r');
  const target = fs.openSync(to, 'wx', 0o640);
  try {
    let at = from;
    for (
      let got = fs.readSync(source, chunk, 0, chunk.length, at);
      got > 0;
      got = fs.readSync(source, chunk, 0, chunk.length, at)
    ) {
      fs.writeSync(target, chunk, 0, got);
      at += got;
    }
    fs.fsyncSync(target);
  } finally {
    fs.closeSync(source);
    fs.closeSync(target);
  }
}
