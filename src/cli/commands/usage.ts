// `sallyport usage rebuild`: makes the usage store anew from the audit log, which is the truth. The work is in usage/rebuild.ts.
import { showStore } from '../../config/store-place.ts';
import { inert } from '../../report/inert.ts';
import { rebuildStore } from '../../usage/rebuild.ts';
import { EXIT } from '../args.ts';
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
    onProblem: (problem) => ui.note(`sallyport: ${problem.code}: ${inert(problem.message)}`),
  });
  ui.settle();
  const store = showStore(settings.usage.store);
  if (ui.json) ui.object({ store, audit: settings.audit.file, ...done });
  else {
    ui.line(`${inert(store)} is made anew from ${done.lines} lines of ${inert(settings.audit.file)}`);
    if (done.aside !== null) ui.line(`  the old store is now ${inert(done.aside)}`);
  }
  return EXIT.ok;
}
