// The pages of the admin API by name: path, query and answer, without what answers them. A process that serves alone answers from its
// own memory (api.ts), the primary of workers from theirs (gathered.ts); a client need not know which.
import { EVENT_STREAM } from './event-stream.ts';
import { METRICS_PAGE } from './metrics-page.ts';
import type { Route } from './router.ts';
import * as shapes from './schemas.ts';

type Page = Omit<Route, 'handle'>;

export const PAGES = {
  metrics: METRICS_PAGE,
  status: {
    method: 'GET',
    path: '/v1/status',
    about: 'Health, mode, policy, limits and what they counted.',
    query: null,
    answer: shapes.statusAnswer,
  },
  events: {
    method: 'GET',
    path: '/v1/events',
    about: 'Records as they are made: server-sent events `decided`, `ended` and `note`, besides `hello` and `dropped`.',
    query: shapes.eventsQuery,
    answer: null,
    type: EVENT_STREAM,
  },
  policy: {
    method: 'GET',
    path: '/v1/policy',
    about: 'The policy in force, rule by rule, each with its origin.',
    query: shapes.policyQuery,
    answer: shapes.policyAnswer,
  },
  explain: {
    method: 'GET',
    path: '/v1/explain',
    about: 'What the policy in force answers to a request, and why; names are not resolved.',
    query: shapes.explainQuery,
    answer: shapes.explainAnswer,
  },
  tunnels: {
    method: 'GET',
    path: '/v1/tunnels',
    about: 'What is open now.',
    query: shapes.tunnelsQuery,
    answer: shapes.tunnelsAnswer,
  },
  cut: {
    method: 'DELETE',
    path: '/v1/tunnels/{id}',
    about: 'Cuts what is open; recorded as a `cut` note and with the outcome `killed`.',
    query: null,
    answer: shapes.tunnel,
  },
  report: {
    method: 'GET',
    path: '/v1/report',
    about: 'What was used, never used and refused in a window.',
    query: shapes.reportQuery,
    answer: shapes.reportAnswer,
  },
  suggest: {
    method: 'GET',
    path: '/v1/suggest',
    about: 'The smallest policy that the window needs, as a patch of the policy file.',
    query: shapes.suggestQuery,
    answer: shapes.suggestAnswer,
  },
  openapi: {
    method: 'GET',
    path: '/v1/openapi.json',
    about: 'This document.',
    query: null,
    answer: null,
    type: 'application/json',
  },
} as const satisfies Readonly<Record<string, Page>>;
