// The second place of audit logs, whatever it is: folders of nodes with files that are whole or not there and never change, and with
// checkpoints, which do. folder-place.ts and s3-place.ts are its two kinds; they know nothing of what is in the files.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { SallyportError } from '../errors.ts';

export interface SecondPlace {
  /** For people. */
  readonly name: string;
  /** Folders of nodes that are there. */
  folders(): Promise<string[]>;
  /** What is in the folder of a node. */
  list(folder: string): Promise<ReadonlySet<string>>;
  /** A text; null where it is not there. */
  read(folder: string, name: string): Promise<string | null>;
  /** Writes a text in the place of what was there. */
  write(folder: string, name: string, text: string): Promise<void>;
  /** Where on this machine a file is made before it goes there. */
  part(folder: string, name: string): string;
  /**
   * Puts the file there, and takes the part away. Where one of that name is there it stays, if it has the same in it.
   * @param sha256 of what is packed in it
   * @throws SallyportError `ship-conflict` where another file has the name, `ship-failed`, `ship-credentials`
   */
  put(folder: string, name: string, part: string, sha256: string): Promise<void>;
}

/** The folder of a node: its name, with whatever is no plain character escaped, so that no name leads elsewhere. */
export function nodeFolder(node: string): string {
  return node.replace(/[^A-Za-z0-9._-]|^\.+/g, (found) => encodeURIComponent(found).replaceAll('.', '%2E'));
}

/** SHA-256 of what a gzip file holds; null where that is more than `bytesMax`: the rest is not unpacked. */
export async function contentHash(file: string, bytesMax = Number.POSITIVE_INFINITY): Promise<string | null> {
  const hash = createHash('sha256');
  let bytes = 0;
  try {
    await pipeline(fs.createReadStream(file), createGunzip(), async (chunks: AsyncIterable<Buffer>) => {
      for await (const chunk of chunks) {
        bytes += chunk.length;
        if (bytes > bytesMax) throw new Error('it holds more than was asked for');
        hash.update(chunk);
      }
    });
  } catch (error) {
    // Not by the error: until Node 24 the pipeline may give the abort of its other parts instead.
    if (bytes > bytesMax) return null;
    throw error;
  }
  return hash.digest('hex');
}

export function conflict(where: string): SallyportError {
  return new SallyportError('ship-conflict', `${where} is there already with something else in it, and stays as it is`);
}
