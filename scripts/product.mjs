// Copies the product into a folder: the files that the package has. What the image and the single file have in common; imported by
// stage-root.mjs and single-file.mjs.
import { cpSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** @param {string} folder which is made */
export function stageProduct(folder) {
  const { files } = JSON.parse(readFileSync('package.json', 'utf8'));
  mkdirSync(folder, { recursive: true });
  for (const file of ['package.json', ...files]) cpSync(file, join(folder, file), { recursive: true });
}
