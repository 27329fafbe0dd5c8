// The routes of the admin API: a table of method, path and shapes, from which requests are dispatched and the OpenAPI document
// is made, so that neither can know what the other does not. Queries are strict: what a route does not know is refused.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { z } from 'zod';
import { AdminError } from './admin-error.ts';

/** One request, understood. */
export interface Call<Query = unknown> {
  readonly query: Query;
  /** Of the `{name}` in the path; '' where it has none. */
  readonly param: string;
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
}

/** What a route answers; null where it has taken the response over (a stream). */
export type Answer = { readonly json: unknown } | { readonly text: string; readonly type: string } | null;

export interface Route {
  readonly method: 'GET' | 'DELETE';
  /** With at most one `{name}`, which is its last part. */
  readonly path: string;
  readonly about: string;
  /** null: it takes none. */
  readonly query: z.ZodType | null;
  /** Shape of a JSON answer; null for text and streams. */
  readonly answer: z.ZodType | null;
  /** Media type of what is not JSON. */
  readonly type?: string;
  handle(call: Call): Answer | Promise<Answer>;
}

type QueryOf<Q> = Q extends z.ZodType ? z.output<Q> : null;

/** A route whose handler gets its query as its shape has it. */
export function route<Q extends z.ZodType | null>(
  spec: Omit<Route, 'query' | 'handle'> & { query: Q; handle(call: Call<QueryOf<Q>>): Answer | Promise<Answer> },
): Route {
  return spec as unknown as Route;
}

export class Router {
  readonly routes: readonly Route[];

  constructor(routes: readonly Route[]) {
    this.routes = routes;
  }

  /**
   * Finds the route and reads the query.
   * @throws AdminError 400, 404, 405
   */
  find(method: string, pathname: string, search: URLSearchParams): { route: Route; query: unknown; param: string } {
    const fits = this.routes.flatMap((each) => {
      const param = paramOf(each.path, pathname);
      return param === null ? [] : [{ route: each, param }];
    });
    if (fits.length === 0) throw new AdminError(404, 'admin-not-found', 'there is no such page');
    const found = fits.find(({ route: { method: wanted } }) => wanted === (method === 'HEAD' ? 'GET' : method));
    if (found === undefined) throw new AdminError(405, 'admin-request', 'the page does not take this method');
    return { ...found, query: readQuery(found.route, search) };
  }
}

/** '' where the path is the same, the last part where it is a parameter; null where it is another path. */
function paramOf(template: string, pathname: string): string | null {
  if (template === pathname) return '';
  const brace = template.indexOf('{');
  if (brace < 0 || !pathname.startsWith(template.slice(0, brace))) return null;
  const rest = pathname.slice(brace);
  return /^[A-Za-z0-9._-]{1,128}$/.test(rest) ? rest : null;
}

function readQuery({ query }: Route, search: URLSearchParams): unknown {
  if (query === null) {
    if (search.size === 0) return null;
    throw new AdminError(400, 'admin-request', 'a parameter is not known');
  }
  const given: Record<string, string> = {};
  for (const [name, value] of search) {
    if (Object.hasOwn(given, name)) throw new AdminError(400, 'admin-request', 'a parameter stands twice');
    given[name] = value;
  }
  const read = query.safeParse(given);
  if (read.success) return read.data;
  const [issue] = read.error.issues;
  const names =
    issue?.code === 'unrecognized_keys' ? 'a parameter is not known' : `${issue?.path.join('.')}: ${issue?.message}`;
  throw new AdminError(400, 'admin-request', names);
}
