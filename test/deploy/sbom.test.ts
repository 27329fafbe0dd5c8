// The bill of materials names what we ship and nothing else: every package that the product brings along and those in the dashboard's bundle,
// with version, licence and checksum; no tool of development. Two of the same lock file are the same.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { run } from '../support/proxy-process.ts';
import { DEPLOY } from './manifests.ts';

const ROOT = join(DEPLOY, '..');
interface Component {
  readonly name: string;
  readonly version: string;
  readonly 'bom-ref': string;
  readonly purl: string;
  readonly licenses?: readonly object[];
  readonly hashes?: readonly { readonly alg: string }[];
}
interface Bom {
  readonly bomFormat: string;
  readonly metadata: { readonly component: Component; readonly timestamp?: string };
  readonly components: readonly Component[];
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn: readonly string[] }[];
}

const make = async (date: string): Promise<string> => {
  const env = { SOURCE_DATE_EPOCH: date };
  const { code, stdout, stderr } = await run([process.execPath, 'scripts/sbom.mjs'], { cwd: ROOT, env });
  expect(code, stderr).toBe(0);
  return stdout;
};
let text = '';
let bom: Bom;
beforeAll(async () => {
  text = await make('1700000000');
  bom = JSON.parse(text);
}, 60_000);

const json = (file: string) => JSON.parse(readFileSync(join(ROOT, file), 'utf8'));
const named = (all: readonly { readonly name: string; readonly version: string }[]): string[] =>
  all.map(({ name, version }) => `${name} ${version}`).toSorted();

describe('the bill of materials', () => {
  it('has each package that the product brings along, and what is built into the dashboard', async () => {
    const folders = (await run([process.execPath, 'scripts/third-party.mjs', '--folders'], { cwd: ROOT })).stdout;
    const shipped = [...folders.trim().split('\n'), 'node_modules/preact', 'node_modules/uplot'];
    // What only another system installs is in the lock file and not here.
    const absent = bom.components.filter(({ name }) => !existsSync(join(ROOT, 'node_modules', name)));
    expect(absent).toEqual([]);
    expect(named(bom.components)).toEqual(named(shipped.map((folder) => json(`${folder}/package.json`))));
    const { dependencies } = json('package.json') as { dependencies: Record<string, string> };
    expect(named(bom.components)).toEqual(
      expect.arrayContaining(Object.entries(dependencies).map((one) => one.join(' '))),
    );
  });

  it('has no tool of development', () => {
    const { devDependencies } = json('package.json') as { devDependencies: Record<string, string> };
    const tools = Object.keys(devDependencies).filter((name) => name !== 'preact' && name !== 'uplot');
    expect(tools.length).toBeGreaterThan(10);
    expect(bom.components.filter(({ name }) => tools.includes(name))).toEqual([]);
  });

  it('says of each its licence, its address and its checksum, and who needs whom', () => {
    expect([bom.bomFormat, bom.metadata.component.purl]).toEqual([
      'CycloneDX',
      `pkg:npm/sallyport@${json('package.json').version}`,
    ]);
    for (const { name, version, licenses = [], hashes = [], purl } of bom.components) {
      expect([name, licenses.length, hashes[0]?.alg]).toEqual([name, 1, 'SHA-512']);
      expect(purl).toBe(`pkg:npm/${name.replace('@', '%40')}@${version}`);
    }
    const refs = new Set([bom.metadata.component, ...bom.components].map((one) => one['bom-ref']));
    const edges = bom.dependencies.flatMap(({ ref, dependsOn }) => [ref, ...dependsOn]);
    expect(edges.filter((ref) => !refs.has(ref))).toEqual([]);
    expect(edges.length).toBeGreaterThan(refs.size);
  });

  it('is the same for the same sources', async () => {
    expect(await make('1700000000')).toBe(text);
    expect(bom.metadata.timestamp).toBe('2023-11-14T22:13:20.000Z');
  });
});
