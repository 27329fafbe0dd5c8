// Where a connection waits for its first bytes. A plain CONNECT goes straight to its walk; everything else, whole or not, goes
// on to the http server with not a byte consumed. Shared listeners and one sweep for all: a connection costs one small object.
import type { Buffer } from 'node:buffer';
import type { Client } from '../identity/identify.ts';
import type { Limits, Meter } from '../limits.ts';
import type { ClientSocket } from './client-connection.ts';
import { readPlainConnect } from './connect-head.ts';
import type { ConnectHead } from './engine.ts';

const ARRIVAL = Symbol('arrival');
type Arriving = ClientSocket & { [ARRIVAL]?: Arrival };

// A silent connection is closed at most one period after its deadline.
const SWEEP_MS = 1_000;

/** What becomes of a connection when it has spoken: it is paused, and has no error listener until one of them gives it one. */
export interface Roads {
  connect(socket: ClientSocket, client: Client, head: ConnectHead, early: Buffer): void;
  /** What came stands in the socket again, unread. */
  parse(socket: ClientSocket, client: Client, skipped: number): void;
}

export interface Guest {
  readonly client: Client;
  readonly roads: Roads;
  /** Bytes that were read of the connection before: a PROXY header. */
  readonly skipped: number;
}

interface Arrival extends Guest {
  readonly reception: Reception;
  /** On the clock of performance.now(): one that is set back would keep silent connections open, and those behind them. */
  readonly sinceMs: number;
}

export class Reception {
  readonly #limits: Limits;
  readonly #meter: Meter;
  readonly #waiting = new Set<Arriving>();
  readonly #sweep: NodeJS.Timeout;

  constructor(limits: Limits, meter: Meter) {
    this.#limits = limits;
    this.#meter = meter;
    this.#sweep = setInterval(() => this.closeOverdue(performance.now()), Math.min(SWEEP_MS, limits.head_timeout_ms));
    this.#sweep.unref();
  }

  /** Takes a connection that has a slot, and gives it away at its first bytes; or closes it when there are none. */
  receive(socket: Arriving, { client, roads, skipped }: Guest): void {
    socket[ARRIVAL] = { reception: this, client, roads, skipped, sinceMs: performance.now() };
    this.#waiting.add(socket);
    socket.on('error', onError);
    socket.on('close', onClose);
    socket.on('end', onEnd);
    socket.on('data', onFirstData).resume();
  }

  /** The first bytes. */
  spoken(socket: Arriving, { client, roads, skipped }: Arrival, chunk: Buffer): void {
    this.#letGo(socket);
    // What comes meanwhile waits in the socket, at most its high-water mark.
    socket.pause();
    const plain = readPlainConnect(chunk, this.#limits.head_bytes);
    if (plain) return roads.connect(socket, client, plain.head, chunk.subarray(plain.end));
    socket.unshift(chunk);
    roads.parse(socket, client, skipped);
    socket.resume();
  }

  /** It ended before it spoke. */
  left(socket: Arriving): void {
    this.#letGo(socket);
    socket.on('error', onError);
    socket.destroy();
  }

  /** They asked for nothing, so there is nothing to answer and nothing to record. */
  closeOverdue(nowMs: number): void {
    // In order of arrival: behind the first that has time left all have.
    for (const socket of this.#waiting) {
      if (nowMs - (socket[ARRIVAL] as Arrival).sinceMs < this.#limits.head_timeout_ms) break;
      this.#meter.hit('head_timeout_ms');
      this.left(socket);
    }
  }

  /** Closes all that have not spoken yet. */
  close(): void {
    clearInterval(this.#sweep);
    for (const socket of this.#waiting) this.left(socket);
  }

  #letGo(socket: Arriving): void {
    this.#waiting.delete(socket);
    socket.removeListener('data', onFirstData);
    socket.removeListener('end', onEnd);
    socket.removeListener('close', onClose);
    socket.removeListener('error', onError);
  }
}

function onFirstData(this: Arriving, chunk: Buffer): void {
  const arrival = this[ARRIVAL] as Arrival;
  arrival.reception.spoken(this, arrival, chunk);
}
function onEnd(this: Arriving): void {
  this[ARRIVAL]?.reception.left(this);
}
function onClose(this: Arriving): void {
  this[ARRIVAL]?.reception.left(this);
}
function onError(): void {
  // The 'close' that follows every error is what is acted on.
}
