// The package as npm hands it out: packed, installed somewhere else without a registry, and run from an empty folder.
import { mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Finished, PROCESSES_MS, run } from '../support/proxy-process.ts';
import { tempDir } from '../support/temp.ts';

const ROOT = join(import.meta.dirname, '..', '..');
let installed = '';
let empty = '';

async function ok(command: readonly string[], cwd: string): Promise<string> {
  const { code, stdout, stderr } = await run(command, { cwd });
  expect(code, stderr).toBe(0);
  return stdout;
}

beforeAll(async () => {
  const dir = tempDir('package');
  empty = join(dir, 'empty');
  installed = join(dir, 'lib', 'node_modules', 'sallyport');
  mkdirSync(empty);
  const packed = await ok(['npm', 'pack', '--ignore-scripts', '--silent', '--pack-destination', dir], ROOT);
  // Nothing of others is looked up at an installation: npm does it with no cache and no network.
  const quiet = ['--offline', '--cache', join(dir, 'cache'), '--no-audit', '--no-fund', '--silent'];
  await ok(['npm', 'install', '--global', '--prefix', dir, ...quiet, join(dir, packed.trim())], empty);
}, PROCESSES_MS);

const sallyport = (...args: string[]): Promise<Finished> =>
  run([process.execPath, join(installed, 'dist', 'main.js'), ...args], { cwd: empty });
const manifest = (): Record<string, unknown> => JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'));

describe('the package', { timeout: PROCESSES_MS }, () => {
  it('has what it needs and nothing that is for development', () => {
    expect(readdirSync(installed).toSorted()).toEqual(
      ['CHANGELOG.md', 'LICENSE', 'README.md', 'SECURITY.md', 'config', 'dist', 'docs', 'package.json'].toSorted(),
    );
    const files = readdirSync(join(installed, 'dist'), { recursive: true, encoding: 'utf8' });
    expect(files.filter((file) => /\.(?:ts|tsbuildinfo)$|test/.test(file))).toEqual([]);
    expect(statSync(join(installed, 'dist', 'main.js')).mode & 0o111).toBe(0o111);
    expect(files).toContain(join('man', 'sallyport.1'));
    const wanted = ['dependencies', 'optionalDependencies', 'peerDependencies', 'bundleDependencies'];
    expect(wanted.filter((key) => key in manifest())).toEqual([]);
  });

  it('is in order, as publint sees it', async () => {
    const { stdout, stderr, code } = await run([join(ROOT, 'node_modules', '.bin', 'publint'), '--strict', installed], {
      cwd: empty,
    });
    expect(code, stdout + stderr).toBe(0);
  });

  it('runs from an empty folder: a policy is written, checked, explained, and its threads load', async () => {
    expect((await sallyport('--version')).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
    expect(await sallyport('init', 'sallyport.yaml')).toMatchObject({ code: 0, stderr: '' });
    expect((await sallyport('check', '--config', 'sallyport.yaml')).code).toBe(0);
    const denied = await sallyport('explain', 'pastebin.example', '--config', 'sallyport.yaml');
    expect(denied.stdout).toContain('host-not-allowed');
    // The store, the projection and the report.
    const report = await sallyport('report', '--config', 'sallyport.yaml', '--json');
    expect(report.stdout).toContain('"totals"');
  });
});
