import { globSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { configDefaults, defineConfig } from 'vitest/config';

// In these folders a test does its work in the test's own process and leaves nothing there: file after file runs in one process, which loads
// and compiles the modules once. Which files meet in it is chance; test/house.test.ts holds what they must not do.
const TOGETHER = 'admin,audit,catalog,cli,config,identity,inspect,net,policy,proxy,report,usage';
// But these measure the process, its descriptors and its memory, or change its environment.
const APART = new Set([
  'test/audit/rotate.test.ts',
  'test/config/load.test.ts',
  'test/proxy/engine-ends.test.ts',
  'test/proxy/engine-sweep.test.ts',
  'test/proxy/engine.test.ts',
  'test/proxy/forward-js.test.ts',
  'test/proxy/forward-order.test.ts',
  'test/proxy/inspected-http2.test.ts',
  'test/proxy/upgrade.test.ts',
  'test/proxy/walk.test.ts',
  'test/report/overflow.test.ts',
  'test/usage/postgres-tls.test.ts',
]);

const files = globSync(`test/{${TOGETHER}}/**/*.test.ts`, { cwd: import.meta.dirname });
export const together = files.filter((file) => !APART.has(file)).sort();

const SOAK = 'test/soak/*.test.ts';

const project = (name: string, isolate: boolean, include: string[], exclude: string[] = []) => ({
  test: {
    name,
    isolate,
    include,
    exclude: [...configDefaults.exclude, ...exclude],
    // Child processes and real sockets: forks keep descriptors and signals apart between files.
    pool: 'forks' as const,
    // What computes for two seconds takes thirty where twenty others compute.
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});

export default defineConfig({
  test: {
    globalSetup: 'test/support/run-folder.ts',
    // Most of a file's time is waiting (processes that start, deadlines that pass), so more of them run than there are processors.
    maxWorkers: Math.max(3, availableParallelism() - 1),
    // One after another in the order of their names: what starts processes takes the longest, and begins.
    projects: [
      project('apart', true, ['test/**/*.test.ts'], [SOAK, ...together]),
      project('soak', true, [SOAK]),
      project('together', false, together),
    ],
  },
});
