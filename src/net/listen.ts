// How a listener gets its socket: bound here, inherited as a descriptor from the service manager, or handed over by the process
// that runs before this one. Whatever its source, it is one kernel socket with one queue: a process that stops listening on it
// takes no waiting client with it as long as another one goes on (SO_REUSEPORT would: there each process has a queue of its own).
import type net from 'node:net';
import './ends.ts';

/** A socket that nobody accepts on in this process yet: Node's own wrapping, which node:cluster passes between processes too. */
export interface Handle {
  readonly fd: number;
  getsockname(into: object): number;
  close(): void;
}

/** `fd` is a listening TCP socket of this process; a handle is one that came over an IPC channel, or was bound before. */
export type ListenSource =
  | { readonly host: string; readonly port: number }
  | { readonly fd: number }
  | { readonly handle: Handle };

export interface Listening {
  readonly address: net.AddressInfo;
  /** The socket in the form in which it is passed to another process; `sent` once it is there. */
  lend(): { readonly handle: Handle; sent(): void };
}

/** The socket of a server that listens. */
export function handleOf(server: net.Server): Handle {
  const handle = (server as { _handle?: Handle | null })._handle;
  if (!handle) throw new Error('the server has no socket');
  return handle;
}

/**
 * Starts a server; its address is the real one (port 0 asks the kernel). Rejects with Node's error, also where what was
 * inherited is not a TCP socket.
 * @param backlog connections that may wait in the kernel to be accepted
 */
export function listen(server: net.Server, on: ListenSource, backlog: number): Promise<Listening> {
  return new Promise((resolve, reject) => {
    const listening = (): void => {
      server.removeListener('error', reject);
      const address = server.address();
      if (address !== null && typeof address === 'object')
        return resolve({ address, lend: () => ({ handle: handleOf(server), sent: () => {} }) });
      server.close();
      reject(new Error('it is no TCP socket'));
    };
    server.once('error', reject);
    if ('handle' in on) server.listen(on.handle, backlog, listening);
    else server.listen({ ...on, backlog }, listening);
  });
}
