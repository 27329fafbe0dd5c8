// `sallyport usage rebuild|export|import`: makes the usage store anew from the audit log, which is the truth, and carries counts
// from store to store. The work is in usage/.
import { showStore } from '../../config/store-place.ts';
import { inert } from '../../report/inert.ts';
import { exportUsage } from '../../usage/export.ts';
import { type Imported, importUsage } from '../../usage/import.ts';
import { rebuildStore } from '../../usage/rebuild.ts';
import { openStore } from '../../usage/store.ts';
import { EXIT } from '../args.ts';
import { openCountedStore, problemTeller } from '../counted-store.ts';
import type { Input } from '../input.ts';
import { loadFor } from '../load.ts';
import type { Ui, World } from '../ui.ts';

export async function usageRebuild(input: Input, ui: Ui, world: World): Promise<number> {
  const { settings } = loadFor(input, ui, world, { quiet: true });
  ui.progress(`reading ${settings.audit.file}`);
  const done = await rebuildStore({
    store: settings.usage.store,
    auditFile: settings.audit.file,
    limits: settings.limits,
    now: () => new Date(world.now()),
    onProblem: problemTeller(ui),
  });
  ui.settle();
  const store = showStore(settings.usage.store);
  if (ui.json) ui.object({ store, audit: settings.audit.file, ...done });
  else {
    ui.line(`${inert(store)} is made anew from ${done.lines} lines of ${inert(settings.audit.file)}`);
    if (done.aside !== null) ui.line(`  the old store is now ${inert(done.aside)}`);
    if (done.flows === null) ui.line('  what `import flows` took could not be read there: import those logs again');
    if (done.aside !== null && done.grants === null) ui.line('  its grants could not be read: they are gone');
  }
  return EXIT.ok;
}

export async function usageExport(input: Input, ui: Ui, world: World): Promise<number> {
  const { settings } = loadFor(input, ui, world, { quiet: true });
  const file = input.argument(0) ?? '';
  const store = await openCountedStore(settings, ui);
  try {
    ui.progress(`writing ${file}`);
    const done = await exportUsage(store, file, new Date(world.now()));
    ui.settle();
    if (ui.json) ui.object({ file, ...done });
    else ui.line(`${inert(file)} has ${done.rows} rows of ${done.logs} logs`);
    return EXIT.ok;
  } finally {
    await store.close();
  }
}

export async function usageImport(input: Input, ui: Ui, world: World): Promise<number> {
  const { settings } = loadFor(input, ui, world, { quiet: true });
  const store = await openStore(settings.usage.store, 'write', settings.limits.usage_store_timeout_ms);
  const files: Imported[] = [];
  try {
    for (const file of input.arguments(0)) {
      ui.progress(`reading ${file}`);
      const done = await importUsage(store, file);
      files.push(done);
      ui.settle();
      const known = done.known > 0 ? `; ${done.known} logs were known` : '';
      if (!ui.json) ui.line(`${inert(file)}: ${done.rows} rows of ${done.taken} logs taken${known}`);
    }
    if (ui.json) ui.object({ store: showStore(settings.usage.store), files });
    return EXIT.ok;
  } finally {
    await store.close();
  }
}
