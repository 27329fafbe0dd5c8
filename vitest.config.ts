import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: 'test/support/run-folder.ts',
    // Child processes and real sockets: forks keep descriptors and signals apart between files.
    pool: 'forks',
    // Most of a file's time is waiting (processes that start, deadlines that pass), so more of them run than there are processors.
    maxWorkers: Math.max(3, availableParallelism() - 1),
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
