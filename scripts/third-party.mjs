// The packages of others that the product brings along, by the lock file, and their licences in one text. Imported by stage-root.mjs;
// by itself it prints the text: node scripts/third-party.mjs [--folders: where they are instead]
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Built into the dashboard, so nowhere else in the product. */
export const BUNDLED = ['preact', 'uplot'];

/** @returns {{name: string, version: string, licence: string, folder: string}[]} in the order of their names */
export function thirdPartyPackages() {
  const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8'));
  return Object.entries(packages)
    .filter(([folder, { dev, devOptional }]) => folder !== '' && !dev && !devOptional && existsSync(folder))
    .map(([folder]) => {
      const { name, version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
      if (!license) throw new Error(`${name} names no licence`);
      return { name, version, licence: license, folder };
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Name, version and licence text of each; a package without a text is named with the licence that it states. */
export function thirdPartyText(packages) {
  const parts = packages.map(({ name, version, licence, folder }) => {
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    const text =
      file === undefined
        ? `Licence: ${licence} (the package has no text of it)`
        : readFileSync(join(folder, file), 'utf8').trim();
    return `${name} ${version} (${licence})\n\n${text}\n`;
  });
  return parts.join(`\n${'-'.repeat(78)}\n\n`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const packages = thirdPartyPackages();
  const folders = packages.map(({ folder }) => `${folder}\n`).join('');
  process.stdout.write(process.argv[2] === '--folders' ? folders : thirdPartyText(packages));
}
