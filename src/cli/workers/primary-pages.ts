// The admin listener of a proxy with workers, put together: one address for all of them, with the operator's token. Each worker has a Unix
// socket for it beside its audit log, and a token that it gets from its primary and nobody sees.
import type { Logger } from 'pino';
import { GatheredEvents } from '../../admin/gathered-events.ts';
import type { AdminParts } from '../../admin/server.ts';
import { Site } from '../../admin/site.ts';
import { ensureToken } from '../../admin/token.ts';
import { WorkerPages, type WorkerPlace } from '../../admin/worker-pages.ts';
import { workerLog } from '../../audit/family.ts';
import type { Settings } from '../../config/config.ts';
import type { Meter } from '../../limits.ts';
import { readAdminMaterial } from '../certificate-files.ts';
import { once, siteFolder } from '../sight.ts';
import { VERSION } from '../version.ts';
import type { Member } from './crew.ts';

interface Parts {
  readonly settings: Settings;
  readonly log: Logger;
  readonly meter: Meter;
  readonly members: () => readonly Member[];
  readonly notReady: () => string | null;
  readonly policy: () => string;
  /** What workers are asked with, and where. */
  readonly token: string;
  readonly turn: 0 | 1;
}

export interface PrimaryPages extends AdminParts {
  /** Readers of events come back, to the workers that serve now. */
  readonly workersChanged: () => void;
}

/**
 * Where a worker answers its primary.
 * @param turn takes turns over upgrades: until the new workers are ready, and after an upgrade that fails, the old ones are asked
 */
export function workerSocket({ audit }: Pick<Settings, 'audit'>, worker: number, turn: 0 | 1): string {
  return `${workerLog(audit.file, worker)}.${turn === 0 ? 'sock' : 'sock2'}`;
}

/** @throws SallyportError as the admin listener of a process that serves alone */
export function primaryPages(parts: Parts): PrimaryPages | null {
  const { settings, log, meter, members, notReady, policy, turn } = parts;
  const { admin, limits, node } = settings;
  if (admin === null) return null;
  const token = ensureToken(admin.tokenFile);
  const places = (): WorkerPlace[] =>
    members().flatMap(({ worker, state }) =>
      state === 'ready' ? [{ worker, path: workerSocket(settings, worker, turn) }] : [],
    );
  const pages = new WorkerPages(parts.token);
  const hello = (): object => ({ node, version: VERSION, policy: policy() });
  const events = new GatheredEvents({ pages, places, hello });
  const workers = () =>
    members().map(({ worker, state, pid, policy: digest, notReady: why }) => ({
      ...{ worker, state, pid, policy: digest, not_ready: why },
    }));
  return {
    ...{ notReady, policy, path: admin.path, token, tls: readAdminMaterial(admin), limits, meter },
    router: once(async () => {
      const { createGatheredApi } = await import('../../admin/gathered.ts');
      return createGatheredApi({ pages, places, events, workers, notReady, limits, meter, node, version: VERSION });
    }),
    site: new Site(siteFolder()),
    failed: (error) => log.error({ err: error }, 'a request to the admin listener failed'),
    endStreams: () => events.close(),
    workersChanged: () => events.close(),
  };
}
