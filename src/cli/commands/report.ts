// `sallyport report`: catches up with the audit log, reads the usage store, shows what it says. With --log it counts the named
// logs into a store in memory instead. With --fail-on it is a check: the exit code says whether something was found.
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { listHistory } from '../../audit/history.ts';
import { findConfigFile } from '../../config/load.ts';
import { type LoadedHere, loadConfigHere } from '../../config/load-here.ts';
import { SallyportError } from '../../errors.ts';
import { Policy } from '../../policy/decide.ts';
import { DIMENSIONS } from '../../report/dimension.ts';
import { FAIL_ON, type FailOn, type Finding, findingsOf } from '../../report/findings.ts';
import { inert } from '../../report/inert.ts';
import { renderCsv } from '../../report/render-csv.ts';
import { renderHtml } from '../../report/render-html.ts';
import { renderMarkdown } from '../../report/render-markdown.ts';
import { renderTable } from '../../report/render-table.ts';
import { buildReport, type Report } from '../../report/report.ts';
import { createView } from '../../report/view.ts';
import { EXIT } from '../args.ts';
import { openCountedStore, openLogs } from '../counted-store.ts';
import { type Input, usage } from '../input.ts';
import { loadFor } from '../load.ts';
import type { Ui, World } from '../ui.ts';
import { windowOf } from '../window.ts';

const SINCE_DEFAULT = '7d';

export async function report(input: Input, ui: Ui, world: World): Promise<number> {
  const window = windowOf(input, world.now(), SINCE_DEFAULT);
  const kinds = failOn(input.text('fail-on'));
  const logs = [...new Set(input.list('log').map((file) => resolve(file)))];
  const loaded = logs.length > 0 ? loadWithLogs(input, world) : loadFor(input, ui, world, { quiet: true });
  await requireLogs(logs, ui);
  const { settings, policy, catalog } = loaded;
  const store = logs.length > 0 ? await openLogs(logs, settings.limits, ui) : await openCountedStore(settings, ui);
  try {
    ui.progress('summing up');
    const view = createView({ catalog, rules: new Policy(policy).rules(), expectedDenials: settings.expectedDenials });
    const filter = { ...window, pipeline: input.text('pipeline'), job: input.text('job') };
    const by = DIMENSIONS.find((name) => name === input.text('by')) ?? null;
    const format = ui.json ? 'json' : (input.text('format') ?? 'table');
    const found = await buildReport(store, view, filter, { by, timeline: format === 'json' || format === 'html' });
    const findings = findingsOf(found, kinds);
    ui.settle();
    show(found, findings, format, ui);
    return findings.length > 0 ? EXIT.changed : EXIT.ok;
  } finally {
    await store.close();
  }
}

function show(found: Report, findings: readonly Finding[], format: string, ui: Ui): void {
  if (format === 'json') ui.object({ ...found, findings });
  else if (format === 'csv') ui.raw(renderCsv(found));
  else if (format === 'markdown') ui.raw(renderMarkdown(found));
  else if (format === 'html') ui.raw(renderHtml(found));
  else ui.raw(renderTable(found, { width: ui.width, paint: ui.paint }));
  if (format !== 'json') for (const { kind, message } of findings) ui.note(`sallyport: ${kind}: ${inert(message)}`);
}

/** The policy file where there is one: it names the rules. Logs alone are placed by the catalog and by what they say. */
function loadWithLogs(input: Input, world: World): LoadedHere {
  const { file } = findConfigFile(input.text('config'));
  return loadConfigHere({ file, now: world.now() });
}

/** The logs must be there; files of them that cannot be read are named. */
async function requireLogs(logs: readonly string[], ui: Ui): Promise<void> {
  for (const file of logs) {
    const { segments, unreadable, doubles, unopened } = await listHistory(file);
    for (const unread of [...unreadable, ...doubles, ...unopened])
      ui.note(`sallyport: ${inert(unread)} is not counted`);
    if (segments.length > 0 || existsSync(file)) continue;
    throw new SallyportError('audit-damaged', `there is no audit log ${file}`, { hint: 'Name the log: --log FILE.' });
  }
}

function failOn(text: string | null): FailOn[] {
  if (text === null) return [];
  return text.split(',').map((word) => {
    const kind = FAIL_ON.find((name) => name === word.trim());
    if (kind === undefined)
      throw usage(
        `--fail-on ${JSON.stringify(text)} is not understood`,
        `Write one or more of ${FAIL_ON.join(', ')}, with commas.`,
      );
    return kind;
  });
}
