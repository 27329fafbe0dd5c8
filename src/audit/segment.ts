// Moves the end of the log from one file to the next: the file in use gets the name of a rotated segment, and the chain goes
// on in a new one. Either all of that happens, or the log is where it was.
import fs from 'node:fs';
import { type AppendCalls, Appender, unwritable } from './append.ts';
import { segmentPath } from './branch.ts';
import type { Chain } from './chain.ts';

export interface Move {
  /** Where the file in use is to be found. */
  readonly file: string;
  /** The file to go on in: `file` itself anew, or a branch. */
  readonly target: string;
  readonly chain: Chain;
  readonly calls: AppendCalls;
  /** Writes the first line. */
  readonly begin: (next: Appender) => void;
}

/**
 * Where logrotate has renamed the file already, nothing is renamed.
 * @returns the file that was in use; its descriptor is still open
 * @throws SallyportError `audit-unwritable`
 */
export function moveOn({ file, target, chain, calls, begin }: Move): Appender {
  const old = chain.appender;
  const here = old.isAt(file);
  const aside = segmentPath(file, chain.seq);
  refuseExisting(here ? aside : file);
  if (here) rename(file, aside);
  let next: Appender | null = null;
  let fresh = false;
  try {
    next = new Appender(target, calls);
    fresh = next.size === 0;
    if (!fresh) throw unwritable(target, new Error('it is not empty'));
    begin(next);
  } catch (error) {
    next?.close(false);
    if (fresh) fs.rmSync(target);
    if (here) rename(aside, file);
    throw error;
  }
  return old;
}

function refuseExisting(path: string): void {
  if ((fs.statSync(path, { throwIfNoEntry: false })?.size ?? 0) > 0)
    throw unwritable(path, new Error('it is another file, and is not overwritten'));
}

function rename(from: string, to: string): void {
  try {
    fs.renameSync(from, to);
  } catch (error) {
    throw unwritable(to, error);
  }
}
