// The OpenAPI document, made from the table of routes: what it says of a query is what the query is read by.
import { z } from 'zod';
import { type Route, Router, route } from './router.ts';
import { PAGES } from './routes.ts';
import { errorAnswer } from './schemas.ts';

const ERRORS = {
  400: 'The query is not understood.',
  401: 'No token, or another one.',
  403: 'The request comes from another site, or is for another host.',
  404: 'There is nothing there.',
  503: 'It does as much at once as it may, or what it needs is not there.',
};

/** These routes, and the page of the document for them, which is made when it is first asked for. */
export function documented(routes: readonly Route[], version: string): Router {
  let document: object | null = null;
  const openapi: Route = route({
    ...PAGES.openapi,
    handle: () => {
      document ??= openApi([...routes, openapi], version);
      return { json: document };
    },
  });
  return new Router([...routes, openapi]);
}

/** The document for these routes. */
function openApi(routes: readonly Route[], version: string): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const route of routes) {
    paths[route.path] ??= {};
    Object.assign(paths[route.path] ?? {}, { [route.method.toLowerCase()]: operation(route) });
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Sallyport admin API',
      version,
      description:
        'Answers on the admin listener alone, never through the proxy. docs/admin.md says how the token is got.',
    },
    components: {
      securitySchemes: { token: { type: 'http', scheme: 'bearer' } },
      schemas: { Error: shape(errorAnswer) },
    },
    security: [{ token: [] }],
    paths,
  };
}

function operation(route: Route): object {
  const { properties = {}, required = [] } = (route.query === null ? {} : shape(route.query, 'input')) as {
    properties?: Record<string, { description?: string }>;
    required?: string[];
  };
  const param = /\{(\w+)\}/.exec(route.path)?.[1];
  const ok =
    route.answer === null
      ? { [route.type ?? 'text/plain']: {} }
      : { 'application/json': { schema: shape(route.answer) } };
  const failed = { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } };
  return {
    summary: route.about,
    parameters: [
      ...(param === undefined ? [] : [{ name: param, in: 'path', required: true, schema: { type: 'string' } }]),
      ...Object.entries(properties).map(([name, { description, ...schema }]) => ({
        name,
        in: 'query',
        required: required.includes(name),
        ...(description === undefined ? {} : { description }),
        schema,
      })),
    ],
    responses: {
      200: { description: 'The answer.', content: ok },
      ...Object.fromEntries(
        Object.entries(ERRORS).map(([status, description]) => [status, { description, content: failed }]),
      ),
    },
  };
}

function shape(type: z.ZodType, io: 'input' | 'output' = 'output'): object {
  const { $schema: _, ...schema } = z.toJSONSchema(type, { io, unrepresentable: 'any' });
  return schema;
}
