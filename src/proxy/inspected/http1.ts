// HTTP/1.1 on inspected connections: requests in origin-form, each checked, decided and recorded anew, and forwarded by the code that
// forwards plain HTTP. Host must be what the CONNECT and the SNI have said.
import type http from 'node:http';
import type tls from 'node:tls';
import type { RequestErrorCode } from '../../errors.ts';
import type { UploadBudgets } from '../../inspect/upload-budgets.ts';
import { Budget } from '../budget.ts';
import { ClientConnection, type ClientSocket, CONNECTION } from '../client-connection.ts';
import type { ProxyContext } from '../context.ts';
import type { Engine } from '../engine.ts';
import { Exchanger } from '../exchanger.ts';
import { type Framing, readFraming } from '../fields.ts';
import type { ForwardRequest } from '../forward.ts';
import { fieldCount, fieldValue, type HeadProblem, headProblem } from '../head.ts';
import { answerMalformed, createHttpServer } from '../http-reader.ts';
import { refuseFailed, refuseRequest } from '../refuse.ts';
import { recordEnd, refusalOf, refuseUnasked } from '../route.ts';
import { upgradeRequest } from '../upgrade.ts';
import { InspectedAgent } from './agent.ts';
import type { InspectedConnection } from './connection.ts';
import { admit, authorityProblem, belowOf, DEFAULT_PORT } from './decide.ts';

const INSPECTED = Symbol('inspected');
interface Inspected {
  readonly connection: InspectedConnection;
  readonly agent: InspectedAgent;
}
type InspectedSocket = ClientSocket & { [INSPECTED]?: Inspected };

export class InspectedHttp1 {
  readonly #ctx: ProxyContext;
  readonly #engine: Engine;
  readonly #uploads: UploadBudgets;
  readonly #server: http.Server;

  constructor(ctx: ProxyContext, engine: Engine, uploads: UploadBudgets) {
    this.#ctx = ctx;
    this.#engine = engine;
    this.#uploads = uploads;
    const server = createHttpServer(ctx.limits);
    this.#server = server;
    server.on('request', (req, res) => this.#request(req, res));
    server.on('checkContinue', (req, res) => this.#request(req, res));
    server.on('checkExpectation', (req, res) => this.#request(req, res));
    server.on('connect', (req, socket) => this.#upgrade(req, socket as InspectedSocket, null));
    server.on('upgrade', (req, socket, early) => this.#upgrade(req, socket as InspectedSocket, early));
    server.on('clientError', (error, socket: InspectedSocket) =>
      answerMalformed(ctx, error, socket, ({ client }, what) =>
        refuseUnasked(ctx, {
          ...what,
          client,
          id: ctx.nextId(),
          detail: null,
          ...inside(socket[INSPECTED]?.connection, what.target),
        }),
      ),
    );
    // It never listens: its watch over overdue heads begins with this event.
    server.emit('listening');
  }

  serve(connection: InspectedConnection, trust: tls.SecureContext): void {
    const socket = connection.stream as InspectedSocket;
    const agent = new InspectedAgent(connection, trust);
    socket[INSPECTED] = { connection, agent };
    socket[CONNECTION] = new ClientConnection(connection.client, socket, this.#ctx.limits.waiting_requests_max);
    socket.once('close', () => {
      agent.destroy();
      connection.end('closed');
    });
    this.#server.emit('connection', socket);
  }

  closeIdle(): void {
    this.#server.closeIdleConnections();
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #request(req: http.IncomingMessage, res: http.ServerResponse): void {
    req.on('error', ignore);
    this.#enter(req, req.socket, (inspected) => {
      const { client } = inspected.connection;
      void this.#handle(inspected, { id: this.#ctx.nextId(), client, req, res, upgrade: null, detached: false });
      return res;
    });
  }

  /** `early` is null for a CONNECT, which Node hands over in the same way; it is refused. */
  #upgrade(req: http.IncomingMessage, socket: InspectedSocket, early: Buffer | null): void {
    socket[CONNECTION]?.adopt();
    this.#enter(req, socket, (inspected, turn) => {
      turn.closed = true;
      const id = this.#ctx.nextId();
      const parts = { engine: this.#engine, id, req, socket, early: early ?? Buffer.alloc(0), connection: turn };
      const { res, upgrade } = upgradeRequest(parts);
      void this.#handle(inspected, { id, client: turn.client, req, res, upgrade, detached: true });
      return res;
    });
  }

  #enter(
    req: http.IncomingMessage,
    socket: InspectedSocket,
    start: (inspected: Inspected, turn: ClientConnection) => http.ServerResponse | null,
  ): void {
    const turn = socket[CONNECTION];
    const inspected = socket[INSPECTED];
    if (!turn || !inspected || turn.closed) return void socket.destroy();
    if (!turn.full) return turn.enter(() => start(inspected, turn));
    const ctx = this.#ctx;
    ctx.meter.hit('waiting_requests_max');
    turn.closed = true;
    const { client, open } = inspected.connection;
    const target = req.url ?? '';
    const below = belowOf(inspected.connection, target);
    const what = { method: req.method ?? '', target, authority: open.authority, client, below };
    const detail = 'too many requests wait on this connection';
    refuseUnasked(ctx, { ...what, id: ctx.nextId(), code: 'request-malformed', detail });
    socket.destroy();
  }

  async #handle(inspected: Inspected, forward: ForwardRequest): Promise<void> {
    const ctx = this.#ctx;
    try {
      await walk(ctx, inspected, forward, this.#uploads);
    } catch (error) {
      refuseFailed(ctx, forward, error);
    }
  }
}

async function walk(
  ctx: ProxyContext,
  { connection, agent }: Inspected,
  forward: ForwardRequest,
  uploads: UploadBudgets,
): Promise<void> {
  const startedMs = performance.now();
  const { req, id, client, detached } = forward;
  const { authority } = connection.open;
  const method = req.method ?? '';
  const target = req.url ?? '';
  const problem = requestProblem(connection, req, detached);
  const framing = readFraming(req.rawHeaders, req.httpVersion);
  if (problem || !framing.ok) {
    const { code, detail } = problem ?? { code: 'request-malformed', detail: framing.ok ? null : framing.detail };
    return refuseRequest(
      forward,
      refuseUnasked(ctx, { id, client, method, target, code, detail, authority, below: belowOf(connection, target) }),
    );
  }
  const websocket = detached && req.headers.upgrade?.toLowerCase() === 'websocket';
  const userAgent = fieldValue(req.rawHeaders, 'user-agent');
  const headers = req.rawHeaders;
  const admitted = await admit(connection, { id, method, target, headers, websocket, userAgent, startedMs });
  if (!admitted.ok) return refuseRequest(forward, { ...admitted.refusal, keep: clean(ctx, req, framing.framing) });
  const { open } = admitted;
  connection.requests.add(open);
  forward.res.once('close', () => connection.requests.delete(open));
  const budget = new Budget(admitted.inspection ?? null, uploads, open);
  const order = {
    ...forward,
    authority,
    path: target,
    framing: framing.framing,
    open,
    defaultPort: DEFAULT_PORT,
    budget,
  };
  const length = framing.framing.kind === 'length' ? Number(framing.framing.length) : 0;
  const over = budget.announced('up', length);
  if (over === null) return new Exchanger(ctx, agent, order).start();
  recordEnd(ctx, open, { outcome: over, bytesUp: 0, bytesDown: 0 });
  refuseRequest(forward, refusalOf(ctx, open, over, null));
}

/** Of what llhttp refuses, where it was said. */
function inside(connection: InspectedConnection | undefined, target: string) {
  if (!connection) return { authority: null };
  return { authority: connection.open.authority, below: belowOf(connection, target) };
}

/** Whether another request may follow a refusal: nothing of this one is still to come. */
function clean(ctx: ProxyContext, req: http.IncomingMessage, framing: Framing): boolean {
  return !ctx.closing && req.httpVersion === '1.1' && framing.kind === 'none';
}

function requestProblem(
  connection: InspectedConnection,
  req: http.IncomingMessage,
  detached: boolean,
): HeadProblem | null {
  const { ctx, open } = connection;
  const raw = req.rawHeaders;
  const target = req.url ?? '';
  const no = (code: RequestErrorCode, detail: string | null): HeadProblem => ({ code, detail });
  if (ctx.draining) return no('draining', null);
  const general = headProblem(req.httpVersion, raw, ctx.limits, ctx.meter);
  if (general) return general;
  if (req.method === 'CONNECT' || req.method === 'TRACE')
    return no('method-not-allowed', `${req.method} is not forwarded`);
  if (!target.startsWith('/') && !(target === '*' && req.method === 'OPTIONS'))
    return no('target-malformed', 'on an inspected connection a target begins with /');
  const count = fieldCount(raw, 'host');
  if (count !== 1) return no('host-header', 'a request has exactly one Host header');
  const mismatch = authorityProblem(fieldValue(raw, 'host') ?? '', open.authority);
  if (mismatch) return mismatch;
  if (detached && fieldCount(raw, 'content-length') + fieldCount(raw, 'transfer-encoding') > 0)
    return no('request-malformed', 'a request with Upgrade must not carry a body');
  return null;
}

function ignore(): void {
  // The response's 'close', which follows, is what is acted on.
}
