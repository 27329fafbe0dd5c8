// The bill of materials names what we ship and nothing else: every package of others that is in the program's bundle or the dashboard's, with
// version, licence and checksum; no tool of development. Two of the same lock file are the same.
import { readFileSync } from 'node:fs';
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
  it('has each package that is in a bundle, and no tool of development', () => {
    expect(named(bom.components)).toEqual(named(json('dist/third-party.json')));
    const names = bom.components.map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(['pino', 'pg-protocol', 'zod', 'preact', 'uplot']));
    expect(names.filter((name) => /^(?:@types\/|vite|rolldown|typescript|node$)/.test(name))).toEqual([]);
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
