// The walk of a plain-HTTP request in absolute-form (RFC 9112 §3.2.2). Each request on a connection is decided anew; the raw
// path that was judged is the path that is sent; framing that two parsers could read differently is refused, both ways.
import type http from 'node:http';
import type net from 'node:net';
import type { Client } from '../identity/identify.ts';
import type { ProxyContext } from './context.ts';
import type { TunnelEnd } from './engine.ts';
import { Exchanger } from './exchanger.ts';
import { askOf, readRequest } from './forward-request.ts';
import { answerInner, isInner } from './inner.ts';
import type { OriginAgent } from './origin-agent.ts';
import type { RequestHead } from './plain-head.ts';
import { refuseFailed, refuseRequest } from './refuse.ts';
import { refuseUnasked, route } from './route.ts';

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
    refuseFailed(ctx, forward, error);
  }
}

async function walk(ctx: ProxyContext, agent: OriginAgent, forward: ForwardRequest): Promise<void> {
  const startedMs = performance.now();
  const { req, client, id } = forward;
  const head = headOf(req);
  const { method, target } = head;
  const parsed = readRequest(ctx, client, head, forward.detached);
  if (!parsed.ok) {
    const { code, detail } = parsed.problem;
    return refuseRequest(
      forward,
      refuseUnasked(ctx, { id, client, method, target, code, detail, authority: parsed.authority }),
    );
  }
  if (isInner(parsed.authority)) return answerInner(ctx, forward, parsed);
  const routed = await route(ctx, askOf({ id, client, startedMs }, head, parsed));
  if (!routed.ok) return refuseRequest(forward, routed.refusal);
  new Exchanger(ctx, agent, {
    ...forward,
    authority: parsed.authority,
    path: parsed.path,
    framing: parsed.framing,
    open: routed.open,
  }).start();
}

function headOf({ method = '', url = '', httpVersion, rawHeaders }: http.IncomingMessage): RequestHead {
  return { method, target: url, version: httpVersion, rawHeaders };
}
