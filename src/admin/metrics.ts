// The metrics page in Prometheus' text format. Nothing here is counted twice: a scrape reads what the parts count anyway
// (records, limits, times, audit log, resolver, engine) and fills it in. Loaded with the first scrape, and the client library with it.
// Label values come from closed sets and from the policy's groups, so no client can make series.
import { Counter, collectDefaultMetrics, Gauge, Registry } from '@prometheus-io/client';
import type { AuditStats } from '../audit/audit-log.ts';
import type { Shipping } from '../audit/shipping.ts';
import { LIMIT_NAMES } from '../limits.ts';
import type { ProxyContext } from '../proxy/context.ts';
import type { Engine } from '../proxy/engine.ts';
import type { StoreLag } from '../usage/project.ts';
import { LiveBytes } from './live-bytes.ts';
import type { RecordCounts } from './record-counts.ts';
import type { Timings } from './timings.ts';

export interface MetricSources {
  readonly ctx: ProxyContext;
  readonly engine: Pick<Engine, 'kind' | 'tunnels' | 'load'>;
  readonly counts: RecordCounts;
  readonly audit: { readonly stats: AuditStats };
  readonly storeLag: () => StoreLag;
  /** Null where closed segments are not shipped. */
  readonly shipping: Pick<Shipping, 'waiting' | 'failures' | 'lagMs'> | null;
  /** Why the proxy is not ready, or null. */
  readonly notReady: () => string | null;
  /** The global mode in force. */
  readonly mode: () => string;
  /** Layers of the policy that are not in force as their files say, and grants that count. */
  readonly standing: () => { readonly layersBroken: number; readonly grants: number };
  readonly version: string;
  readonly node: string;
}

export interface Metrics {
  readonly contentType: string;
  /** The page. Rejects where a part throws, which none should. */
  render(): Promise<string>;
}

export function createMetrics(sources: MetricSources, timings: Timings): Metrics {
  const registry = new Registry();
  const page = new Page(registry);
  requestSeries(page, sources);
  stateSeries(page, sources);
  recordSeries(page, sources);
  shippingSeries(page, sources);
  policySeries(page, sources);
  collectDefaultMetrics({ register: registry });
  for (const name of MISNAMED) registry.removeSingleMetric(name);
  return {
    contentType: registry.contentType,
    render: async () => `${timings.text()}\n${await registry.metrics()}`,
  };
}

/** Of the library's own metrics, those that Prometheus' linter refuses for their names. */
const MISNAMED = [
  'nodejs_active_handles_total',
  'nodejs_active_requests_total',
  'nodejs_active_resources_total',
  'nodejs_eventloop_utilization_histogram',
  'nodejs_eventloop_utilization_summary',
];

type Labels = Readonly<Record<string, string>>;
/** Sets one series. */
type Put = (value: number, labels?: Labels) => void;

/** Series that are filled in when they are read. */
class Page {
  readonly #registry: Registry;

  constructor(registry: Registry) {
    this.#registry = registry;
  }

  /** `fill` gives totals since the start, none of which may fall. */
  counter(name: string, help: string, labelNames: readonly string[], fill: (put: Put) => void | Promise<void>): void {
    const registers = [this.#registry];
    new Counter({
      name: `sallyport_${name}`,
      help,
      labelNames: [...labelNames],
      registers,
      collect() {
        this.reset();
        return fill((value, labels) => this.inc(labels ?? {}, value));
      },
    });
  }

  gauge(name: string, help: string, labelNames: readonly string[], fill: (put: Put) => void): void {
    const registers = [this.#registry];
    new Gauge({
      name: `sallyport_${name}`,
      help,
      labelNames: [...labelNames],
      registers,
      collect() {
        this.reset();
        fill((value, labels) => this.set(labels ?? {}, value));
      },
    });
  }
}

function requestSeries(page: Page, { counts, ctx }: MetricSources): void {
  page.counter(
    'requests_total',
    'Requests by what was decided when they came. Group "" is that of rules and refusals without one.',
    ['verdict', 'reason', 'group'],
    (put) => {
      for (const [group, { decided }] of counts.groups) {
        for (const [reason, verdicts] of decided) {
          for (const [verdict, count] of Object.entries(verdicts))
            if (count > 0) put(count, { verdict, reason, group });
        }
      }
    },
  );
  page.counter(
    'tunnels_refused_total',
    'Tunnels that were let through and then cut by the check of their first message; reports count them as denied.',
    ['reason', 'group'],
    (put) => {
      for (const [group, { refused }] of counts.groups) {
        for (const [reason, count] of refused) put(count, { reason, group });
      }
    },
  );
  page.counter('requests_ended_total', 'Requests that are over, by how they ended.', ['outcome'], (put) => {
    for (const [outcome, count] of counts.outcomes) put(count, { outcome });
  });
  const live = new LiveBytes(counts, ctx.open);
  page.counter(
    'bytes_total',
    'Payload bytes client to origin (up) and back (down), those of open requests included.',
    ['direction', 'group'],
    async (put) => {
      for (const { group, up, down } of await live.totals()) {
        put(up, { direction: 'up', group });
        put(down, { direction: 'down', group });
      }
    },
  );
}

function stateSeries(page: Page, { ctx, engine, notReady }: MetricSources): void {
  page.gauge('requests_open', 'Requests that were let through and have not ended.', [], (put) => put(ctx.open.size));
  page.gauge('tunnels_open', 'Tunnels that are open.', [], (put) => put(engine.tunnels.size));
  page.gauge('connections_open', 'Connections of clients.', [], (put) => put(ctx.slots.open));
  page.gauge('ready', '1 where /readyz says ready.', [], (put) => put(notReady() === null ? 1 : 0));
  page.gauge('draining', '1 where new requests are refused because the process ends.', [], (put) =>
    put(ctx.draining ? 1 : 0),
  );
  page.counter('limit_hits_total', 'How often each limit was hit.', ['limit'], (put) => {
    for (const limit of LIMIT_NAMES) put(ctx.meter.hits.get(limit) ?? 0, { limit });
  });
  page.gauge('limit', 'What each limit is set to, in the unit that its name ends with.', ['limit'], (put) => {
    for (const limit of LIMIT_NAMES) put(ctx.limits[limit], { limit });
  });
  page.counter('dns_lookups_total', 'Names asked for, by where the answer came from.', ['from'], (put) => {
    const { hits, misses, merged } = ctx.resolver.stats();
    put(hits, { from: 'cache' });
    put(misses, { from: 'resolver' });
    put(merged, { from: 'joined' });
  });
  page.counter('dns_failures_total', 'Look-ups that failed.', [], (put) => put(ctx.resolver.stats().failures));
  page.gauge('dns_pending', 'Names that are being looked up.', [], (put) => put(ctx.resolver.stats().pending));
  page.gauge('dns_cache_entries', 'Names in the cache.', [], (put) => put(ctx.resolver.stats().entries));
}

function shippingSeries(page: Page, { shipping }: MetricSources): void {
  if (shipping === null) return;
  page.gauge('audit_ship_waiting', 'Closed files of the audit log that are not in the second place yet.', [], (put) =>
    put(shipping.waiting),
  );
  page.gauge('audit_ship_failures', 'Attempts to ship that failed since one succeeded.', [], (put) =>
    put(shipping.failures),
  );
  page.gauge(
    'audit_ship_lag_seconds',
    'Time since all closed files and the checkpoint were in their second place.',
    [],
    (put) => put(shipping.lagMs / 1_000),
  );
}

function recordSeries(page: Page, { audit, storeLag }: MetricSources): void {
  page.counter('audit_lines_total', 'Lines written to the audit log.', [], (put) => put(audit.stats.lines));
  page.counter('audit_bytes_total', 'Bytes written to the audit log.', [], (put) => put(audit.stats.bytes));
  page.counter('audit_failures_total', 'Attempts to write the audit log that failed.', [], (put) =>
    put(audit.stats.failures),
  );
  page.counter('audit_dropped_total', 'Records lost by `when_full: drop-and-mark`.', [], (put) =>
    put(audit.stats.dropped),
  );
  page.gauge('audit_waiting', 'Ends of requests that wait in memory for the disk.', [], (put) =>
    put(audit.stats.waiting),
  );
  page.gauge('audit_writable', '0 where the last write of the audit log failed.', [], (put) =>
    put(audit.stats.lastError === null ? 1 : 0),
  );
  page.gauge(
    'usage_store_lag_bytes',
    'Audit bytes that the usage store had not counted when it last looked.',
    [],
    (put) => put(storeLag().bytes),
  );
  page.gauge(
    'usage_store_lag_seconds',
    'Time since the usage store had counted all that was in the audit log; NaN until it first has.',
    [],
    (put) => put(storeLag().seconds ?? Number.NaN),
  );
}

function policySeries(page: Page, { ctx, counts, engine, mode, standing, version, node }: MetricSources): void {
  page.gauge('build_info', 'What runs here; always 1.', ['version', 'engine', 'node'], (put) =>
    put(1, { version, engine: engine.kind, node }),
  );
  page.gauge('policy_info', 'The policy in force; always 1.', ['digest', 'mode'], (put) =>
    put(1, { digest: ctx.policy.digest, mode: mode() }),
  );
  page.gauge('policy_layers_broken', 'Layers of the policy that are not in force as their files say.', [], (put) =>
    put(standing().layersBroken),
  );
  page.gauge('policy_grants', 'Grants that count and have not ended.', [], (put) => put(standing().grants));
  page.gauge('policy_loaded_timestamp_seconds', 'When the policy in force was loaded.', [], (put) =>
    put(counts.policySinceMs / 1_000),
  );
  page.counter(
    'policy_reloads_total',
    'Reloads of the policy; a refused one leaves the old policy in force.',
    ['result'],
    (put) => {
      for (const [result, count] of Object.entries(counts.reloads)) put(count, { result });
    },
  );
}
