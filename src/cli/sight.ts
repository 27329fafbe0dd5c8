// What watches a running proxy, put together: the counts, times and events that the data plane feeds, and the pages of the admin
// listener that read them. serve.ts makes one before everything else, since what is timed needs its meter.
import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import { EventStreams } from '../admin/event-stream.ts';
import { Feed } from '../admin/feed.ts';
import { METRICS_PAGE, metricsRoute } from '../admin/metrics-page.ts';
import { RecordCounts, type Tap } from '../admin/record-counts.ts';
import { Reports } from '../admin/reports.ts';
import { Router } from '../admin/router.ts';
import type { AdminParts } from '../admin/server.ts';
import { Site } from '../admin/site.ts';
import { TappedRecorder } from '../admin/tapped-recorder.ts';
import { Timings } from '../admin/timings.ts';
import { ensureToken, Token } from '../admin/token.ts';
import type { AuditStats } from '../audit/audit-log.ts';
import type { Shipping } from '../audit/shipping.ts';
import type { Settings } from '../config/config.ts';
import type { Overrides } from '../config/load.ts';
import { createMeter, type Meter } from '../limits.ts';
import { packaged } from '../places.ts';
import type { Mode } from '../policy/compile.ts';
import type { LineRecorder } from '../policy/record.ts';
import type { DurableRecorder, ProxyContext } from '../proxy/context.ts';
import type { Engine } from '../proxy/engine.ts';
import { readAdminMaterial } from './certificate-files.ts';
import type { Fleet } from './fleet.ts';
import { VERSION } from './version.ts';

/** What the pages look into. */
export interface Seen {
  readonly ctx: ProxyContext;
  readonly engine: Engine;
  readonly audit: { readonly stats: AuditStats };
  readonly fleet: Pick<Fleet, 'lag' | 'standing'>;
  readonly shipping: Pick<Shipping, 'waiting' | 'failures' | 'lagMs'> | null;
  readonly notReady: () => string | null;
  readonly mode: () => Mode;
  readonly settings: Settings;
  /** The token that a primary asks for the pages with; null where the operator does. */
  readonly primaryToken: string | null;
  readonly overrides: Overrides;
  readonly log: Logger;
}

export class Sight {
  readonly meter: Meter;
  readonly #timings = new Timings();
  readonly #counts = new RecordCounts(Date.now);
  readonly #startedMs = Date.now();
  #feed: Feed | null = null;
  #reports: Reports | null = null;

  constructor() {
    this.meter = createMeter((what, ms) => this.#timings.observe(what, ms));
  }

  /** The recorder for everything that records: what the log has taken is counted, kept for who watches, and told to others. */
  watch(
    audit: LineRecorder & DurableRecorder,
    { admin, limits }: Settings,
    log: Logger,
    others: readonly Tap[],
  ): DurableRecorder {
    const failed = (error: unknown): void => log.error({ err: error }, 'a record was not counted');
    if (admin === null) return others.length === 0 ? audit : new TappedRecorder(audit, others, failed);
    const boot = randomBytes(4).toString('hex');
    this.#feed = new Feed({ boot, limits, meter: this.meter });
    return new TappedRecorder(audit, [this.#counts, this.#feed, ...others], failed);
  }

  /**
   * The pages of the admin listener; null where there is none.
   * @throws SallyportError `admin-token`, `tls-invalid` where the certificate cannot be used
   */
  pages(seen: Seen): AdminParts | null {
    const { settings, ctx, log, notReady, fleet, primaryToken } = seen;
    const shared = { storeLag: () => fleet.lag(), standing: () => fleet.standing };
    if (settings.admin === null || this.#feed === null) return null;
    const { limits, node } = settings;
    const { meter } = this;
    const about = { version: VERSION, node, counts: this.#counts };
    const hello = (): object => ({ node, version: VERSION, policy: ctx.policy.digest });
    const streams = new EventStreams(this.#feed, { limits, meter, hello });
    const reports = new Reports(
      {
        file: settings.file,
        overrides: seen.overrides,
        store: settings.usage.store,
        storeTimeoutMs: limits.usage_store_timeout_ms,
      },
      { limits, meter },
    );
    this.#reports = reports;
    const metrics = once(async () => {
      const { createMetrics } = await import('../admin/metrics.ts');
      return createMetrics({ ...seen, ...shared, ...about, node: process.version }, this.#timings);
    });
    const api = once(async () => {
      const { createApi } = await import('../admin/api.ts');
      const primary = primaryToken !== null;
      return createApi({
        ...{ ...seen, ...shared, ...about, metrics, streams, reports, primary },
        startedMs: this.#startedMs,
      });
    });
    const scraped = new Router([metricsRoute(metrics)]);
    return {
      notReady,
      policy: () => ctx.policy.digest,
      path: settings.admin.path,
      token: primaryToken === null ? ensureToken(settings.admin.tokenFile) : new Token(primaryToken),
      router: (pathname) => (pathname === METRICS_PAGE.path ? Promise.resolve(scraped) : api()),
      site: new Site(siteFolder()),
      tls: readAdminMaterial(settings.admin),
      limits,
      meter,
      failed: (error) => log.error({ err: error }, 'a request to the admin listener failed'),
      endStreams: () => streams.close(),
    };
  }

  close(): void {
    this.#reports?.close();
  }
}

/** Makes it when it is first asked for, and gives the same one from then on; what could not be made is tried again. */
export function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | null = null;
  return () => {
    made ??= make().catch((error: unknown) => {
      made = null;
      throw error;
    });
    return made;
  };
}

/** The built dashboard; a process that runs from the sources shows what was built last. */
export function siteFolder(): string {
  return packaged('dist/admin/web/');
}
