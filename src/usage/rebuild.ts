// `sallyport usage rebuild`: the store is only a projection, so a damaged one is set aside and made again from the audit log.
// What stood in segments that are rotated away and deleted comes back no more; the result says from where the log begins.
import fs from 'node:fs';
import type { Limits } from '../limits.ts';
import { projectOnce } from './project.ts';
import type { ProjectionProblem } from './projector.ts';
import { storeError } from './store.ts';

export interface RebuildOptions {
  readonly store: string;
  readonly auditFile: string;
  readonly limits: Limits;
  readonly now: () => Date;
  readonly onProblem: (problem: ProjectionProblem) => void;
}

export interface Rebuild {
  /** Where the old store is now; null where there was none. */
  readonly aside: string | null;
  /** Lines of the audit log that were read. */
  readonly lines: number;
}

/** Safe while the proxy runs: its worker notices the new file. @throws SallyportError */
export async function rebuildStore(options: RebuildOptions): Promise<Rebuild> {
  const { store, auditFile, limits, onProblem } = options;
  const aside = fs.existsSync(store) ? `${store}.damaged-${options.now().toISOString().replace(/[:.]/g, '')}` : null;
  if (aside !== null) {
    try {
      // The write-ahead log belongs to the file it was written for: left behind, it would be played into the new one.
      for (const suffix of ['-wal', '-shm', '']) {
        if (fs.existsSync(store + suffix)) fs.renameSync(store + suffix, aside + suffix);
      }
    } catch (error) {
      throw storeError(store, error);
    }
  }
  const { lines } = await projectOnce({ auditFile, store, limits, onProblem });
  return { aside, lines };
}
