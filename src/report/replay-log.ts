// Gives a Replayer the lines of a log: its segments in order, packed or not, then the branches that upgrades left, as far as the
// window touches them. What could not be replayed is counted and named: damaged lines, missing ones, files.
import path from 'node:path';
import {
  type HistoryFile,
  lacksBeginning,
  listHistory,
  missingBranches,
  pathNow,
  touchedBy,
  type Window,
} from '../audit/history.ts';
import { type RequestRead, RequestReader } from '../audit/request-reader.ts';
import { SallyportError } from '../errors.ts';
import type { Replayer } from './replay.ts';

export interface ReplayedLog {
  /** False where there is no file of this log at all. */
  readonly found: boolean;
  readonly damaged_lines: number;
  /** Lines whose numbers are missing, and records that a `gap` note says could not be written. */
  readonly missing_lines: number;
  readonly unread_files: readonly string[];
}

/** Reads what the window touches; the Replayer counts what is in it. `progress` is told of each file. */
export async function replayLog(
  file: string,
  replayer: Replayer,
  window: Window,
  progress: (file: string) => void,
): Promise<ReplayedLog> {
  const history = await listHistory(file);
  const { segments, branches } = touchedBy(history, window);
  const run = new Run(file, replayer, progress);
  const main = new Numbers();
  for (const segment of segments) await run.read(segment, main);
  for (const branch of branches) await run.read(branch, new Numbers(branch.seq));
  const unread = [...history.unreadable, ...history.doubles, ...run.unread];
  for (const { name } of missingBranches(history, window)) unread.push(path.join(path.dirname(file), name));
  // Where no number is missing, nothing of the window is in an archive that could not be opened.
  if (run.missing > 0 || segments.length === 0 || lacksBeginning(history, window) !== null)
    unread.push(...history.unopened);
  return {
    found: segments.length + branches.length + unread.length > 0,
    damaged_lines: run.damaged,
    missing_lines: run.missing,
    unread_files: unread,
  };
}

/** The numbers of a chain as they come. */
class Numbers {
  #last: number | null;
  #damagedSince = 0;

  constructor(last: number | null = null) {
    this.#last = last;
  }

  /** A damaged line has a number too. */
  damaged(): void {
    this.#damagedSince++;
  }

  /** @returns how many are missing before this one */
  next(seq: number): number {
    const missing = this.#last === null ? 0 : Math.max(0, seq - this.#last - 1 - this.#damagedSince);
    this.#last = seq;
    this.#damagedSince = 0;
    return missing;
  }
}

class Run {
  readonly unread: string[] = [];
  damaged = 0;
  missing = 0;
  readonly #file: string;
  readonly #replayer: Replayer;
  readonly #progress: (file: string) => void;
  readonly #reader = new RequestReader();

  constructor(file: string, replayer: Replayer, progress: (file: string) => void) {
    this.#file = file;
    this.#replayer = replayer;
    this.#progress = progress;
  }

  async read(listed: HistoryFile, numbers: Numbers): Promise<void> {
    const file = await pathNow(this.#file, listed);
    if (file === null) {
      this.unread.push(listed.path);
      return;
    }
    this.#progress(file);
    try {
      await this.#reader.file(file, (read) => this.#line(read, numbers));
    } catch (error) {
      if (!(error instanceof SallyportError) || error.code !== 'audit-damaged') throw error;
      this.unread.push(file);
    }
  }

  #line(read: RequestRead | null, numbers: Numbers): void {
    if (read === null) {
      this.damaged++;
      numbers.damaged();
      return;
    }
    this.missing += numbers.next(read.seq);
    if (read.kind === 'note') this.missing += read.line.event === 'gap' ? dropped(read.line.detail['dropped']) : 0;
    else if (read.kind === 'decided') this.#replayer.add(read);
  }
}

function dropped(count: unknown): number {
  return typeof count === 'number' && Number.isSafeInteger(count) && count > 0 ? count : 0;
}
