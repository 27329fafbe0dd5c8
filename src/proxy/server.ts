// The listener: accepts clients, lets Node's llhttp read their heads, and sends each request down its road: CONNECT to
// connect.ts, absolute-form to forward.ts, what cannot be parsed to a recorded refusal. Owns slots and head deadlines.
import http from 'node:http';
import type net from 'node:net';
import type { RequestErrorCode } from '../errors.ts';
import type { Client } from '../identity/identify.ts';
import type { LimitName } from '../limits.ts';
import { handleConnect } from './connect.ts';
import type { ProxyContext } from './context.ts';
import type { JsEngine } from './engine-js.ts';
import { handleForward } from './forward.ts';
import { OriginAgent } from './origin-agent.ts';
import { refuseSocket } from './refuse.ts';
import { refusalResponse, serialise } from './respond.ts';
import { refuseMalformed } from './route.ts';
import type { Slots } from './slots.ts';
import { upgradeRequest } from './upgrade.ts';

const CLIENT = Symbol('client');
const ANSWERING = Symbol('answering');
/** An admitted connection: who it is, and how many plain-HTTP requests on it are being answered. */
type ClientSocket = net.Socket & { [CLIENT]?: Client; [ANSWERING]?: number };

// Node looks for heads that are overdue once in this time; a deadline is thus met at most so much late.
const HEAD_CHECK_MS = 1_000;
const BACKLOG = 4_096;
// Connections beyond a limit get their 503 whole as long as not more than this many linger; the rest is cut at once.
const TURNED_AWAY_MAX = 256;
// A flood must not flood the operational log too: one line a second says which limit is hit, the metric counts.
const LIMIT_SAID_MS = 1_000;

const FULL: Partial<Record<LimitName, RequestErrorCode>> = {
  connections_max: 'connections-full',
  clients_tracked_max: 'connections-full',
  client_connections_max: 'client-full',
  client_rate_per_s: 'client-full',
};

export class ProxyServer {
  readonly #ctx: ProxyContext;
  readonly #engine: JsEngine;
  readonly #agent: OriginAgent;
  readonly #slots: Slots;
  readonly #servers: http.Server[] = [];
  #forwards = 0;
  #turnedAway = 0;
  #limitSaidMs = 0;

  constructor(ctx: ProxyContext, engine: JsEngine, slots: Slots) {
    this.#ctx = ctx;
    this.#engine = engine;
    this.#slots = slots;
    this.#agent = new OriginAgent(ctx.limits);
  }

  /** Listens on one more address; resolves with the real one (port 0 asks the kernel). Rejects with Node's error. */
  listen(at: { host: string; port: number }): Promise<net.AddressInfo> {
    const server = this.#createServer();
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: at.host, port: at.port, backlog: BACKLOG }, () => {
        server.removeListener('error', reject);
        server.on('error', (error) => this.#ctx.log.error({ err: error }, 'the listener failed'));
        this.#servers.push(server);
        resolve(server.address() as net.AddressInfo);
      });
    });
  }

  /** Stops accepting; connections between two requests are closed, those within one end with it. */
  stopListening(): void {
    for (const server of this.#servers) {
      server.close();
      server.closeIdleConnections();
    }
  }

  /** Whether no request is under way and no tunnel is open. */
  get idle(): boolean {
    return this.#engine.load === 0 && this.#forwards === 0;
  }

  /** Cuts what is left. */
  close(): void {
    this.#engine.close();
    this.#agent.destroy();
    for (const server of this.#servers) server.closeAllConnections();
  }

  #createServer(): http.Server {
    const { limits } = this.#ctx;
    const server = http.createServer({
      maxHeaderSize: limits.head_bytes,
      headersTimeout: limits.head_timeout_ms,
      // A body may take as long as it makes progress; upstream_response_timeout_ms bounds a stalled one.
      requestTimeout: 0,
      keepAliveTimeout: limits.keep_alive_idle_ms,
      connectionsCheckingInterval: Math.min(HEAD_CHECK_MS, limits.head_timeout_ms),
      insecureHTTPParser: false,
      // Both are checked by us, with a reason; Node would drop surplus fields silently.
      requireHostHeader: false,
      noDelay: true,
    });
    server.maxHeadersCount = 0;
    // Slots come before the parser: a connection that is turned away never gets to the listener that would read its head.
    const read = server.listeners('connection');
    server.removeAllListeners('connection');
    server.on('connection', (socket: ClientSocket) => {
      if (this.#admit(socket)) for (const listener of read) listener.call(server, socket);
    });
    server.on('connect', (req, socket, early) => this.#connect(req, socket as ClientSocket, early));
    server.on('request', (req, res) => this.#forward(req, res));
    server.on('checkContinue', (req, res) => this.#forward(req, res));
    server.on('checkExpectation', (req, res) => this.#forward(req, res));
    server.on('upgrade', (req, socket, early) => this.#upgrade(req, socket as ClientSocket, early));
    server.on('clientError', (error, socket) => this.#malformed(error, socket as ClientSocket));
    return server;
  }

  #admit(socket: ClientSocket): boolean {
    const client = this.#ctx.book.client(socket.remoteAddress);
    const nowMs = Date.now();
    const limit = this.#slots.admit(client.address, nowMs);
    if (limit) {
      this.#turnAway(socket, client, limit, nowMs);
      return false;
    }
    socket[CLIENT] = client;
    socket.once('close', onSlotClose.bind(null, this.#slots, client.address));
    return true;
  }

  /** Nothing was asked yet, so there is nothing to record but the metric, and nothing to wait for. */
  #turnAway(socket: ClientSocket, client: Client, limit: LimitName, nowMs: number): void {
    if (nowMs - this.#limitSaidMs >= LIMIT_SAID_MS) {
      this.#limitSaidMs = nowMs;
      this.#ctx.log.warn({ client: client.address, limit }, 'connections are refused: a limit is reached');
    }
    if (this.#turnedAway >= TURNED_AWAY_MAX) {
      socket.destroy();
      return;
    }
    this.#turnedAway++;
    socket.once('close', () => void this.#turnedAway--);
    const code = FULL[limit] ?? 'connections-full';
    refuseSocket(socket, serialise(refusalResponse({ code, id: this.#ctx.nextId(), help: this.#ctx.help })));
  }

  #client(socket: ClientSocket): Client {
    return socket[CLIENT] ?? this.#ctx.book.client(socket.remoteAddress);
  }

  #connect(req: http.IncomingMessage, socket: ClientSocket, early: Buffer): void {
    const exchange = this.#engine.exchange({
      id: this.#ctx.nextId(),
      socket,
      early,
      head: { target: req.url ?? '', version: req.httpVersion, rawHeaders: req.rawHeaders },
      client: this.#client(socket),
    });
    void handleConnect(this.#ctx, exchange);
  }

  #forward(req: http.IncomingMessage, res: http.ServerResponse): void {
    const socket = req.socket as ClientSocket;
    const client = this.#client(socket);
    this.#count(res, socket);
    void handleForward(this.#ctx, this.#agent, {
      id: this.#ctx.nextId(),
      client,
      req,
      res,
      upgrade: null,
      detached: false,
    });
  }

  #count(res: http.ServerResponse, socket: ClientSocket): void {
    this.#forwards++;
    socket[ANSWERING] = (socket[ANSWERING] ?? 0) + 1;
    res.once('close', () => {
      this.#forwards--;
      socket[ANSWERING] = (socket[ANSWERING] ?? 1) - 1;
    });
  }

  #upgrade(req: http.IncomingMessage, socket: ClientSocket, early: Buffer): void {
    const id = this.#ctx.nextId();
    const client = this.#client(socket);
    const { res, upgrade } = upgradeRequest({ engine: this.#engine, id, req, socket, early });
    void handleForward(this.#ctx, this.#agent, { id, client, req, res, upgrade, detached: true });
  }

  /** What llhttp refuses. The error's raw packet shows what was tried; its first line is recorded, escaped and capped. */
  #malformed(error: NodeJS.ErrnoException & { rawPacket?: Buffer }, socket: ClientSocket): void {
    if (error.code === 'ECONNRESET' || socket.destroyed || !socket.writable) {
      socket.destroy();
      return;
    }
    const { code, limit } = malformedCode(error.code ?? '');
    if (limit) this.#ctx.meter.hit(limit);
    // A connection that never sent a byte asked for nothing: it is closed without an answer and without a record. One whose
    // request is being answered has its record, and no second answer may be written into the first: it is cut.
    if (socket.bytesRead === 0 || (socket[ANSWERING] ?? 0) > 0) {
      socket.destroy();
      return;
    }
    const line = firstLine(error.rawPacket);
    const client = this.#client(socket);
    const refusal = refuseMalformed(this.#ctx, {
      id: this.#ctx.nextId(),
      client,
      method: line.method,
      target: line.target,
      code,
      detail: null,
      authority: null,
    });
    refuseSocket(socket, serialise(refusalResponse(refusal)));
  }
}

function onSlotClose(slots: Slots, address: string): void {
  slots.release(address);
}

function malformedCode(code: string): { code: RequestErrorCode; limit: LimitName | null } {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return { code: 'head-too-large', limit: 'head_bytes' };
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return { code: 'head-timeout', limit: 'head_timeout_ms' };
    case 'HPE_INVALID_VERSION':
    case 'HPE_PAUSED_H2_UPGRADE':
      return { code: 'http-version', limit: null };
    case 'HPE_INVALID_METHOD':
      return { code: 'method-not-allowed', limit: null };
    case 'HPE_INVALID_URL':
      return { code: 'target-malformed', limit: null };
    default:
      return { code: 'request-malformed', limit: null };
  }
}

const LINE_CHARS_MAX = 4_096;
const METHOD = /^[A-Za-z]{1,20}$/;

function firstLine(packet: Buffer | undefined): { method: string; target: string } {
  const text = packet?.toString('latin1', 0, LINE_CHARS_MAX) ?? '';
  const line = text.split(/[\r\n]/, 1)[0] ?? '';
  const [method = '', target = ''] = line.split(' ', 2);
  return METHOD.test(method) ? { method, target } : { method: '', target: line };
}
