// The listener: accepts clients, lets Node's llhttp read their heads, and sends each request down its road: CONNECT to
// connect.ts, absolute-form to forward.ts, what cannot be parsed to a recorded refusal. Owns slots and head deadlines.
import type http from 'node:http';
import net from 'node:net';
import type { RequestErrorCode } from '../errors.ts';
import type { Client } from '../identity/identify.ts';
import type { LimitName } from '../limits.ts';
import { type Listening, type ListenSource, listen } from '../net/listen.ts';
import { ClientConnection, type ClientSocket, CONNECTION } from './client-connection.ts';
import { handleConnect } from './connect.ts';
import type { ProxyContext } from './context.ts';
import { nameConveyed, readConveyed } from './conveyed.ts';
import { Door } from './door.ts';
import type { Arrival, ConnectHead, Engine } from './engine.ts';
import { Exchanger } from './exchanger.ts';
import { handleForward } from './forward.ts';
import { answerMalformed, createHttpServer, HEAD_TIMEOUT, type ParseError } from './http-reader.ts';
import { InspectedHttp } from './inspected/http.ts';
import { OriginAgent } from './origin-agent.ts';
import { OriginPool } from './origin-pool.ts';
import { Reception, type Roads } from './reception.ts';
import { refuseSocket } from './refuse.ts';
import { refusalResponse, serialise } from './respond.ts';
import { refuseUnasked } from './route.ts';
import { ShortForward, type ShortHost } from './short-forward.ts';
import type { TlsEntrance } from './tls-entrance.ts';
import { upgradeRequest } from './upgrade.ts';

const BACKLOG = 4_096;
// Connections beyond a limit get their 503 whole as long as not more than this many linger; the rest is cut at once.
const TURNED_AWAY_MAX = 256;

const FULL: Partial<Record<LimitName, RequestErrorCode>> = {
  connections_max: 'connections-full',
  clients_tracked_max: 'connections-full',
  client_connections_max: 'client-full',
  client_rate_per_s: 'client-full',
};

/** What becomes of a connection once it has a slot, and its client is known. */
interface Entrance {
  /** Whether who is turned away can be answered in clear text. */
  readonly answers: boolean;
  receive(socket: ClientSocket, client: Client, skipped: number): void;
}

export class ProxyServer {
  readonly #ctx: ProxyContext;
  readonly #engine: Engine;
  readonly #agent: OriginAgent;
  readonly #servers: http.Server[] = [];
  /** Those that accept for a server over TLS. */
  readonly #carriers: net.Server[] = [];
  readonly #reception: Reception;
  readonly #short: ShortHost;
  readonly #inspected: InspectedHttp;
  #turnedAway = 0;

  constructor(ctx: ProxyContext, engine: Engine) {
    this.#ctx = ctx;
    this.#engine = engine;
    this.#agent = new OriginAgent(ctx.limits);
    this.#reception = new Reception(ctx.limits, ctx.meter);
    this.#short = { ctx, origins: new OriginPool(ctx.limits, ctx.meter), forwards: 0 };
    this.#inspected = new InspectedHttp(ctx, engine);
  }

  /** Listens on one more socket. Rejects with Node's error. */
  async listen(on: ListenSource): Promise<Listening> {
    const { server, door } = this.#createServer();
    const listening = await this.#engine.listen(server, on, BACKLOG, door);
    server.on('error', (error) => this.#ctx.log.error({ err: error }, 'the listener failed'));
    this.#servers.push(server);
    return listening;
  }

  /** Listens on one more socket, over TLS. Rejects with Node's error. */
  async listenTls(on: ListenSource, entrance: TlsEntrance): Promise<Listening> {
    // The http server reads what the other one has accepted, and never listens itself.
    const { server, roads } = this.#createServer();
    const raw = net.createServer({ allowHalfOpen: true, noDelay: true });
    raw.on('connection', (socket: ClientSocket) =>
      this.#accept(socket, {
        answers: false,
        receive: (carrier, client) =>
          entrance.shake(carrier, client, (secure, known) =>
            this.#reception.receive(secure, { client: known, roads, skipped: 0 }),
          ),
      }),
    );
    const listening = await listen(raw, on, BACKLOG);
    // Its watch over overdue heads begins with this event.
    server.emit('listening');
    raw.on('error', (error) => this.#ctx.log.error({ err: error }, 'the listener failed'));
    this.#servers.push(server);
    this.#carriers.push(raw);
    return listening;
  }

  /** Stops accepting; connections between two requests are closed. Their own deadlines are Node's no longer. */
  stopListening(): void {
    this.#engine.stopListening();
    for (const server of [...this.#servers, ...this.#carriers]) server.close();
    this.closeIdle();
  }

  /** Closes the connections between two requests, not those on which nothing was asked yet. */
  closeIdle(): void {
    for (const server of this.#servers) server.closeIdleConnections();
    this.#reception.closeResting();
    this.#inspected.closeIdle();
  }

  /** Client connections of any kind, tunnels included. */
  get connections(): number {
    return this.#ctx.slots.open;
  }

  /** Whether no request is under way and no tunnel is open. */
  get idle(): boolean {
    return this.#engine.load === 0 && this.#short.forwards === 0;
  }

  /** Cuts what is left. */
  close(): void {
    this.#reception.close();
    this.#engine.close();
    this.#agent.destroy();
    this.#short.origins.close();
    this.#inspected.close();
    for (const server of this.#servers) server.closeAllConnections();
  }

  #createServer(): { server: http.Server; door: Door; roads: Roads } {
    const { limits } = this.#ctx;
    const server = createHttpServer(limits);
    // Slots come before the parser: a connection that is turned away never gets to the listener that would read its head.
    const read = server.listeners('connection');
    server.removeAllListeners('connection');
    const roads: Roads = {
      connect: (source, client, head, early) => this.#begin(source, client, head, early),
      parse: (socket, client, skipped) => {
        socket[CONNECTION] = new ClientConnection(client, socket, limits.waiting_requests_max, skipped);
        for (const listener of read) listener.call(server, socket);
      },
      overdue: (socket) =>
        this.#malformed(Object.assign(new Error('the head is late'), { code: HEAD_TIMEOUT }), socket),
      forward: (arrival, client, bytes, door) => {
        const road = arrival.talker ?? new ShortForward(this.#short, door, arrival, client);
        return road instanceof ShortForward && road.take(bytes);
      },
    };
    const plain: Entrance = {
      answers: true,
      receive: (socket, client, skipped) => this.#reception.receive(socket, { client, roads, skipped }),
    };
    server.on('connection', (socket: ClientSocket) => this.#accept(socket, plain));
    server.on('connect', (req, socket, early) => this.#connect(req, socket as ClientSocket, early));
    server.on('request', (req, res) => this.#forward(req, res));
    server.on('checkContinue', (req, res) => this.#forward(req, res));
    server.on('checkExpectation', (req, res) => this.#forward(req, res));
    server.on('upgrade', (req, socket, early) => this.#upgrade(req, socket as ClientSocket, early));
    server.on('clientError', (error, socket) => this.#malformed(error, socket as ClientSocket));
    const door = new Door({
      ctx: this.#ctx,
      reception: this.#reception,
      roads,
      turnAway: (socket, client, limit) => this.#turnAway(socket, client, limit, plain),
      recordHeader: (sender, detail, bytes) => this.#recordHeader(sender, detail, bytes),
    });
    return { server, door, roads };
  }

  #accept(socket: ClientSocket, entrance: Entrance): void {
    // Reset before it was accepted, as health checks do: nobody can be answered, and nobody known would be recorded.
    if (socket.remoteAddress === undefined) return void socket.destroy();
    const peer = this.#ctx.book.client(socket.remoteAddress);
    if (peer.conveys) return this.#convey(socket, peer, entrance);
    const limit = this.#ctx.slots.admit(peer.address, Date.now());
    if (limit) return this.#turnAway(socket, peer, limit, entrance);
    socket.once('close', () => this.#ctx.slots.release(peer.address));
    entrance.receive(socket, peer, 0);
  }

  /** A load balancer's connection: counted in all at once, and for its client when the header has said who that is. */
  #convey(socket: ClientSocket, sender: Client, entrance: Entrance): void {
    const limit = this.#ctx.slots.enter();
    if (limit) return this.#turnAway(socket, sender, limit, entrance);
    let counted: string | null = null;
    socket.once('close', () => (counted === null ? this.#ctx.slots.leave() : this.#ctx.slots.release(counted)));
    readConveyed(socket, sender, this.#ctx, (read) => {
      const named = nameConveyed(this.#ctx, sender, read);
      if (named.kind === 'refused') {
        socket.destroy();
        return this.#recordHeader(sender, named.detail, read.bytes);
      }
      if (named.kind === 'full') return this.#turnAway(socket, named.client, named.limit, entrance);
      counted = named.client.address;
      entrance.receive(socket, named.client, read.bytes);
    });
  }

  /** It was closed without an answer: who does not speak the PROXY protocol there may not be meant by HTTP either. */
  #recordHeader(sender: Client, detail: string, bytes: number): void {
    if (bytes === 0) return;
    const what = { client: sender, method: '', target: '', detail, authority: null };
    refuseUnasked(this.#ctx, { ...what, id: this.#ctx.nextId(), code: 'proxy-header-invalid' });
    this.#ctx.log.warn({ sender: sender.address, detail }, 'a connection without a valid PROXY header was closed');
  }

  /** Nothing was asked yet, so there is nothing to record but the metric, and nothing to wait for. */
  #turnAway(socket: ClientSocket, client: Client, limit: LimitName, { answers }: Entrance): void {
    this.#ctx.log.warn({ client: client.address, limit }, `connections are refused: ${limit} is reached`);
    if (!answers || this.#turnedAway >= TURNED_AWAY_MAX) {
      socket.destroy();
      return;
    }
    this.#turnedAway++;
    socket.once('close', () => void this.#turnedAway--);
    const code = FULL[limit] ?? 'connections-full';
    refuseSocket(socket, serialise(refusalResponse({ code, id: this.#ctx.nextId(), help: this.#ctx.help })));
  }

  /** Lets a request take its turn, unless the connection takes none any more. */
  #enter(
    req: http.IncomingMessage,
    socket: ClientSocket,
    start: (connection: ClientConnection) => http.ServerResponse | null,
  ): void {
    const connection = socket[CONNECTION];
    if (!connection || connection.closed) return void socket.destroy();
    connection.headCame();
    if (!connection.full) return connection.enter(() => start(connection));
    this.#ctx.meter.hit('waiting_requests_max');
    connection.closed = true;
    const what = { client: connection.client, method: req.method ?? '', target: req.url ?? '', authority: null };
    const detail = 'too many requests wait on this connection';
    refuseUnasked(this.#ctx, { ...what, id: this.#ctx.nextId(), code: 'request-malformed', detail });
    socket.destroy();
  }

  #countTunnel(source: net.Socket | Arrival, client: Client): void {
    const { slots } = this.#ctx;
    slots.enterTunnel(client.address);
    // Before the connection gives its slot back, so that its client is still known.
    if (source instanceof net.Socket) source.prependOnceListener('close', () => slots.leaveTunnel(client.address));
    else source.tunnel = true;
  }

  #connect(req: http.IncomingMessage, socket: ClientSocket, early: Buffer): void {
    if (socket[CONNECTION]?.response) socket[CONNECTION].adopt();
    this.#enter(req, socket, (connection) => {
      connection.closed = true;
      connection.release();
      const head = { target: req.url ?? '', version: req.httpVersion, rawHeaders: req.rawHeaders };
      this.#begin(socket, connection.client, head, early);
      return null;
    });
  }

  #begin(source: ClientSocket | Arrival, client: Client, head: ConnectHead, early: Buffer): void {
    this.#countTunnel(source, client);
    const exchange = this.#engine.exchange({ id: this.#ctx.nextId(), source, early, head, client });
    void handleConnect(this.#ctx, exchange, this.#inspected);
  }

  #forward(req: http.IncomingMessage, res: http.ServerResponse): void {
    req.on('error', ignore);
    this.#enter(req, req.socket, (connection) => {
      this.#short.forwards++;
      res.once('close', () => void this.#short.forwards--);
      const asked = connection.asked?.take() ?? null;
      const id = asked?.id ?? this.#ctx.nextId();
      const forward = { id, client: connection.client, req, res, upgrade: null, detached: false };
      if (asked) new Exchanger(this.#ctx, this.#agent, { ...forward, ...asked }).start();
      else void handleForward(this.#ctx, this.#agent, forward);
      return res;
    });
  }

  #upgrade(req: http.IncomingMessage, socket: ClientSocket, early: Buffer): void {
    socket[CONNECTION]?.adopt();
    this.#enter(req, socket, (connection) => {
      connection.closed = true;
      this.#countTunnel(socket, connection.client);
      const id = this.#ctx.nextId();
      const { res, upgrade } = upgradeRequest({ engine: this.#engine, id, req, socket, early, connection });
      void handleForward(this.#ctx, this.#agent, { id, client: connection.client, req, res, upgrade, detached: true });
      return res;
    });
  }

  /** What llhttp refuses. */
  #malformed(error: ParseError, socket: ClientSocket): void {
    answerMalformed(this.#ctx, error, socket, ({ client }, what) =>
      refuseUnasked(this.#ctx, { ...what, client, id: this.#ctx.nextId(), detail: null, authority: null }),
    );
  }
}

function ignore(): void {
  // The response's 'close', which follows, is what is acted on.
}
