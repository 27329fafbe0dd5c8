// The packages of others that are in a bundle, by the list of modules that its maker gives, and their licences in one text.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** @typedef {{name: string, version: string, licence: string, folder: string}} Package */

/**
 * @param {string[]} modules paths of the files that are in the bundle
 * @returns {Package[]} in the order of their names
 */
export function packagesOf(modules) {
  const folders = modules.map((path) => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0]);
  return [...new Set(folders)]
    .filter((folder) => folder !== undefined)
    .map((folder) => {
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
