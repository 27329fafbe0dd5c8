// Sees that a policy file has changed, whoever changed it and how: written in place, replaced by rename, the symlink swap of a
// mounted ConfigMap, a file in catalog.d or of a layer that came or went, a network file system. One look a second with stat, and nothing else:
// inotify says nothing on some of these, and would wake the data plane for each line of an audit log in the same folder.
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { CATALOG_FILE, type FileRead, fileSignature } from '../catalog/load-signature.ts';
import { CATALOG_FOLDER, lockPath } from '../config/load-beside.ts';
import { LIMIT_SPECS } from '../limits.ts';
import { globMatches } from '../policy/selector.ts';

// A file that changes at each look is read all the same after so many: a writer without end must not hold up a policy.
const UNSETTLED_LOOKS_MAX = 10;
// More than a catalog folder may hold; a mistaken path must not cost a stat for each file of a disk.
const FOLDER_FILES_MAX = 256;
const LAYER_FILES_MAX = LIMIT_SPECS.layer_files_max.max;

export interface WatchOptions {
  /** The policy file. */
  readonly file: string;
  /** The base file of the policy, where that one names another place; asked at each look. */
  readonly source: () => string | null;
  readonly intervalMs: number;
  /** Folders with own catalog files that are in use; asked at each look. */
  readonly folders: () => readonly string[];
  /** Further files that were read, such as the users'; asked at each look. */
  readonly files: () => readonly string[];
  /** Files of layers, those with a star in their last part included; asked at each look. */
  readonly layers: () => readonly string[];
  /** Whether changes are to be acted upon; asked at each look. */
  readonly enabled: () => boolean;
  /** The files are not what was read, and have been still for one look. Its end is waited for before the next look. */
  readonly changed: () => Promise<void>;
  readonly failed: (error: unknown) => void;
}

export class PolicyWatch {
  readonly #options: WatchOptions;
  #timer: NodeJS.Timeout | null = null;
  #closed = false;
  /** What was last acted upon, and what the last look saw; see `look`. */
  #acted: string;
  #last: string;
  #unsettled = 0;

  /** @param read the files that the policy in force was made from: a change since then is seen, however early it came */
  constructor(options: WatchOptions, read: readonly FileRead[]) {
    this.#options = options;
    this.#acted = asLooked(read);
    this.#last = this.#acted;
    this.#next();
  }

  /** These files, read after this look, are in force. Where one of them has changed in between, the next look shows it. */
  taken(looked: string, read: readonly FileRead[]): void {
    const lines = new Set(looked.split('\n'));
    this.#acted = read.every((one) => lines.has(lineOf(one))) ? looked : asLooked(read);
  }

  /** The files as they were at this look are tried and no good: they are tried again when they change. */
  refused(looked: string): void {
    this.#acted = looked;
  }

  /** What stat says of each file, as one text: equal where nothing has changed. Never rejects. */
  async look(): Promise<string> {
    const { file, source, folders, files, layers } = this.#options;
    const inUse = folders();
    const elsewhere = source();
    const base = elsewhere ?? file;
    const lines = [await line(file)];
    if (elsewhere !== null) lines.push(await line(elsewhere));
    // Whether there is a lock is part of it; where there is none, its absence is no line, as it was not read.
    const lock = await line(lockPath(base));
    if (!lock.endsWith(' ENOENT')) lines.push(lock);
    for (const folder of inUse.length > 0 ? inUse : [join(dirname(base), CATALOG_FOLDER)]) {
      for (const name of await names(folder)) lines.push(await line(join(folder, name)));
    }
    for (const further of files()) lines.push(await line(further));
    for (const name of await layerNames(layers())) lines.push(await line(name));
    return lines.join('\n');
  }

  close(): void {
    this.#closed = true;
    if (this.#timer) clearTimeout(this.#timer);
  }

  #next(): void {
    if (this.#closed) return;
    this.#timer = setTimeout(() => void this.#turn(), this.#options.intervalMs);
    this.#timer.unref();
  }

  async #turn(): Promise<void> {
    try {
      if (this.#options.enabled()) await this.#check();
    } catch (error) {
      this.#options.failed(error);
    }
    this.#next();
  }

  async #check(): Promise<void> {
    const looked = await this.look();
    const settled = looked === this.#last;
    this.#last = looked;
    if (looked === this.#acted) {
      this.#unsettled = 0;
      return;
    }
    this.#unsettled++;
    // An editor or a copy may be half through: one look without a change is waited for.
    if (!settled && this.#unsettled < UNSETTLED_LOOKS_MAX) return;
    this.#unsettled = 0;
    if (!this.#closed) await this.#options.changed();
  }
}

function asLooked(read: readonly FileRead[]): string {
  return read.map(lineOf).join('\n');
}

function lineOf({ file, signature }: Pick<FileRead, 'file' | 'signature'>): string {
  return `${file} ${signature}`;
}

/** The target of a symlink counts, not the link: a swap shows as another inode. */
async function line(file: string): Promise<string> {
  try {
    return lineOf({ file, signature: fileSignature(await stat(file, { bigint: true })) });
  } catch (error) {
    return lineOf({ file, signature: (error as NodeJS.ErrnoException).code ?? 'unreadable' });
  }
}

/** In the order in which they are read, each once. */
async function layerNames(patterns: readonly string[]): Promise<Set<string>> {
  const found = new Set<string>();
  for (const pattern of patterns) {
    const glob = basename(pattern);
    const all = glob.includes('*') ? await readdir(dirname(pattern)).catch(() => []) : [glob];
    const wanted = all.filter((name) => name === glob || (!name.startsWith('.') && globMatches(glob, name)));
    for (const name of wanted.sort()) if (found.size < LAYER_FILES_MAX) found.add(join(dirname(pattern), name));
  }
  return found;
}

async function names(folder: string): Promise<string[]> {
  try {
    const all = await readdir(folder);
    return all
      .filter((name) => CATALOG_FILE.test(name))
      .sort()
      .slice(0, FOLDER_FILES_MAX);
  } catch {
    return [];
  }
}
