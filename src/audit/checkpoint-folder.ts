// Checkpoints as they lie in a folder, one folder for each node in it: which of them are believed, and what they say together of logs that
// should be there. Used by who verifies; it writes nothing.
import type { KeyObject } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { type Checkpoint, checkpointName, isSigned, logOfCheckpoint, parseCheckpoint } from './checkpoint.ts';
import type { Window } from './history.ts';
import { nodeFolder } from './second-place.ts';

/** One of a hundred thousand segments, and as much as is read of one in a bucket. */
const CHECKPOINT_BYTES_MAX = 33_554_432;

/** The checkpoint of a log as it lies there, or why it is not believed. */
export interface Found {
  readonly folder: string;
  readonly log: string;
  readonly checkpoint: Checkpoint | string;
}

/**
 * @param keys with none given signatures are not looked at
 * @param others folders of nodes that must have a checkpoint here
 */
export function readCheckpoints(
  dir: string,
  keys: readonly KeyObject[],
  others: readonly string[] = [],
): { readonly found: readonly Found[]; readonly seen: Seen } {
  const folders = [...new Set([...others, ...foldersIn(dir)])].sort();
  const found = folders.flatMap((folder) => checkpointsIn(dir, folder, keys));
  const believed = found.flatMap(({ checkpoint }) => (typeof checkpoint === 'string' ? [] : [checkpoint]));
  return { found, seen: new Seen(believed) };
}

export function foldersIn(dir: string): string[] {
  const entries = fs.readdirSync(dir, { withFileTypes: true });
  return entries.flatMap((entry) => (entry.isDirectory() ? [entry.name] : []));
}

function checkpointsIn(dir: string, folder: string, keys: readonly KeyObject[]): Found[] {
  const at = path.join(dir, folder);
  const names = fs.existsSync(at) ? fs.readdirSync(at).sort() : [];
  const logs = names.flatMap((name) => logOfCheckpoint(name) ?? []);
  if (logs.length === 0) return [{ folder, log: '', checkpoint: 'there is no checkpoint' }];
  return logs.map((log) => {
    const read = readCheckpoint(path.join(at, checkpointName(log)));
    const believed = (): Checkpoint | string => {
      if (read === null) return 'the checkpoint cannot be read';
      if (keys.length > 0 && !isSigned(read, keys)) return 'the checkpoint is not signed by a key that was given';
      return nodeFolder(read.node) === folder && read.log === log
        ? read
        : `the checkpoint is of ${read.log} of node ${read.node}`;
    };
    return { folder, log, checkpoint: believed() };
  });
}

function readCheckpoint(file: string): Checkpoint | null {
  const found = fs.statSync(file, { throwIfNoEntry: false });
  if (!found?.isFile() || found.size > CHECKPOINT_BYTES_MAX) return null;
  return parseCheckpoint(fs.readFileSync(file, 'utf8'));
}

/** What all checkpoints together say of other logs. */
export class Seen {
  readonly #entries = new Map<string, { first: string; last: string; seq: number | null }>();

  constructor(checkpoints: readonly Checkpoint[]) {
    for (const { roster } of checkpoints) {
      for (const [name, entry] of Object.entries(roster)) {
        const known = this.#entries.get(name);
        if (known === undefined || known.last < entry.last) this.#entries.set(name, entry);
      }
    }
  }

  /** Logs that were there in this time. */
  logs(window: Window | null): { readonly folder: string; readonly log: string }[] {
    return [...this.#entries].flatMap(([name, { first, last }]) => {
      if (window !== null && (Date.parse(last) < window.from || Date.parse(first) >= window.to)) return [];
      const [folder = '', log = ''] = name.split('/');
      return [{ folder, log }];
    });
  }

  within(window: Window | null): string[] {
    return this.logs(window).map(({ folder }) => folder);
  }

  /** Why the checkpoint is older than one that another node has seen; null where it is not. */
  newer(folder: string, { log, time, last }: Checkpoint): string | null {
    const entry = this.#entries.get(`${folder}/${log}`);
    if (entry === undefined || (entry.last <= time && (entry.seq ?? 0) <= (last?.seq ?? 0))) return null;
    return `the checkpoint is from ${time}; another node has seen one from ${entry.last}: an older one was put back`;
  }
}
