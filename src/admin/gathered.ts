// The admin API of a proxy with workers, answered by the primary from what they say: what is of all is put together, what is of one is
// found, and what every worker knows is asked of the first.
import type { IncomingMessage } from 'node:http';
import type { z } from 'zod';
import { LIMIT_NAMES, LIMIT_SPECS, type Limits, type Meter } from '../limits.ts';
import { AdminError } from './admin-error.ts';
import type { GatheredEvents } from './gathered-events.ts';
import { gatherMetrics } from './gathered-metrics.ts';
import { documented } from './openapi.ts';
import { type Answer, type Call, type Route, type Router, route } from './router.ts';
import { PAGES } from './routes.ts';
import type * as shapes from './schemas.ts';
import { ASKED_FOR, refusalOf, type WorkerAnswer, type WorkerPages, type WorkerPlace } from './worker-pages.ts';

/** Time for a page that needs no store: a worker that is silent for so long is left out. */
const ANSWER_MS = 5_000;
const REPORT_SLACK_MS = 5_000;
const JSON_TYPE = 'application/json';

type Status = z.output<typeof shapes.statusAnswer>;
type Tunnels = z.output<typeof shapes.tunnelsAnswer>;

export interface GatheredParts {
  readonly pages: WorkerPages;
  /** Those that serve now. */
  readonly places: () => readonly WorkerPlace[];
  readonly events: GatheredEvents;
  /** How each stands, for the status. */
  readonly workers: () => NonNullable<Status['workers']>;
  readonly notReady: () => string | null;
  readonly limits: Limits;
  /** Of the primary. */
  readonly meter: Meter;
  readonly node: string;
  readonly version: string;
}

export function createGatheredApi(parts: GatheredParts): Router {
  const { limits } = parts;
  const reportMs = limits.admin_report_timeout_ms + REPORT_SLACK_MS;
  const routes: Route[] = [
    route({ ...PAGES.metrics, handle: () => metrics(parts) }),
    route({ ...PAGES.status, handle: async ({ req }) => ({ json: status(await fromAll<Status>(parts, req), parts) }) }),
    route({ ...PAGES.events, handle: (call) => events(parts, call) }),
    route({ ...PAGES.policy, handle: ({ req }) => fromFirst(parts, req, ANSWER_MS) }),
    route({ ...PAGES.explain, handle: ({ req }) => fromFirst(parts, req, ANSWER_MS) }),
    route({
      ...PAGES.tunnels,
      handle: async ({ req, query }) => ({ json: tunnels(await fromAll<Tunnels>(parts, req), query.limit) }),
    }),
    route({ ...PAGES.cut, handle: ({ req }) => cut(parts, req) }),
    route({ ...PAGES.report, handle: ({ req }) => fromFirst(parts, req, reportMs) }),
    route({ ...PAGES.suggest, handle: ({ req }) => fromFirst(parts, req, reportMs) }),
  ];
  return documented(routes, parts.version);
}

/** The answers of those that answer in time. @throws AdminError where none does: what one of them refuses, or that it is busy */
async function allAnswers({ pages, places }: GatheredParts, path: string): Promise<WorkerAnswer[]> {
  const asked = places().map((place) => pages.ask(place, { path, timeoutMs: ANSWER_MS }));
  const settled = await Promise.allSettled(asked);
  const all = settled.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
  const answers = all.filter(({ status: answered }) => answered === 200);
  if (answers.length > 0) return answers;
  const [refused] = all;
  throw refused ? refusalOf(refused) : new AdminError(503, 'admin-busy', 'no worker answers');
}

async function fromAll<T>(parts: GatheredParts, req: IncomingMessage): Promise<T[]> {
  return (await allAnswers(parts, req.url ?? '')).map(({ body }) => JSON.parse(body) as T);
}

async function fromFirst({ pages, places }: GatheredParts, req: IncomingMessage, timeoutMs: number): Promise<Answer> {
  for (const place of places()) {
    const answer = await pages.ask(place, { path: req.url ?? '', timeoutMs }).catch(() => null);
    if (answer === null) continue;
    if (answer.status !== 200) throw refusalOf(answer);
    return { text: answer.body, type: JSON_TYPE };
  }
  throw new AdminError(503, 'admin-busy', 'no worker answers');
}

async function metrics(parts: GatheredParts): Promise<Answer> {
  const answers = await allAnswers(parts, PAGES.metrics.path);
  const pages = answers.map(({ worker, body }) => ({ worker: String(worker), text: body }));
  const up = parts.workers().map(({ worker, state }) => ({ worker: String(worker), text: upText(state === 'ready') }));
  const own = { worker: 'primary', text: hitsText(parts.meter) };
  return { text: gatherMetrics([...up, ...pages, own]), type: answers[0]?.type ?? 'text/plain' };
}

function upText(isUp: boolean): string {
  const name = 'sallyport_worker_up';
  return `# HELP ${name} 1 where the worker serves.\n# TYPE ${name} gauge\n${name} ${isUp ? 1 : 0}\n`;
}

/** Limits of what the primary does: its admin listener, leases, attempts of passwords. */
function hitsText({ hits }: Meter): string {
  const name = 'sallyport_limit_hits_total';
  const samples = [...hits].map(([limit, count]) => `${name}{limit="${limit}"} ${count}\n`);
  return `# HELP ${name} How often each limit was hit.\n${samples.join('')}`;
}

async function events({ events: streams }: GatheredParts, { req, res }: Call): Promise<null> {
  const search = new URL(req.url ?? '', 'http://admin.invalid').searchParams;
  const header = req.headers['last-event-id'];
  await streams.open(res, search, search.get('after') ?? (typeof header === 'string' ? header : null));
  return null;
}

function tunnels(all: readonly Tunnels[], limit: number): Tunnels {
  const merged = all.flatMap((each) => each.tunnels).sort((a, b) => b.age_s - a.age_s);
  return { tunnels: merged.slice(0, limit), total: sum(all, ({ total }) => total) };
}

/** Who has it cuts it: an id is of one process. */
async function cut({ pages, places }: GatheredParts, req: IncomingMessage): Promise<Answer> {
  const asked = {
    method: 'DELETE',
    path: req.url ?? '',
    headers: { [ASKED_FOR]: req.socket.remoteAddress ?? '' },
    timeoutMs: ANSWER_MS,
  } as const;
  let missing: WorkerAnswer | null = null;
  for (const place of places()) {
    const answer = await pages.ask(place, asked).catch(() => null);
    if (answer?.status === 200) return { text: answer.body, type: JSON_TYPE };
    if (answer && answer.status !== 404) throw refusalOf(answer);
    missing ??= answer;
  }
  throw missing === null ? new AdminError(503, 'admin-busy', 'no worker answers') : refusalOf(missing);
}

function status(all: readonly Status[], parts: GatheredParts): Status {
  const first = all[0] as Status;
  const { limits, meter } = parts;
  const hits = new Map(LIMIT_NAMES.map((name) => [name, meter.hits.get(name) ?? 0]));
  for (const { limits: each } of all)
    for (const { name, hits: count } of each) {
      const known = name as (typeof LIMIT_NAMES)[number];
      hits.set(known, (hits.get(known) ?? 0) + count);
    }
  const lags = all.map(({ store }) => store.lag_seconds);
  return {
    ...first,
    node: parts.node,
    started: all.map(({ started }) => started).sort()[0] ?? first.started,
    not_ready: parts.notReady(),
    draining: all.some(({ draining }) => draining),
    open: sums(all.map(({ open }) => open)),
    audit: {
      ...sums(all.map(({ audit: { last_error: _, ...counts } }) => counts)),
      last_error: all.map(({ audit }) => audit.last_error).find((error) => error !== null) ?? null,
    },
    store: {
      lag_bytes: sum(all, ({ store }) => store.lag_bytes),
      lag_seconds: lags.includes(null) ? null : Math.max(...lags.map(Number)),
    },
    dns: sums(all.map(({ dns }) => dns)),
    limits: LIMIT_NAMES.map((name) => ({
      ...{ name, value: limits[name], hits: hits.get(name) ?? 0, about: LIMIT_SPECS[name].about },
    })),
    workers: parts.workers(),
  };
}

function sum<T>(all: readonly T[], of: (one: T) => number): number {
  return all.reduce((total, one) => total + of(one), 0);
}

function sums<T extends Readonly<Record<string, number>>>(all: readonly T[]): T {
  const names = Object.keys(all[0] ?? {});
  return Object.fromEntries(names.map((name) => [name, sum(all, (each) => each[name] ?? 0)])) as unknown as T;
}
