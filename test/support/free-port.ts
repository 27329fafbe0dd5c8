// A port for a listener whose address must be known before it starts, or must be the same after a restart.
import net from 'node:net';

/** A port of 127.0.0.1 that nobody has: one that the kernel has just given back. */
export async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
