// Node's HTTP/1 server as Sallyport has it read requests, on the listener and on inspected connections alike: its bounds, and what is
// answered where llhttp refuses.
import type http from 'node:http';
import type { RequestErrorCode } from '../errors.ts';
import type { LimitName, Limits } from '../limits.ts';
import { nodeHttp } from '../net/http.ts';
import type { ClientConnection, ClientSocket } from './client-connection.ts';
import { CONNECTION } from './client-connection.ts';
import type { ProxyContext } from './context.ts';
import { breakBody, refuseSocket } from './refuse.ts';
import { type Refusal, refusalResponse, serialise } from './respond.ts';

// Node looks for heads that are overdue once in this time; a deadline is thus met at most so much late.
const HEAD_CHECK_MS = 1_000;

/** A server that reads connections which are given to it; its watch over overdue heads begins with 'listening'. */
export function createHttpServer(limits: Limits): http.Server {
  const server = nodeHttp.createServer({
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
  return server;
}

/** Node's name of a head that is overdue. */
export const HEAD_TIMEOUT = 'ERR_HTTP_REQUEST_TIMEOUT';

/** What Node gives with 'clientError'. */
export type ParseError = NodeJS.ErrnoException & { rawPacket?: Buffer };

/**
 * Answers what llhttp refuses. The error's raw packet shows what was tried; its first line is recorded, escaped and capped. Node says
 * it again for each packet that follows: only the first counts, the others are dropped while the answer is on its way.
 * @param refuse records it
 */
export function answerMalformed(
  ctx: ProxyContext,
  error: ParseError,
  socket: ClientSocket,
  refuse: (connection: ClientConnection, what: { method: string; target: string; code: RequestErrorCode }) => Refusal,
): void {
  const connection = socket[CONNECTION];
  if (connection?.closed && !socket.destroyed && error.code !== 'ECONNRESET') return;
  const { code, limit } = malformedCode(error.code ?? '', error.rawPacket);
  if (limit) ctx.meter.hit(limit);
  // A connection that never sent a byte asked for nothing: it is closed without an answer and without a record.
  if (!connection || error.code === 'ECONNRESET' || !socket.writable || socket.bytesRead === connection.headerBytes) {
    socket.destroy();
    return;
  }
  connection.closed = true;
  const { response } = connection;
  // The body of the request that is being answered, not another request: its own exchange ends with it.
  if (response && !response.req.complete) {
    return breakBody(response.req, error.code === 'HPE_INVALID_EOF_STATE' ? 'client-gone' : code);
  }
  const line = firstLine(error.rawPacket, socket.bytesRead - connection.headerBytes);
  // No second answer may be written into a running one; behind one that closes nothing is a request any more.
  connection.enter(() => {
    refuseSocket(socket, serialise(refusalResponse(refuse(connection, { ...line, code }))));
    return null;
  });
}

// A method has at least a first character; TLS, SOCKS and a PROXY header from a stranger do not begin with one.
const METHOD_START = /^[\r\n]*[!#$%&'*+.^_`|~\dA-Za-z-]/;

function malformedCode(code: string, packet: Buffer | undefined): { code: RequestErrorCode; limit: LimitName | null } {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return { code: 'head-too-large', limit: 'head_bytes' };
    case HEAD_TIMEOUT:
      return { code: 'head-timeout', limit: 'head_timeout_ms' };
    case 'HPE_INVALID_VERSION':
    case 'HPE_PAUSED_H2_UPGRADE':
      return { code: 'http-version', limit: null };
    case 'HPE_INVALID_METHOD':
      return {
        code: METHOD_START.test(packet?.toString('latin1', 0, 64) ?? '') ? 'method-not-allowed' : 'request-malformed',
        limit: null,
      };
    case 'HPE_INVALID_URL':
      return { code: 'target-malformed', limit: null };
    default:
      return { code: 'request-malformed', limit: null };
  }
}

const LINE_CHARS_MAX = 4_096;
const METHOD = /^[A-Za-z]{1,20}$/;
const REQUEST_LINE = /^[A-Za-z]{1,20} \S+ HTTP\/\d/;

/**
 * What was asked for, as far as the packet shows it. A packet in the midst of a head or a body begins anywhere, perhaps within
 * credentials: of such a one nothing is recorded.
 */
function firstLine(packet: Buffer | undefined, bytesRead: number): { method: string; target: string } {
  const text = packet?.toString('latin1', 0, LINE_CHARS_MAX) ?? '';
  const line = text.split(/[\r\n]/, 1)[0] ?? '';
  if (packet?.length !== bytesRead && !REQUEST_LINE.test(line)) return { method: '', target: '' };
  const [method = '', target = ''] = line.split(' ', 2);
  return METHOD.test(method) ? { method, target } : { method: '', target: line };
}
