// What is said of a release and of dependencies is so: scripts that pages name are there, every dependency has its reason, versions are exact.
import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { COMMANDS } from '../../src/cli/args.ts';
import { DEPLOY } from './manifests.ts';

const ROOT = join(DEPLOY, '..');
const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');
interface Manifest {
  readonly scripts: Readonly<Record<string, string>>;
  readonly engines: { readonly node: string };
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
}
const product: Manifest = JSON.parse(read('package.json'));
const programs: Manifest = JSON.parse(read('test/programs/package.json'));
const all = { ...product.devDependencies, ...programs.dependencies };
/** The packages of others in what is built; most are there since one of ours needs them. */
const inside = new Set((JSON.parse(read('dist/third-party.json')) as { name: string }[]).map(({ name }) => name));

describe('docs/dependencies.md', () => {
  const rows = [...read('docs/dependencies.md').matchAll(/^\| ([^|]+) \| ([^|]+) \|(.*)\|$/gm)]
    .map(([, names = '', what = '', rest = '']) => ({ names: names.trim().split(', '), what, cells: rest.split('|') }))
    .filter(({ names: [first = ''] }) => !/^(?:package|-+|candidate|http-proxy.*)$/.test(first));

  it('has one row for each dependency, and none for what is not there', () => {
    expect(rows.flatMap(({ names }) => names).toSorted()).toEqual(Object.keys(all).toSorted());
  });

  it('has those that ship, as the build has found them, in a table of their own', () => {
    const [, table = ''] = /^## What ships\n(.*?)^## /ms.exec(read('docs/dependencies.md')) ?? [];
    const ships = rows.filter(({ names: [first = ''] }) => inside.has(first)).flatMap(({ names }) => names);
    expect([...table.matchAll(/^\| (?!package|-)([^|]+) \|/gm)].map(([, name]) => name)).toEqual(ships);
  });

  it('says of each that ships what for, why, and what else was looked at', () => {
    for (const { names, what, cells } of rows.filter(({ names: [first = ''] }) => inside.has(first))) {
      expect(cells).toHaveLength(2);
      expect([names, [what, ...cells].every((cell) => cell.trim().length > 3)]).toEqual([names, true]);
    }
  });
});

it('versions are exact', () => {
  expect(Object.entries(all).filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([]);
});

describe('the pages', () => {
  const pages = ['README.md', 'CONTRIBUTING.md', 'SECURITY.md', ...globSync('docs/*.md', { cwd: ROOT })];

  it.each(pages)('%s names scripts that there are', (page) => {
    const named = [...read(page).matchAll(/\bnpm run (?:--silent )?([a-z][a-z-]*)/g)].map(([, name = '']) => name);
    expect(named.filter((name) => !(name in product.scripts))).toEqual([]);
    const files = [...read(page).matchAll(/\bnode (scripts\/[\w.-]+)/g)].map(([, file = '']) => file);
    expect(files.filter((file) => !existsSync(join(ROOT, file)))).toEqual([]);
  });

  it('name the versions of Node.js that the package names', () => {
    const oldest = [...product.engines.node.matchAll(/\d+\.\d+/g)].map(([version]) => version);
    expect(oldest).toHaveLength(3);
    for (const page of ['README.md', 'docs/releases.md'])
      expect(oldest.filter((version) => !read(page).includes(version))).toEqual([]);
    expect(read('CONTRIBUTING.md')).toContain(oldest[0]);
  });

  it('name the one that both entries start with', () => {
    const [, major, minor] = /const MINIMUM = \[(\d+), (\d+)\]/.exec(read('src/main.ts')) ?? [];
    expect(read('docs/releases.md')).toContain(`${major}.${minor} on the program starts`);
    expect(read('scripts/single-file-start.mjs')).toContain(
      `major < ${major} || (major === ${major} && minor < ${minor})`,
    );
  });

  it('README.md names every command', () => {
    const table = read('README.md');
    expect(COMMANDS.map(({ name }) => name).filter((name) => !new RegExp(`\`${name}[ \`]`).test(table))).toEqual([]);
  });
});
