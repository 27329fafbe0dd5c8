// Where the proxy listens, place by place, and which sockets for these places were opened by somebody else: the service
// manager (socket activation, sd_listen_fds(3)) or the process before this one (an upgrade, predecessor.ts).
import type { Settings } from '../config/config.ts';
import { SallyportError } from '../errors.ts';
import type { ListenSource } from '../net/listen.ts';

/** One entry of `listen` or `tls.listen`, or `admin`, as the policy file has it: port 0 is a port that the kernel chooses. */
export interface Place {
  readonly role: 'proxy' | 'tls' | 'admin';
  readonly host: string;
  readonly port: number;
}

/** All places: `listen` in the order of the file, then `tls.listen`, then `admin`. */
export function placesOf(settings: Pick<Settings, 'listen' | 'admin' | 'identity'>): Place[] {
  const places: Place[] = settings.listen.map(({ host, port }) => ({ role: 'proxy', host, port }));
  for (const { host, port } of settings.identity.tls?.listen ?? []) places.push({ role: 'tls', host, port });
  // A socket in the file system is nobody else's to open: each process has its own.
  if (settings.admin?.path === null)
    places.push({ role: 'admin', host: settings.admin.host, port: settings.admin.port });
  return places;
}

/** Gives a place its socket, at the moment when it is listened on: one that arrives from another process accepts at once. */
export type SocketSource = () => ListenSource | Promise<ListenSource>;
export type Sockets = ReadonlyMap<Place, SocketSource>;

const ROLES = ['proxy', 'tls', 'admin'] as const;

/** The first descriptor of socket activation; those before it are the standard streams. */
const LISTEN_FDS_START = 3;

/**
 * The sockets that the service manager has opened for this process, by place. Those named `proxy`, `tls` or `admin` (FileDescriptorName=)
 * go there; others go to the places that are left, in order. A place without one is bound as the policy file says.
 * @throws SallyportError `listen-failed` where there are more sockets than places
 */
export function activatedSockets(
  env: Readonly<Record<string, string | undefined>>,
  pid: number,
  places: readonly Place[],
): Sockets {
  const sockets = new Map<Place, SocketSource>();
  // Meant for another process: a variable that was inherited.
  if (env['LISTEN_PID'] !== String(pid)) return sockets;
  const count = Number(env['LISTEN_FDS'] ?? 0);
  const names = (env['LISTEN_FDNAMES'] ?? '').split(':');
  const passed = Array.from({ length: count }, (_, index) => {
    const name = names[index] ?? '';
    return { fd: LISTEN_FDS_START + index, name, role: ROLES.find((role) => role === name) ?? null };
  });
  const named = passed.filter(({ role }) => role !== null);
  const others = passed.filter(({ role }) => role === null);
  for (const { fd, name, role } of [...named, ...others]) {
    const place = places.find((each) => !sockets.has(each) && (role === null || each.role === role));
    if (!place) {
      throw new SallyportError(
        'listen-failed',
        `the service manager passes ${count} sockets, and the policy has no place for descriptor ${fd} (${name || 'no name'}): in listen and admin it has ${places.length}`,
        { hint: 'Give each socket unit FileDescriptorName=proxy, tls or admin, and the policy as many addresses.' },
      );
    }
    sockets.set(place, () => ({ fd }));
  }
  return sockets;
}
