// Copies the product into a folder: the files that the package has, its packages of others (none that only builds need) and their licences.
// What the image and the single file have in common; imported by stage-root.mjs and single-file.mjs.
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { thirdPartyPackages, thirdPartyText } from './third-party.mjs';

/** Sources, declarations and source maps are for those who compile. */
const filter = (file) => !/\.(?:[cm]?ts|map|tsbuildinfo)$/.test(file);

/** @param {string} folder which is made */
export function stageProduct(folder) {
  const { files } = JSON.parse(readFileSync('package.json', 'utf8'));
  mkdirSync(folder, { recursive: true });
  for (const file of ['package.json', ...files]) cpSync(file, join(folder, file), { recursive: true });
  const packages = thirdPartyPackages();
  for (const one of packages)
    cpSync(one.folder, join(folder, one.folder), { recursive: true, dereference: true, filter });
  writeFileSync(join(folder, 'THIRD-PARTY.txt'), thirdPartyText(packages), { mode: 0o644 });
}
