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
type ClientSocket = net.Socket & { [CLIENT]?: Client };

// Node looks for heads that are overdue once in this time; a deadline is thus met at most so much late.
const HEAD_CHECK_MS = 1_000;
const BACKLOG = 4_096;

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
    server.on('connection', (socket: ClientSocket) => this.#accept(socket));
    server.on('connect', (req, socket, early) => this.#connect(req, socket as ClientSocket, early));
    server.on('request', (req, res) => this.#forward(req, res));
    server.on('checkContinue', (req, res) => this.#forward(req, res));
    server.on('checkExpectation', (req, res) => this.#forward(req, res));
    server.on('upgrade', (req, socket, early) => this.#upgrade(req, socket as ClientSocket, early));
    server.on('clientError', (error, socket) => this.#malformed(error, socket as ClientSocket));
    return server;
  }

  #accept(socket: ClientSocket): void {
    const client = this.#ctx.book.client(socket.remoteAddress);
    const limit = this.#slots.admit(client.address, Date.now());
    if (limit) {
      const code = FULL[limit] ?? 'connections-full';
      this.#ctx.log.warn({ client: client.address, limit }, 'a connection was refused: a limit is reached');
      // No request has been read, so there is nothing to record but the metric; and nothing to wait for.
      socket.on('error', () => socket.destroy());
      socket.end(serialise(refusalResponse({ code, id: this.#ctx.nextId(), help: this.#ctx.help })), () =>
        socket.destroy(),
      );
      return;
    }
    socket[CLIENT] = client;
    socket.once('close', onSlotClose.bind(null, this.#slots, client.address));
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
    const client = this.#client(req.socket as ClientSocket);
    this.#count(res);
    void handleForward(this.#ctx, this.#agent, {
      id: this.#ctx.nextId(),
      client,
      req,
      res,
      upgrade: null,
      detached: false,
    });
  }

  #count(res: http.ServerResponse): void {
    this.#forwards++;
    res.once('close', () => void this.#forwards--);
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
    // A connection that never sent a byte asked for nothing: it is closed without an answer and without a record.
    if (socket.bytesRead === 0) {
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
