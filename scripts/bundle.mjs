// Bundles src/ and the packages that it uses into a few files: what runs is what the lock file says, and it is read at once. Imported by build.mjs.
// All files lie in the folder itself, which src/places.ts counts on. Names stay and nothing is minified, so that a stack trace can be read:
// what comes from one source begins with its path, in a line of its own.
import { chmodSync, globSync } from 'node:fs';
import { join } from 'node:path';
import { rolldown } from 'rolldown';
import { packagesOf } from './third-party.mjs';

/** pg looks for it where NODE_PG_FORCE_NATIVE tells it to, and does without. */
const ABSENT = ['pg-native'];

/** The entries by their names in the bundle: the program, and what threads start with. */
function entries(root) {
  const threads = globSync('src/*/*-worker.ts', { cwd: root }).sort();
  const named = threads.map((path) => [path.slice('src/'.length, -'.ts'.length).replace('/', '-'), join(root, path)]);
  return { main: join(root, 'src', 'main.ts'), ...Object.fromEntries(named) };
}

/**
 * @param {string} root the checkout
 * @param {string} folder which gets the files
 * @returns {Promise<import('./third-party.mjs').Package[]>} the packages of others that are in it
 */
export async function bundle(root, folder) {
  const bundled = await rolldown({
    cwd: root,
    input: entries(root),
    platform: 'node',
    external: ABSENT,
    transform: { target: 'node22.14' },
    // What it warns of would be looked for on the user's machine, or be missing there.
    onLog: (level, { message }) => {
      if (level === 'warn') throw new Error(message);
    },
    // Where a machine is busy it is slow, and that is no fault of the sources.
    checks: { bundlerTimings: false },
  });
  const { output } = await bundled.write({
    dir: folder,
    format: 'esm',
    entryFileNames: '[name].js',
    // A process that outlives an installation of the next version finds its own parts or none, never the new one's.
    chunkFileNames: '[name]-[hash].js',
  });
  await bundled.close();
  chmodSync(join(folder, 'main.js'), 0o755);
  return packagesOf(output.flatMap((one) => (one.type === 'chunk' ? one.moduleIds : [])));
}
