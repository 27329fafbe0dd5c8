// Builds the dashboard from src/admin/web, and packs each file with gzip beside it. What a browser loads first must stay small; the bound
// is held here, so that nobody learns of it from a slow page. Imported by build.mjs.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'vite';
import { packagesOf, thirdPartyText } from './third-party.mjs';

const FIRST_LOAD_MAX = 60_000;

/**
 * @param {string} folder which gets the files
 * @returns {Promise<import('./third-party.mjs').Package[]>} the packages of others that are in it
 */
export async function buildWeb(folder) {
  const { output } = await build({
    configFile: false,
    logLevel: 'warn',
    root: join(import.meta.dirname, '..', 'src', 'admin', 'web'),
    oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
    build: {
      outDir: folder,
      emptyOutDir: true,
      target: 'es2023',
      modulePreload: { polyfill: false },
      assetsInlineLimit: 0,
    },
  });
  const packages = packagesOf(output.flatMap((one) => (one.type === 'chunk' ? one.moduleIds : [])));
  writeFileSync(join(folder, 'licences.txt'), thirdPartyText(packages));

  let first = 0;
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = join(entry.parentPath, entry.name);
    const packed = gzipSync(readFileSync(file), { level: 9 });
    writeFileSync(`${file}.gz`, packed);
    first += packed.length;
  }
  if (first > FIRST_LOAD_MAX) throw new Error(`the dashboard has ${first} bytes packed; ${FIRST_LOAD_MAX} are allowed`);
  return packages;
}
