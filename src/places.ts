// Where the program's own files are, from its sources and as it is built. The only file that knows its own place (import.meta.url): what is
// built is a bundle whose files lie in dist/ itself, one step below the package as this file is in src/, so the same steps lead from both.
import { fileURLToPath } from 'node:url';

/** The folder of package.json, config/ and dist/. */
const PACKAGE = new URL('../', import.meta.url);
const IS_BUILT = !import.meta.url.endsWith('.ts');

/** A file or folder of the package, as a path. What dist/ alone has is taken from there by a process that runs from the sources too. */
export const packaged = (path: string): string => fileURLToPath(new URL(path, PACKAGE));

/** The file that a thread starts with. @param source its source below src/; built, its name says both (scripts/bundle.mjs) */
export function threadEntry(source: `${string}/${string}-worker.ts`): URL {
  return new URL(IS_BUILT ? `dist/${source.replace('/', '-').replace(/\.ts$/, '.js')}` : `src/${source}`, PACKAGE);
}
