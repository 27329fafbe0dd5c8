// Entry of the thread that makes reports and suggestions for the admin API. It opens the store for reading alone, for each question
// anew (a rebuild puts another file in its place), and keeps the policy as long as the proxy has the same one in force and its files have not changed.
import { hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { type LoadedHere, loadConfigHere } from '../config/load-here.ts';
import { SallyportError } from '../errors.ts';
import { giveWay, HAS_TIME } from '../give-way.ts';
import { Policy } from '../policy/decide.ts';
import { buildReport } from '../report/report.ts';
import { buildSuggestion, policyText, rulesFile, suggestionJson } from '../report/suggestion.ts';
import { readGroupTimelines } from '../report/timeline.ts';
import { createView } from '../report/view.ts';
import { openStore, type Store } from '../usage/store.ts';
import type { Ask, Question, ReportWorkerData, Told } from './reports.ts';

if (parentPort === null) throw new Error('report-worker runs in a worker thread only');
giveWay(HAS_TIME);
const port = parentPort;
const data = workerData as ReportWorkerData;

let known: { readonly policy: string; readonly loaded: LoadedHere } | null = null;

/** A comment or an expected denial does not change the digest of a policy: the files themselves are looked at. */
function isAsRead({ files }: LoadedHere): boolean {
  return files.every(({ file, digest }) => {
    try {
      return hash('sha256', readFileSync(file)) === digest;
    } catch {
      return false;
    }
  });
}

function loadedFor(policy: string): LoadedHere {
  if (known?.policy !== policy || !isAsRead(known.loaded)) {
    const { file, overrides } = data;
    known = { policy, loaded: loadConfigHere({ file, overrides, now: Date.now() }) };
  }
  return known.loaded;
}

async function answer(question: Question, loaded: LoadedHere, store: Store): Promise<object> {
  if (question.kind === 'report') {
    const { catalog, policy, settings } = loaded;
    const view = createView({ catalog, rules: new Policy(policy).rules(), expectedDenials: settings.expectedDenials });
    const { kind: _, by, ...filter } = question;
    const report = await buildReport(store, view, filter, { by, timeline: true });
    const timelines = report.timeline === null ? {} : await readGroupTimelines(store, filter, report.timeline);
    return { ...report, group_timelines: timelines };
  }
  if (data.file === null)
    throw new SallyportError('config-unreadable', 'the proxy runs without a policy file', {
      hint: 'Write one: `sallyport init`.',
    });
  const { kind: _, ...asked } = question;
  const file = rulesFile(data.file, loaded);
  const text = policyText(file, loaded);
  return suggestionJson(await buildSuggestion(store, { ...asked, file, text, loaded, now: Date.now() }));
}

async function tell({ id, policy, question }: Ask): Promise<Told> {
  let store: Store | null = null;
  try {
    const loaded = loadedFor(policy);
    store = await openStore(data.store, 'read', data.storeTimeoutMs);
    return { id, ok: true, json: JSON.stringify(await answer(question, loaded, store)) };
  } catch (error) {
    const { code, message, hint } =
      error instanceof SallyportError
        ? error
        : new SallyportError('admin-failed', error instanceof Error ? error.message : String(error));
    return { id, ok: false, code, message, hint };
  } finally {
    await store?.close();
  }
}

/** One after another: two reports at once would only take twice the memory. */
let before: Promise<unknown> = Promise.resolve();
port.on('message', (ask: Ask) => {
  before = before.then(() => tell(ask)).then((told) => port.postMessage(told));
});
