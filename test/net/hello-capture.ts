// Takes the ClientHello that a real client sends to a server on loopback which never answers.
import { Buffer } from 'node:buffer';
import { spawn } from 'node:child_process';
import net from 'node:net';
import tls from 'node:tls';

/** Starts a client towards a port of 127.0.0.1. */
export type Attempt = (port: number) => { close(): void };

/** What a client sends before it has heard anything. */
export async function capture(attempt: Attempt): Promise<Buffer> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { promise, resolve } = Promise.withResolvers<Buffer>();
  server.once('connection', (socket) => {
    let got = Buffer.alloc(0);
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      got = Buffer.concat([got, chunk]);
      // The end is judged by the record's own length here, so that the reader under test has no say in it.
      if (got.length >= 5 && got.length >= 5 + got.readUInt16BE(3)) {
        socket.destroy();
        resolve(got);
      }
    });
  });
  const client = attempt((server.address() as net.AddressInfo).port);
  const hello = await promise;
  client.close();
  await new Promise((done) => server.close(done));
  return hello;
}

export function nodeClient(options: tls.ConnectionOptions): Attempt {
  return (port) => {
    const socket = tls.connect({ host: '127.0.0.1', port, rejectUnauthorized: false, ...options });
    socket.on('error', () => {});
    return { close: () => socket.destroy() };
  };
}

export function opensslClient(...args: string[]): Attempt {
  return (port) => {
    const child = spawn('openssl', ['s_client', '-connect', `127.0.0.1:${port}`, ...args], {
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    return { close: () => child.kill() };
  };
}
