// The walk of a CONNECT: start reading here. One function in the order of docs/architecture.md; each step that can refuse
// leaves at once, and every request leaves exactly one decided record (route.ts) and, once let through, one ended record.
import type { RequestErrorCode } from '../errors.ts';
import type { Client } from '../identity/identify.ts';
import { parseAuthority } from '../policy/authority.ts';
import type { ProxyContext } from './context.ts';
import type { ConnectHead, Exchange, TunnelEnd } from './engine.ts';
import { firstMessage } from './first-message.ts';
import { fieldValue, type HeadProblem, headProblem } from './head.ts';
import { handleInspected, type InspectedReader } from './inspected/walk.ts';
import type { Carrier, CutOutcome, OpenRequest } from './open-requests.ts';
import { refusalResponse, serialise } from './respond.ts';
import { type Routed, recordEnd, refusalOf, refuseUnasked, route } from './route.ts';

/** Takes one CONNECT from its head to the end of its tunnel. Never rejects: a failure of ours is a refusal, not a hang. */
export async function handleConnect(ctx: ProxyContext, exchange: Exchange, reader: InspectedReader): Promise<void> {
  try {
    await walk(ctx, exchange, reader);
  } catch (error) {
    ctx.log.error({ err: error, request: exchange.id }, 'a CONNECT failed inside the proxy and was refused');
    // Cuts a tunnel that stands already, with its record; what was let through and is none yet ends here.
    exchange.refuse(serialise(refusalResponse({ code: 'internal-error', id: exchange.id, help: ctx.help })));
    const open = ctx.open.get(exchange.id);
    if (open) recordEnd(ctx, open, { outcome: 'internal-error', bytesUp: 0, bytesDown: 0 });
  }
}

async function walk(ctx: ProxyContext, exchange: Exchange, reader: InspectedReader): Promise<void> {
  const startedMs = performance.now();
  const accept = fieldValue(exchange.head.rawHeaders, 'accept');
  const routed = await enter(ctx, exchange, startedMs);
  if (!routed.ok) return exchange.refuse(serialise(refusalResponse({ ...routed.refusal, accept })));

  const { open } = routed;
  const { inspect } = open.decision;
  if (inspect) return handleInspected(ctx, exchange, open, { inspection: inspect, accept, reader });

  // 8 dial a checked address. A cut during the dial has answered and recorded.
  open.attach(new Dialling(ctx, exchange, open, accept));
  if (open.ended) return;
  const dialMs = performance.now();
  const dialled = await exchange.dial({ addresses: open.addresses, port: open.authority.port });
  if (open.ended) return;
  if (!dialled.ok) {
    recordEnd(ctx, open, { outcome: dialled.code, bytesUp: 0, bytesDown: 0 });
    const code = dialled.code === 'client-gone' ? 'connect-failed' : dialled.code;
    return exchange.refuse(refusalText(ctx, open, { code, detail: dialled.detail, accept }));
  }
  open.address = dialled.address;

  // 9 the 200, 10 the first message, 11 relay, 12 the ended record.
  const first = firstMessage(open.decision.protocol, open.authority, open.decision.mode);
  open.openedMs = performance.now();
  ctx.meter.timed?.('dial', open.openedMs - dialMs);
  ctx.meter.timed?.('setup', open.openedMs - startedMs);
  exchange.open(first, (end) => ended(ctx, open, end));
}

/** Steps 1 to 7. Nothing of the head, which may hold a token of a kilobyte, is kept longer than they take. */
function enter(ctx: ProxyContext, exchange: Exchange, startedMs: number): Routed | Promise<Routed> {
  const { head, client, id } = exchange;
  // 1 slots (connections were counted at accept) and 2 the authority, by the strict grammar.
  const parsed = parseAuthority(head.target);
  const problem = connectProblem(ctx, client, head);
  if (problem || !parsed.ok) {
    const { code, detail }: HeadProblem = problem ?? {
      code: 'authority-malformed',
      detail: parsed.ok ? null : parsed.problem,
    };
    const authority = parsed.ok ? parsed.authority : null;
    const what = { id, client, method: 'CONNECT', target: head.target, code, detail, authority };
    return { ok: false, refusal: refuseUnasked(ctx, what) };
  }
  // 3 identity, 4 decide, 5 resolve, 6 check the addresses, 7 record.
  return route(ctx, {
    id,
    client,
    kind: 'connect',
    method: 'CONNECT',
    authority: parsed.authority,
    path: null,
    proxyAuthorization: fieldValue(head.rawHeaders, 'proxy-authorization'),
    userAgent: fieldValue(head.rawHeaders, 'user-agent'),
    startedMs,
  });
}

/** A CONNECT between its decided record and its 200. */
class Dialling implements Carrier {
  readonly bytesUp = 0;
  readonly bytesDown = 0;
  readonly #ctx: ProxyContext;
  readonly #exchange: Exchange;
  readonly #open: OpenRequest;
  readonly #accept: string | undefined;

  constructor(ctx: ProxyContext, exchange: Exchange, open: OpenRequest, accept: string | undefined) {
    this.#ctx = ctx;
    this.#exchange = exchange;
    this.#open = open;
    this.#accept = accept;
  }

  cut(outcome: CutOutcome, refusal: RequestErrorCode | null): void {
    recordEnd(this.#ctx, this.#open, { outcome, bytesUp: 0, bytesDown: 0 });
    if (refusal === null) this.#exchange.refuse('');
    else
      this.#exchange.refuse(refusalText(this.#ctx, this.#open, { code: refusal, detail: null, accept: this.#accept }));
  }
}

function refusalText(
  ctx: ProxyContext,
  open: OpenRequest,
  why: { readonly code: RequestErrorCode; readonly detail: string | null; readonly accept: string | undefined },
): string {
  return serialise(refusalResponse({ ...refusalOf(ctx, open, why.code, why.detail), accept: why.accept }));
}

function ended(ctx: ProxyContext, open: OpenRequest, end: TunnelEnd): void {
  const cut = end.finding !== null && end.outcome === end.finding.reason;
  recordEnd(ctx, open, {
    outcome: end.outcome,
    // The engine counts what it read; of a tunnel that the check cut, not a byte was passed on.
    bytesUp: cut ? 0 : end.bytesUp,
    bytesDown: end.bytesDown,
    // A tunnel that the first-message check cut counts as denied; one that it would have cut, as observed.
    ...(end.finding ? { verdict: cut ? 'deny' : 'observe', reason: end.finding.reason } : {}),
  });
}

/** What forbids a CONNECT whatever it asks for. llhttp lets bodies through; each such head has made two parsers disagree about where a CONNECT ends ("Headers on CONNECT" in docs/threat-model.md). */
function connectProblem(ctx: ProxyContext, client: Client, head: ConnectHead): HeadProblem | null {
  if (ctx.draining) return { code: 'draining', detail: null };
  if (ctx.tunnelsFull()) return { code: 'tunnels-full', detail: null };
  if (ctx.slots.tunnelsFull(client.address)) return { code: 'client-full', detail: null };
  const general = headProblem(head.version, head.rawHeaders, ctx.limits, ctx.meter);
  if (general) return general;
  if (fieldValue(head.rawHeaders, 'content-length') !== undefined)
    return { code: 'connect-with-body', detail: 'it carries Content-Length' };
  if (fieldValue(head.rawHeaders, 'transfer-encoding') !== undefined)
    return { code: 'connect-with-body', detail: 'it carries Transfer-Encoding' };
  return null;
}
