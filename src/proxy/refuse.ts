// Sends a refusal so that it arrives whole: closing a socket with unread bytes resets it and can destroy the answer on its way,
// so what the client still sends is read and dropped for so long and so far, and only then cut.
import type http from 'node:http';
import type net from 'node:net';
import type { RequestErrorCode } from '../errors.ts';
import type { ProxyContext } from './context.ts';
import { fieldValue } from './head.ts';
import { type Refusal, refusalResponse } from './respond.ts';
import { recordEnd } from './route.ts';

export const LINGER_MS = 2_000;
const LINGER_BYTES_MAX = 1_048_576;

const BROKEN = Symbol('broken');
type Broken = RequestErrorCode | 'client-gone';
type Request = http.IncomingMessage & { [BROKEN]?: Broken };

/** Says that nothing more of the request's body will come, and why. Emits 'error' for an exchange under way. */
export function breakBody(req: Request, code: Broken): void {
  req[BROKEN] = code;
  req.emit('error', new Error('the request body is cut short or malformed'));
}

/** Why nothing more of the request's body will come, or undefined. */
export function brokenBody(req: Request): Broken | undefined {
  return req[BROKEN];
}

/** On a raw socket (CONNECT, or a request that could not be parsed): writes `response` and closes. */
export function refuseSocket(socket: net.Socket, response: string): void {
  socket.on('error', ignore);
  if (socket.destroyed || !socket.writable) {
    socket.destroy();
    return;
  }
  const timer = setTimeout(() => socket.destroy(), LINGER_MS);
  let dropped = 0;
  socket.on('data', (chunk: Buffer) => {
    dropped += chunk.length;
    if (dropped > LINGER_BYTES_MAX) socket.destroy();
  });
  socket.once('end', () => socket.destroySoon());
  socket.once('close', () => clearTimeout(timer));
  socket.end(response);
  socket.resume();
}

/** On the http server's response: sends the whole answer, then ends once the request's body is through. */
export function refuseRequest(
  exchange: { readonly req: http.IncomingMessage; readonly res: http.ServerResponse },
  refusal: Refusal,
): void {
  const { req, res } = exchange;
  const response = refusalResponse({ ...refusal, accept: fieldValue(req.rawHeaders, 'accept') });
  res.writeHead(response.status, response.reason, [...response.headers]);
  if (req.method !== 'HEAD') res.write(response.body);
  endAfterBody(req, res);
}

/** A failure of ours on the road of one request: said, recorded where it was let through, and refused or visibly broken. */
export function refuseFailed(
  ctx: ProxyContext,
  exchange: { readonly id: string; readonly req: http.IncomingMessage; readonly res: http.ServerResponse },
  error: unknown,
): void {
  const { id, res } = exchange;
  ctx.log.error({ err: error, request: id }, 'a request failed inside the proxy and was refused');
  const open = ctx.open.get(id);
  if (open) recordEnd(ctx, open, { outcome: 'internal-error', bytesUp: open.bytesUp, bytesDown: open.bytesDown });
  if (res.headersSent) res.destroy();
  else refuseRequest(exchange, { code: 'internal-error', id, help: ctx.help });
}

/** Ends a response that is written; where the client still uploads, it is listened to for a while, so that it reads the answer. */
export function endAfterBody(req: http.IncomingMessage, res: http.ServerResponse): void {
  if (req.complete || brokenBody(req)) {
    res.end();
    return;
  }
  const end = (): void => {
    clearTimeout(timer);
    res.end();
  };
  const timer = setTimeout(end, LINGER_MS);
  let dropped = 0;
  req.on('data', (chunk: Buffer) => {
    dropped += chunk.length;
    if (dropped > LINGER_BYTES_MAX) end();
  });
  req.once('end', end);
  req.once('error', end);
  res.once('close', () => clearTimeout(timer));
  // It may have been piped to an origin that takes no more; a stream that was piped does not flow by itself again.
  req.unpipe();
  req.resume();
}

function ignore(): void {
  // The 'close' that follows every error is what is acted on.
}
