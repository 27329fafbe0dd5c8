// The admin listener: health for balancers and orchestrators without a token, everything else for who has it. It reads no body, sets
// no cookie, sends no redirect, and is on an endpoint of its own that the policy's address guard never lets a proxied request
// reach. Whatever a request makes fail, the answer is a code of the registry.
import { X509Certificate } from 'node:crypto';
import type http from 'node:http';
import https from 'node:https';
import type { Limits, Meter } from '../limits.ts';
import { nodeHttp } from '../net/http.ts';
import { type Listening, type ListenSource, listen } from '../net/listen.ts';
import { classifyAddress } from '../policy/address.ts';
import { authorityText } from '../policy/authority.ts';
import { AdminError } from './admin-error.ts';
import { EVENT_STREAM } from './event-stream.ts';
import { Gate } from './gate.ts';
import { listenOnFile } from './listen-file.ts';
import type { Router } from './router.ts';
import type { Site } from './site.ts';
import type { Token } from './token.ts';

export interface AdminParts {
  /** Why the proxy is not ready (draining, audit log not writable), or null when it is. */
  notReady(): string | null;
  /** Digest of the policy in force. */
  policy(): string;
  /** The Unix socket to listen on; null where it is an address. */
  readonly path: string | null;
  readonly token: Token;
  /** What answers the page of a path; pages are loaded when they are first asked for. */
  readonly router: (pathname: string) => Promise<Router>;
  readonly site: Site;
  /** PEM; null for plain HTTP, which is for this machine alone. */
  readonly tls: { readonly cert: string; readonly key: string } | null;
  readonly limits: Limits;
  readonly meter: Meter;
  /** Hears of a fault of ours. */
  readonly failed: (error: unknown) => void;
  /** Ends the streams. */
  readonly endStreams: () => void;
}

const HEAD_BYTES_MAX = 16_384;
// Short, since silent connections may hold every place of a listener that others depend on to see the proxy alive.
const HEAD_TIMEOUT_MS = 2_000;
const HEAD_CHECK_MS = 500;
const BACKLOG = 512;
const BASE = 'http://admin.invalid';

/** For every answer: nothing is run, framed, cached or kept that is not ours. */
const HEADERS = {
  'Cache-Control': 'no-store',
  'Content-Security-Policy':
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
  Connection: 'close',
};

export interface AdminServer {
  /** `host:port`, or `unix:PATH`. */
  readonly where: string;
  /** null for a socket in the file system, which no other process takes over. */
  readonly listening: Listening | null;
  /** Accepts no more; what is being answered is answered, and streams end. */
  stopListening(): void;
  close(): void;
}

/**
 * Listens on an address, or on the Unix socket `{ path }`; rejects with Node's error, or where plain HTTP could be reached from
 * other machines.
 */
export async function startAdmin(
  on: ListenSource | { readonly path: string },
  parts: AdminParts,
): Promise<AdminServer> {
  const server = createServer(parts);
  if ('path' in on) return onFile(server, on.path, parts);
  const listening = await listen(server, on, BACKLOG);
  const { address, port } = listening.address;
  // A socket that somebody else has opened need not be where the policy file says.
  if (parts.tls === null && classifyAddress(address) !== 'loopback') {
    end(server);
    throw new Error(`without admin.tls it may listen for this machine alone, and ${address} is for others too`);
  }
  return {
    where: authorityText(address, port),
    listening,
    stopListening: () => stop(server, parts),
    close: () => end(server),
  };
}

async function onFile(server: http.Server | https.Server, path: string, parts: AdminParts): Promise<AdminServer> {
  const remove = await listenOnFile(server, path, BACKLOG);
  return {
    where: `unix:${path}`,
    listening: null,
    stopListening: () => stop(server, parts),
    close: () => {
      end(server);
      remove();
    },
  };
}

function createServer(parts: AdminParts): http.Server | https.Server {
  const { tls, limits, meter } = parts;
  const gate = new Gate({ token: parts.token, scheme: tls ? 'https' : 'http', certified: certified(tls) });
  const options = {
    maxHeaderSize: HEAD_BYTES_MAX,
    headersTimeout: HEAD_TIMEOUT_MS,
    requestTimeout: HEAD_TIMEOUT_MS,
    connectionsCheckingInterval: HEAD_CHECK_MS,
  };
  const handle = (req: http.IncomingMessage, res: http.ServerResponse): void => void respond(req, res, parts, gate);
  const server = tls
    ? https.createServer({ ...options, ...tls, ALPNProtocols: ['http/1.1'], handshakeTimeout: HEAD_TIMEOUT_MS }, handle)
    : nodeHttp.createServer(options, handle);
  server.maxConnections = limits.admin_connections_max;
  server.on('drop', () => meter.hit('admin_connections_max'));
  return server;
}

function stop(server: http.Server | https.Server, { endStreams }: AdminParts): void {
  server.close();
  endStreams();
}

function end(server: http.Server | https.Server): void {
  server.close();
  server.closeAllConnections();
}

function certified(tls: AdminParts['tls']): ((name: string) => boolean) | null {
  if (tls === null) return null;
  const certificate = new X509Certificate(tls.cert);
  return (name) => certificate.checkHost(name) !== undefined;
}

async function respond(
  req: http.IncomingMessage,
  res: http.ServerResponse,
  parts: AdminParts,
  gate: Gate,
): Promise<void> {
  for (const [name, value] of Object.entries(HEADERS)) res.setHeader(name, value);
  // Which policy a node has is asked from outside, where the body is a balancer's.
  res.setHeader('Sallyport-Policy', parts.policy());
  try {
    await dispatch(req, res, parts, gate);
  } catch (error) {
    if (!(error instanceof AdminError)) parts.failed(error);
    const shown = error instanceof AdminError ? error : new AdminError(500, 'admin-failed', 'the request failed');
    if (res.headersSent) return void res.destroy();
    if (shown.status === 401) res.setHeader('WWW-Authenticate', 'Bearer realm="sallyport admin"');
    const { code, message, hint } = shown;
    send(req, res, shown.status, `${JSON.stringify({ error: { code, message, hint } })}\n`, 'application/json');
  }
}

async function dispatch(
  req: http.IncomingMessage,
  res: http.ServerResponse,
  parts: AdminParts,
  gate: Gate,
): Promise<void> {
  const { method = '', url = '' } = req;
  if (!url.startsWith('/') || !URL.canParse(url, BASE))
    throw new AdminError(404, 'admin-not-found', 'there is no such page');
  const { pathname, searchParams, origin } = new URL(url, BASE);
  // `//name/…` is another host to a URL.
  if (origin !== BASE) throw new AdminError(404, 'admin-not-found', 'there is no such page');
  const get = method === 'GET' || method === 'HEAD';
  if (get && pathname === '/healthz') return send(req, res, 200, 'ok\n');
  if (get && pathname === '/readyz') {
    const reason = parts.notReady();
    return send(req, res, reason === null ? 200 : 503, reason === null ? 'ready\n' : `not ready: ${reason}\n`);
  }
  if (!get && method !== 'DELETE') throw new AdminError(405, 'admin-request', 'no page takes this method');
  gate.checkSource(req);
  if (parts.site.serve(req, res, pathname)) return;
  gate.checkToken(req);
  if ((req.headers['content-length'] ?? '0') !== '0' || req.headers['transfer-encoding'] !== undefined)
    throw new AdminError(413, 'admin-request', 'no page takes a body');
  const router = await parts.router(pathname);
  const { route, query, param } = router.find(method, pathname, searchParams);
  // Who asks for the head of a stream gets that alone.
  if (method === 'HEAD' && route.type === EVENT_STREAM) return send(req, res, 200, '', EVENT_STREAM);
  const answer = await route.handle({ query, param, req, res });
  if (answer === null) return;
  if ('text' in answer) send(req, res, 200, answer.text, answer.type);
  else send(req, res, 200, `${JSON.stringify(answer.json)}\n`, 'application/json');
}

function send(
  req: http.IncomingMessage,
  res: http.ServerResponse,
  status: number,
  body: string,
  type = 'text/plain; charset=utf-8',
): void {
  res.writeHead(status, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body) });
  res.end(req.method === 'HEAD' ? undefined : body);
}
