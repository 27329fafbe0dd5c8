// `sallyport report`: catches up with the audit log, reads the usage store, shows what it says in one of four formats.
import { Policy } from '../../policy/decide.ts';
import { inert } from '../../report/inert.ts';
import { renderCsv, renderMarkdown } from '../../report/render.ts';
import { renderTable } from '../../report/render-table.ts';
import { buildReport } from '../../report/report.ts';
import { createView } from '../../report/view.ts';
import { projectOnce } from '../../usage/project.ts';
import { openStore } from '../../usage/store.ts';
import { EXIT } from '../args.ts';
import { type Input, moment, usage } from '../input.ts';
import { loadFor } from '../load.ts';
import type { Ui, World } from '../ui.ts';

const SINCE_DEFAULT = '7d';

export async function report(input: Input, ui: Ui, world: World): Promise<number> {
  const now = world.now();
  const from = moment(input.text('since') ?? SINCE_DEFAULT, 'since', now);
  const until = input.text('until');
  const to = until === null ? now : moment(until, 'until', now);
  if (from > to) throw usage('--since lies after --until', 'Exchange the two.');
  const { settings, policy, catalog } = loadFor(input, ui, world, { quiet: true });
  ui.progress(`counting ${settings.audit.file}`);
  await projectOnce({
    auditFile: settings.audit.file,
    store: settings.usage.store,
    limits: settings.limits,
    onProblem: (problem) => ui.note(`sallyport: ${problem.code}: ${inert(problem.message)}`),
  });
  ui.progress('summing up');
  const store = await openStore(settings.usage.store, 'read', settings.limits.usage_store_timeout_ms);
  try {
    const view = createView({ catalog, rules: new Policy(policy).rules(), expectedDenials: settings.expectedDenials });
    const found = await buildReport(store, view, {
      from,
      to,
      pipeline: input.text('pipeline'),
      job: input.text('job'),
    });
    ui.settle();
    const format = ui.json ? 'json' : (input.text('format') ?? 'table');
    if (format === 'json') ui.object(found);
    else if (format === 'csv') ui.raw(renderCsv(found));
    else if (format === 'markdown') ui.raw(renderMarkdown(found));
    else ui.raw(renderTable(found, { width: ui.width, paint: ui.paint }));
    return EXIT.ok;
  } finally {
    await store.close();
  }
}
