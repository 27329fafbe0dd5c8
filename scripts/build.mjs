// Builds dist/ from src/: type check and emit by tsc, then marks the entry executable and makes the man page from the command
// table; then the dashboard and the native engine. Plain JavaScript because it must run before anything is compiled.
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

rmSync('dist', { recursive: true, force: true });
const tsc = spawnSync('tsc', ['-p', 'tsconfig.json'], { stdio: 'inherit' });
if (tsc.status !== 0) process.exit(tsc.status ?? 1);
chmodSync('dist/main.js', 0o755);

const { manPage } = await import('../dist/cli/man.js');
const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
// The date of the sources, not of the build: two builds of the same sources are the same.
const date = new Date(Number(process.env.SOURCE_DATE_EPOCH ?? 0) * 1000).toISOString().slice(0, 10);
mkdirSync('dist/man', { recursive: true });
writeFileSync('dist/man/sallyport.1', manPage(version, date === '1970-01-01' ? '' : date));

await import('./build-web.mjs');

const native = spawnSync(process.execPath, [join(import.meta.dirname, 'build-native.mjs')], { stdio: 'inherit' });
process.exit(native.status ?? 1);
