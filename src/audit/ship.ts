// Closed segments of the audit log, packed with gzip, in a folder of a second place: DIR/NODE/, where `audit verify` and `audit query` read them
// as they are. A file there is whole, or is not there: it is written under another name, forced to the disk, read back, then renamed. Beside
// them stands the checkpoint. It never touches the log itself, and what fails is tried again at the next round.
import { createHash, type KeyObject } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { PassThrough } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import { isFinished, segmentPath } from './branch.ts';
import { CHECKPOINT_FILE, type Checkpoint, checkpointText, parseCheckpoint } from './checkpoint.ts';
import { listHistory } from './history.ts';
import { lineHash, parseLine } from './parse.ts';

export interface ShipOptions {
  /** The log. */
  readonly file: string;
  readonly node: string;
  /** The second place; each node has a folder in it. */
  readonly dir: string;
  /** Signs the checkpoint. */
  readonly key: KeyObject | null;
  readonly now: () => Date;
}

export interface Round {
  /** Names of the files that are there since this round. */
  readonly shipped: readonly string[];
  /** Closed files that are not there yet. */
  readonly waiting: number;
}

/** A file's content and size, as the second place has them. */
interface Known {
  readonly sha256: string;
  readonly bytes: number;
}

export class Shipper {
  readonly #options: ShipOptions;
  readonly #folder: string;
  #known: Map<string, Known> | null = null;
  #last: Checkpoint['last'] = null;

  constructor(options: ShipOptions) {
    this.#options = options;
    this.#folder = nodeFolder(options.dir, options.node);
  }

  /**
   * Ships what is closed and not there yet, then writes the checkpoint.
   * @throws what the file system says; the next round goes on where this one ended
   */
  async round(): Promise<Round> {
    await fs.promises.mkdir(this.#folder, { recursive: true, mode: 0o750 });
    this.#known ??= this.#readKnown();
    const known = this.#known;
    const shipped: string[] = [];
    const closed = await closedFiles(this.#options.file);
    for (const { file, name } of closed) {
      if (known.has(name) && fs.existsSync(this.#place(name))) continue;
      const there = await this.#ship(file, name);
      // Renamed or packed by somebody else meanwhile: it is found again at the next round.
      if (there === null) continue;
      known.set(name, there);
      shipped.push(name);
    }
    await this.#checkpoint(known);
    return { shipped, waiting: closed.filter(({ name }) => !known.has(name)).length };
  }

  #place(name: string): string {
    return path.join(this.#folder, `${name}.gz`);
  }

  async #ship(file: string, name: string): Promise<Known | null> {
    const place = this.#place(name);
    const part = `${place}.part-${process.pid}`;
    const hash = createHash('sha256');
    let bytes = 0;
    const count = async function* (chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
      for await (const chunk of chunks) {
        hash.update(chunk);
        bytes += chunk.length;
        yield chunk;
      }
    };
    try {
      // One pipeline, so that the error of each of its parts is the error of all.
      const unpacked = file.endsWith('.gz') ? createGunzip() : new PassThrough();
      const target = fs.createWriteStream(part, { mode: 0o640, flush: true });
      await pipeline(fs.createReadStream(file), unpacked, count, createGzip(), target);
    } catch (error) {
      fs.rmSync(part, { force: true });
      if ((error as NodeJS.ErrnoException).code === 'ENOENT' && !fs.existsSync(file)) return null;
      throw error;
    }
    const sha256 = hash.digest('hex');
    if ((await contentHash(part)) !== sha256) {
      fs.rmSync(part, { force: true });
      throw new Error(`${place} does not come back as it was written`);
    }
    await fs.promises.rename(part, place);
    return { sha256, bytes };
  }

  async #checkpoint(known: ReadonlyMap<string, Known>): Promise<void> {
    const { file, node, key, now } = this.#options;
    this.#last = lastPlace(file) ?? this.#last;
    const checkpoint: Checkpoint = {
      format: 1,
      node,
      time: now().toISOString(),
      log: path.basename(file),
      last: this.#last,
      files: Object.fromEntries(known),
    };
    const next = path.join(this.#folder, `${CHECKPOINT_FILE}.part-${process.pid}`);
    await fs.promises.writeFile(next, checkpointText(checkpoint, key), { mode: 0o640, flush: true });
    await fs.promises.rename(next, path.join(this.#folder, CHECKPOINT_FILE));
  }

  /** What an earlier process has shipped, as its checkpoint says; a folder without one is shipped anew. */
  #readKnown(): Map<string, Known> {
    const place = path.join(this.#folder, CHECKPOINT_FILE);
    const found = fs.existsSync(place) ? parseCheckpoint(fs.readFileSync(place, 'utf8')) : null;
    return new Map(Object.entries(found?.files ?? {}));
  }
}

/** The folder of a node: its name, with whatever is no plain character escaped, so that no name leads elsewhere. */
export function nodeFolder(dir: string, node: string): string {
  return path.join(
    dir,
    node.replace(/[^A-Za-z0-9._-]|^\.+/g, (found) => encodeURIComponent(found).replaceAll('.', '%2E')),
  );
}

/** SHA-256 of what a gzip file holds. */
export async function contentHash(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(fs.createReadStream(file), createGunzip(), async (chunks: AsyncIterable<Buffer>) => {
    for await (const chunk of chunks) hash.update(chunk);
  });
  return hash.digest('hex');
}

/**
 * Rotated segments, and branches that are ended; FILE itself is written still. Their names in the second place are made from the lines in
 * them: logrotate gives a file another name each day.
 */
async function closedFiles(file: string): Promise<{ readonly file: string; readonly name: string }[]> {
  const { segments, branches } = await listHistory(file);
  const closed = segments
    .filter((segment) => path.resolve(segment.path) !== path.resolve(file))
    .map((segment) => ({
      file: segment.path,
      name: `${path.basename(segmentPath(file, segment.firstSeq))}-${hashOf(segment)}`,
    }));
  const ended = branches.filter((branch) => branch.path.endsWith('.gz') || isFinished(branch.path));
  return [...closed, ...ended.map((branch) => ({ file: branch.path, name: path.basename(branch.name) }))];
}

/** Of its first line: another log that is begun under the same name has the same numbers. */
function hashOf({ id }: { readonly id: string }): string {
  return id.slice(id.indexOf(':') + 1, id.indexOf(':') + 9);
}

const LAST_BYTES = 131_072;

/** Number and hash of the last whole line; null where there is none. */
function lastPlace(file: string): Checkpoint['last'] {
  if (!fs.existsSync(file)) return null;
  const fd = fs.openSync(file, 'r');
  try {
    const { size } = fs.fstatSync(fd);
    const bytes = Buffer.alloc(Math.min(size, LAST_BYTES));
    const read = fs.readSync(fd, bytes, 0, bytes.length, size - bytes.length);
    const text = bytes.toString('latin1', 0, read).split('\n').at(-2) ?? '';
    const line = parseLine(text);
    return line === null ? null : { seq: line.seq, hash: lineHash(text) };
  } finally {
    fs.closeSync(fd);
  }
}
