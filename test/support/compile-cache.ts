// Vitest's global setup: every process of a run (its own forks, and the hundreds of commands that tests start) finds compiled what another
// one has compiled. The folder is the run's own, unless who started it has one that lasts longer.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const VARIABLE = 'NODE_COMPILE_CACHE';

/** Makes the folder; what it gives back takes the folder away after the last test. */
export default function shareCompiledCode(): (() => void) | undefined {
  if (process.env[VARIABLE]) return undefined;
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-compile-cache-'));
  process.env[VARIABLE] = folder;
  return () => rmSync(folder, { recursive: true, force: true });
}
