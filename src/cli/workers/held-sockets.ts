// The listening sockets of a proxy with workers. The primary holds them and never accepts: workers inherit them as descriptors, and
// whoever is free takes the next connection from the one queue. A worker that dies takes no waiting client with it, and while none
// lives, clients wait in the kernel.
import { lookup } from 'node:dns/promises';
import net, { type AddressInfo } from 'node:net';
import { getSystemErrorName } from 'node:util';
import type { Handle, Listening } from '../../net/listen.ts';
import { listening } from '../listeners.ts';
import type { Place, Sockets } from '../places.ts';

/** What node:cluster makes its shared sockets with: bound, and nobody listens on them here. */
type CreateHandle = (host: string | null, port: number | null, family: 4 | 6 | null, fd?: number) => Handle | number;

export class HeldSockets {
  readonly #held = new Map<Place, Held>();

  /**
   * Takes the sockets that somebody else has opened, and binds the others.
   * @throws SallyportError `listen-failed`
   */
  async open(places: readonly Place[], given: Sockets): Promise<void> {
    for (const place of places) this.#held.set(place, await hold(place, given));
  }

  /** In the order of the places, as is all of this. */
  get addresses(): AddressInfo[] {
    return [...this.#held.values()].map(({ address }) => address);
  }

  /** None once they are closed. */
  get descriptors(): number[] {
    return [...this.#held.values()].flatMap(({ handle }) => (handle === null ? [] : [handle.fd]));
  }

  /** For who takes them over. */
  get all(): [Place, Listening][] {
    return [...this.#held].flatMap(([place, { handle, address }]) =>
      handle === null ? [] : [[place, { address, lend: () => ({ handle, sent: () => {} }) }]],
    );
  }

  /** With the last worker that still listens, the sockets are closed: nobody else may connect. */
  close(): void {
    for (const held of this.#held.values()) {
      held.handle?.close();
      held.handle = null;
    }
  }
}

interface Held {
  handle: Handle | null;
  readonly address: AddressInfo;
}

/** One socket, from whoever has opened it, or bound here. @throws SallyportError `listen-failed` */
export function hold(place: Place, given: Sockets): Promise<{ handle: Handle; readonly address: AddressInfo }> {
  return listening(place, bound(place, given));
}

async function bound(place: Place, given: Sockets): Promise<{ handle: Handle; address: AddressInfo }> {
  const create = (net as unknown as { _createServerHandle?: CreateHandle })._createServerHandle;
  if (create === undefined) throw new Error('this Node.js cannot share sockets between processes');
  const made = await opened(place, given, create);
  if (typeof made === 'number') throw failed(made);
  const address = {} as AddressInfo;
  const error = made.getsockname(address);
  if (error === 0 && made.fd >= 0) return { handle: made, address };
  made.close();
  throw error === 0 ? new Error('the socket has no descriptor') : failed(error);
}

async function opened(place: Place, given: Sockets, create: CreateHandle): Promise<Handle | number> {
  const inherited = await given.get(place)?.();
  if (inherited !== undefined && 'handle' in inherited) return inherited.handle;
  return inherited !== undefined && 'fd' in inherited
    ? create(null, null, null, inherited.fd)
    : create(...(await hostOf(place)));
}

async function hostOf({ host, port }: Place): Promise<[string, number, 4 | 6]> {
  const { address, family } = await lookup(host);
  return [address, port, family === 6 ? 6 : 4];
}

function failed(errno: number): Error {
  const code = getSystemErrorName(errno);
  return Object.assign(new Error(code), { code });
}
