// Logs of workers that this start does not have: of a time with more of them. What was open in them when their proxy died gets its end,
// and what is in them is counted, as a worker of that number would do.
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { workerLog, workerNode, workersWithLogs } from '../../audit/family.ts';
import { openAuditLog } from '../../audit/log.ts';
import type { Settings } from '../../config/config.ts';
import { SallyportError } from '../../errors.ts';
import { startProjection } from '../../usage/project.ts';

/** A worker that was killed with its primary may be some moments behind it. */
const LOCKED_RETRY_MS = 250;
const LOCKED_RETRIES_MAX = 20;

/**
 * Never throws: an old log that is damaged is no reason not to serve.
 * @param workers how many this start has
 * @returns settles when all are counted, or their time is over
 */
export async function adoptLeftovers(settings: Settings, workers: number, log: Logger): Promise<void> {
  const { audit, usage, node, limits } = settings;
  const left = workersWithLogs(audit.file).filter((worker) => worker > workers);
  const counting = left.map(async (worker) => {
    const file = workerLog(audit.file, worker);
    try {
      const opened = await openOnceFree({
        ...{ file, node: workerNode(node, worker), limits, whenFull: audit.whenFull, now: () => new Date() },
      });
      opened.close();
      if (opened.interrupted > 0)
        log.warn({ file, requests: opened.interrupted }, 'requests of a former worker are recorded as interrupted');
    } catch (error) {
      log.warn({ err: error, file }, 'the log of a former worker could not be looked at');
    }
    const onProblem = (problem: object): void => log.warn(problem, 'the usage store lags');
    return startProjection({
      ...{ auditFile: file, store: usage.store, keep: usage.keep, limits, onProblem },
    }).stop();
  });
  await Promise.allSettled(counting);
}

async function openOnceFree(options: Parameters<typeof openAuditLog>[0]): Promise<ReturnType<typeof openAuditLog>> {
  for (let tries = 0; ; tries++) {
    try {
      return openAuditLog(options);
    } catch (error) {
      const isLocked = error instanceof SallyportError && error.code === 'audit-locked';
      if (!isLocked || tries === LOCKED_RETRIES_MAX) throw error;
      await delay(LOCKED_RETRY_MS);
    }
  }
}
