// What tells of a file that was read whether it may have changed since, without reading it again. Beside load.ts, because whoever
// watches the files (the data plane's thread) parses none of them.
import { createHash } from 'node:crypto';
import { type BigIntStats, statSync } from 'node:fs';

/** The files of a folder that are read: YAML, and not hidden. */
export const CATALOG_FILE = /^[^.].*\.ya?ml$/;

/** A file as it was when it was read: `signature` tells without reading whether it may have changed, `digest` whether it has. */
export interface FileRead {
  readonly file: string;
  readonly signature: string;
  readonly digest: string;
}

/** Differs where the content may differ: another file under the name, another size, a write (also one that keeps the times). */
export function fileSignature({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`;
}

/** Of several files by name, some of which may be missing or not wanted: differs where one of them may. */
export function signaturesOf(files: readonly (string | null)[]): string {
  return files
    .map((file) => {
      const found = file === null ? undefined : statSync(file, { bigint: true, throwIfNoEntry: false });
      return `${file} ${found === undefined ? 'missing' : fileSignature(found)}`;
    })
    .join('\n');
}

/** `stat` must be older than `bytes`: a write in between then shows as a change. */
export function fileRead(file: string, stat: BigIntStats, bytes: Uint8Array): FileRead {
  return { file, signature: fileSignature(stat), digest: createHash('sha256').update(bytes).digest('hex') };
}
