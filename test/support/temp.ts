// Scratch folders of a test run, and the policy files written into them. Everything is below the system's temp folder.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { stringify } from 'yaml';

const dirs: string[] = [];
process.once('exit', () => {
  for (const dir of dirs) rmSync(dir, { recursive: true, force: true });
});

/** A fresh folder, removed when this process ends. */
export function tempDir(name: string): string {
  const dir = mkdtempSync(join(tmpdir(), `sallyport-${name}-`));
  dirs.push(dir);
  return dir;
}

/** Writes a file and the folders above it; gives its path back. */
export function writeFile(path: string, text: string, mode = 0o644): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text, { mode });
  return path;
}

export type PolicyFile = Readonly<Record<string, unknown>>;

// One engine for every proxy that a test starts: what `npm test` runs on the default one can be run on the other.
const ENGINE = process.env['SALLYPORT_ENGINE'];

/** Writes a policy file as YAML, as an operator would have it. */
export function writePolicy(path: string, policy: PolicyFile): string {
  return writeFile(path, stringify(ENGINE && 'listen' in policy ? { engine: ENGINE, ...policy } : policy));
}
