// The routes of the admin API and what each asks of the proxy. They read what the data plane has in memory, in bounded pieces;
// what reads the store is asked of another thread.
import type { IncomingMessage } from 'node:http';
import type { AuditStats } from '../audit/audit-log.ts';
import { LIMIT_NAMES, LIMIT_SPECS } from '../limits.ts';
import { canonicalAddress } from '../policy/address.ts';
import { ANONYMOUS, ATTRIBUTES, type Attribute, type Identity } from '../policy/record.ts';
import type { ProxyContext } from '../proxy/context.ts';
import type { Engine } from '../proxy/engine.ts';
import { asProven, attributeOf, partsOf } from '../report/asker.ts';
import { explainRequest, parseAsked, ruleObject } from '../report/explanation.ts';
import type { StoreLag } from '../usage/project.ts';
import { AdminError } from './admin-error.ts';
import type { EventStreams } from './event-stream.ts';
import type { Metrics } from './metrics.ts';
import { metricsRoute } from './metrics-page.ts';
import { documented } from './openapi.ts';
import type { RecordCounts } from './record-counts.ts';
import type { Reports } from './reports.ts';
import { type Route, type Router, route } from './router.ts';
import { PAGES } from './routes.ts';
import { cutOpen, listOpen } from './tunnels.ts';
import { ASKED_FOR } from './worker-pages.ts';

export interface ApiParts {
  readonly ctx: ProxyContext;
  readonly engine: Pick<Engine, 'kind' | 'tunnels'>;
  readonly counts: RecordCounts;
  readonly audit: { readonly stats: AuditStats };
  readonly storeLag: () => StoreLag;
  readonly notReady: () => string | null;
  readonly mode: () => 'enforce' | 'observe';
  readonly metrics: () => Promise<Metrics>;
  readonly streams: EventStreams;
  readonly reports: Reports;
  readonly node: string;
  readonly version: string;
  readonly startedMs: number;
  /** Whether a primary asks, which says for whom. */
  readonly primary: boolean;
}

export function createApi(parts: ApiParts): Router {
  const routes: Route[] = [...stateRoutes(parts), ...policyRoutes(parts), ...openRoutes(parts), ...storeRoutes(parts)];
  return documented(routes, parts.version);
}

function stateRoutes(parts: ApiParts): Route[] {
  const { metrics, streams } = parts;
  return [
    metricsRoute(metrics),
    route({
      ...PAGES.status,
      handle: () => ({ json: status(parts) }),
    }),
    route({
      ...PAGES.events,
      handle: ({ query, req, res }) => {
        const { denied, host, pipeline, last } = query;
        const header = req.headers['last-event-id'];
        const after = query.after ?? (typeof header === 'string' ? header : null);
        streams.open(res, { filter: { denied, host, pipeline }, after, last });
        return null;
      },
    }),
  ];
}

function policyRoutes({ ctx, mode }: ApiParts): Route[] {
  return [
    route({
      ...PAGES.policy,
      handle: ({ query: { offset, limit } }) => {
        const { policy } = ctx;
        const total = policy.ruleCount;
        const length = Math.max(0, Math.min(limit, total - offset));
        const rules = Array.from({ length }, (_, at) => ruleObject(policy.rule(offset + at), Date.now()));
        return { json: { digest: policy.digest, mode: mode(), total, offset, rules } };
      },
    }),
    route({
      ...PAGES.explain,
      handle: ({ query: { target, method, as } }) => {
        const parsed = parseAsked(target, method ?? null);
        if (!parsed.ok) throw new AdminError(400, 'admin-request', `target: ${parsed.problem}`);
        return { json: explainRequest(ctx.policy, parsed.asked, identityOf(as), Date.now()).json };
      },
    }),
  ];
}

function openRoutes(parts: ApiParts): Route[] {
  const { ctx } = parts;
  return [
    route({
      ...PAGES.tunnels,
      handle: async ({ query }) => ({ json: await listOpen(ctx.open, query) }),
    }),
    route({
      ...PAGES.cut,
      handle: ({ param, req }) => {
        const by = `admin ${askedFor(req, parts.primary) ?? req.socket.remoteAddress ?? 'unix'}`;
        return { json: cutOpen(ctx.open, param, { recorder: ctx.recorder, policy: ctx.policy.digest, by }) };
      },
    }),
  ];
}

function storeRoutes({ ctx, reports }: ApiParts): Route[] {
  const ask = async (question: Parameters<Reports['ask']>[0]) => ({
    text: await reports.ask(question, ctx.policy.digest),
    type: 'application/json',
  });
  return [
    route({
      ...PAGES.report,
      handle: ({ query: { from, to, pipeline = null, job = null, by = null } }) => {
        if (from > to) throw new AdminError(400, 'admin-request', 'the window ends before it begins');
        return ask({ kind: 'report', from, to, pipeline, job, by });
      },
    }),
    route({
      ...PAGES.suggest,
      handle: ({ query: { from, to, pipeline = null, min_builds, scoped, unused_after } }) =>
        ask({ kind: 'suggest', from, to, pipeline, jobsMin: min_builds, scoped, unusedDays: unused_after }),
    }),
  ];
}

function status(parts: ApiParts): object {
  const { ctx, engine, counts, audit, storeLag } = parts;
  const { lines, bytes, failures, dropped, waiting, lastError } = audit.stats;
  const lag = storeLag();
  const time = (ms: number): string => new Date(ms).toISOString();
  return {
    node: parts.node,
    version: parts.version,
    engine: engine.kind,
    started: time(parts.startedMs),
    not_ready: parts.notReady(),
    draining: ctx.draining,
    mode: parts.mode(),
    policy: {
      digest: ctx.policy.digest,
      rules: ctx.policy.ruleCount,
      since: time(counts.policySinceMs),
      reloads: counts.reloads,
    },
    open: { requests: ctx.open.size, tunnels: engine.tunnels.size, connections: ctx.slots.open },
    audit: { lines, bytes, failures, dropped, waiting, last_error: lastError },
    store: { lag_bytes: lag.bytes, lag_seconds: lag.seconds },
    dns: ctx.resolver.stats(),
    limits: LIMIT_NAMES.map((name) => ({
      name,
      value: ctx.limits[name],
      hits: ctx.meter.hits.get(name) ?? 0,
      about: LIMIT_SPECS[name].about,
    })),
  };
}

/** The address that a primary asks for; null where nobody else may say such things. */
function askedFor(req: IncomingMessage, primary: boolean): string | null {
  const said = req.headers[ASKED_FOR];
  return primary && typeof said === 'string' ? canonicalAddress(said) : null;
}

/** Who `as` describes. @throws AdminError 400 */
function identityOf(text: string | undefined): Identity {
  if (text === undefined || text === '') return ANONYMOUS;
  const attributes: Partial<Record<Attribute, string>> = {};
  for (const part of partsOf(text)) {
    const attribute = attributeOf(part);
    if (attribute === null)
      throw new AdminError(400, 'admin-request', `as: KEY=VALUE with KEY one of ${ATTRIBUTES.join(', ')}`);
    attributes[attribute.key] = attribute.value;
  }
  return asProven(attributes);
}
