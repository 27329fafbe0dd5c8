// What a plain-HTTP request must be before anybody decides about it, however its head was read: an absolute-form http:// target, one
// Host, framing that no two parsers read differently (RFC 9112 §3.2.2, §6.3).
import type { RequestErrorCode } from '../errors.ts';
import type { Client } from '../identity/identify.ts';
import { type Authority, parseHttpTarget } from '../policy/authority.ts';
import type { ProxyContext } from './context.ts';
import { type Framing, readFraming } from './fields.ts';
import { fieldCount, fieldValue, type HeadProblem, headProblem } from './head.ts';
import { isInner } from './inner.ts';
import type { RequestHead } from './plain-head.ts';
import type { Ask } from './route.ts';

export type ReadRequest =
  | { readonly ok: true; readonly authority: Authority; readonly path: string; readonly framing: Framing }
  | { readonly ok: false; readonly problem: HeadProblem; readonly authority: Authority | null };

/**
 * What can be said of a request before anybody is asked: whether it may be forwarded at all, where to, and how its body is framed.
 * @param detached whether it has an Upgrade field
 */
export function readRequest(ctx: ProxyContext, client: Client, head: RequestHead, detached: boolean): ReadRequest {
  const { rawHeaders: raw, version } = head;
  const target = parseHttpTarget(head.target);
  const authority = target.ok ? target.authority : null;
  const no = (code: RequestErrorCode, detail: string | null): ReadRequest => ({
    ok: false,
    problem: { code, detail },
    authority,
  });
  if (ctx.draining) return no('draining', null);
  if (detached && ctx.tunnelsFull()) return no('tunnels-full', null);
  if (detached && ctx.slots.tunnelsFull(client.address)) return no('client-full', null);
  const general = headProblem(version, raw, ctx.limits, ctx.meter);
  if (general) return { ok: false, problem: general, authority };
  if (!target.ok) return no('target-malformed', target.problem);
  const inner = isInner(target.authority);
  if (!ctx.plainHttp && !inner)
    return no('method-not-allowed', 'plain HTTP forwarding is switched off (plain_http: false)');
  // TRACE would answer with the request, credentials of other hops included (RFC 9110 §9.3.8).
  if (head.method === 'TRACE') return no('method-not-allowed', 'TRACE is not forwarded');
  if (version === '1.1' && fieldCount(raw, 'host') !== 1)
    return no('host-header', 'an HTTP/1.1 request has exactly one Host header');
  const framing = readFraming(raw, version);
  if (!framing.ok) return no('request-malformed', framing.detail);
  if (inner && (detached || hasBody(framing.framing)))
    return no('job-request', 'the job API takes no body and no Upgrade');
  if (detached && framing.framing.kind !== 'none')
    return no('request-malformed', 'a request with Upgrade must not carry a body');
  return { ok: true, authority: target.authority, path: target.path, framing: framing.framing };
}

/** What the road of every request is asked (route.ts). */
export function askOf(
  who: { readonly id: string; readonly client: Client; readonly startedMs: number },
  { method, rawHeaders }: RequestHead,
  { authority, path }: { readonly authority: Authority; readonly path: string },
): Ask {
  return {
    id: who.id,
    client: who.client,
    kind: 'forward',
    method,
    authority,
    path,
    carries: ({ name, value }) => {
      const sent = fieldValue(rawHeaders, name);
      return sent !== undefined && (value === undefined || sent.toLowerCase() === value.toLowerCase());
    },
    proxyAuthorization: fieldValue(rawHeaders, 'proxy-authorization'),
    userAgent: fieldValue(rawHeaders, 'user-agent'),
    startedMs: who.startedMs,
  };
}

function hasBody(framing: Framing): boolean {
  return framing.kind === 'chunked' || (framing.kind === 'length' && framing.length !== '0');
}
