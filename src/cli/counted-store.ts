// The usage store as a command reads it: caught up with the audit log first, so that it says what the log says.
import { logFamily } from '../audit/family.ts';
import type { Settings } from '../config/config.ts';
import { inert } from '../report/inert.ts';
import { projectOnce } from '../usage/project-once.ts';
import type { ProjectionProblem } from '../usage/projector.ts';
import { openStore, type Store } from '../usage/store.ts';
import type { Ui } from './ui.ts';

/** Opens the store for reading. What of the log could not be counted is told. @throws SallyportError */
export async function openCountedStore({ audit, usage, limits }: Settings, ui: Ui): Promise<Store> {
  for (const auditFile of logFamily(audit.file)) {
    ui.progress(`counting ${auditFile}`);
    await projectOnce({ auditFile, store: usage.store, limits, onProblem: problemTeller(ui) });
  }
  return openStore(usage.store, 'read', limits.usage_store_timeout_ms);
}

/**
 * Counts logs, their archives packed with gzip included, into a store in memory. What could not be counted is told.
 * @throws SallyportError
 */
export async function openLogs(logs: readonly string[], limits: Settings['limits'], ui: Ui): Promise<Store> {
  const store = openStore(':memory:', 'write');
  try {
    for (const auditFile of logFamily(...logs)) {
      ui.progress(`counting ${auditFile}`);
      await projectOnce({ auditFile, store, limits, onProblem: problemTeller(ui), archives: true });
    }
    return store;
  } catch (error) {
    await store.close();
    throw error;
  }
}

export function problemTeller(ui: Ui): (problem: ProjectionProblem) => void {
  return (problem) => ui.note(`sallyport: ${problem.code}: ${inert(problem.message)}`);
}
