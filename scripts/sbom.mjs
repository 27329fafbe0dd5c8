// The bill of materials of what we ship, as CycloneDX: npm's own, over the packages of the product and those that are built into the dashboard.
// `npm sbom --omit dev` in the checkout leaves out what a development tool needs as well (zod and yaml, say), so npm is asked about a project
// that has the product's packages alone. The same lock file gives the same text. Run: node scripts/sbom.mjs > sbom.cdx.json
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BUNDLED } from './third-party.mjs';

const json = (file) => JSON.parse(readFileSync(file, 'utf8'));

/** The manifest and its lock file without what is for development only. */
function shipped() {
  const { devDependencies, scripts: _, ...manifest } = json('package.json');
  const lock = json('package-lock.json');
  const dependencies = { ...manifest.dependencies };
  for (const name of BUNDLED) dependencies[name] = devDependencies[name];
  const { devDependencies: __, ...root } = lock.packages[''];
  const packages = { '': { ...root, dependencies } };
  for (const [folder, { dev, devOptional, ...one }] of Object.entries(lock.packages)) {
    const isBundled = BUNDLED.some((name) => folder === `node_modules/${name}`);
    if (folder !== '' && ((!dev && !devOptional) || isBundled)) packages[folder] = one;
  }
  return { manifest: { ...manifest, dependencies }, lock: { ...lock, packages } };
}

/** npm puts the time and a random number in: here the date of the sources, and a number made of the text. */
function fixed(bom) {
  const { timestamp: _, ...metadata } = bom.metadata;
  const date = process.env.SOURCE_DATE_EPOCH;
  if (date) metadata.timestamp = new Date(Number(date) * 1000).toISOString();
  const { serialNumber: __, ...rest } = { ...bom, metadata };
  const hex = createHash('sha256').update(JSON.stringify(rest)).digest('hex');
  const uuid = `${hex.slice(0, 8)}-${hex.slice(8, 12)}-5${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
  return { ...rest, serialNumber: `urn:uuid:${uuid}` };
}

const folder = mkdtempSync(join(tmpdir(), 'sallyport-sbom-'));
try {
  // npm names the project after its folder.
  const project = join(folder, 'sallyport');
  mkdirSync(project);
  const { manifest, lock } = shipped();
  writeFileSync(join(project, 'package.json'), JSON.stringify(manifest));
  writeFileSync(join(project, 'package-lock.json'), JSON.stringify(lock));
  const args = ['sbom', '--package-lock-only', '--sbom-format', 'cyclonedx', '--sbom-type', 'application', '--offline'];
  const text = execFileSync('npm', args, { cwd: project, encoding: 'utf8', maxBuffer: 1 << 26 });
  process.stdout.write(`${JSON.stringify(fixed(JSON.parse(text)), null, 2)}\n`);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
