// Runs the engine's tests on a build of the native engine with AddressSanitizer and UndefinedBehaviorSanitizer: what reads or
// writes beyond its memory, or uses it after it was given back, ends the run. There are no threads in it, so nothing to race.
//   node scripts/sanitize-native.mjs [test files]
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const ROOT = join(import.meta.dirname, '..');
const dir = mkdtempSync(join(tmpdir(), 'sallyport-sanitize-'));
const built = join(dir, 'sallyport.node');
const library = (name) =>
  spawnSync(process.env.CXX ?? 'g++', [`-print-file-name=${name}`], { encoding: 'utf8' }).stdout.trim();
const run = (command, args, env = {}) =>
  spawnSync(command, args, { cwd: ROOT, stdio: 'inherit', env: { ...process.env, ...env } }).status ?? 1;

const given = process.argv.slice(2);
const tests =
  given.length > 0
    ? given
    : ['engine', 'engine-ends', 'short-forward', 'short-forward-ends', 'forward-origin', 'conveyed', 'pieces'].map(
        (name) => `test/proxy/${name}.test.ts`,
      );
const builder = join(import.meta.dirname, 'build-native.mjs');
let status = run(process.execPath, [builder, '--sanitize', 'address,undefined', '--out', built]);
if (status === 0) {
  status = run('vitest', ['run', '--testTimeout', '120000', ...tests], {
    SALLYPORT_ENGINE: 'native',
    SALLYPORT_NATIVE: built,
    LD_PRELOAD: `${library('libasan.so')} ${library('libubsan.so')}`,
    // Node itself gives nothing back at its end.
    ASAN_OPTIONS: 'detect_leaks=0',
    UBSAN_OPTIONS: 'halt_on_error=1:print_stacktrace=1',
  });
}
rmSync(dir, { recursive: true, force: true });
process.exit(status);
