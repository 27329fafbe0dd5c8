// Where a connection waits for its first bytes. A plain CONNECT goes straight to its walk; everything else, whole or not, goes
// on to the http server with not a byte consumed. Shared listeners and one sweep for all: a connection costs one small object.
// Node's sockets and those that an engine has accepted by itself wait here side by side.
import type { Buffer } from 'node:buffer';
import net from 'node:net';
import { ChurnMap } from '../churn-map.ts';
import type { Client } from '../identity/identify.ts';
import type { Limits, Meter } from '../limits.ts';
import type { ClientSocket } from './client-connection.ts';
import { readPlainConnect } from './connect-head.ts';
import type { Door } from './door.ts';
import type { Arrival, ConnectHead } from './engine.ts';

const GUEST = Symbol('guest');
type Arriving = ClientSocket & { [GUEST]?: Waiting };

// A silent connection is closed at most one period after its deadline.
const SWEEP_MS = 1_000;

/** What becomes of a connection when it has spoken: it is paused, and has no error listener until one of them gives it one. */
export interface Roads {
  connect(source: ClientSocket | Arrival, client: Client, head: ConnectHead, early: Buffer): void;
  /** What came stands in the socket again, unread. `skipped`: as in Guest; below zero for bytes that socket.bytesRead lacks. */
  parse(socket: ClientSocket, client: Client, skipped: number): void;
  /** The rest of a head, whose beginning came before the socket was Node's, did not come in time. */
  overdue(socket: ClientSocket): void;
  /** Whether the short road of plain HTTP takes these bytes, which are only lent. */
  forward(arrival: Arrival, client: Client, bytes: Buffer, door: Door): boolean;
}

export interface Guest {
  readonly client: Client;
  readonly roads: Roads;
  /** Bytes that were read of the connection before: a PROXY header. */
  readonly skipped: number;
}

interface Waiting extends Guest {
  readonly reception: Reception;
  /** On the clock of performance.now(): one that is set back would keep silent connections open, and those behind them. */
  readonly sinceMs: number;
}

export class Reception {
  readonly #limits: Limits;
  readonly #meter: Meter;
  readonly #waiting = new ChurnMap<Arriving | Arrival, true>();
  /** Those of which a part of a head has come, in the order of its first byte. */
  readonly #beginning = new ChurnMap<Arrival, true>();
  /** Those between two requests, in the order of their last answers. */
  readonly #resting = new ChurnMap<Arrival, true>();
  readonly #sweep: NodeJS.Timeout;

  constructor(limits: Limits, meter: Meter) {
    this.#limits = limits;
    this.#meter = meter;
    this.#sweep = setInterval(() => this.closeOverdue(performance.now()), Math.min(SWEEP_MS, limits.head_timeout_ms));
    this.#sweep.unref();
  }

  /** Takes a connection that has a slot, and gives it away at its first bytes; or closes it when there are none. */
  receive(socket: Arriving, { client, roads, skipped }: Guest): void {
    socket[GUEST] = { reception: this, client, roads, skipped, sinceMs: performance.now() };
    this.#waiting.set(socket, true);
    socket.on('error', onError);
    socket.on('close', onClose);
    socket.on('end', onEnd);
    socket.on('data', onFirstData).resume();
  }

  /** The same for one that an engine has accepted: it is asked for its first bytes, those of a PROXY header too (door.ts). */
  receiveArrival(arrival: Arrival): void {
    arrival.sinceMs = performance.now();
    this.#waiting.set(arrival, true);
    arrival.collect();
  }

  /** One whose request is answered, and that may ask another. */
  rest(arrival: Arrival): void {
    arrival.sinceMs = performance.now();
    this.#resting.set(arrival, true);
    arrival.collect();
  }

  /** One whose head has begun to come. */
  awaitRest(arrival: Arrival): void {
    arrival.sinceMs = performance.now();
    this.#beginning.set(arrival, true);
  }

  /** It has spoken, or is gone. */
  letArrivalGo(arrival: Arrival): void {
    this.#waiting.delete(arrival);
    this.#beginning.delete(arrival);
    this.#resting.delete(arrival);
  }

  /** The first bytes. */
  spoken(socket: Arriving, { client, roads, skipped }: Guest, chunk: Buffer): void {
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

  /** Who has asked for nothing gets no answer and no record. */
  closeOverdue(nowMs: number): void {
    // In order of arrival: behind the first that has time left all have.
    for (const guest of this.#waiting.keys()) {
      const sinceMs = guest instanceof net.Socket ? (guest[GUEST] as Waiting).sinceMs : guest.sinceMs;
      if (nowMs - sinceMs < this.#limits.head_timeout_ms) break;
      this.#meter.hit('head_timeout_ms');
      if (guest instanceof net.Socket) this.left(guest);
      else guest.overdue();
    }
    for (const arrival of this.#beginning.keys()) {
      if (nowMs - arrival.sinceMs < this.#limits.head_timeout_ms) break;
      this.#meter.hit('head_timeout_ms');
      arrival.overdue();
    }
    for (const arrival of this.#resting.keys()) {
      if (nowMs - arrival.sinceMs < this.#limits.keep_alive_idle_ms) break;
      arrival.close();
    }
  }

  /** Closes those between two requests. */
  closeResting(): void {
    for (const arrival of this.#resting.keys()) arrival.close();
  }

  /** Closes all that have not spoken yet. */
  close(): void {
    clearInterval(this.#sweep);
    for (const guest of this.#waiting.keys()) {
      if (guest instanceof net.Socket) this.left(guest);
      else guest.close();
    }
    for (const arrival of this.#beginning.keys()) arrival.close();
    this.closeResting();
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
  const guest = this[GUEST] as Waiting;
  guest.reception.spoken(this, guest, chunk);
}
function onEnd(this: Arriving): void {
  this[GUEST]?.reception.left(this);
}
function onClose(this: Arriving): void {
  this[GUEST]?.reception.left(this);
}
function onError(): void {
  // The 'close' that follows every error is what is acted on.
}
