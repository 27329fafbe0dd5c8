// Fake origins on loopback: plain or TLS, raw or HTTP. Each counts its connections and can be closed at once.
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import tls from 'node:tls';
// So that these hear a reset as the product does, on each Node.js.
import '../../src/net/ends.ts';
import type { Certificate } from './tls.ts';

export interface OriginOptions {
  /** An address of 127.0.0.0/8; 127.0.0.1 when left out. */
  readonly host?: string;
  /** Chosen by the kernel when left out. */
  readonly port?: number;
  readonly tls?: Certificate;
}

export interface Origin {
  readonly host: string;
  readonly port: number;
  /** TCP connections accepted so far. */
  connections(): number;
  /** Those of them that have not closed. */
  open(): number;
  close(): Promise<void>;
}

async function open(server: net.Server, options: OriginOptions): Promise<Origin> {
  const sockets = new Set<net.Socket>();
  let accepted = 0;
  server.on('connection', (socket: net.Socket) => {
    accepted++;
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
  });
  const host = options.host ?? '127.0.0.1';
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, host, resolve);
  });
  const { port } = server.address() as net.AddressInfo;
  return {
    host,
    port,
    connections: () => accepted,
    open: () => sockets.size,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

export type SocketHandler = (socket: net.Socket) => void;

/** An origin that hands each (decrypted) connection to `handler`; half-open connections stay open. */
export function startOrigin(handler: SocketHandler, options: OriginOptions = {}): Promise<Origin> {
  const quiet: SocketHandler = (socket) => {
    socket.on('error', () => {});
    handler(socket);
  };
  if (options.tls === undefined) return open(net.createServer({ allowHalfOpen: true, noDelay: true }, quiet), options);
  const server = tls.createServer({ ...options.tls, allowHalfOpen: true }, quiet);
  server.on('tlsClientError', () => {});
  return open(server, options);
}

/** An HTTP origin, over TLS when `options.tls` is given. */
export function startHttpOrigin(handler: http.RequestListener, options: OriginOptions = {}): Promise<Origin> {
  const server =
    options.tls === undefined ? http.createServer(handler) : https.createServer({ ...options.tls }, handler);
  server.on('tlsClientError', () => {});
  return open(server, options);
}

/** Sends back what it gets, and ends when the client ends. */
export const echo: SocketHandler = (socket) => void socket.pipe(socket);

/** Sends `bytes` bytes on connection and ends. */
export function source(bytes: number): SocketHandler {
  return (socket) => {
    socket.resume();
    socket.end(Buffer.alloc(bytes, 'x'));
  };
}

/** Reads `received` bytes, then resets the connection. */
export function resetAfter(received: number): SocketHandler {
  return (socket) => {
    let count = 0;
    socket.on('data', (chunk: Buffer) => {
      count += chunk.length;
      if (count >= received) socket.resetAndDestroy();
    });
  };
}
