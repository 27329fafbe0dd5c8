// Builds the dashboard from src/admin/web into dist/admin/web, and packs each file with gzip beside it. What a browser loads first
// must stay small; the bound is held here, so that nobody learns of it from a slow page.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'vite';
import { BUNDLED, thirdPartyText } from './third-party.mjs';

const FIRST_LOAD_MAX = 60_000;
const out = join(import.meta.dirname, '..', 'dist', 'admin', 'web');

await build({
  configFile: false,
  logLevel: 'warn',
  root: join(import.meta.dirname, '..', 'src', 'admin', 'web'),
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: { outDir: out, emptyOutDir: true, target: 'es2023', modulePreload: { polyfill: false }, assetsInlineLimit: 0 },
});

const bundled = BUNDLED.map((name) => {
  const folder = join('node_modules', name);
  const { version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  return { name, version, licence: license, folder };
});
writeFileSync(join(out, 'licences.txt'), thirdPartyText(bundled));

let first = 0;
for (const entry of readdirSync(out, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile()) continue;
  const file = join(entry.parentPath, entry.name);
  const packed = gzipSync(readFileSync(file), { level: 9 });
  writeFileSync(`${file}.gz`, packed);
  first += packed.length;
}
if (first > FIRST_LOAD_MAX) {
  console.error(`the dashboard has ${first} bytes packed; ${FIRST_LOAD_MAX} are allowed`);
  process.exit(1);
}
