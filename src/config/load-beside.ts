// What stands beside a policy file, by name alone: whoever watches for it need not know how it is read.
import { dirname, join } from 'node:path';

/** Where it exists and `catalog.dir` names no other. */
export const CATALOG_FOLDER = 'catalog.d';
const LOCK_FILE = 'sallyport.lock';

/** Where the lock of a policy file stands, or would. */
export function lockPath(file: string): string {
  return join(dirname(file), LOCK_FILE);
}
