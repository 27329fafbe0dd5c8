// The listening sockets of a proxy with workers. The primary holds them and never accepts: workers inherit them as descriptors, and
// whoever is free takes the next connection from the one queue. A worker that dies takes no waiting client with it, and while none
// lives, clients wait in the kernel.
import { lookup } from 'node:dns/promises';
import net, { type AddressInfo } from 'node:net';
import { getSystemErrorName } from 'node:util';
import { listening } from '../listeners.ts';
import type { Place, Sockets } from '../places.ts';

/** A socket that is bound and that nobody listens on here; what node:cluster makes its shared sockets with. */
interface Handle {
  readonly fd: number;
  getsockname(into: object): number;
  close(): void;
}
type CreateHandle = (host: string | null, port: number | null, family: 4 | 6 | null, fd?: number) => Handle | number;

export class HeldSockets {
  readonly #handles: Handle[] = [];
  readonly addresses: AddressInfo[] = [];

  /**
   * Takes the sockets that somebody else has opened, and binds the others.
   * @throws SallyportError `listen-failed`
   */
  async open(places: readonly Place[], given: Sockets): Promise<void> {
    for (const place of places) {
      const { handle, address } = await listening(place, bound(place, given));
      this.#handles.push(handle);
      this.addresses.push(address);
    }
  }

  /** In the order of the places. */
  get descriptors(): number[] {
    return this.#handles.map(({ fd }) => fd);
  }

  /** With the last worker that still listens, the sockets are closed: nobody else may connect. */
  close(): void {
    for (const handle of this.#handles.splice(0)) handle.close();
  }
}

async function bound(place: Place, given: Sockets): Promise<{ handle: Handle; address: AddressInfo }> {
  const create = (net as unknown as { _createServerHandle?: CreateHandle })._createServerHandle;
  if (create === undefined) throw new Error('this Node.js cannot share sockets between processes');
  const inherited = await given.get(place)?.();
  const made =
    inherited !== undefined && 'fd' in inherited
      ? create(null, null, null, inherited.fd)
      : create(...(await hostOf(place)));
  if (typeof made === 'number') throw failed(made);
  const address = {} as AddressInfo;
  const error = made.getsockname(address);
  if (error === 0 && made.fd >= 0) return { handle: made, address };
  made.close();
  throw error === 0 ? new Error('the socket has no descriptor') : failed(error);
}

async function hostOf({ host, port }: Place): Promise<[string, number, 4 | 6]> {
  const { address, family } = await lookup(host);
  return [address, port, family === 6 ? 6 : 4];
}

function failed(errno: number): Error {
  const code = getSystemErrorName(errno);
  return Object.assign(new Error(code), { code });
}
