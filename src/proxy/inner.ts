// Requests for the proxy itself, in absolute-form on its own listener: http://sallyport.invalid/…. The name is never resolved and never
// dialled, and exists for nobody else (RFC 6761 §6.4: .invalid). Here they are let in, bounded and recorded; what they mean is said by
// the service that the composition root puts in (the job API). CONNECT to the name is refused on the road of every request.
import type { RequestErrorCode } from '../errors.ts';
import { requestError } from '../errors.ts';
import type { Client } from '../identity/identify.ts';
import type { Authority } from '../policy/authority.ts';
import type { Identity } from '../policy/record.ts';
import type { ProxyContext } from './context.ts';
import type { ForwardRequest } from './forward.ts';
import { fieldCount, fieldValue } from './head.ts';
import { INNER_HOST, INNER_PORT } from './inner-name.ts';
import { refuseRequest } from './refuse.ts';
import { refuseUnasked } from './route.ts';

export interface InnerRequest {
  readonly id: string;
  readonly method: string;
  /** Path and query as sent. */
  readonly path: string;
  readonly client: Client;
  readonly authorization: string | undefined;
  readonly proxyAuthorization: string | undefined;
}

/** `refused` is recorded as a denied request, and answered with the registry's words; the rest as the service has it. */
export type InnerAnswer =
  | { readonly ok: true; readonly status: 200 | 201 | 204; readonly type: string; readonly body: string }
  | {
      readonly ok: false;
      readonly code: RequestErrorCode;
      readonly detail?: string;
      /** Who asks, where that is known. */
      readonly identity?: Identity;
    };

export interface InnerService {
  /** One that rejects is a bug, and refused as one. */
  answer(request: InnerRequest): Promise<InnerAnswer>;
}

/** Whether a forwarded request is one for the proxy itself. */
export function isInner(authority: Authority): boolean {
  return authority.host === INNER_HOST && authority.port === INNER_PORT;
}

/** Answers one request; its body, were there one, has been refused before. */
export async function answerInner(
  ctx: ProxyContext,
  forward: ForwardRequest,
  { authority, path }: { readonly authority: Authority; readonly path: string },
): Promise<void> {
  const { req, res, client, id } = forward;
  const answer = await answerOf(ctx, forward, path);
  if (answer.ok) {
    const empty = answer.status === 204;
    res.writeHead(answer.status, [
      ...(empty ? [] : ['Content-Type', answer.type, 'Content-Length', String(Buffer.byteLength(answer.body))]),
      ...['Cache-Control', 'no-store', 'X-Content-Type-Options', 'nosniff', 'Sallyport-Request-Id', id],
    ]);
    res.end(empty ? undefined : answer.body);
    return;
  }
  const { code, detail = null, identity = client.identity } = answer;
  const what = { id, client: { ...client, identity }, method: req.method ?? '', target: req.url ?? '', authority };
  const refusal = refuseUnasked(ctx, { ...what, code, detail });
  refuseRequest(forward, { ...refusal, ...statusOf(refusal.code) });
}

function answerOf(ctx: ProxyContext, { req, client, id }: ForwardRequest, path: string): Promise<InnerAnswer> {
  const refused = (code: RequestErrorCode): Promise<InnerAnswer> => Promise.resolve({ ok: false, code });
  if (!client.allowed) return refused('client-not-allowed');
  if (ctx.inner === null) return refused('job-api-off');
  if (fieldCount(req.rawHeaders, 'authorization') > 1) return refused('job-request');
  const asked = {
    id,
    method: req.method ?? '',
    path,
    client,
    authorization: fieldValue(req.rawHeaders, 'authorization'),
    proxyAuthorization: fieldValue(req.rawHeaders, 'proxy-authorization'),
  };
  return ctx.inner.answer(asked).catch((error: unknown) => {
    ctx.log.error({ err: error, request: id }, 'a request failed inside the proxy and was refused');
    return refused('internal-error');
  });
}

/** What the proxy as a proxy answers with 407 is 401 of the proxy as an origin (RFC 9110 §11.6). */
function statusOf(code: RequestErrorCode): { status: number } | Record<string, never> {
  return requestError(code).status === 407 ? { status: 401 } : {};
}
