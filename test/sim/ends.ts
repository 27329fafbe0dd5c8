// The two ends of a simulated connection: raw sockets that send known bytes and check, byte by byte, what they get.
import net from 'node:net';
import { REQUEST_ERRORS } from '../../src/errors.ts';
import { parseHead, type ResponseHead } from '../support/raw-client.ts';
import type { World } from './world.ts';

/** How the far end left, as this end saw it. */
export type Left = 'open' | 'ended' | 'reset';

/** One end: what it sent, whether it ended or was broken off, how the other left. */
export class End {
  readonly socket: net.Socket;
  readonly name: string;
  readonly world: World;
  sent = 0;
  /** Its stream is whole: it said its end. */
  said = false;
  /** It reset, or closed without waiting. */
  broke = false;
  left: Left = 'open';
  onBytes: (bytes: Buffer) => void = () => {};
  onLeft: () => void = () => {};

  constructor(world: World, name: string, socket: net.Socket) {
    this.world = world;
    this.name = name;
    this.socket = socket;
    socket.on('data', (bytes: Buffer) => {
      world.saw();
      try {
        this.onBytes(bytes);
      } catch (error) {
        world.wrong(`${name}: ${(error as Error).message}`);
        socket.destroy();
      }
    });
    socket.on('drain', () => world.saw());
    socket.on('connect', () => world.saw());
    socket.on('end', () => this.#leave('ended'));
    socket.on('error', () => this.#leave('reset'));
    socket.on('close', () => this.#leave('ended'));
  }

  #leave(how: Left): void {
    this.world.saw();
    if (this.left !== 'open') return;
    // A close without an end, after our own destroy, says nothing of the far end.
    this.left = how === 'ended' && !this.socket.readableEnded ? 'reset' : how;
    this.onLeft();
  }

  get usable(): boolean {
    return !this.said && !this.broke && !this.socket.destroyed && this.socket.writable;
  }

  send(bytes: Buffer): void {
    if (!this.usable || bytes.length === 0) return;
    this.sent += bytes.length;
    this.socket.write(bytes);
  }

  end(): void {
    if (!this.usable) return;
    this.said = true;
    this.socket.end();
  }

  reset(): void {
    if (this.socket.destroyed) return;
    this.broke = true;
    // A reset is refused while a shutdown is under way.
    if (this.socket.writableEnded) this.socket.destroy();
    else this.socket.resetAndDestroy();
  }

  close(): void {
    if (this.socket.destroyed) return;
    this.broke = true;
    this.socket.destroy();
  }
}

export function connectClient(world: World, name: string): End {
  return new End(world, name, net.connect({ ...world.at, allowHalfOpen: true, noDelay: true }));
}

/** Codes that the proxy may answer with and leave no record of that request: no disk, or no request was read. */
const UNRECORDED: ReadonlySet<string> = new Set(['audit-unavailable', 'connections-full', 'client-full']);

/** Cuts bytes at the blank line that ends a head; null while it is not there. */
export function headAt(bytes: Buffer): { head: string; rest: Buffer } | null {
  const at = bytes.indexOf('\r\n\r\n');
  return at < 0 ? null : { head: bytes.toString('latin1', 0, at), rest: bytes.subarray(at + 4) };
}

/** Checks that an answer of the proxy itself is one of its refusals; gives its code and whether a record must stand for it. */
export function refusalCode(world: World, name: string, head: ResponseHead): { code: string; recorded: boolean } {
  const code = head.headers['sallyport-code'] ?? '';
  const spec = (REQUEST_ERRORS as Record<string, { status?: number }>)[code];
  if (!spec || spec.status !== head.status || head.reason !== code)
    world.wrong(`${name}: the answer ${head.status} ${head.reason} is no known refusal (${code})`);
  if (!/^\d+$/.test(head.headers['content-length'] ?? '')) world.wrong(`${name}: the refusal ${code} has no length`);
  if (head.headers['connection'] !== 'close') world.wrong(`${name}: the refusal ${code} does not close`);
  return { code, recorded: !UNRECORDED.has(code) };
}

export { parseHead };
