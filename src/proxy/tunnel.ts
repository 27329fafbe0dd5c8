// The JS engine's tunnel: two sockets and what lies between them. No object and no closure per chunk: listeners are shared
// functions that find their tunnel on the socket, and the origin is read into reused buffers (net `onread`).
// Measured cause: a fresh 64 KiB buffer a read makes glibc return and fault in the heap's top each time, 2 to 5 CPU-s a GB.
import { Buffer } from 'node:buffer';
import type net from 'node:net';
import type { OutcomeCode, RequestErrorCode } from '../errors.ts';
import type { Limits, Meter } from '../limits.ts';
import type { OpenTunnel, TunnelEnd } from './engine.ts';
import { type Finding, FirstCheck, type FirstMessage } from './first-message.ts';

const OWNER = Symbol('tunnel');
const CARRIER = Symbol('carrier');
type Owned = net.Socket & { [OWNER]?: Tunnel; [CARRIER]?: net.Socket };

// Every quiet tunnel reads into this one buffer and copies out: safe because libuv asks for the buffer, reads and calls back
// in one go on this thread. A read that fills it is bulk: the tunnel then gets a big buffer of its own until it calms down.
const SCRATCH_BYTES = 32_768;
const BULK_BYTES = 262_144;
const CALM_BYTES = 8_192;
const BULK_POOL_MAX = 32;
const scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
const bulkPool: Buffer[] = [];

// Dead peers of quiet tunnels are found by the kernel; a probe a minute is below the idle limits of common NAT gateways.
const KEEP_ALIVE_PROBE_MS = 60_000;

// The buffer for the next read of the socket whose callback has just run; `onread.buffer` is called right after it.
let nextBuffer: Buffer = scratch;

/** Given to net.connect for the origin's socket: one object for all tunnels. */
export const ORIGIN_ONREAD: net.OnReadOpts = {
  buffer: () => {
    const buffer = nextBuffer;
    nextBuffer = scratch;
    return buffer;
  },
  callback: onOriginRead as net.OnReadOpts['callback'],
};

function onOriginRead(this: Owned, length: number, buffer: Uint8Array): boolean {
  const tunnel = this[OWNER];
  if (tunnel) return tunnel.fromOrigin(length, buffer as Buffer);
  // Bytes without a tunnel would be lost, and the stream would look whole all the same: better none.
  this.destroy();
  return false;
}

export class Tunnel implements OpenTunnel {
  readonly #client: Owned;
  readonly #origin: Owned;
  readonly #limits: Limits;
  readonly #done: (end: TunnelEnd) => void;
  /** The check that still waits for bytes; null once it has passed or where there is none. */
  #first: FirstCheck | null;
  #helloTimer: NodeJS.Timeout | null = null;
  #finding: TunnelEnd['finding'] = null;
  #bulk: Buffer | null = null;
  #bulkInFlight = false;
  #onFlushed: (() => void) | null = null;
  #ended = false;
  #probing = false;
  #clientClosed = false;
  #originClosed = false;
  bytesUp = 0;
  bytesDown = 0;
  /** Set by every byte, cleared by the idle sweep: no clock is read per chunk. */
  #active = true;
  #idleSinceMs = 0;

  /**
   * Takes both sockets over. `early` are bytes the client sent right behind its head; `prefix` is what the client is sent first.
   * Both sockets must have had an error listener until now; from here on they are this object's.
   */
  constructor(options: {
    client: net.Socket;
    origin: net.Socket;
    /** `buffers`: connected with ORIGIN_ONREAD. `chunks`: an ordinary socket (an upgraded plain-HTTP exchange). */
    originReads: 'buffers' | 'chunks';
    first: FirstMessage | null;
    early: Buffer | null;
    prefix: string;
    limits: Limits;
    meter: Meter;
    done: (end: TunnelEnd) => void;
  }) {
    this.#client = options.client as Owned;
    this.#origin = options.origin as Owned;
    this.#first = options.first && new FirstCheck(options.first, options.limits, options.meter);
    this.#limits = options.limits;
    this.#done = options.done;
    this.#adopt(this.#client, onClientData, onClientDrain, onClientEnd, onClientError, onClientClose);
    const onData = options.originReads === 'chunks' ? onOriginData : null;
    this.#adopt(this.#origin, onData, onOriginDrain, onOriginEnd, onOriginError, onOriginClose);
    if (options.prefix) this.#client.write(options.prefix, 'latin1');
    if (this.#first?.mode === 'enforce')
      this.#helloTimer = setTimeout(onHelloTimeout, this.#limits.hello_timeout_ms, this);
    if (!this.#originMayFlow()) this.#origin.pause();
    if (options.early && options.early.length > 0) this.fromClient(options.early);
    // Its end may have come, and been emitted to nobody, while the origin was dialled.
    if (!this.#ended && this.#client.readableEnded) this.clientEnded();
  }

  // One adoption for both ends keeps the listener sets the same; shared functions, so an idle tunnel holds no closures.
  #adopt(
    socket: Owned,
    data: DataListener | null,
    drain: Listener,
    end: Listener,
    error: Listener,
    close: Listener,
  ): void {
    socket[OWNER] = this;
    socket.on('error', error);
    // It flows from the next turn on; nothing is read in this one.
    if (data) socket.on('data', data).resume();
    socket.on('drain', drain);
    socket.on('end', end);
    socket.on('close', close);
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** TCP keep-alive is switched on at the first sweep: most tunnels are shorter, and are spared eight system calls. */
  idleMs(nowMs: number): number {
    if (!this.#probing) {
      this.#probing = true;
      this.#client.setKeepAlive(true, KEEP_ALIVE_PROBE_MS);
      this.#origin.setKeepAlive(true, KEEP_ALIVE_PROBE_MS);
    }
    if (this.#active) this.#idleSinceMs = nowMs;
    this.#active = false;
    return nowMs - this.#idleSinceMs;
  }

  /** Cuts the tunnel from outside (operator, drain, idle sweep, a failure of ours): a reset both ways, since the stream is not whole. */
  cut(outcome: OutcomeCode | 'internal-error'): void {
    this.#finish(outcome);
    resetSocket(this.#client);
    resetSocket(this.#origin);
  }

  fromClient(chunk: Buffer): void {
    this.#active = true;
    this.bytesUp += chunk.length;
    if (this.#first) this.#inspect(chunk);
    else this.#toOrigin(chunk);
  }

  #toOrigin(chunk: Buffer): void {
    // write() says false for a chunk as large as the high-water mark even when the kernel took it all at once.
    if (!this.#origin.write(chunk) && this.#origin.writableLength > 0) this.#client.pause();
  }

  #inspect(chunk: Buffer): void {
    const first = this.#first;
    if (!first) return;
    // In observe mode the bytes go on at once and the check looks at a copy's tail only; nothing is altered or delayed.
    if (first.mode === 'observe') this.#toOrigin(chunk);
    const verdict = first.take(chunk);
    if (verdict === 'ok') this.#pass(first);
    else if (verdict !== 'more') this.#found(verdict, first);
  }

  #pass(first: FirstCheck): void {
    this.#endCheck();
    if (first.mode === 'observe') return;
    if (!first.serverFirst) this.#origin.resume();
    if (first.held) this.#toOrigin(first.held);
  }

  #found({ reason, detail }: Finding, first: FirstCheck): void {
    this.#finding = { reason, detail };
    this.#endCheck();
    if (first.mode !== 'enforce') return;
    this.#finish(reason);
    this.#client.destroy();
    this.#origin.destroy();
  }

  #endCheck(): void {
    this.#first = null;
    if (this.#helloTimer) clearTimeout(this.#helloTimer);
    this.#helloTimer = null;
  }

  helloTimedOut(): void {
    if (this.#first) this.#found(this.#first.timedOut(), this.#first);
  }

  /** A read of the origin's socket; false stops reading until the client has taken what is pending. */
  fromOrigin(length: number, buffer: Buffer): boolean {
    this.#active = true;
    this.bytesDown += length;
    if (buffer !== this.#bulk) return this.#quietRead(length, buffer);
    this.#onFlushed ??= () => this.#flushed();
    this.#bulkInFlight = true;
    this.#client.write(buffer.subarray(0, length), this.#onFlushed);
    nextBuffer = buffer;
    // What the kernel did not take still lies in this buffer: no read into it until it is flushed.
    if (this.#client.writableLength > 0) return false;
    this.#bulkInFlight = false;
    if (length < CALM_BYTES) {
      this.#giveBack();
      nextBuffer = scratch;
    }
    return true;
  }

  #quietRead(length: number, buffer: Buffer): boolean {
    const copy = Buffer.allocUnsafe(length);
    buffer.copy(copy, 0, 0, length);
    const taken = this.#client.write(copy) || this.#client.writableLength === 0;
    if (length === SCRATCH_BYTES && !this.#bulk) {
      this.#bulk = bulkPool.pop() ?? Buffer.allocUnsafeSlow(BULK_BYTES);
      nextBuffer = this.#bulk;
    }
    return taken;
  }

  #flushed(): void {
    if (!this.#bulkInFlight || this.#client.writableLength > 0) return;
    this.#bulkInFlight = false;
    if (!this.#ended) this.#origin.resume();
  }

  /** Where the origin's socket has no onread buffer (an upgraded plain-HTTP exchange): ordinary chunks. */
  fromOriginChunk(chunk: Buffer): void {
    this.#active = true;
    this.bytesDown += chunk.length;
    if (!this.#client.write(chunk) && this.#client.writableLength > 0) this.#origin.pause();
  }

  clientDrained(): void {
    if (!this.#bulkInFlight && this.#originMayFlow()) this.#origin.resume();
  }

  #originMayFlow(): boolean {
    return !this.#first || this.#first.mode === 'observe' || this.#first.serverFirst;
  }

  originDrained(): void {
    this.#client.resume();
  }

  clientEnded(): void {
    if (this.#first) this.#found(this.#first.ended(), this.#first);
    if (!this.#ended) endSide(this.#origin);
  }

  originEnded(): void {
    endSide(this.#client);
  }

  /** An error on one side is a reset on the other: the peer must not take a broken stream for a whole one. */
  failed(side: 'client' | 'origin'): void {
    this.#finish(side === 'client' ? 'client-reset' : 'upstream-reset');
    resetSocket(side === 'client' ? this.#origin : this.#client);
  }

  sideClosed(side: 'client' | 'origin'): void {
    if (side === 'client') this.#clientClosed = true;
    else this.#originClosed = true;
    if (this.#clientClosed && this.#originClosed) return this.#finish('closed');
    // A side that is gone without having been read to its end leaves nothing to wait for.
    if (side === 'client' && !this.#client.readableEnded) this.#origin.destroy();
    if (side === 'origin' && !this.#origin.readableEnded) this.#client.destroy();
  }

  #finish(outcome: OutcomeCode | RequestErrorCode): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#endCheck();
    // A buffer with a write in flight is left to the garbage collector: libuv may still hold its address.
    if (this.#bulkInFlight) this.#bulk = null;
    else this.#giveBack();
    this.#done({ outcome, bytesUp: this.bytesUp, bytesDown: this.bytesDown, finding: this.#finding });
  }

  #giveBack(): void {
    if (this.#bulk && bulkPool.length < BULK_POOL_MAX) bulkPool.push(this.#bulk);
    this.#bulk = null;
  }
}

/**
 * Ends a connection so that its peer sees a reset. While a shutdown is under way libuv refuses that, and Node would then never close
 * the descriptor: all bytes are with the kernel by then, so an orderly close tells no lie about them.
 */
export function resetSocket(socket: net.Socket): void {
  const carrier = (socket as Owned)[CARRIER];
  if (carrier !== undefined) return resetCarrier(socket, carrier);
  if (socket.writableEnded && !socket.writableFinished && socket.writableLength === 0) socket.destroy();
  else socket.resetAndDestroy();
}

/** A TLS socket lies over the one that the kernel knows: that one is reset, and takes the other along. */
export function carriedBy(socket: net.Socket, carrier: net.Socket): void {
  (socket as Owned)[CARRIER] = carrier;
}

function resetCarrier(socket: net.Socket, carrier: net.Socket): void {
  if (!carrier.destroyed) carrier.resetAndDestroy();
  socket.destroy();
}

/** Passes an end on. The second of a tunnel's two ends needs no shutdown(2): closing sends the same FIN. */
function endSide(socket: net.Socket): void {
  if (socket.readableEnded && socket.writableLength === 0) socket.destroy();
  else socket.end();
}

type Listener = (this: Owned) => void;
type DataListener = (this: Owned, chunk: Buffer) => void;

function onHelloTimeout(tunnel: Tunnel): void {
  tunnel.helloTimedOut();
}
function onClientData(this: Owned, chunk: Buffer): void {
  this[OWNER]?.fromClient(chunk);
}
function onOriginData(this: Owned, chunk: Buffer): void {
  this[OWNER]?.fromOriginChunk(chunk);
}
function onClientDrain(this: Owned): void {
  this[OWNER]?.clientDrained();
}
function onOriginDrain(this: Owned): void {
  this[OWNER]?.originDrained();
}
function onClientEnd(this: Owned): void {
  this[OWNER]?.clientEnded();
}
function onOriginEnd(this: Owned): void {
  this[OWNER]?.originEnded();
}
function onClientError(this: Owned): void {
  this[OWNER]?.failed('client');
}
function onOriginError(this: Owned): void {
  this[OWNER]?.failed('origin');
}
function onClientClose(this: Owned): void {
  this[OWNER]?.sideClosed('client');
}
function onOriginClose(this: Owned): void {
  this[OWNER]?.sideClosed('origin');
}
