// One writer for each audit log: FILE.lock names the process that holds it. Two writers would break the hash chain.
// A lock outlives kill -9, and in a container the next process often has the same pid: so the lock also holds the process's
// start time and its host, and a lock whose process is gone is taken over. From another host (a shared volume) a process
// cannot be looked at; there the holder's touch of the file counts.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { SallyportError } from '../errors.ts';

interface Holder {
  readonly pid: number;
  readonly host: string;
  /** Start time of the process in kernel ticks, or '' where the system does not tell. */
  readonly started: string;
}

/** A holder on another host that has not touched its lock for this long is gone. It touches every LOCK_TOUCH_MS. */
const STALE_MS = 60_000;
export const LOCK_TOUCH_MS = 10_000;

/** Locks of this process, by real path: a lock with our own pid that is not here was left by an earlier process. */
const held = new Set<string>();

export interface Lock {
  /** Tells readers on other hosts that the holder lives; errors are ignored, the lock itself stands. */
  touch(): void;
  release(): void;
}

/**
 * Takes FILE.lock.
 * @throws SallyportError `audit-locked` naming the holder's pid
 */
export function takeLock(file: string): Lock {
  const lockPath = `${path.join(fs.realpathSync(path.dirname(file)), path.basename(file))}.lock`;
  const own = `${lockPath}.${process.pid}`;
  const me: Holder = { pid: process.pid, host: os.hostname(), started: look(process.pid).started };
  try {
    // On a full disk this leaves an empty file, which goes with the rest.
    fs.writeFileSync(own, `${JSON.stringify(me)}\n`, { mode: 0o640 });
    // Two turns: the second after a stale lock was moved away. Linking is atomic, and the lock is never seen half written.
    for (let turn = 0; turn < 2; turn++) {
      if (link(own, lockPath)) {
        held.add(lockPath);
        return { touch: () => touch(lockPath), release: () => release(lockPath) };
      }
      moveStale(file, lockPath);
    }
    throw locked(file, lockPath, 'another process');
  } finally {
    fs.rmSync(own, { force: true });
  }
}

function link(from: string, to: string): boolean {
  try {
    fs.linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

export interface LockHolder {
  readonly pid: number;
  readonly host: string;
  /** Whether it runs on this host, so that the pid means something here. */
  readonly here: boolean;
}

/** The living process that writes FILE, or null: for commands that signal it. A lock that a crash left behind names nobody. */
export function lockHolder(file: string): LockHolder | null {
  const lockPath = `${file}.lock`;
  try {
    const { mtimeMs } = fs.statSync(lockPath);
    const holder = parseHolder(fs.readFileSync(lockPath, 'utf8'));
    if (holder === null || !lives(holder, lockPath, mtimeMs)) return null;
    return { pid: holder.pid, host: holder.host, here: holder.host === os.hostname() };
  } catch {
    return null;
  }
}

/** Removes the lock if its holder is gone; throws if it lives. */
function moveStale(file: string, lockPath: string): void {
  let seen: { ino: number; mtimeMs: number; text: string };
  try {
    const stat = fs.statSync(lockPath);
    seen = { ino: stat.ino, mtimeMs: stat.mtimeMs, text: fs.readFileSync(lockPath, 'utf8') };
  } catch {
    return; // Released meanwhile.
  }
  const holder = parseHolder(seen.text);
  if (holder !== null && lives(holder, lockPath, seen.mtimeMs)) {
    const where = holder.host === os.hostname() ? '' : ` on host ${holder.host}`;
    throw locked(file, lockPath, `process ${holder.pid}${where}`);
  }
  const aside = `${lockPath}.stale.${process.pid}`;
  fs.renameSync(lockPath, aside);
  // Another process may have taken over between the look and the rename: then this is its lock, and it goes back.
  if (fs.statSync(aside).ino !== seen.ino) fs.linkSync(aside, lockPath);
  fs.rmSync(aside, { force: true });
}

function parseHolder(text: string): Holder | null {
  try {
    const value = JSON.parse(text) as Partial<Holder> | null;
    if (typeof value?.pid !== 'number' || typeof value.host !== 'string' || typeof value.started !== 'string')
      return null;
    return { pid: value.pid, host: value.host, started: value.started };
  } catch {
    return null;
  }
}

function lives(holder: Holder, lockPath: string, touchedMs: number): boolean {
  if (holder.host !== os.hostname()) return Date.now() - touchedMs < STALE_MS;
  if (holder.pid === process.pid) return held.has(lockPath);
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const { state, started } = look(holder.pid);
  // Dead, and kept by a parent that does not ask for its end, as some do that are PID 1 of a container. It writes nothing more.
  if (state === 'Z') return false;
  return holder.started === '' || started === '' || started === holder.started;
}

/** Fields 3 and 22 of /proc/PID/stat; the process name before them may hold spaces and brackets, so count from the last one. */
function look(pid: number): { readonly state: string; readonly started: string } {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0] ?? '', started: fields[19] ?? '' };
  } catch {
    return { state: '', started: '' };
  }
}

function touch(lockPath: string): void {
  const now = new Date();
  fs.utimes(lockPath, now, now, () => {});
}

function release(lockPath: string): void {
  if (held.delete(lockPath)) fs.rmSync(lockPath, { force: true });
}

function locked(file: string, lockPath: string, who: string): SallyportError {
  return new SallyportError('audit-locked', `${file} is being written by ${who} (${lockPath})`);
}
