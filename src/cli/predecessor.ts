// The new process's side of an upgrade (upgrade.ts is the old one's): it makes ready all it can, takes the audit log over, then
// the listening sockets one by one, and says that it is ready. If the old process is lost before that, the start fails. A primary,
// which accepts nothing itself, takes the sockets first.
import net from 'node:net';
import { SallyportError } from '../errors.ts';
import { type Handle, handleOf, type ListenSource, listen } from '../net/listen.ts';
import { listening } from './listeners.ts';
import type { Place, SocketSource, Sockets } from './places.ts';
import { type FromNew, type FromOld, type HandedOver, UPGRADE_FROM } from './upgrade.ts';

export class Predecessor {
  #answer: { resolve(value: { message: FromOld; socket: unknown }): void; reject(error: Error): void } | null = null;

  /** The process that has started this one to be replaced by it; null in any other start. */
  static of(env: Readonly<Record<string, string | undefined>>): Predecessor | null {
    return env[UPGRADE_FROM] === String(process.ppid) && process.connected ? new Predecessor() : null;
  }

  private constructor() {
    process.on('message', (message, socket) => {
      this.#answer?.resolve({ message: message as FromOld, socket });
      this.#answer = null;
    });
    process.once('disconnect', () => this.#answer?.reject(lost()));
  }

  /** The sockets of the old process for the places that it has too; others are bound here, now, where a failure changes nothing yet. */
  async sockets(places: readonly Place[]): Promise<Sockets> {
    const sockets = new Map(await this.offered(places));
    for (const place of places) {
      if (sockets.has(place)) continue;
      const bound = net.createServer(refuse);
      await listening(place, listen(bound, place, 1));
      sockets.set(place, () => ({ handle: handleOf(bound) }));
    }
    return sockets;
  }

  /** Those of the old process alone. */
  async offered(places: readonly Place[]): Promise<Sockets> {
    const { message } = await this.#ask({ type: 'places' });
    const offered: (Place | null)[] = message.type === 'places' ? [...message.places] : [];
    const sockets = new Map<Place, SocketSource>();
    for (const place of places) {
      const index = offered.findIndex(
        (each) => each?.role === place.role && each.host === place.host && each.port === place.port,
      );
      if (index < 0) continue;
      offered[index] = null;
      sockets.set(place, () => this.#socket(index));
    }
    return sockets;
  }

  /** The old process gives the audit log free, and each of its workers its own; they go on from these lines in branches. */
  async takeOver(): Promise<HandedOver> {
    const { message } = await this.#ask({ type: 'prepared' });
    if (message.type !== 'fork') throw lost();
    return message;
  }

  /**
   * The old process stops accepting.
   * @param workers how many serve here, each with a log of its own; 0 where this process serves alone
   */
  ready(line: string, workers: number): void {
    this.#send({ type: 'ready', line, workers });
    this.#over();
  }

  failed(error: unknown): void {
    const { code, message, problems } = error as SallyportError;
    const first = problems?.[0];
    const at = first?.at ? ` (${first.at.file}:${first.at.line}:${first.at.column})` : '';
    this.#send({ type: 'failed', why: `${code ?? 'internal'}: ${first ? first.message + at : message}` });
    this.#over();
  }

  /** Without a listener the channel does not keep the process. */
  #over(): void {
    process.removeAllListeners('message');
    process.removeAllListeners('disconnect');
  }

  async #socket(index: number): Promise<ListenSource> {
    const { socket } = await this.#ask({ type: 'socket', index });
    if (!isHandle(socket)) throw lost();
    return { handle: socket };
  }

  #ask(message: FromNew): Promise<{ message: FromOld; socket: unknown }> {
    return new Promise((resolve, reject) => {
      if (!process.connected) return reject(lost());
      this.#answer = { resolve, reject };
      this.#send(message);
    });
  }

  #send(message: FromNew): void {
    // Without a receiver there is nobody to tell: `disconnect` is what is acted on.
    process.send?.(message, undefined, undefined, () => {});
  }
}

function lost(): SallyportError {
  return new SallyportError('upgrade-failed', 'the process that started the upgrade is gone');
}

function isHandle(value: unknown): value is Handle {
  return typeof value === 'object' && value !== null && 'fd' in value;
}

/** Nobody knows of a new address before the ready line; what comes earlier is not served by anybody yet. */
function refuse(socket: net.Socket): void {
  socket.destroy();
}
