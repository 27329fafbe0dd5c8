// What is built: a bundle that needs nothing beside it, can be read in a stack trace, tells which packages of others it holds, and is the same
// for whoever makes it again, wherever the checkout lies.
import { cpSync, globSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { PROCESSES_MS, run } from '../support/proxy-process.ts';
import { tempDir } from '../support/temp.ts';
import { DEPLOY } from './manifests.ts';

const ROOT = join(DEPLOY, '..');
const DIST = join(ROOT, 'dist');
const bundle = (folder: string): Map<string, string> =>
  new Map(globSync('*.js', { cwd: folder }).map((file) => [file, readFileSync(join(folder, file), 'utf8')]));
const built = bundle(DIST);
/** Without what descriptions of types say. */
const code = [...built.values()].join('\n').replace(/^\s*\*.*$/gm, '');
const inside: { name: string; version: string; licence: string }[] = JSON.parse(
  readFileSync(join(DIST, 'third-party.json'), 'utf8'),
);
const all = (pattern: RegExp): string[] => [...new Set([...code.matchAll(pattern)].map(([, what = '']) => what))];
/** Where a part that comes from one source begins, its path stands in a line of its own. */
const PACKAGE = /^\/\/ node_modules\/((?:@[^/]+\/)?[^/\s]+)\/\S+$/gm;

describe('the bundle', () => {
  it('asks for nothing but Node.js and its own files', () => {
    const wanted = [
      ...all(/^(?:import|export)\b[^"\n]*"([^"\n]+)";$/gm),
      ...all(/\b(?:import|__require)\("([^"\n]+)"\)/g),
    ];
    expect(wanted.length).toBeGreaterThan(100);
    const strangers = wanted.filter((name) => !isBuiltin(name) && !built.has(name.replace(/^\.\//, '')));
    // Only where NODE_PG_FORCE_NATIVE wants it.
    expect(strangers).toEqual(['pg-native']);
    expect(code.match(/\b__require\((?!["'])/g)).toBeNull();
  });

  it('has an entry that an old Node.js can link: it imports once it knows where it runs', () => {
    expect(built.get('main.js')).toMatch(/^#!\/usr\/bin\/env node\n/);
    expect(built.get('main.js')).not.toMatch(/^import\b/m);
  });

  it('has an entry for each thread, below the name that threads are started by', () => {
    const threads = globSync('src/*/*-worker.ts', { cwd: ROOT });
    expect(threads.length).toBeGreaterThan(3);
    const files = threads.map((path) => `${path.slice(4, -3).replace('/', '-')}.js`);
    expect(files.filter((file) => !built.has(file))).toEqual([]);
  });

  it('knows its place in a file of dist/ itself', () => {
    expect([...built.values()].filter((text) => /new URL\([^)]*import\.meta\.url/.test(text))).toHaveLength(1);
    expect(readdirSync(DIST, { withFileTypes: true }).filter((entry) => entry.isDirectory()).length).toBeLessThan(4);
  });

  it('keeps names and says from which source a part comes', () => {
    const sources = all(/^\/\/ (src\/\S+\.ts)$/gm);
    expect(sources).toEqual(expect.arrayContaining(['src/cli/run.ts', 'src/proxy/connect.ts', 'src/config/load.ts']));
    expect(code).toContain('async function loadConfig(');
  });

  it('names the packages of others that are in it, and their licences', () => {
    const found = all(PACKAGE);
    expect(found.length).toBeGreaterThan(20);
    const sources = globSync('src/**/*.{ts,tsx}', { cwd: ROOT }).map((path) => readFileSync(join(ROOT, path), 'utf8'));
    const ours = sources.flatMap((text) => [
      ...text.matchAll(/ from '((?:@[^/']+\/)?[^./:'][^/:']*)(?:\/[^']*)?';$/gm),
    ]);
    const expected = new Set([...found, ...ours.map(([, name = '']) => name)]);
    expect(inside.map(({ name }) => name)).toEqual([...expected].toSorted());
    const text = readFileSync(join(DIST, 'THIRD-PARTY.txt'), 'utf8');
    const lock = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8'));
    for (const { name, version, licence } of inside) {
      expect(text).toContain(`${name} ${version} (${licence})\n`);
      expect([name, lock.packages[`node_modules/${name}`]?.version]).toEqual([name, version]);
    }
  });

  it(
    'is the same when it is made again, from a checkout in another folder',
    async () => {
      const checkout = join(tempDir('checkout'), 'elsewhere');
      mkdirSync(checkout);
      for (const name of ['src', 'scripts', 'package.json', 'tsconfig.json'])
        cpSync(join(ROOT, name), join(checkout, name), { recursive: true });
      for (const { name } of inside)
        cpSync(join(ROOT, 'node_modules', name), join(checkout, 'node_modules', name), { recursive: true });
      symlinkSync(join(ROOT, 'node_modules', 'rolldown'), join(checkout, 'node_modules', 'rolldown'));
      const script = `const { bundle } = await import('./scripts/bundle.mjs'); await bundle(process.cwd(), 'made');`;
      const made = await run([process.execPath, '--input-type=module', '--eval', script], { cwd: checkout });
      expect(made.code, made.stderr).toBe(0);
      expect(bundle(join(checkout, 'made'))).toEqual(built);
    },
    PROCESSES_MS,
  );
});
