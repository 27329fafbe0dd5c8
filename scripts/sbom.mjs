// The bill of materials of what we ship, as CycloneDX: npm's own, over the packages of others that the bundles hold, as the build has written them
// down (dist/third-party.json). They are development dependencies, which npm leaves out or gives all of, so it is asked about a project that has
// those alone. The same lock file gives the same text. Run: node scripts/sbom.mjs > sbom.cdx.json (after npm run build)
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const json = (file) => JSON.parse(readFileSync(file, 'utf8'));

/** The manifest and its lock file with what is in the product alone. */
function shipped() {
  const inside = new Map(json('dist/third-party.json').map(({ name, version }) => [name, version]));
  const only = (dependencies = {}) =>
    Object.fromEntries(Object.entries(dependencies).filter(([name]) => inside.has(name)));
  const { devDependencies, scripts: _, ...manifest } = json('package.json');
  const { packages: all, ...lock } = json('package-lock.json');
  const { devDependencies: __, ...root } = all[''];
  const dependencies = only(devDependencies);
  const packages = { '': { ...root, dependencies } };
  for (const [name, version] of inside) {
    const folder = `node_modules/${name}`;
    if (all[folder]?.version !== version)
      throw new Error(`${name} ${version} is in dist/ and not in the lock file: build first`);
    const { dev: _, devOptional: __, optional: ___, peerDependencies: ____, ...one } = all[folder];
    packages[folder] = {
      ...one,
      dependencies: only({ ...one.dependencies, ...one.optionalDependencies }),
      optionalDependencies: {},
    };
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
