// How a listener gets its socket: bound here, inherited as a descriptor from the service manager, or handed over by the process
// that runs before this one. Whatever its source, it is one kernel socket with one queue: a process that stops listening on it
// takes no waiting client with it as long as another one goes on (SO_REUSEPORT would: there each process has a queue of its own).
import net from 'node:net';
import './ends.ts';

/** `fd` is a listening TCP socket of this process; a net.Server is one that came over an IPC channel. */
export type ListenSource = { readonly host: string; readonly port: number } | { readonly fd: number } | net.Server;

export interface Listening {
  readonly address: net.AddressInfo;
  /** The socket in the form in which it is passed to another process; `sent` once it is there. */
  lend(): { readonly server: net.Server; sent(): void };
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
        return resolve({ address, lend: () => ({ server, sent: () => {} }) });
      server.close();
      reject(new Error('it is no TCP socket'));
    };
    server.once('error', reject);
    if (on instanceof net.Server) server.listen(on, backlog, listening);
    else server.listen({ ...on, backlog }, listening);
  });
}
