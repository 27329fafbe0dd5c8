// Usage stores with damaged bytes: whoever opens, reads or fills one gets an answer or a SallyportError, never a hang; and what
// `usage rebuild` makes of the log beside it is whole again.
import fs from 'node:fs';
import { expect } from 'vitest';
import { loadCatalog } from '../../src/catalog/load.ts';
import { SallyportError } from '../../src/errors.ts';
import { buildReport } from '../../src/report/report.ts';
import { createView } from '../../src/report/view.ts';
import { projectOnce } from '../../src/usage/project-once.ts';
import { rebuildStore } from '../../src/usage/rebuild.ts';
import { openStore } from '../../src/usage/store.ts';
import fc from '../support/property.ts';
import { NOON, ScratchUsage, sumsOf } from '../support/usage.ts';
import { fuzz } from './budget.ts';
import { damaged, edits } from './mutate.ts';

const PIECES = [
  '\0',
  '\xff',
  '\x01',
  '\x7f',
  '\xff\xff\xff\xff',
  '\0\0\0\0',
  'github.com',
  'schema_version',
  '\x06\x7f\xff\xff\xff\xff\xff\xff',
  '\x07\xff\xf0\0\0\0\0\0\0',
];

interface Harm {
  readonly file: '' | '-wal';
  readonly list: Parameters<typeof damaged>[1];
  readonly keep: number;
}

/** True where it worked; a SallyportError is an answer too. */
async function answers(act: () => Promise<unknown>): Promise<boolean> {
  try {
    await act();
    return true;
  } catch (error) {
    if (!(error instanceof SallyportError)) throw error;
    expect(['store-damaged', 'store-unreadable']).toContain(error.code);
    return false;
  }
}

fuzz('store', 10, async ({ check, whole }) => {
  const world = new ScratchUsage();
  world.write(20);
  await projectOnce(world.options());
  const sound = fs.readFileSync(world.store);
  // A write-ahead log as a kill leaves it: taken while a reader keeps it from being merged.
  const reader = openStore(world.store, 'read');
  await reader.db.selectFrom('meta').selectAll().execute();
  world.write(20, 'later.example');
  await projectOnce(world.options());
  const ahead = fs.readFileSync(`${world.store}-wal`);
  await reader.close();
  world.log.close();
  const log = fs.readFileSync(world.file);
  const view = createView({ catalog: loadCatalog(), rules: [].values(), expectedDenials: [] });
  const window = { from: NOON().getTime() - 3_600_000, to: NOON().getTime() + 3_600_000, pipeline: null, job: null };
  const harm = fc.record<Harm>({
    file: fc.constantFrom('', '-wal'),
    list: edits(PIECES, 4).map((list) =>
      list.map((edit) => ({ ...edit, kind: edit.kind === 'delete' ? edit.kind : 'replace' })),
    ),
    keep: fc.oneof(
      { weight: 3, arbitrary: fc.constant(1) },
      { weight: 1, arbitrary: fc.double({ min: 0, max: 1, noNaN: true }) },
    ),
  });
  const met = { worked: 0, refused: 0 };
  await check(
    fc.asyncProperty(fc.array(harm, { minLength: 1, maxLength: 2 }), async (harms) => {
      for (const name of fs.readdirSync(world.directory)) fs.rmSync(`${world.directory}/${name}`, { recursive: true });
      fs.writeFileSync(world.file, log);
      const files: Record<Harm['file'], Uint8Array> = { '': sound, '-wal': ahead };
      for (const { file, list, keep } of harms) {
        const bytes = damaged(Buffer.from(files[file]), list);
        files[file] = bytes.subarray(0, Math.floor(keep * bytes.length));
      }
      for (const [suffix, bytes] of Object.entries(files)) fs.writeFileSync(world.store + suffix, bytes);
      const read = await answers(async () => {
        const store = openStore(world.store, 'read');
        try {
          const report = await buildReport(store, view, window);
          JSON.stringify(report);
        } finally {
          await store.close();
        }
      });
      const filled = await answers(() => projectOnce(world.options({ batchLines: 10 })));
      met[read && filled ? 'worked' : 'refused'] += 1;
      const { limits, auditFile, onProblem } = world.options();
      await rebuildStore({ store: world.store, auditFile, limits, now: NOON, onProblem });
      expect(await world.sums()).toMatchObject(sumsOf(40));
    }),
  );
  if (whole)
    expect(
      Object.values(met).every((count) => count > 0),
      JSON.stringify(met),
    ).toBe(true);
});
