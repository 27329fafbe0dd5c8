// One plain-HTTP exchange after it was let through: request to the origin, response to the client, streaming both ways with
// back-pressure, and the one ended record whichever way it goes. Chosen over http-proxy-3: docs/dependencies.md.
import type http from 'node:http';
import type net from 'node:net';
import type { OutcomeCode, RequestErrorCode } from '../errors.ts';
import { nodeHttp } from '../net/http.ts';
import type { Authority } from '../policy/authority.ts';
import type { Budget } from './budget.ts';
import type { ProxyContext } from './context.ts';
import {
  type Framing,
  type FramingResult,
  HTTP_PORT,
  hostOf,
  readFraming,
  requestFields,
  responseFields,
} from './fields.ts';
import type { ForwardRequest } from './forward.ts';
import type { Carrier, CutOutcome, OpenRequest } from './open-requests.ts';
import { DialError, type Dialler, type OriginOptions, poolKey } from './origin-agent.ts';
import { brokenBody, endAfterBody, refuseRequest } from './refuse.ts';
import { recordEnd, refusalOf } from './route.ts';
import { resetSocket } from './tunnel.ts';

// Interim responses that an origin may send before its answer; one that sends more is not going to answer.
export const INTERIM_MAX = 32;

interface ExchangeOrder extends ForwardRequest {
  readonly authority: Authority;
  readonly path: string;
  readonly framing: Framing;
  readonly open: OpenRequest;
  /** An origin that has the request already: what is written to it goes nowhere, what it says is the answer. */
  readonly origin?: net.Socket;
  /** The port that a Host field leaves out; 80 unless given. */
  readonly defaultPort?: number;
  readonly budget?: Budget;
}

export class Exchanger implements Carrier, Dialler {
  readonly #ctx: ProxyContext;
  readonly #agent: http.Agent;
  readonly #order: ExchangeOrder;
  #origin: http.ClientRequest | null = null;
  cancelDial: (() => void) | null = null;
  #status: number | undefined;
  #response: http.IncomingMessage | null = null;
  bytesUp = 0;
  bytesDown = 0;
  #recorded = false;
  #retried = false;
  #interim = 0;
  #continued = false;
  #answered = false;
  /** Whether the client sees by itself that a body is cut short: it has a length or chunks. */
  #delimited = true;

  constructor(ctx: ProxyContext, agent: http.Agent, order: ExchangeOrder) {
    this.#ctx = ctx;
    this.#agent = agent;
    this.#order = order;
  }

  start(): void {
    const { req, res, framing, open } = this.#order;
    open.attach(this);
    if (this.#recorded) return;
    // Gone while the name was resolved: its 'close' has been.
    if (res.destroyed || req.socket.destroyed) return this.#end('client-gone');
    // The client's going away must free the origin at once, whatever state the exchange is in.
    res.once('close', () => {
      if (res.writableFinished || this.#recorded) return;
      this.#end('client-gone');
      this.#origin?.destroy();
    });
    const onError = (): void => this.#bodyBroke();
    req.on('error', onError);
    // The body may be known to be broken before the name was resolved.
    onError();
    if (this.#recorded) return;
    res.on('error', ignore);
    // Before the body is piped, so that what is too much never goes on.
    if (framing.kind !== 'none') req.on('data', (chunk: Buffer) => this.#up(chunk));
    this.#send();
  }

  #up(chunk: Buffer): void {
    const over = this.#order.budget?.up(chunk.length) ?? null;
    if (over === null) this.bytesUp += chunk.length;
    else this.#stop(over);
  }

  /** A budget is spent. The origin must not take what it has for the whole: its connection is destroyed in this turn. */
  #stop(code: RequestErrorCode): void {
    if (this.#recorded) return;
    this.#order.req.unpipe();
    this.#fail(code, null);
  }

  #send(): void {
    const { req, authority, path, framing, open, upgrade } = this.#order;
    const options: OriginOptions = {
      agent: this.#agent,
      // The second try gets a connection of its own: another kept one may be as stale as the first.
      poolKey: poolKey(authority.text, open.addresses) + (this.#retried ? `|${this.#order.id}` : ''),
      addresses: open.addresses,
      dialler: this,
      host: authority.host,
      port: authority.port,
      method: req.method ?? 'GET',
      path,
      headers: requestFields(
        req.rawHeaders,
        hostOf(authority, this.#order.defaultPort ?? HTTP_PORT),
        framing,
        upgrade?.protocol ?? null,
        req.method ?? 'GET',
      ),
      setHost: false,
      maxHeaderSize: this.#ctx.limits.head_bytes,
      insecureHTTPParser: false,
    };
    const { origin: asked } = this.#order;
    if (asked?.destroyed) return this.#fail('upstream-closed', 'the connection broke');
    const origin = nodeHttp.request(asked ? { ...options, agent: undefined, createConnection: () => asked } : options);
    this.#origin = origin;
    origin.setTimeout(this.#ctx.limits.upstream_response_timeout_ms, () => {
      this.#ctx.meter.hit('upstream_response_timeout_ms');
      this.#fail('upstream-timeout', `no progress for ${this.#ctx.limits.upstream_response_timeout_ms} ms`);
    });
    origin.on('socket', (socket) => {
      const note = (): void => {
        open.address = socket.remoteAddress;
      };
      if (socket.connecting) socket.once('connect', note);
      else note();
    });
    origin.on('error', (error: NodeJS.ErrnoException) => this.#originError(origin, error));
    origin.on('information', ({ statusCode }) => this.#inform(statusCode));
    origin.on('response', (response) => this.#respond(response));
    origin.on('upgrade', (response, socket, early) => this.#upgrade(response, socket, early));
    // Node's client has ways to go without an error or a response; none may leave the client waiting.
    origin.on('close', () => {
      if (origin === this.#origin && this.#status === undefined) this.#fail('upstream-closed', 'it closed');
    });
    if (framing.kind === 'none') origin.end();
    else {
      // Node holds the head back until the first byte of the body; an origin may answer by the head alone.
      origin.flushHeaders();
      req.pipe(origin);
    }
  }

  /** Nothing more of the request's body will come. That is no matter any more where the origin's answer is complete. */
  #bodyBroke(): void {
    const code = brokenBody(this.#order.req);
    if (code === undefined || this.#answered) return;
    if (code !== 'client-gone') return this.#fail(code, 'the request body is malformed');
    this.#end(code);
    this.#origin?.destroy();
    this.#order.res.destroy();
  }

  /** An interim response. Only the 100 that the client waits for goes on, once (RFC 9110 §15.2, §10.1.1). */
  #inform(status: number): void {
    const { req, res } = this.#order;
    this.#interim++;
    if (this.#interim > INTERIM_MAX) return this.#fail('upstream-malformed', 'it sends interim responses without end');
    const expected = req.httpVersion === '1.1' && /^100-continue$/i.test(req.headers.expect ?? '');
    if (status !== 100 || this.#continued || !expected || req.complete || res.destroyed) return;
    this.#continued = true;
    res.writeContinue();
  }

  #respond(response: http.IncomingMessage): void {
    const { req, res } = this.#order;
    this.#status = response.statusCode;
    this.#response = response;
    response.on('error', () => this.#break('upstream-closed'));
    const framing = responseFraming(response);
    if (!framing.ok) return this.#fail('upstream-malformed', framing.detail);
    // Of an answer to HEAD and of a 304 it is the length of another one.
    const counts = req.method !== 'HEAD' && response.statusCode !== 304;
    const announced = counts && framing.framing.kind === 'length' ? Number(framing.framing.length) : 0;
    const over = this.#order.budget?.announced('down', announced) ?? null;
    if (over !== null) return this.#fail(over, null);
    try {
      res.sendDate = false;
      // A body that the client is still uploading has no taker soon; closing tells it so.
      if (this.#ctx.closing || !req.complete) res.shouldKeepAlive = false;
      res.writeHead(
        response.statusCode ?? 502,
        response.statusMessage,
        responseFields(response.rawHeaders, framing.framing),
      );
    } catch (error) {
      return this.#fail(
        'upstream-malformed',
        error instanceof Error ? error.message : 'the response head is not valid',
      );
    }
    response.on('data', (chunk: Buffer) => {
      const over = this.#order.budget?.down(chunk.length) ?? null;
      if (over === null) this.bytesDown += chunk.length;
      else this.#break(over);
    });
    this.#delimited = res.chunkedEncoding || framing.framing.kind === 'length';
    response.once('end', () => {
      this.#answered = true;
      endAfterBody(req, res);
    });
    res.once('finish', () => this.#end('closed'));
    response.pipe(res, { end: false });
  }

  #upgrade(response: http.IncomingMessage, socket: net.Socket, early: Buffer): void {
    this.#status = response.statusCode;
    const { upgrade, open } = this.#order;
    if (!upgrade || this.#recorded) {
      socket.destroy();
      return this.#fail('upstream-malformed', 'it switched to another protocol unasked');
    }
    this.#recorded = true;
    open.openedMs = performance.now();
    upgrade.accept({
      response,
      origin: socket,
      early,
      finish: (end) => {
        this.#recorded = false;
        this.bytesUp = end.bytesUp;
        this.bytesDown = end.bytesDown;
        this.#end(end.outcome);
      },
    });
  }

  #originError(origin: http.ClientRequest, error: NodeJS.ErrnoException): void {
    if (this.#recorded || origin !== this.#origin) return;
    // Bytes behind a whole answer end the connection that they came on, not the answer: a body behind HEAD is a common mistake.
    if (this.#response?.complete) return;
    if (error instanceof DialError) return this.#fail(error.code as RequestErrorCode, error.message);
    if (error.code?.startsWith('HPE_'))
      return this.#fail('upstream-malformed', 'the response is not well-formed HTTP/1');
    const { req, res, framing } = this.#order;
    // A kept-alive connection may have been closed under our feet; a request without body and effect can be sent once more.
    const safe = framing.kind === 'none' && (req.method === 'GET' || req.method === 'HEAD');
    if (origin.reusedSocket && safe && !this.#retried && !res.headersSent) {
      this.#retried = true;
      return this.#send();
    }
    this.#fail('upstream-closed', `the connection broke (${error.code ?? 'unknown'})`);
  }

  /** Ends with an error of the origin: a clean 502 or 504 while nothing has been sent, a visibly broken message after. */
  #fail(code: RequestErrorCode, detail: string | null, outcome: RequestErrorCode | OutcomeCode = code): void {
    const { res, open } = this.#order;
    if (this.#recorded) return;
    if (res.headersSent) return this.#break(outcome);
    this.#end(outcome);
    this.#origin?.destroy();
    refuseRequest(this.#order, refusalOf(this.#ctx, open, code, detail));
  }

  /** From outside; `open` is asked first, so after a 101 it is the tunnel that is cut. */
  cut(outcome: CutOutcome, refusal: RequestErrorCode | null): void {
    if (refusal === null) this.#break(outcome);
    else this.#fail(refusal, null, outcome);
  }

  #break(outcome: RequestErrorCode | OutcomeCode): void {
    if (this.#recorded) return;
    this.#end(outcome);
    this.#origin?.destroy();
    const { req, res } = this.#order;
    // Without a length and without chunks, an orderly close would look like the end of the body.
    if (this.#delimited) res.destroy();
    else resetSocket(req.socket);
  }

  #end(outcome: RequestErrorCode | OutcomeCode): void {
    if (this.#recorded) return;
    this.#recorded = true;
    this.cancelDial?.();
    recordEnd(this.#ctx, this.#order.open, {
      outcome,
      bytesUp: this.bytesUp,
      bytesDown: this.bytesDown,
      status: this.#status,
    });
  }
}

/** How the response is framed; not ok where two readers could differ, or where it is no final response at all. */
function responseFraming(response: http.IncomingMessage): FramingResult {
  const { httpVersion } = response;
  if (httpVersion !== '1.1' && httpVersion !== '1.0') return { ok: false, detail: `it says HTTP/${httpVersion}` };
  const status = response.statusCode ?? 0;
  if (status < 200) return { ok: false, detail: `status ${status} is no final response` };
  const read = readFraming(response.rawHeaders, httpVersion);
  // RFC 9110 §8.6: a 204 has no body and says no length.
  return read.ok && status === 204 ? { ok: true, framing: { kind: 'none' } } : read;
}

function ignore(): void {
  // The 'close' that follows is what is acted on.
}
