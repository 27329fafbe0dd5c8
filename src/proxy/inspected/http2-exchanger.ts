// One HTTP/2 stream of an inspected connection after it was let through: headers, body and trailers to the origin and back, with
// back-pressure, resets passed on with their codes, and the one ended record whichever way it goes.
import http2 from 'node:http2';
import type { OutcomeCode, RequestErrorCode } from '../../errors.ts';
import type { Budget } from '../budget.ts';
import type { ProxyContext } from '../context.ts';
import { INTERIM_MAX } from '../exchanger.ts';
import type { Carrier, CutOutcome, OpenRequest } from '../open-requests.ts';
import { recordEnd } from '../route.ts';
import { responseHeaders } from './http2-fields.ts';

const { NGHTTP2_NO_ERROR, NGHTTP2_CANCEL, NGHTTP2_INTERNAL_ERROR, NGHTTP2_FLAG_END_STREAM } = http2.constants;
/** Statuses whose answers have no body (RFC 9110 §15.3.5, §15.3.6, §15.4.5): Node ends the client's stream at once. */
const BODILESS = new Set([204, 205, 304]);

interface StreamOrder {
  readonly stream: http2.ServerHttp2Stream;
  /** For the origin. */
  readonly headers: http2.OutgoingHttpHeaders;
  /** Whether the request has no body. */
  readonly whole: boolean;
  readonly open: OpenRequest;
  readonly budget: Budget;
  readonly refuse: (code: RequestErrorCode, detail: string | null) => void;
}

export class Http2Exchanger implements Carrier {
  readonly #ctx: ProxyContext;
  readonly #order: StreamOrder;
  #origin: http2.ClientHttp2Stream | null = null;
  #trailers: http2.IncomingHttpHeaders = {};
  #status: number | undefined;
  /** What the answer says of its length. */
  #length: string | undefined;
  #answered = false;
  #recorded = false;
  #interim = 0;
  #continued = false;
  /** Of this stream alone: Node's own goes on with whatever its session sends, an answer to a PING included. */
  #silence: NodeJS.Timeout | undefined;
  bytesUp = 0;
  bytesDown = 0;

  constructor(ctx: ProxyContext, order: StreamOrder) {
    this.#ctx = ctx;
    this.#order = order;
  }

  /** Before the origin is reached; `false` where it has ended already. */
  attach(): boolean {
    const { open, stream } = this.#order;
    open.attach(this);
    if (this.#recorded) return false;
    if (stream.destroyed || stream.closed) return this.#end('client-gone');
    stream.once('close', () => {
      this.#origin?.close(stream.rstCode === NGHTTP2_NO_ERROR ? NGHTTP2_CANCEL : stream.rstCode);
      this.#end(this.#answered && stream.rstCode === NGHTTP2_NO_ERROR ? 'closed' : 'client-gone');
    });
    return true;
  }

  /** @throws Error of Node where the headers cannot be sent */
  start(session: http2.ClientHttp2Session): void {
    const { stream, headers, whole, budget } = this.#order;
    if (this.#recorded) return;
    const origin = session.request(headers, { endStream: whole, waitForTrailers: !whole });
    this.#origin = origin;
    const timeoutMs = this.#ctx.limits.upstream_response_timeout_ms;
    this.#silence = setTimeout(() => {
      this.#ctx.meter.hit('upstream_response_timeout_ms');
      this.fail('upstream-timeout', `no progress for ${timeoutMs} ms`);
    }, timeoutMs).unref();
    const progress = (): void => void this.#silence?.refresh();
    for (const side of [origin, stream]) side.on('drain', progress);
    origin.on('error', () => this.#broke());
    origin.on('close', () => this.#broke());
    origin.on('headers', (interim) => this.#inform(interim[':status']));
    origin.on('response', (answer, flags) => this.#respond(origin, answer, flags));
    if (whole) return;
    let trailers: http2.IncomingHttpHeaders = {};
    stream.on('trailers', (sent) => {
      trailers = sent;
    });
    origin.on('wantTrailers', () => sendTrailers(origin, trailers));
    stream.on('data', (chunk: Buffer) => {
      progress();
      const over = budget.up(chunk.length);
      if (over === null) this.bytesUp += chunk.length;
      else this.fail(over, null);
    });
    // A stream that is reset ends too, and must not make a whole upload of a part.
    stream.once('end', () => {
      if (isWhole(stream, headers['content-length'], this.bytesUp)) origin.end();
      else origin.close(NGHTTP2_CANCEL);
    });
    stream.pipe(origin, { end: false });
  }

  #inform(status: number | undefined): void {
    const { stream } = this.#order;
    this.#interim++;
    this.#silence?.refresh();
    if (this.#interim > INTERIM_MAX) return this.fail('upstream-malformed', 'it sends interim responses without end');
    // Only the 100 that a client may wait for goes on, once.
    if (status !== 100 || this.#continued || stream.headersSent || stream.destroyed || stream.closed) return;
    this.#continued = true;
    stream.additionalHeaders({ ':status': 100 });
  }

  #respond(
    origin: http2.ClientHttp2Stream,
    answer: http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader,
    flags: number,
  ): void {
    const { stream, budget, headers } = this.#order;
    if (this.#recorded || stream.destroyed || stream.closed) return;
    this.#silence?.refresh();
    this.#status = answer[':status'];
    const bare = headers[':method'] === 'HEAD' || BODILESS.has(answer[':status'] ?? 0);
    // Of an answer without a body the length is not its own.
    this.#length = bare ? undefined : answer['content-length'];
    const over = budget.announced('down', Number(this.#length ?? 0));
    if (over !== null) return this.fail(over, null);
    const whole = bare || (flags & NGHTTP2_FLAG_END_STREAM) !== 0;
    try {
      stream.respond(responseHeaders(answer), { endStream: whole, waitForTrailers: !whole });
    } catch (error) {
      return this.fail('upstream-malformed', error instanceof Error ? error.message : 'the response is not valid');
    }
    if (whole) {
      this.#answered = true;
      // What some send all the same is nobody's.
      origin.resume();
      return;
    }
    origin.on('trailers', (sent) => {
      this.#trailers = sent;
    });
    stream.on('wantTrailers', () => {
      this.#answered = true;
      sendTrailers(stream, this.#trailers);
    });
    origin.on('data', (chunk: Buffer) => {
      this.#silence?.refresh();
      const exceeded = budget.down(chunk.length);
      if (exceeded === null) this.bytesDown += chunk.length;
      else this.fail(exceeded, null);
    });
    origin.once('end', () => {
      if (isWhole(origin, this.#length, this.bytesDown)) stream.end();
      else this.#broke();
    });
    origin.pipe(stream, { end: false });
  }

  /** The origin's stream has ended; that is no matter any more where its answer was whole. */
  #broke(): void {
    const origin = this.#origin;
    if (this.#recorded || !origin) return;
    if (this.#answered || (this.#status !== undefined && isWhole(origin, this.#length, this.bytesDown))) return;
    const { stream } = this.#order;
    // What it says by its code is for the client: gRPC lives on it.
    if (!stream.headersSent && !stream.destroyed && !stream.closed)
      return this.fail('upstream-closed', `the stream was reset (${origin.rstCode})`);
    this.#end('upstream-closed');
    stream.close(origin.rstCode === NGHTTP2_NO_ERROR ? NGHTTP2_INTERNAL_ERROR : origin.rstCode);
  }

  /** A clean refusal while nothing has been sent, a reset after. */
  fail(code: RequestErrorCode, detail: string | null, outcome: RequestErrorCode | OutcomeCode = code): void {
    if (this.#recorded) return;
    const { stream, refuse } = this.#order;
    const began = stream.headersSent || stream.destroyed || stream.closed;
    this.#end(outcome);
    this.#origin?.close(NGHTTP2_CANCEL);
    if (!began) refuse(code, detail);
    // One that the client has closed would live on with what is unread of its upload.
    else if (stream.closed) stream.destroy();
    else stream.close(NGHTTP2_INTERNAL_ERROR);
  }

  cut(outcome: CutOutcome, refusal: RequestErrorCode | null): void {
    if (refusal !== null) return this.fail(refusal, null, outcome);
    this.#end(outcome);
    this.#origin?.close(NGHTTP2_CANCEL);
    this.#order.stream.close(NGHTTP2_CANCEL);
  }

  #end(outcome: RequestErrorCode | OutcomeCode): false {
    if (this.#recorded) return false;
    this.#recorded = true;
    clearTimeout(this.#silence);
    const { bytesUp, bytesDown } = this;
    recordEnd(this.#ctx, this.#order.open, { outcome, bytesUp, bytesDown, status: this.#status });
    return false;
  }
}

/** Whether a message has come to its end: it was not reset, and is as long as it said. */
function isWhole(
  stream: http2.Http2Stream,
  length: number | string | readonly string[] | undefined,
  bytes: number,
): boolean {
  if (stream.rstCode !== undefined && stream.rstCode !== NGHTTP2_NO_ERROR) return false;
  return !stream.aborted && (length === undefined || Number(length) === bytes);
}

function sendTrailers(stream: http2.Http2Stream, trailers: http2.IncomingHttpHeaders): void {
  try {
    stream.sendTrailers({ ...trailers });
  } catch {
    // What Node does not send, such as a field twice that has one value, must not look like a whole message.
    stream.close(NGHTTP2_INTERNAL_ERROR);
  }
}
