// The walk of a plain-HTTP request in absolute-form (RFC 9112 §3.2.2). Each request on a connection is decided anew; the raw
// path that was judged is the path that is sent; framing that two parsers could read differently is refused, both ways.
import type http from 'node:http';
import type net from 'node:net';
import type { RequestErrorCode } from '../errors.ts';
import type { Client } from '../identity/identify.ts';
import { type Authority, parseHttpTarget } from '../policy/authority.ts';
import type { ProxyContext } from './context.ts';
import type { TunnelEnd } from './engine.ts';
import { Exchanger } from './exchanger.ts';
import { type Framing, readFraming } from './fields.ts';
import { fieldCount, fieldValue, type HeadProblem, headProblem } from './head.ts';
import { answerInner, isInner } from './inner.ts';
import type { OriginAgent } from './origin-agent.ts';
import { refuseRequest } from './refuse.ts';
import { recordEnd, refuseMalformed, route } from './route.ts';

export interface ForwardRequest {
  readonly id: string;
  readonly client: Client;
  readonly req: http.IncomingMessage;
  readonly res: http.ServerResponse;
  /** Set for a WebSocket handshake: what to do with the two sockets once the origin agrees. */
  readonly upgrade: Upgrade | null;
  /** Whether Node has detached its parser (any Upgrade field does that): a body could then not be read. */
  readonly detached: boolean;
}

export interface Upgrade {
  readonly protocol: string;
  /** Takes the connection over; called at most once, with the origin's 101. */
  readonly accept: (answer: UpgradeAnswer) => void;
}

export interface UpgradeAnswer {
  readonly response: http.IncomingMessage;
  readonly origin: net.Socket;
  readonly early: Buffer;
  readonly finish: (outcome: { outcome: TunnelEnd['outcome']; bytesUp: number; bytesDown: number }) => void;
}

/** Takes one request to its end. Never rejects. */
export async function handleForward(ctx: ProxyContext, agent: OriginAgent, forward: ForwardRequest): Promise<void> {
  try {
    await walk(ctx, agent, forward);
  } catch (error) {
    ctx.log.error({ err: error, request: forward.id }, 'a request failed inside the proxy and was refused');
    const open = ctx.open.get(forward.id);
    if (open) recordEnd(ctx, open, { outcome: 'internal-error', bytesUp: open.bytesUp, bytesDown: open.bytesDown });
    if (forward.res.headersSent) forward.res.destroy();
    else refuseRequest(forward, { code: 'internal-error', id: forward.id, help: ctx.help });
  }
}

async function walk(ctx: ProxyContext, agent: OriginAgent, forward: ForwardRequest): Promise<void> {
  const startedMs = performance.now();
  const { req, client, id } = forward;
  const method = req.method ?? '';
  const target = req.url ?? '';
  const parsed = readRequest(ctx, client, req, forward.detached);
  if (!parsed.ok) {
    const { code, detail } = parsed.problem;
    return refuseRequest(
      forward,
      refuseMalformed(ctx, { id, client, method, target, code, detail, authority: parsed.authority }),
    );
  }
  if (isInner(parsed.authority)) return answerInner(ctx, forward, parsed.path);
  const routing = route(ctx, {
    id,
    client,
    kind: 'forward',
    method,
    authority: parsed.authority,
    path: parsed.path,
    carries: ({ name, value }) => {
      const sent = fieldValue(req.rawHeaders, name);
      return sent !== undefined && (value === undefined || sent.toLowerCase() === value.toLowerCase());
    },
    proxyAuthorization: fieldValue(req.rawHeaders, 'proxy-authorization'),
    userAgent: fieldValue(req.rawHeaders, 'user-agent'),
    startedMs,
  });
  const routed = routing instanceof Promise ? await routing : routing;
  if (!routed.ok) return refuseRequest(forward, routed.refusal);
  new Exchanger(ctx, agent, {
    ...forward,
    authority: parsed.authority,
    path: parsed.path,
    framing: parsed.framing,
    open: routed.open,
  }).start();
}

type Parsed =
  | { readonly ok: true; readonly authority: Authority; readonly path: string; readonly framing: Framing }
  | { readonly ok: false; readonly problem: HeadProblem; readonly authority: Authority | null };

function readRequest(ctx: ProxyContext, client: Client, req: http.IncomingMessage, detached: boolean): Parsed {
  const raw = req.rawHeaders;
  const target = parseHttpTarget(req.url ?? '');
  const authority = target.ok ? target.authority : null;
  const no = (code: RequestErrorCode, detail: string | null): Parsed => ({
    ok: false,
    problem: { code, detail },
    authority,
  });
  if (ctx.draining) return no('draining', null);
  if (detached && ctx.tunnelsFull()) return no('tunnels-full', null);
  if (detached && ctx.slots.tunnelsFull(client.address)) return no('client-full', null);
  const general = headProblem(req.httpVersion, raw, ctx.limits, ctx.meter);
  if (general) return { ok: false, problem: general, authority };
  if (!target.ok) return no('target-malformed', target.problem);
  const inner = isInner(target.authority);
  if (!ctx.plainHttp && !inner)
    return no('method-not-allowed', 'plain HTTP forwarding is switched off (plain_http: false)');
  // TRACE would answer with the request, credentials of other hops included (RFC 9110 §9.3.8).
  if (req.method === 'TRACE') return no('method-not-allowed', 'TRACE is not forwarded');
  if (req.httpVersion === '1.1' && fieldCount(raw, 'host') !== 1)
    return no('host-header', 'an HTTP/1.1 request has exactly one Host header');
  const framing = readFraming(raw, req.httpVersion);
  if (!framing.ok) return no('request-malformed', framing.detail);
  if (inner && (detached || hasBody(framing.framing)))
    return no('job-request', 'the job API takes no body and no Upgrade');
  if (detached && framing.framing.kind !== 'none')
    return no('request-malformed', 'a request with Upgrade must not carry a body');
  return { ok: true, authority: target.authority, path: target.path, framing: framing.framing };
}

function hasBody(framing: Framing): boolean {
  return framing.kind === 'chunked' || (framing.kind === 'length' && framing.length !== '0');
}
