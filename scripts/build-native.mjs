// Compiles the native engine (src/native) into dist/native, where this machine has a C++ compiler and Node's headers; they come with
// the dev dependency `node`. Where it cannot, it says so once and the proxy uses its JavaScript engine.
//   node scripts/build-native.mjs            for this machine
//   node scripts/build-native.mjs --arch arm64 [--out FILE]     for another
//   node scripts/build-native.mjs --every    what the package ships: for each architecture, by cross-compilers; fails where one is missing
//   node scripts/build-native.mjs --sanitize address|thread|undefined --out FILE
// What was compiled from the same sources before is taken from a cache, so that every build of dist/ is quick.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, existsSync, globSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';

const ROOT = join(import.meta.dirname, '..');
const { values } = parseArgs({
  options: {
    arch: { type: 'string', default: process.arch },
    every: { type: 'boolean', default: false },
    sanitize: { type: 'string' },
    out: { type: 'string' },
  },
});
/** As Node calls them, with the compiler that Debian and Ubuntu have for them on a machine of another kind. */
const CROSS = { x64: 'x86_64-linux-gnu-g++', arm64: 'aarch64-linux-gnu-g++' };
const FLAGS = [
  '-std=c++17',
  ...(values.sanitize ? ['-O1', '-g', '-fno-omit-frame-pointer', `-fsanitize=${values.sanitize}`] : ['-O2', '-s']),
  ...['-fPIC', '-shared', '-fno-exceptions', '-fno-rtti', '-fvisibility=hidden', '-fstack-protector-strong'],
  ...['-Wall', '-Wextra', '-Wshadow', '-Werror', '-D_FORTIFY_SOURCE=2', '-DNAPI_VERSION=9'],
  // A thread of it may outlive the JavaScript that has loaded it.
  ...['-Wl,-z,relro,-z,now', '-Wl,-z,nodelete'],
];

/** A folder with node_api.h and uv.h, which are the same for each architecture; or null. */
function headers() {
  const beside = join(dirname(process.execPath), '..', 'include', 'node');
  const packaged = globSync('node_modules/**/node-linux-*/include/node', { cwd: ROOT }).map((path) => join(ROOT, path));
  return [...packaged, beside, '/usr/include/node'].find((path) => existsSync(join(path, 'node_api.h'))) ?? null;
}

/** @returns why it cannot be compiled for that architecture, or null */
function compile(arch) {
  const compiler = arch === process.arch ? (process.env.CXX ?? 'g++') : CROSS[arch];
  if (compiler === undefined) return `it is for ${Object.keys(CROSS).join(' and ')}`;
  const file = values.out ?? join(ROOT, 'dist', 'native', `linux-${arch}`, 'sallyport.node');
  const include = headers();
  if (include === null) return "Node's headers are not here";
  if (spawnSync(compiler, ['--version']).status !== 0) return `there is no C++ compiler for it (${compiler})`;

  const sources = globSync('src/native/*.{cc,h}', { cwd: ROOT }).sort();
  const hash = createHash('sha256').update(
    JSON.stringify([arch, compiler, FLAGS, readFileSync(join(include, 'node_version.h'), 'utf8')]),
  );
  for (const source of sources) hash.update(`${source}\0`).update(readFileSync(join(ROOT, source)));
  const cached = join(ROOT, 'node_modules', '.cache', 'sallyport-native', `${hash.digest('hex')}.node`);

  if (!existsSync(cached)) {
    mkdirSync(dirname(cached), { recursive: true });
    const part = `${cached}.${process.pid}`;
    const inputs = sources.filter((path) => path.endsWith('.cc')).map((path) => join(ROOT, path));
    const compiled = spawnSync(compiler, [...FLAGS, '-I', include, '-o', part, ...inputs], { stdio: 'inherit' });
    // A compiler is here and the sources do not compile: that is a fault of the sources.
    if (compiled.status !== 0) process.exit(1);
    renameSync(part, cached);
  }
  mkdirSync(dirname(file), { recursive: true });
  copyFileSync(cached, file);
  return null;
}

if (values.every) {
  for (const arch of Object.keys(CROSS)) {
    const why = compile(arch);
    if (why === null) continue;
    console.error(
      `the native engine is not built for ${arch}: ${why}. On Debian: apt-get install g++-x86-64-linux-gnu g++-aarch64-linux-gnu`,
    );
    process.exitCode = 1;
  }
} else {
  const why = process.platform === 'linux' ? compile(values.arch) : 'it is for Linux';
  if (why !== null) {
    console.log(`the native engine is not built: ${why}; the JavaScript engine is used`);
    if (values.sanitize || values.arch !== process.arch) process.exitCode = 1;
  }
}
