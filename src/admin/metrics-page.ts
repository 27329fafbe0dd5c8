// The page that scrapers ask for, as a route of its own: the client library comes with the first scrape, and what reads the queries of the
// other pages is not needed for it.
import type { Metrics } from './metrics.ts';
import { type Route, route } from './router.ts';

export const METRICS_PAGE = {
  method: 'GET',
  path: '/metrics',
  about: "Prometheus' text format.",
  query: null,
  answer: null,
  type: 'text/plain',
} as const satisfies Omit<Route, 'handle'>;

export function metricsRoute(metrics: () => Promise<Metrics>): Route {
  return route({
    ...METRICS_PAGE,
    handle: async () => {
      const { contentType, render } = await metrics();
      return { text: await render(), type: contentType };
    },
  });
}
