// What the build has read of the shipped catalog. Its YAML was a third of the processor time that a start takes, and it is the same each
// time: dist/catalog.json has the values by the digest of the text that they were read from. A text that has changed is not among them and
// is read as ever; the values go through every check of parse.ts.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { packaged } from '../places.ts';

/** In dist/, which is trusted as the program itself is. */
export const READ_BEFORE = packaged('dist/catalog.json');

export const textDigest = (text: string): string => createHash('sha256').update(text).digest('hex');

/** Values by the digest of the text; none in a checkout that was not built. */
export function readBefore(): ReadonlyMap<string, unknown> {
  try {
    return new Map(Object.entries(JSON.parse(readFileSync(READ_BEFORE, 'utf8')) as Record<string, unknown>));
  } catch {
    return new Map(); // The files themselves are read then.
  }
}
