// Makes the product as one file, for hosts that have Node.js and nothing else: node scripts/single-file.mjs FILE (after npm ci and npm run
// build). The native engines that are built are in it (build-native.mjs --every); elsewhere the JavaScript engine is used. The same sources give the same bytes.
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { brotliCompressSync, constants } from 'node:zlib';
import { stageProduct } from './product.mjs';

const [, , file] = process.argv;
if (!file) {
  process.stderr.write('usage: node scripts/single-file.mjs FILE\n');
  process.exit(2);
}
const { version } = JSON.parse(readFileSync('package.json', 'utf8'));

/** [path, size, mode] of each as JSON, with its length before it, then their bytes. */
function packed(folder) {
  const paths = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort();
  const contents = paths.map((path) => readFileSync(join(folder, path)));
  const mode = (path) => (statSync(join(folder, path)).mode & 0o111 ? 0o755 : 0o644);
  const index = Buffer.from(JSON.stringify(paths.map((path, n) => [path, contents[n].length, mode(path)])));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(index.length);
  const all = Buffer.concat([length, index, ...contents]);
  const params = {
    [constants.BROTLI_PARAM_QUALITY]: 9,
    [constants.BROTLI_PARAM_LGWIN]: constants.BROTLI_MAX_WINDOW_BITS,
  };
  return brotliCompressSync(all, { params });
}

const folder = mkdtempSync(join(tmpdir(), 'sallyport-single-'));
try {
  stageProduct(folder);
  const bytes = packed(folder);
  const start = readFileSync(join(import.meta.dirname, 'single-file-start.mjs'), 'utf8')
    .replace('@VERSION@', version)
    .replace('@SHA256@', createHash('sha256').update(bytes).digest('hex'));
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${start}/*packed\n${bytes.toString('base64')}\n*/\n`, { mode: 0o755 });
} finally {
  rmSync(folder, { recursive: true, force: true });
}
