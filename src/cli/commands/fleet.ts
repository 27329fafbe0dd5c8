// `sallyport fleet`: which proxies share the usage store, which policy each has in force, whether it is the same for all, and how far each
// has counted.
import { inert } from '../../report/inert.ts';
import { textTable } from '../../report/text-table.ts';
import { listInstances, SEEN_MS } from '../../usage/instances.ts';
import { openStore } from '../../usage/store.ts';
import { EXIT } from '../args.ts';
import type { Input } from '../input.ts';
import { loadFor } from '../load.ts';
import type { Ui, World } from '../ui.ts';

/** A process that has been silent for so long is not among the living: it says something more often. */
const SILENT_MS = 4 * SEEN_MS;

export async function fleet(input: Input, ui: Ui, world: World): Promise<number> {
  const { settings } = loadFor(input, ui, world, { quiet: true });
  const store = await openStore(settings.usage.store, 'read', settings.limits.usage_store_timeout_ms);
  try {
    const now = world.now();
    const rows = (await listInstances(store)).map(({ since, seen, ...said }) => ({
      ...said,
      since: new Date(since).toISOString(),
      seen: new Date(seen).toISOString(),
      lives: now - seen < SILENT_MS,
    }));
    const living = rows.filter(({ lives }) => lives);
    const same = new Set(living.map(({ policy, mode }) => `${policy} ${mode}`)).size <= 1;
    if (ui.json) ui.object({ same, nodes: rows });
    else {
      const cells = rows.map((row) => [
        ...[`${row.name} (${row.host})`, row.lives ? 'lives' : 'silent', row.policy, row.mode, row.source],
        ...[row.since, String(row.grants), String(row.layers_broken), `${row.lag} B`, row.version],
      ]);
      const heads = ['node', '', 'policy', 'mode', 'source', 'since', 'grants', 'broken layers', 'lag', 'version'];
      if (rows.length > 0)
        ui.raw(
          textTable(
            heads,
            cells.map((row) => row.map(inert)),
            { width: ui.width, right: [6, 7, 8] },
          ),
        );
      ui.line(
        same
          ? `${living.length} ${living.length === 1 ? 'node' : 'nodes'} with one policy`
          : ui.paint('yellow', 'the nodes do not have the same policy'),
      );
    }
    return same ? EXIT.ok : EXIT.changed;
  } finally {
    await store.close();
  }
}
