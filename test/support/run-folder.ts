// Vitest's global setup: a folder for what the files of one run share. The code that one of its processes has compiled (its own forks, and the
// hundreds of commands that tests start) is there for the others, unless who started the run has a place for it that lasts longer.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const FOLDER = 'TEST_RUN_FOLDER';
const COMPILED = 'NODE_COMPILE_CACHE';

/** That folder, for tests. */
export function runFolder(): string {
  const folder = process.env[FOLDER];
  if (folder === undefined) throw new Error('vitest.config.ts sets the folder of a run up');
  return folder;
}

/** Makes the folder; what it gives back takes the folder away after the last test. */
export default function makeRunFolder(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-run-'));
  process.env[FOLDER] = folder;
  process.env[COMPILED] ||= join(folder, 'compiled');
  return () => rmSync(folder, { recursive: true, force: true });
}
