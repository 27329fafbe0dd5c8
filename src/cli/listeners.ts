// All sockets that the proxy listens on, opened place by place: the admin listener first, then the proxy's own, each guarded
// before a client can use it.
import type net from 'node:net';
import { type AdminParts, type AdminServer, startAdmin } from '../admin/server.ts';
import { SallyportError } from '../errors.ts';
import type { Listening } from '../net/listen.ts';
import { authorityText } from '../policy/authority.ts';
import type { ProxyServer } from '../proxy/server.ts';
import type { TlsEntrance } from '../proxy/tls-entrance.ts';
import type { Place, Sockets } from './places.ts';

interface Parts {
  readonly proxy: ProxyServer;
  /** null where the policy has no admin listener. */
  readonly admin: AdminParts | null;
  /** For the places of role `tls`. */
  readonly entrance: TlsEntrance | null;
  /** Makes the policy refuse these endpoints: the real ports are known only here. */
  readonly guard: (bound: readonly net.AddressInfo[]) => void;
}

export class Listeners {
  readonly #parts: Parts;
  readonly #open = new Map<Place, Listening>();
  #admin: AdminServer | null = null;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /**
   * @param sockets those of a place that somebody else has opened; the other places are bound
   * @throws SallyportError `listen-failed`
   */
  async open(places: readonly Place[], sockets: Sockets): Promise<void> {
    const { proxy, admin: pages, guard, entrance } = this.#parts;
    const source = async (place: Place) => (await sockets.get(place)?.()) ?? { host: place.host, port: place.port };
    const admin = places.find(({ role }) => role === 'admin');
    if (pages !== null && pages.path !== null) {
      this.#admin = await listening({ role: 'admin', host: 'unix', port: 0 }, startAdmin({ path: pages.path }, pages));
    }
    if (admin && pages) {
      const on = await source(admin);
      this.#admin = await listening(admin, startAdmin(on, pages));
      if (this.#admin.listening) this.#open.set(admin, this.#admin.listening);
    }
    for (const place of places) {
      if (place.role === 'admin') continue;
      // Nothing may be waited for between these two: a socket that has arrived accepts.
      const on = await source(place);
      const opened = place.role === 'tls' && entrance !== null ? proxy.listenTls(on, entrance) : proxy.listen(on);
      this.#open.set(place, await listening(place, opened));
      guard([...this.#open.values()].map(({ address }) => address));
    }
  }

  /** What is listened on, by place. */
  get all(): ReadonlyMap<Place, Listening> {
    return this.#open;
  }

  /** The proxy's addresses as the ready line has them. */
  get proxies(): string {
    return [...this.#open]
      .flatMap(([{ role }, { address }]) => {
        if (role === 'admin') return [];
        return [role === 'tls' ? `https://${endpoint(address)}` : endpoint(address)];
      })
      .join(',');
  }

  get admin(): string {
    return this.#admin?.where ?? 'off';
  }

  /** The admin listener accepts no more: another process does. The proxy's own are stopped by the drain. */
  stopAdmin(): void {
    this.#admin?.stopListening();
  }

  /** Ends the admin listener; the proxy's own end with the proxy. */
  close(): void {
    this.#admin?.close();
  }
}

/** @throws SallyportError `listen-failed` */
export async function listening<T>(place: Place, started: Promise<T>): Promise<T> {
  try {
    return await started;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new SallyportError('listen-failed', `cannot listen on ${place.host}:${place.port}: ${code ?? message}`, {
      cause: error,
    });
  }
}

/** host:port, or [v6]:port. */
export function endpoint({ address, port }: net.AddressInfo): string {
  return authorityText(address, port);
}
