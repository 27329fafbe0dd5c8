// The admin listener: liveness and readiness for balancers and orchestrators. It answers these two paths and nothing else,
// reads no body, and is on an endpoint of its own that the policy's address guard never lets a proxied request reach.
import http from 'node:http';
import { type Listening, type ListenSource, listen } from '../net/listen.ts';

export interface Health {
  /** Why the proxy is not ready (draining, audit log not writable), or null when it is. */
  notReady(): string | null;
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
export async function startAdmin(on: ListenSource, health: Health): Promise<AdminServer> {
  const server = http.createServer(
    {
      maxHeaderSize: HEAD_BYTES_MAX,
      headersTimeout: HEAD_TIMEOUT_MS,
      requestTimeout: HEAD_TIMEOUT_MS,
      connectionsCheckingInterval: HEAD_CHECK_MS,
    },
    (req, res) => answer(req, res, health),
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

function answer(req: http.IncomingMessage, res: http.ServerResponse, health: Health): void {
  const send = (status: number, body: string): void => {
    res.writeHead(status, {
      'Content-Type': 'text/plain; charset=utf-8',
      'Cache-Control': 'no-store',
      'X-Content-Type-Options': 'nosniff',
      Connection: 'close',
    });
    res.end(req.method === 'HEAD' ? '' : `${body}\n`);
  };
  if (req.method !== 'GET' && req.method !== 'HEAD') return send(405, 'method not allowed');
  if (req.url === '/healthz') return send(200, 'ok');
  if (req.url !== '/readyz') return send(404, 'not found; here are /healthz and /readyz');
  const reason = health.notReady();
  return reason ? send(503, `not ready: ${reason}`) : send(200, 'ready');
}
