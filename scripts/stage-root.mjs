// Puts the product into an empty root folder: Node.js with the libraries that it is linked with, the built program,
// an unprivileged user, and nothing else: no shell, no package manager. The Dockerfile and the test of the image run this one script.
// Run: node scripts/stage-root.mjs FOLDER (after npm ci and npm run build). The same sources give the same bytes: SOURCE_DATE_EPOCH dates them.
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { stageProduct } from './product.mjs';

const [, , root] = process.argv;
if (!root) {
  process.stderr.write('usage: node scripts/stage-root.mjs FOLDER\n');
  process.exit(2);
}
if (existsSync(root) && readdirSync(root).length > 0) {
  process.stderr.write(`${root} is not empty\n`);
  process.exit(1);
}
const APP = join(root, 'opt/sallyport');
/** Nobody else has it: distroless images call it nonroot. */
const USER = 65_532;

function put(path, text) {
  const file = join(root, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text, { mode: 0o644 });
}

// Node.js, and what the loader will look for.
mkdirSync(join(root, 'usr/local/bin'), { recursive: true });
cpSync(realpathSync(process.execPath), join(root, 'usr/local/bin/node'));
const linked = execFileSync('ldd', [realpathSync(process.execPath)], { encoding: 'utf8' });
for (const [, library] of linked.matchAll(/(?:=> |^\s*)(\/\S+)/gm)) {
  mkdirSync(join(root, dirname(library)), { recursive: true });
  cpSync(realpathSync(library), join(root, library));
}

stageProduct(APP);
const { version } = JSON.parse(readFileSync('package.json', 'utf8'));

// What a process expects of a system. Names are looked up in /etc/hosts and DNS by the C library itself.
put(
  'etc/passwd',
  `root:x:0:0:root:/:/nonexistent\nsallyport:x:${USER}:${USER}:sallyport:/var/lib/sallyport:/nonexistent\n`,
);
put('etc/group', `root:x:0:\nsallyport:x:${USER}:\n`);
put('etc/nsswitch.conf', 'passwd: files\ngroup: files\nhosts: files dns\n');
put('etc/os-release', `NAME="Sallyport"\nID=sallyport\nVERSION_ID="${version}"\n`);
for (const folder of ['etc/sallyport', 'var/lib/sallyport', 'tmp', 'proc', 'dev'])
  mkdirSync(join(root, folder), { recursive: true });

const date = Number(process.env.SOURCE_DATE_EPOCH ?? 0);
function dated(path) {
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    const inner = join(path, entry.name);
    if (entry.isDirectory()) dated(inner);
    lutimesSync(inner, date, date);
  }
}
dated(root);
