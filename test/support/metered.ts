// A TLS client inside a CONNECT tunnel that knows, by its own count, how many bytes crossed the wire in each direction.
import type net from 'node:net';
import { Duplex } from 'node:stream';
import tls from 'node:tls';
import { RawClient } from './raw-client.ts';

export interface Wire {
  up: number;
  down: number;
}

/** The socket as a stream that counts what passes. */
function metered(socket: net.Socket, wire: Wire): Duplex {
  const duplex = new Duplex({
    allowHalfOpen: true,
    read: () => void socket.resume(),
    write: (chunk: Buffer, _, done) => {
      wire.up += chunk.length;
      socket.write(chunk, done);
    },
    final: (done) => void socket.end(done),
    destroy: (error, done) => {
      socket.destroy();
      done(error);
    },
  });
  socket.removeAllListeners('data');
  socket.on('data', (chunk: Buffer) => {
    wire.down += chunk.length;
    if (!duplex.push(chunk)) socket.pause();
  });
  socket.on('end', () => duplex.push(null));
  return duplex;
}

export interface Exchange {
  readonly status: number;
  readonly reason: string;
  readonly wire: Wire;
  /** Plain bytes that came back inside TLS. */
  readonly received: number;
}

export interface ExchangeOptions {
  readonly proxy: { readonly host: string; readonly port: number };
  readonly target: string;
  /** `user:password` of Proxy-Authorization. */
  readonly user: string | null;
  readonly ca: string;
  readonly payload: Buffer;
}

/** CONNECT, TLS with the target's name, send the payload, read to the end. A refusal is an answer, not an error. */
export async function exchange(options: ExchangeOptions): Promise<Exchange> {
  const client = await RawClient.connect(options.proxy);
  const credentials =
    options.user === null ? '' : `Proxy-Authorization: Basic ${Buffer.from(options.user).toString('base64')}\r\n`;
  client.send(`CONNECT ${options.target} HTTP/1.1\r\nHost: ${options.target}\r\n${credentials}\r\n`);
  const { status, reason } = await client.readHead();
  const wire = { up: 0, down: 0 };
  if (status !== 200) {
    client.close();
    return { status, reason, wire, received: 0 };
  }
  const secure = tls.connect({
    socket: metered(client.socket, wire),
    servername: options.target.replace(/:\d+$/, ''),
    ca: options.ca,
  });
  let received = 0;
  await new Promise<void>((resolve, reject) => {
    secure.on('data', (chunk: Buffer) => {
      received += chunk.length;
    });
    secure.once('error', reject);
    secure.once('end', () => secure.end());
    client.socket.once('close', resolve);
    secure.write(options.payload);
  });
  return { status, reason, wire, received };
}
