// The admin listener: liveness and readiness for balancers and orchestrators. It answers these two paths and nothing else,
// reads no body, and is on an endpoint of its own that the policy's address guard never lets a proxied request reach.
import http from 'node:http';
import { type Listening, type ListenSource, listen } from '../net/listen.ts';
import type { Metrics } from './metrics.ts';

export interface AdminPages {
  /** Why the proxy is not ready (draining, audit log not writable), or null when it is. */
  notReady(): string | null;
  readonly metrics: Metrics;
  /** Digest of the policy in force. */
  policy(): string;
}

const HEAD_BYTES_MAX = 8_192;
// Short, since silent connections may hold every place of a listener that others depend on to see the proxy alive.
const HEAD_TIMEOUT_MS = 2_000;
const HEAD_CHECK_MS = 500;
const CONNECTIONS_MAX = 256;
const BACKLOG = 512;

export interface AdminServer extends Listening {
  /** Accepts no more; what is being answered is answered. */
  stopListening(): void;
  close(): void;
}

/** Listens; resolves with the bound address, rejects with Node's error. */
export async function startAdmin(on: ListenSource, pages: AdminPages): Promise<AdminServer> {
  const server = http.createServer(
    {
      maxHeaderSize: HEAD_BYTES_MAX,
      headersTimeout: HEAD_TIMEOUT_MS,
      requestTimeout: HEAD_TIMEOUT_MS,
      connectionsCheckingInterval: HEAD_CHECK_MS,
    },
    (req, res) => void answer(req, res, pages),
  );
  server.maxConnections = CONNECTIONS_MAX;
  const listening = await listen(server, on, BACKLOG);
  return {
    ...listening,
    stopListening: () => void server.close(),
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

async function answer(req: http.IncomingMessage, res: http.ServerResponse, pages: AdminPages): Promise<void> {
  const send = (status: number, body: string, type = 'text/plain; charset=utf-8'): void => {
    res.writeHead(status, {
      'Content-Type': type,
      'Cache-Control': 'no-store',
      'X-Content-Type-Options': 'nosniff',
      // Which policy a node has is asked from outside, where the body is a balancer's.
      'Sallyport-Policy': pages.policy(),
      Connection: 'close',
    });
    res.end(req.method === 'HEAD' ? '' : `${body}\n`);
  };
  if (req.method !== 'GET' && req.method !== 'HEAD') return send(405, 'method not allowed');
  if (req.url === '/healthz') return send(200, 'ok');
  if (req.url === '/metrics') return send(200, (await pages.metrics.render()).trimEnd(), pages.metrics.contentType);
  if (req.url !== '/readyz') return send(404, 'not found; here are /healthz, /readyz and /metrics');
  const reason = pages.notReady();
  return reason ? send(503, `not ready: ${reason}`) : send(200, 'ready');
}
