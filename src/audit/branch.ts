// Branches of the audit log. When a new process takes the log over, the old one goes on for its open tunnels in
// FILE.drain-SEQ: same chain, same numbers from SEQ on, while FILE is begun anew from the same number by the new process.
// A branch ends with the old process's `stop` note; one whose process died is ended by the next writer of FILE (adopt.ts).
import fs from 'node:fs';
import path from 'node:path';
import { unwritable } from './append.ts';
import { parseLine, type StoredLine } from './parse.ts';
import { FIRST_BYTES, identify, lastWholeLine, listSegments, readFileLines } from './read.ts';
import { scanTail, type Tail, tornAlone } from './scan.ts';

/** The last line that both sides have: number, and hash as the `prev` of what follows. */
export interface Fork {
  readonly seq: number;
  readonly hash: string;
}

export interface Branch {
  readonly path: string;
  /** Number of the last line before the fork. */
  readonly seq: number;
  /** Null while it is not written, or where it is damaged. */
  readonly first: StoredLine | null;
}

/** Enough digits that names sort as numbers do. */
function digits(seq: number): string {
  return String(seq).padStart(12, '0');
}

/** Process ids come again (in a container soon), numbers of lines do not. */
export function branchPath(file: string, seq: number): string {
  return `${file}.drain-${digits(seq)}`;
}

/** Name of a segment that ends with line `seq`; listSegments takes it for what it is. */
export function segmentPath(file: string, seq: number): string {
  return `${file}.${digits(seq)}`;
}

const PLAIN = /^\d{12,}$/;
const PACKED = /^\d{12,}(?:\.gz)?$/;

/** Where the branches beside FILE are, and the lines they go on from; oldest first. `packed`: those with .gz too. */
export function branchPaths(file: string, packed = false): Pick<Branch, 'path' | 'seq'>[] {
  const directory = path.dirname(file);
  const stem = `${path.basename(file)}.drain-`;
  if (!fs.existsSync(directory)) return [];
  return fs
    .readdirSync(directory)
    .filter((name) => name.startsWith(stem) && (packed ? PACKED : PLAIN).test(name.slice(stem.length)))
    .sort()
    .map((name) => ({ path: path.join(directory, name), seq: Number.parseInt(name.slice(stem.length), 10) }));
}

/** The same with their first lines. */
export function listBranches(file: string): Branch[] {
  return branchPaths(file).map((branch) => ({ ...branch, first: firstLine(branch.path) }));
}

function firstLine(file: string): StoredLine | null {
  for (const line of readFileLines(file, 0, FIRST_BYTES)) return line.state === 'whole' ? parseLine(line.text) : null;
  return null;
}

/** True where the branch ends with its process's `stop` note: nothing will follow. */
export function isFinished(branch: string): boolean {
  return lastLine(branch)?.event === 'stop';
}

/** The last line of a file; null where it is torn, damaged, or too long to stand in the last bytes. */
export function lastLine(file: string): StoredLine | null {
  const last = lastWholeLine(file);
  return last === null || last.torn ? null : parseLine(last.text);
}

/**
 * Where the new process goes on: FILE is empty, and the old one's branch says from which line. A first attempt that died
 * after its first line is gone on from.
 * @throws SallyportError `audit-unwritable` where FILE is another log, or nobody handed it over
 */
export function takeOverTail(file: string, fork: Fork): Tail {
  const branch = branchPath(file, fork.seq);
  const first = fs.existsSync(branch) ? firstLine(branch) : null;
  if (first?.event !== 'reopen' || first.prev !== fork.hash)
    throw unwritable(file, new Error(`it was not handed over at line ${fork.seq}: there is no ${branch}`));
  const current = identify(file);
  const begun = listSegments(file).segments.find(({ firstSeq }) => firstSeq === fork.seq + 1);
  if (current === 'empty' && begun === undefined) {
    const torn = tornAlone(file, current);
    return { seq: fork.seq, prev: fork.hash, policy: first.policy, torn, rotated: true, open: [] };
  }
  const line = begun === undefined ? null : firstLine(begun.path);
  if (
    line?.event !== 'reopen' ||
    line.prev !== fork.hash ||
    (typeof current === 'object' && current.firstSeq <= fork.seq)
  )
    throw unwritable(file, new Error('it is not empty, and does not go on from the line that was handed over'));
  return scanTail(file, fork.seq);
}
