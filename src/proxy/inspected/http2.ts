// HTTP/2 on inspected connections: a session with the client and one with its origin. Each stream is checked, decided and recorded
// anew; :authority must be what the CONNECT and the SNI have said, so that a shared connection never serves another host. Floods are
// bounded by nghttp2 (resets, SETTINGS, PING, CONTINUATION) and by the settings below.
import http2 from 'node:http2';
import type net from 'node:net';
import type tls from 'node:tls';
import type { UploadBudgets } from '../../inspect/upload-budgets.ts';
import { METHOD } from '../../policy/inspect-conditions.ts';
import { Budget } from '../budget.ts';
import type { ProxyContext } from '../context.ts';
import { hostOf } from '../fields.ts';
import { fieldCount, fieldValue, type HeadProblem } from '../head.ts';
import { LINGER_MS } from '../refuse.ts';
import { type Refusal, refusalResponse } from '../respond.ts';
import { recordEnd, refusalOf, refuseUnasked } from '../route.ts';
import type { InspectedConnection } from './connection.ts';
import { admit, authorityProblem, belowOf, DEFAULT_PORT } from './decide.ts';
import { Http2Exchanger } from './http2-exchanger.ts';
import { plainFields, requestHeaders } from './http2-fields.ts';

const { NGHTTP2_FLAG_END_STREAM, NGHTTP2_INTERNAL_ERROR } = http2.constants;

export class InspectedHttp2 {
  readonly #ctx: ProxyContext;
  readonly #uploads: UploadBudgets;
  readonly #sessions = new Set<http2.Http2Session>();

  constructor(ctx: ProxyContext, uploads: UploadBudgets) {
    this.#ctx = ctx;
    this.#uploads = uploads;
  }

  serve(connection: InspectedConnection, trust: tls.SecureContext): void {
    const { limits } = this.#ctx;
    const session = http2.performServerHandshake(connection.stream as tls.TLSSocket, {
      maxHeaderListPairs: limits.head_fields * SEEN_TIMES,
      maxSettings: SETTINGS_MAX,
      streamResetBurst: RESET_BURST,
      streamResetRate: RESET_RATE_PER_S,
      settings: {
        maxConcurrentStreams: limits.inspect_streams_max,
        maxHeaderListSize: limits.head_bytes * SEEN_TIMES,
        enableConnectProtocol: false,
      },
    });
    const origin = new OriginSession(connection, trust);
    this.#sessions.add(session);
    // Its goodbye may find nobody who reads it, and would be waited for.
    const end = (): void => void setTimeout(destroySocket, LINGER_MS, connection.raw).unref();
    session.on('error', end);
    // What setTimeout is given hears of the first time alone, when a request may be open.
    session.setTimeout(limits.keep_alive_idle_ms);
    session.on('timeout', () => {
      if (connection.requests.size > 0) return;
      session.close();
      end();
    });
    session.once('close', () => {
      this.#sessions.delete(session);
      origin.close();
      connection.raw.destroy();
    });
    session.on('stream', (stream, _headers, flags, raw) => {
      stream.on('error', ignore);
      // A reset without an error leaves it half alive while some of its upload is unread. Our own resets go out first.
      stream.once('aborted', () => setImmediate(destroyStream, stream));
      void this.#stream(connection, origin, { stream, flags, raw: raw as unknown as string[] });
    });
  }

  /** Each may finish what is open on it, and takes nothing more. */
  closeIdle(): void {
    for (const session of this.#sessions) if (!session.closed) session.close();
  }

  close(): void {
    for (const session of this.#sessions) session.destroy();
  }

  async #stream(connection: InspectedConnection, origin: OriginSession, arrived: Arrived): Promise<void> {
    const ctx = this.#ctx;
    const id = ctx.nextId();
    const { stream } = arrived;
    try {
      await this.#walk(connection, origin, id, arrived);
    } catch (error) {
      ctx.log.error({ err: error, request: id }, 'a request failed inside the proxy and was refused');
      const open = ctx.open.get(id);
      if (open) recordEnd(ctx, open, { outcome: 'internal-error', bytesUp: open.bytesUp, bytesDown: open.bytesDown });
      if (!stream.headersSent) refuseStream(stream, { code: 'internal-error', id, help: ctx.help });
      else stream.close(NGHTTP2_INTERNAL_ERROR);
    }
  }

  async #walk(connection: InspectedConnection, origin: OriginSession, id: string, arrived: Arrived): Promise<void> {
    const startedMs = performance.now();
    const ctx = this.#ctx;
    const { stream, flags, raw } = arrived;
    const { client } = connection;
    const { authority } = connection.open;
    const method = fieldValue(raw, ':method') ?? '';
    const target = fieldValue(raw, ':path') ?? '';
    const headers = plainFields(raw);
    const accept = fieldValue(headers, 'accept');
    const problem = streamProblem(connection, raw);
    if (problem) {
      const what = { ...problem, method, target, id, client, authority, below: belowOf(connection, target) };
      return refuseStream(stream, { ...refuseUnasked(ctx, what), accept });
    }
    const userAgent = fieldValue(headers, 'user-agent');
    const asked = { id, method, target, headers, websocket: false, userAgent, startedMs };
    const admitted = await admit(connection, asked);
    if (!admitted.ok) return refuseStream(stream, { ...admitted.refusal, accept });
    const { open } = admitted;
    connection.requests.add(open);
    stream.once('close', () => connection.requests.delete(open));
    const exchange = new Http2Exchanger(ctx, {
      stream,
      whole: (flags & NGHTTP2_FLAG_END_STREAM) !== 0,
      headers: requestHeaders({ method, path: target, authority: hostOf(authority, DEFAULT_PORT) }, headers),
      open,
      budget: new Budget(admitted.inspection ?? null, this.#uploads, open),
      refuse: (code, detail) => refuseStream(stream, { ...refusalOf(ctx, open, code, detail), accept }),
    });
    if (!exchange.attach()) return;
    const reached = await origin.get();
    if (!('session' in reached)) return exchange.fail(reached.code, reached.detail);
    open.address = reached.address;
    try {
      exchange.start(reached.session);
    } catch (error) {
      // Node sends no field twice that has one value.
      exchange.fail('request-malformed', error instanceof Error ? error.message : null);
    }
  }
}

interface Arrived {
  readonly stream: http2.ServerHttp2Stream;
  readonly flags: number;
  /** Names and values in turn, pseudo-fields included. */
  readonly raw: readonly string[];
}

// nghttp2 resets a stream whose head is beyond what it is told, and nobody hears of it: up to so many times a limit is refused here.
const SEEN_TIMES = 2;
// RFC 9113 §6.5.2 has six, extensions some more.
const SETTINGS_MAX = 32;
// Streams that a client may reset at once, and in a second from then on; more end its session (CVE-2023-44487).
const RESET_BURST = 300;
const RESET_RATE_PER_S = 33;

interface Standing {
  readonly session: http2.ClientHttp2Session;
  /** Of the origin. */
  readonly address: string | undefined;
}
type Got = Standing | { readonly code: Refusal['code']; readonly detail: string };

/** The session with the origin; another one where that has ended or goes away. */
class OriginSession {
  readonly #connection: InspectedConnection;
  readonly #trust: tls.SecureContext;
  #standing: Standing | null = null;
  #coming: Promise<Got> | null = null;

  constructor(connection: InspectedConnection, trust: tls.SecureContext) {
    this.#connection = connection;
    this.#trust = trust;
  }

  get(): Promise<Got> | Got {
    const standing = this.#standing;
    if (standing && !standing.session.closed && !standing.session.destroyed) return standing;
    this.#coming ??= this.#reach().finally(() => {
      this.#coming = null;
    });
    return this.#coming;
  }

  async #reach(): Promise<Got> {
    const { open, ctx } = this.#connection;
    const reached = await this.#connection.reach(this.#trust);
    if (!reached.ok) return reached;
    const address = reached.socket.remoteAddress;
    const session = http2.connect(`https://${open.authority.text}`, {
      createConnection: () => reached.socket,
      maxHeaderListPairs: ctx.limits.head_fields,
      maxSettings: SETTINGS_MAX,
      // An origin that pushes all the same breaks the session: what nobody asked for was not decided.
      settings: { enablePush: false, maxHeaderListSize: ctx.limits.head_bytes },
    });
    session.on('error', ignore);
    this.#standing = { session, address };
    return this.#standing;
  }

  close(): void {
    this.#standing?.session.destroy();
  }
}

/** RFC 9113 §6.5.2: each field counts for so much besides its name and value. */
const FIELD_OVERHEAD_BYTES = 32;

/** What the limits say of a head. */
function sizeProblem({ limits, meter }: ProxyContext, raw: readonly string[]): HeadProblem | null {
  const count = raw.length / 2;
  const bytes = raw.reduce((sum, text) => sum + text.length, count * FIELD_OVERHEAD_BYTES);
  const limit = count > limits.head_fields ? 'head_fields' : bytes > limits.head_bytes ? 'head_bytes' : null;
  if (limit === null) return null;
  meter.hit(limit);
  const detail = limit === 'head_fields' ? `${count} header fields` : `${bytes} bytes of header fields`;
  return { code: 'head-too-large', detail: `${detail}; the limit is ${limits[limit]}` };
}

function streamProblem({ ctx, open }: InspectedConnection, raw: readonly string[]): HeadProblem | null {
  const method = fieldValue(raw, ':method') ?? '';
  const target = fieldValue(raw, ':path') ?? '';
  if (ctx.draining) return { code: 'draining', detail: null };
  const large = sizeProblem(ctx, raw);
  if (large) return large;
  // As over HTTP/1.1, whose parser knows capitals alone: an origin may know no case.
  if (!METHOD.test(method)) return { code: 'method-not-allowed', detail: 'a method is written in capitals' };
  if (['CONNECT', 'TRACE'].includes(method) || fieldValue(raw, ':protocol') !== undefined)
    return { code: 'method-not-allowed', detail: `${method} is not forwarded` };
  if (fieldValue(raw, ':scheme') !== 'https') return { code: 'target-malformed', detail: ':scheme is not https' };
  if (!target.startsWith('/') && !(target === '*' && method === 'OPTIONS'))
    return { code: 'target-malformed', detail: 'on an inspected connection a path begins with /' };
  if (fieldCount(raw, 'host') > 1) return { code: 'host-header', detail: 'there are two Host fields' };
  const named = fieldValue(raw, ':authority');
  const host = fieldValue(raw, 'host');
  if (named === undefined) return { code: 'host-header', detail: 'there is no :authority' };
  return (
    authorityProblem(named, open.authority) ?? (host === undefined ? null : authorityProblem(host, open.authority))
  );
}

function refuseStream(stream: http2.ServerHttp2Stream, refusal: Refusal): void {
  if (stream.destroyed || stream.closed || stream.headersSent) return;
  const response = refusalResponse({ ...refusal, keep: true });
  const headers: http2.OutgoingHttpHeaders = { ':status': response.status };
  for (let i = 0; i + 1 < response.headers.length; i += 2)
    headers[(response.headers[i] ?? '').toLowerCase()] = response.headers[i + 1];
  stream.respond(headers);
  stream.end(response.body);
  // What it still sends is read and dropped; its window bounds that.
  stream.resume();
}

function destroyStream(stream: http2.Http2Stream): void {
  stream.destroy();
}

function destroySocket(socket: net.Socket): void {
  socket.destroy();
}

function ignore(): void {
  // The 'close' that follows every error is what is acted on.
}
