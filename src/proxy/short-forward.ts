// The short road of plain HTTP, over connections that an engine has accepted itself: a whole plain request goes to a checked origin, an
// answer of one plain shape comes back, without Node's sockets, parsers and streams (half of what a request costs). Routing, fields,
// records and refusals are those of the long road (forward.ts). A request of another shape is left to it before anything was decided,
// an answer of another shape with all that has been said so far (handOver). One object a connection, not a request.
import { Buffer } from 'node:buffer';
import type { OutcomeCode, RequestErrorCode } from '../errors.ts';
import type { Client } from '../identity/identify.ts';
import type { Dial } from '../net/dial.ts';
import { type AnswerBody, LengthBody } from './answer-body.ts';
import type { Asked } from './asked.ts';
import { ChunkedBody, EndBody } from './chunked-body.ts';
import type { ProxyContext } from './context.ts';
import type { Arrival, OriginListener, Talker } from './engine.ts';
import { askOf, type ReadRequest, readRequest } from './forward-request.ts';
import { answerText, idleHintMs, requestText } from './forward-text.ts';
import { fieldValue } from './head.ts';
import { isInner } from './inner.ts';
import type { Carrier, CutOutcome, OpenRequest } from './open-requests.ts';
import { poolKey } from './origin-agent.ts';
import { type OriginPool, PooledOrigin } from './origin-pool.ts';
import { type PlainAnswer, type PlainRequest, readPlainAnswer, readPlainRequest } from './plain-head.ts';
import { type Refusal, refusalResponse, serialise } from './respond.ts';
import { type Ask, type Routed, recordEnd, refusalOf, route } from './route.ts';

/** What the road needs of the server. */
export interface ShortHost {
  readonly ctx: ProxyContext;
  readonly origins: OriginPool;
  /** Requests under way, on whatever road. */
  forwards: number;
}

/** Where a connection comes from, and goes between two requests, or when Node is to go on with it (door.ts). */
interface Home {
  rest(arrival: Arrival): void;
  handOver(arrival: Arrival, client: Client, bytes: Buffer, asked: Asked): void;
}

type Read = Extract<ReadRequest, { ok: true }>;

interface Exchange {
  readonly id: string;
  readonly request: PlainRequest;
  readonly read: Read;
  open: OpenRequest | null;
  dial: Dial | null;
  origin: PooledOrigin | null;
  /** What the origin has said, whether or not it went on. */
  status: number | undefined;
  /** What is on its way to the client. */
  answer: PlainAnswer | null;
  body: AnswerBody | null;
  /** Something said to the client is not in the kernel yet. */
  waits: boolean;
  /** The beginning of an answer for the long road that came before the whole request had gone out. */
  early: Buffer | null;
  /** Whether the client has been told that nothing follows. */
  last: boolean;
  reused: boolean;
  retried: boolean;
}

const NOTHING = Buffer.alloc(0);
const MALFORMED = 'the response is not well-formed HTTP/1';

export class ShortForward implements Carrier, Talker, OriginListener {
  bytesUp = 0;
  bytesDown = 0;
  readonly #host: ShortHost;
  readonly #home: Home;
  readonly #arrival: Arrival;
  readonly #client: Client;
  #now: Exchange | null = null;
  #timer: NodeJS.Timeout | null = null;

  constructor(host: ShortHost, home: Home, arrival: Arrival, client: Client) {
    this.#host = host;
    this.#home = home;
    this.#arrival = arrival;
    this.#client = client;
  }

  /** @param chunk is only lent. @returns false where this is not a request for this road; nothing has been decided or written then */
  take(chunk: Buffer): boolean {
    const startedMs = performance.now();
    const { ctx } = this.#host;
    if (ctx.closing || ctx.draining) return false;
    const request = readPlainRequest(chunk, ctx.limits.head_bytes);
    if (request === null || request.head.rawHeaders.length / 2 > ctx.limits.head_fields) return false;
    const read = readRequest(ctx, this.#client, request.head, false);
    if (!read.ok || isInner(read.authority) || !this.#arrival.talk(this)) return false;
    const id = ctx.nextId();
    this.bytesUp = this.bytesDown = 0;
    this.#now = {
      id,
      request,
      read,
      open: null,
      dial: null,
      origin: null,
      status: undefined,
      answer: null,
      body: null,
      waits: false,
      early: null,
      last: request.closes,
      reused: false,
      retried: false,
    };
    this.#host.forwards++;
    void this.#follow(id, askOf({ id, client: this.#client, startedMs }, request.head, read));
    return true;
  }

  async #follow(id: string, ask: Ask): Promise<void> {
    try {
      this.#routed(id, await route(this.#host.ctx, ask));
    } catch (error) {
      this.#failed(error);
    }
  }

  #routed(id: string, routed: Routed): void {
    const now = this.#now;
    // The client has gone while the name was resolved.
    if (now?.id !== id) {
      if (routed.ok) this.#record(routed.open, 'client-gone');
      return;
    }
    if (!routed.ok) return this.#refuse(now, routed.refusal);
    now.open = routed.open;
    routed.open.attach(this);
    if (!routed.open.ended) this.#send(now, routed.open);
  }

  #send(now: Exchange, open: OpenRequest): void {
    const { origins } = this.#host;
    const { authority } = now.read;
    const key = poolKey(authority.text, open.addresses);
    // The second try gets a connection of its own: another kept one may be as stale as the first.
    const kept = now.retried ? null : origins.take(key);
    now.reused = kept !== null;
    if (kept) return this.#ask(now, open, kept);
    now.dial = this.#arrival.reach({ addresses: open.addresses, port: authority.port }, (reached) =>
      this.#guard(() => {
        now.dial = null;
        if (!reached.ok) return this.#fail(now, reached.code, reached.detail);
        this.#ask(now, open, new PooledOrigin(origins, key, reached.wire));
      }),
    );
  }

  #ask(now: Exchange, open: OpenRequest, origin: PooledOrigin): void {
    const { request, read } = now;
    now.origin = origin;
    open.address = origin.wire.address;
    origin.wire.listener = this;
    this.bytesUp = request.text.length - request.end;
    const { upstream_response_timeout_ms: timeoutMs } = this.#host.ctx.limits;
    this.#timer = setTimeout(stalled, timeoutMs, this);
    // One that is broken tells so as a loss.
    origin.wire.say(requestText(request, read), null);
    origin.wire.ask();
  }

  heard(bytes: Buffer, ended: boolean): void {
    this.#guard(() => {
      const now = this.#now;
      if (!now?.open || !now.origin) return;
      this.#timer?.refresh();
      if (ended) return this.#originEnded(now);
      if (now.body) return this.#relay(now, now.body, bytes);
      const { method, version } = now.request.head;
      const answer = readPlainAnswer(bytes, method, this.#host.ctx.limits.head_bytes);
      // A client of HTTP/1.0 knows no chunks.
      const chunks = version === '1.1';
      if (answer && (chunks || answer.length !== 'chunked')) this.#respond(now, answer, bytes, chunks);
      else if (now.origin.wire.sent) this.#handOver(now, now.open, now.origin, bytes);
      else now.early = Buffer.from(bytes);
    });
  }

  originDrained(): void {
    this.#guard(() => {
      const now = this.#now;
      if (now?.open && now.origin && now.early) this.#handOver(now, now.open, now.origin, now.early);
    });
  }

  #respond(now: Exchange, answer: PlainAnswer, bytes: Buffer, chunks: boolean): void {
    const { ctx } = this.#host;
    const { length, end } = answer;
    now.status = answer.status;
    const body: AnswerBody =
      length === 'chunked'
        ? new ChunkedBody(ctx.limits.head_bytes)
        : length === 'end'
          ? new EndBody(chunks)
          : new LengthBody(length);
    const first = body.take(bytes.subarray(end));
    if (first === null) return this.#fail(now, 'upstream-malformed', MALFORMED);
    now.answer = answer;
    now.body = body;
    now.last ||= ctx.closing;
    const coded = chunks && typeof length !== 'number';
    const head = answerText(answer, coded, now.last ? null : ctx.limits.keep_alive_idle_ms);
    this.#deliver(now, body, head, first);
  }

  #relay(now: Exchange, body: AnswerBody, bytes: Buffer): void {
    const more = body.take(bytes);
    if (more === null) return this.#fail(now, 'upstream-malformed', MALFORMED);
    this.#deliver(now, body, '', more);
  }

  /** The end of a body that has no other, or of half an answer. */
  #originEnded(now: Exchange): void {
    const rest = now.body?.ended() ?? null;
    if (rest === null || !now.body) return this.lost('ECONNRESET');
    this.#deliver(now, now.body, rest, NOTHING);
  }

  #deliver(now: Exchange, body: AnswerBody, head: string, bytes: Buffer): void {
    this.bytesDown = body.count;
    // Whoever asks next need not wait until this client has read.
    if (body.whole) this.#giveBack(now, body);
    // Of chunks there may have come nothing that goes on.
    now.waits = head.length + bytes.length > 0 && !this.#arrival.say(head, bytes);
    if (!now.waits) this.#goOn(now);
  }

  drained(): void {
    const now = this.#now;
    if (!now?.waits) return;
    now.waits = false;
    this.#timer?.refresh();
    this.#guard(() => this.#goOn(now));
  }

  /** Bytes behind a whole answer end the connection that they came on, not the answer. */
  #giveBack(now: Exchange, body: AnswerBody): void {
    const { origin, answer } = now;
    if (origin && answer?.keeps && !body.spoilt) this.#host.origins.give(origin, idleHintMs(answer));
    else origin?.wire.close();
    now.origin = null;
  }

  #goOn(now: Exchange): void {
    if (!now.body?.whole) return now.origin?.wire.ask();
    const last = now.last || this.#host.ctx.closing;
    this.#end(now, 'closed');
    if (last) this.#arrival.dismiss('');
    else this.#home.rest(this.#arrival);
  }

  lost(errno: string): void {
    const now = this.#now;
    if (!now?.open) return;
    now.origin?.wire.close();
    now.origin = null;
    if (this.#timer) clearTimeout(this.#timer);
    if (now.answer) return this.#break(now, 'upstream-closed');
    const { method } = now.request.head;
    // A kept connection may have been closed under our feet; a request without body and effect can be sent once more.
    const safe = now.read.framing.kind === 'none' && (method === 'GET' || method === 'HEAD');
    if (now.reused && safe && !now.retried) {
      now.retried = true;
      return this.#send(now, now.open);
    }
    this.#fail(now, 'upstream-closed', `the connection broke (${errno})`);
  }

  stalled(): void {
    const now = this.#now;
    if (!now) return;
    const { ctx } = this.#host;
    ctx.meter.hit('upstream_response_timeout_ms');
    // The origin has said all; it is the client who does not read.
    if (now.body?.whole) return this.#break(now, 'client-gone');
    this.#fail(now, 'upstream-timeout', `no progress for ${ctx.limits.upstream_response_timeout_ms} ms`);
  }

  /** The client's descriptor is closed. */
  gone(): void {
    const now = this.#now;
    if (now) this.#end(now, 'client-gone');
  }

  cut(outcome: CutOutcome, refusal: RequestErrorCode | null): void {
    const now = this.#now;
    if (!now) return;
    if (refusal === null) this.#break(now, outcome);
    else this.#fail(now, refusal, null, outcome);
  }

  /** A clean refusal while nothing has been said to the client, a visibly broken message after. */
  #fail(
    now: Exchange,
    code: RequestErrorCode,
    detail: string | null,
    outcome: RequestErrorCode | OutcomeCode = code,
  ): void {
    if (now.answer) return this.#break(now, outcome);
    const { ctx } = this.#host;
    const { host, port } = now.read.authority;
    const refusal = now.open
      ? refusalOf(ctx, now.open, code, detail)
      : { code, id: now.id, host, port, detail, help: ctx.help };
    this.#refuse(now, refusal, outcome);
  }

  #refuse(now: Exchange, refusal: Refusal, outcome: RequestErrorCode | OutcomeCode = refusal.code): void {
    const { method, rawHeaders } = now.request.head;
    this.#end(now, outcome);
    const response = refusalResponse({ ...refusal, accept: fieldValue(rawHeaders, 'accept') });
    this.#arrival.dismiss(serialise(method === 'HEAD' ? { ...response, body: '' } : response));
  }

  /** An orderly close where the body has a length or chunks, so that the client sees that it is cut short; else a reset. */
  #break(now: Exchange, outcome: RequestErrorCode | OutcomeCode): void {
    this.#end(now, outcome);
    this.#arrival.close(now.body !== null && !now.body.delimited);
  }

  #end(now: Exchange, outcome: RequestErrorCode | OutcomeCode): void {
    this.#letGo(now);
    now.dial?.cancel();
    now.origin?.wire.close();
    if (now.open) this.#record(now.open, outcome, now.status);
  }

  #letGo(now: Exchange): void {
    if (this.#now !== now) return;
    this.#now = null;
    this.#host.forwards--;
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #record(open: OpenRequest, outcome: RequestErrorCode | OutcomeCode, status?: number): void {
    recordEnd(this.#host.ctx, open, { outcome, bytesUp: this.bytesUp, bytesDown: this.bytesDown, status });
  }

  #handOver(now: Exchange, open: OpenRequest, origin: PooledOrigin, heard: Buffer): void {
    const { text } = now.request;
    const socket = origin.wire.adoptAsked(heard);
    now.origin = null;
    this.#letGo(now);
    const { authority, path, framing } = now.read;
    const asked = { id: now.id, origin: socket, open, authority, path, framing };
    try {
      this.#home.handOver(this.#arrival, this.#client, Buffer.from(text, 'latin1'), asked);
    } catch (error) {
      socket.destroy();
      this.#record(open, 'internal-error');
      this.#arrival.close();
      throw error;
    }
  }

  #guard(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#failed(error);
    }
  }

  /** A failure of ours is a refusal, not a hang. */
  #failed(error: unknown): void {
    const { ctx } = this.#host;
    const now = this.#now;
    ctx.log.error({ err: error, request: now?.id }, 'a request failed inside the proxy and was refused');
    if (now) this.#fail(now, 'internal-error', null);
  }
}

function stalled(road: ShortForward): void {
  road.stalled();
}
