// Builds dist/ from src/: type check and emit by tsc, then marks the entry executable; then the native engine.
// Plain JavaScript because it must run before anything is compiled.
import { spawnSync } from 'node:child_process';
import { chmodSync, rmSync } from 'node:fs';
import { join } from 'node:path';

rmSync('dist', { recursive: true, force: true });
const tsc = spawnSync('tsc', ['-p', 'tsconfig.json'], { stdio: 'inherit' });
if (tsc.status !== 0) process.exit(tsc.status ?? 1);
chmodSync('dist/main.js', 0o755);
const native = spawnSync(process.execPath, [join(import.meta.dirname, 'build-native.mjs')], { stdio: 'inherit' });
process.exit(native.status ?? 1);
