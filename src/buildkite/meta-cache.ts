// The last answer of the Meta API in a file: for its ETag, and to compare with. A file that is damaged is an error: taken for none, a
// change would go unseen.
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';
import { SallyportError } from '../errors.ts';

const shape = z.strictObject({
  url: z.string(),
  etag: z.string().nullable(),
  fetched_at: z.string(),
  webhook_ips: z.array(z.string()).min(1),
});

export type MetaCache = z.infer<typeof shape>;

/** The last answer of that URL; null where there is none, or it is of another one. */
export function readMetaCache(file: string, url: string): MetaCache | null {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw new SallyportError('meta-cache', `${file} cannot be read: ${(error as Error).message}`, { cause: error });
  }
  try {
    const cache = shape.parse(JSON.parse(text));
    return cache.url === url ? cache : null;
  } catch (error) {
    throw new SallyportError('meta-cache', `${file} is damaged, so there is nothing to compare with`, { cause: error });
  }
}

/** Puts the answer in its place whole, or not at all. */
export function writeMetaCache(file: string, cache: MetaCache): void {
  const next = `${file}.${process.pid}.new`;
  try {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(next, `${JSON.stringify(cache, null, 2)}\n`);
    renameSync(next, file);
  } catch (error) {
    throw new SallyportError('meta-cache', `${file} cannot be written: ${(error as Error).message}`, { cause: error });
  }
}
