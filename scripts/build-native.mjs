// Compiles the native engine (src/native) into dist/native, where this machine has a C++ compiler and Node's headers; they come with
// the dev dependency `node`. Where it cannot, it says so once and the proxy uses its JavaScript engine.
//   node scripts/build-native.mjs            what the package ships
//   node scripts/build-native.mjs --sanitize address|thread|undefined --out FILE
// What was compiled from the same sources before is taken from a cache, so that every build of dist/ is quick.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, globSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';

const ROOT = join(import.meta.dirname, '..');
const { values } = parseArgs({ options: { sanitize: { type: 'string' }, out: { type: 'string' } } });
const OUT = values.out ?? join(ROOT, 'dist', 'native', `${process.platform}-${process.arch}`, 'sallyport.node');
const COMPILER = process.env.CXX ?? 'g++';
const FLAGS = [
  '-std=c++17',
  ...(values.sanitize ? ['-O1', '-g', '-fno-omit-frame-pointer', `-fsanitize=${values.sanitize}`] : ['-O2', '-s']),
  ...['-fPIC', '-shared', '-fno-exceptions', '-fno-rtti', '-fvisibility=hidden', '-fstack-protector-strong'],
  ...['-Wall', '-Wextra', '-Wshadow', '-Werror', '-D_FORTIFY_SOURCE=2', '-DNAPI_VERSION=9', '-Wl,-z,relro,-z,now'],
];

/** A folder with node_api.h and uv.h, or null. */
function headers() {
  const beside = join(dirname(process.execPath), '..', 'include', 'node');
  const packaged = globSync('node_modules/**/node-linux-*/include/node', { cwd: ROOT }).map((path) => join(ROOT, path));
  return [...packaged, beside, '/usr/include/node'].find((path) => existsSync(join(path, 'node_api.h'))) ?? null;
}

function fail(why) {
  console.log(`the native engine is not built: ${why}; the JavaScript engine is used`);
  process.exit(values.sanitize ? 1 : 0);
}

if (process.platform !== 'linux') fail('it is for Linux');
const include = headers();
if (include === null) fail("Node's headers are not here");
if (spawnSync(COMPILER, ['--version']).status !== 0) fail(`there is no C++ compiler (${COMPILER})`);

const sources = globSync('src/native/*.{cc,h}', { cwd: ROOT }).sort();
const hash = createHash('sha256').update(
  JSON.stringify([COMPILER, FLAGS, readFileSync(join(include, 'node_version.h'), 'utf8')]),
);
for (const source of sources) hash.update(`${source}\0`).update(readFileSync(join(ROOT, source)));
const cached = join(ROOT, 'node_modules', '.cache', 'sallyport-native', `${hash.digest('hex')}.node`);

if (!existsSync(cached)) {
  mkdirSync(dirname(cached), { recursive: true });
  const part = `${cached}.${process.pid}`;
  const inputs = sources.filter((path) => path.endsWith('.cc')).map((path) => join(ROOT, path));
  const compiled = spawnSync(COMPILER, [...FLAGS, '-I', include, '-o', part, ...inputs], { stdio: 'inherit' });
  // A compiler is here and the sources do not compile: that is a fault of the sources.
  if (compiled.status !== 0) process.exit(1);
  renameSync(part, cached);
}
mkdirSync(dirname(OUT), { recursive: true });
copyFileSync(cached, OUT);
