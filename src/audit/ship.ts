// Closed segments of one audit log, packed with gzip, in a second place, in the folder of the node, where `audit verify` and `audit query`
// read them as they are; and the checkpoint, there and in the place that is for checkpoints alone. It never touches the log itself, never
// writes over what it has shipped, and what fails is tried again at the next round.
import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { PassThrough } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import { isFinished, segmentPath } from './branch.ts';
import { type Checkpoint, checkpointName, checkpointText, isSigned, parseCheckpoint } from './checkpoint.ts';
import { listHistory } from './history.ts';
import { lineHash, parseLine } from './parse.ts';
import { lastWholeLine } from './read.ts';
import { RosterBook } from './roster.ts';
import { nodeFolder, type SecondPlace } from './second-place.ts';

export interface SignedTo {
  readonly place: SecondPlace;
  /** Signs the checkpoint; what is there of an earlier one is believed where it has signed it. */
  readonly key: KeyObject | null;
}

export interface ShipOptions {
  /** The log. */
  readonly file: string;
  readonly node: string;
  /** Where closed segments go; null: nowhere. */
  readonly ship: SignedTo | null;
  /** Where checkpoints go besides; null: nowhere. */
  readonly checkpoints: SignedTo | null;
  readonly rosterMax: number;
  readonly now: () => Date;
}

export interface Round {
  /** Names of the files that are there since this round. */
  readonly shipped: readonly string[];
  /** Closed files that are not there yet. */
  readonly waiting: number;
  /** Logs of other nodes were left out of the roster. */
  readonly rosterFull: boolean;
}

/** Others' checkpoints are looked at so often only: it is a request for each of them. */
const ROSTER_ROUNDS = 10;

/** A file's content and size, as the second place has them. */
type Known = Checkpoint['files'][string];

/** How far the log was, and when. */
type Reached = Pick<Checkpoint, 'time' | 'last' | 'stopped'>;

export class Shipper {
  readonly #options: ShipOptions;
  readonly #folder: string;
  readonly #book: RosterBook;
  #known: Map<string, Known> | null = null;
  #last: Checkpoint['last'] = null;
  #rounds = 0;

  constructor(options: ShipOptions) {
    this.#options = options;
    this.#folder = nodeFolder(options.node);
    this.#book = new RosterBook({ node: options.node, log: path.basename(options.file) }, options.rosterMax);
  }

  /**
   * Ships what is closed and not there yet, then writes the checkpoints.
   * @param stopped the process has ended, as far as the log goes
   * @throws what a place or the file system says, of several the first; the next round goes on where this one ended
   */
  async round(stopped = false): Promise<Round> {
    const { ship, checkpoints } = this.#options;
    const shipped: string[] = [];
    const faults: unknown[] = [];
    let waiting = 0;
    let rosterFull = false;
    const attempt = async (act: () => Promise<void>): Promise<void> => act().catch((error) => void faults.push(error));
    // Once a round: others have seen the one, and would call the copy in the other place older than that.
    let reached: Reached | null = null;
    if (ship !== null)
      await attempt(async () => {
        waiting = await this.#ship(ship, shipped);
        rosterFull = await this.#look(ship, checkpoints === null);
        reached = this.#reach(stopped);
        await this.#checkpoint(ship, reached);
      });
    // In other hands, so what is wrong with the one place says nothing of the other.
    if (checkpoints !== null)
      await attempt(async () => {
        rosterFull = (await this.#look(checkpoints, true)) || rosterFull;
        await this.#checkpoint(checkpoints, reached ?? this.#reach(stopped));
      });
    if (faults.length > 0) throw faults[0];
    return { shipped, waiting, rosterFull };
  }

  /** @returns how many wait still */
  async #ship(to: SignedTo, shipped: string[]): Promise<number> {
    const { place } = to;
    const there = await place.list(this.#folder);
    this.#known ??= new Map(Object.entries((await this.#earlier(to))?.files ?? {}));
    const closed = await closedFiles(this.#options.file);
    for (const { file, name } of closed) {
      if (this.#known.has(name) && there.has(`${name}.gz`)) continue;
      const packed = await this.#pack(place, file, name);
      // Renamed or packed by somebody else meanwhile: it is found again at the next round.
      if (packed === null) continue;
      this.#known.set(name, packed);
      shipped.push(name);
    }
    return closed.filter(({ name }) => !this.#known?.has(name)).length;
  }

  async #pack(place: SecondPlace, file: string, name: string): Promise<Known | null> {
    const part = place.part(this.#folder, `${name}.gz`);
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
    await place.put(this.#folder, `${name}.gz`, part, sha256);
    return { sha256, bytes };
  }

  async #look(to: SignedTo, isRosters: boolean): Promise<boolean> {
    if (!isRosters || this.#rounds++ % ROSTER_ROUNDS !== 0) return false;
    const full = this.#book.recall((await this.#earlier(to))?.roster ?? {});
    return (await this.#book.look(to.place, this.#options.now())) || full;
  }

  #reach(stopped: boolean): Reached {
    this.#last = lastPlace(this.#options.file) ?? this.#last;
    return { time: this.#options.now().toISOString(), last: this.#last, stopped };
  }

  async #checkpoint({ place, key }: SignedTo, reached: Reached): Promise<void> {
    const { file, node } = this.#options;
    const log = path.basename(file);
    const checkpoint: Checkpoint = {
      format: 1,
      node,
      log,
      ...reached,
      files: Object.fromEntries(this.#known ?? []),
      roster: this.#book.roster,
    };
    await place.write(this.#folder, checkpointName(log), checkpointText(checkpoint, key));
  }

  /**
   * What an earlier round or process has signed; a place without it is shipped to anew. Whoever can write to the place must not be able to
   * say what is signed next.
   */
  async #earlier({ place, key }: SignedTo): Promise<Checkpoint | null> {
    const log = path.basename(this.#options.file);
    const text = await place.read(this.#folder, checkpointName(log));
    const read = text === null ? null : parseCheckpoint(text);
    if (read === null || read.log !== log || nodeFolder(read.node) !== this.#folder) return null;
    return key === null || isSigned(read, [createPublicKey(key)]) ? read : null;
  }
}

/**
 * Rotated segments that another one follows, and branches that are ended. The newest segment is written still, also while it has its new name
 * and the proxy has not been told. Their names in the second place are made from the lines in them: logrotate gives a file another name each day.
 */
async function closedFiles(file: string): Promise<{ readonly file: string; readonly name: string }[]> {
  const { segments, branches } = await listHistory(file);
  const closed = segments.slice(0, -1).map((segment) => ({
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

/** Number and hash of the last whole line; null where there is none. */
function lastPlace(file: string): Checkpoint['last'] {
  const last = fs.existsSync(file) ? lastWholeLine(file) : null;
  const line = last === null ? null : parseLine(last.text);
  return last === null || line === null ? null : { seq: line.seq, hash: lineHash(last.text) };
}
