// The native engine's half in TypeScript: hands what the compiled half (src/native) tells to whoever decides, and their words back.
// What Node's sockets carry (TLS clients, odd heads, WebSockets) goes through the JS engine, which it has inside.
import { Buffer } from 'node:buffer';
import { closeSync } from 'node:fs';
import type http from 'node:http';
import net from 'node:net';
import type { Client } from '../identity/identify.ts';
import type { Limits, Meter } from '../limits.ts';
import { type Begin, type Dial, race } from '../net/dial.ts';
import { handleOf, type Listening, type ListenSource, listen } from '../net/listen.ts';
import {
  type Arrival,
  type Arrivals,
  type ArrivedHead,
  type DialOrder,
  type Engine,
  ESTABLISHED,
  type Exchange,
  type Gathered,
  type Joined,
  type Reached,
  type Talker,
} from './engine.ts';
import { JsEngine } from './engine-js.ts';
import { errnoName, type NativeCore, type NativeModule } from './native-binding.ts';
import { NativeExchange, type Outcome } from './native-exchange.ts';
import { NativeOrigin } from './native-origin.ts';
import { LINGER_MS } from './refuse.ts';

// Events of the compiled half (Event in engine.h).
const ARRIVED = 1;
const SPOKEN = 2;
const GONE = 3;
const CONNECTED = 4;
const CONNECT_FAILED = 5;
const HELLO = 6;
const ENDED = 7;
const FAILING = 8;
const HEARD = 9;
const DRAINED = 10;
const LOST = 11;
const HEADER_WORDS = 4;
const UINT32 = 0x1_0000_0000;

// Room for several reads of 64 KiB; only what is used of it costs memory.
const OUTBOX_BYTES = 524_288;
const INDEX_MASK = 0x1f_ffff;

/** An attempt to reach an origin. */
interface NativeAttempt {
  readonly handle: number;
  connected(): void;
  failed(errno: string): void;
}

export class NativeEngine implements Engine {
  readonly kind = 'native';
  readonly limits: Limits;
  readonly meter: Meter;
  readonly core: NativeCore;
  readonly #js: JsEngine;
  readonly #words: Int32Array;
  readonly #bytes: Buffer;
  /** Connections and attempts by the index in their handle. */
  readonly #known: (NativeConnection | NativeOrigin | NativeAttempt | undefined)[] = [];
  readonly #listeners = new Map<number, Arrivals>();

  constructor(native: NativeModule, limits: Limits, meter: Meter) {
    this.limits = limits;
    this.meter = meter;
    this.#js = new JsEngine(limits, meter, (nowMs) => this.cutIdle(nowMs));
    const outbox = new ArrayBuffer(OUTBOX_BYTES);
    this.#words = new Int32Array(outbox);
    this.#bytes = Buffer.from(outbox);
    this.core = new native.Engine(outbox, ESTABLISHED, (bytes) => this.#told(bytes));
  }

  get tunnels(): JsEngine['tunnels'] {
    return this.#js.tunnels;
  }

  get load(): number {
    return this.#js.load;
  }

  set load(load: number) {
    this.#js.load = load;
  }

  /**
   * Node binds, so that all sources mean the same to every engine; then its descriptor is taken over and Node's server closed,
   * before it has accepted anything.
   */
  async listen(server: http.Server, on: ListenSource, backlog: number, arrivals: Arrivals): Promise<Listening> {
    const binder = net.createServer({ allowHalfOpen: true }, (socket) => void server.emit('connection', socket));
    const { address } = await listen(binder, on, backlog);
    const fd = (binder as { _handle?: { fd?: number } })._handle?.fd ?? -1;
    const handle = fd < 0 ? fd : this.core.listen(fd);
    if (handle < 0) {
      binder.close();
      throw new Error(`the native engine cannot take the socket over: ${fd < 0 ? 'no descriptor' : errnoName(handle)}`);
    }
    binder.close();
    this.#listeners.set(handle, arrivals);
    // Nobody connects to this server, which only reads what is adopted; its watch over heads begins with this event.
    server.emit('listening');
    return { address, lend: () => this.#lend(server, handle) };
  }

  /** While another process is being handed the socket, Node accepts on it too: what comes then takes the road of adopted ones. */
  #lend(server: http.Server, listener: number): ReturnType<Listening['lend']> {
    const lent = net.createServer({ allowHalfOpen: true }, (socket) => void server.emit('connection', socket));
    lent.listen({ fd: this.core.lend(listener) });
    return { handle: handleOf(lent), sent: () => void lent.close() };
  }

  stopListening(): void {
    for (const listener of this.#listeners.keys()) this.core.unlisten(listener);
    this.#listeners.clear();
  }

  exchange(options: ArrivedHead): Exchange {
    const { source } = options;
    if (!(source instanceof NativeConnection)) return this.#js.exchange(options);
    this.load++;
    const exchange = new NativeExchange(this, source, options);
    source.exchange = exchange;
    return exchange;
  }

  join(options: Joined): void {
    this.#js.join(options);
  }

  cutIdle(nowMs: number): void {
    this.#js.cutIdle(nowMs);
    this.core.trim();
  }

  close(): void {
    this.stopListening();
    this.#js.close();
    for (const known of this.#known) if (known instanceof NativeConnection) known.close();
    this.core.stop();
  }

  /** Begins an attempt of a race; the socket of one that is won is its handle. */
  readonly begin: Begin<number> = (address, port, tell) => {
    const handle = this.core.connect(address, port);
    if (handle < 0) throw Object.assign(new Error('connect'), { code: errnoName(handle) });
    this.#known[handle & INDEX_MASK] = {
      handle,
      connected: () => tell.connected(handle),
      failed: (errno) => tell.failed(errno),
    };
    return {
      cancel: () => {
        this.forget(handle);
        this.core.close(handle, false);
      },
    };
  };

  /** Dials an origin that is spoken with. */
  reach(order: DialOrder, done: (reached: Reached) => void): Dial {
    const { connect_timeout_ms: timeoutMs, connect_attempt_delay_ms: attemptDelayMs } = this.limits;
    return race({ ...order, timeoutMs, attemptDelayMs }, this.begin, (dialled) => {
      if (!dialled.ok) return done(dialled);
      const { socket: handle, address } = dialled;
      this.core.talk(handle);
      const wire = new NativeOrigin(this, handle, address);
      this.#known[handle & INDEX_MASK] = wire;
      done({ ok: true, wire });
    });
  }

  /** Does nothing where the place has another by now: who closes late must not take its successor's events away. */
  forget(handle: number): void {
    const index = handle & INDEX_MASK;
    if (this.#known[index]?.handle === handle) this.#known[index] = undefined;
  }

  /** One call of the compiled half for all that has happened. */
  #told(bytes: number): void {
    const words = this.#words;
    for (let at = 0; at * 4 < bytes; ) {
      const length = words[at + 3] ?? 0;
      try {
        this.#one(at, length);
      } catch (error) {
        // As an exception of one socket's listener: it must not take the others' events with it.
        process.nextTick(rethrow, error);
      }
      at += HEADER_WORDS + ((length + 3) >> 2);
    }
  }

  #one(at: number, length: number): void {
    const words = this.#words;
    const kind = words[at] ?? 0;
    const handle = words[at + 1] ?? 0;
    const value = words[at + 2] ?? 0;
    const from = (at + HEADER_WORDS) * 4;
    if (kind === FAILING) return this.#listeners.get(handle)?.failing(errnoName(-value));
    if (kind === ARRIVED) return this.#arrived(handle, value, this.#bytes.toString('latin1', from, from + length));
    const known = this.#known[handle & INDEX_MASK];
    // It was closed in this very turn.
    if (known?.handle !== handle) return;
    if (known instanceof NativeConnection) {
      if (kind === SPOKEN) return known.spoken(value === 1 ? null : this.#bytes.subarray(from, from + length));
      if (kind === HELLO) return known.exchange?.heard(this.#bytes.subarray(from, from + length), value === 1);
      if (kind === GONE) return known.gone();
      if (kind === DRAINED) return known.talker?.drained();
      if (kind !== ENDED) return;
      const count = (word: number): number => (words[word + 1] ?? 0) * UINT32 + ((words[word] ?? 0) >>> 0);
      const first = at + HEADER_WORDS;
      return known.ended(value as Outcome, count(first), count(first + 2));
    }
    if (known instanceof NativeOrigin) {
      if (kind === HEARD) known.listener.heard(this.#bytes.subarray(from, from + length), value === 1);
      if (kind === DRAINED) known.drained();
      if (kind === LOST) known.lost(errnoName(-value));
      return;
    }
    this.forget(handle);
    if (kind === CONNECTED) known.connected();
    else if (kind === CONNECT_FAILED) known.failed(errnoName(-value));
  }

  #arrived(handle: number, listener: number, peer: string): void {
    const arrivals = this.#listeners.get(listener);
    if (!arrivals) return void this.core.close(handle, false);
    const connection = new NativeConnection(this, handle, peer, arrivals);
    this.#known[handle & INDEX_MASK] = connection;
    try {
      arrivals.arrived(connection);
    } catch (error) {
      connection.close();
      throw error;
    }
  }
}

/** A client connection that Node has not seen. */
export class NativeConnection implements Arrival {
  readonly handle: number;
  readonly peer: string;
  client: Client | null = null;
  tunnel = false;
  sinceMs = 0;
  gathered: Gathered | null = null;
  talker: Talker | null = null;
  /** Set once it has asked for a tunnel. */
  exchange: NativeExchange | null = null;
  readonly #engine: NativeEngine;
  readonly #arrivals: Arrivals;
  /** Whether the compiled half has it. */
  #held = true;
  #linger: NodeJS.Timeout | null = null;

  constructor(engine: NativeEngine, handle: number, peer: string, arrivals: Arrivals) {
    this.#engine = engine;
    this.handle = handle;
    this.peer = peer;
    this.#arrivals = arrivals;
  }

  get open(): boolean {
    return this.#held;
  }

  collect(): void {
    if (!this.#engine.core.collect(this.handle, this.gathered !== null && this.gathered.size > 0)) this.close();
  }

  talk(talker: Talker): boolean {
    this.talker = talker;
    return this.#engine.core.talk(this.handle);
  }

  say(head: string, body: Uint8Array | null): boolean {
    return this.#engine.core.say(this.handle, head, body) === 1;
  }

  dismiss(answer: string): void {
    if (!this.#held) return;
    if (!this.#engine.core.refuse(this.handle, answer)) return this.close(true);
    this.#linger = setTimeout(closeConnection, LINGER_MS, this);
  }

  reach(order: DialOrder, done: (reached: Reached) => void): Dial {
    return this.#engine.reach(order, done);
  }

  adopt(first: Uint8Array | null): net.Socket {
    const fd = this.#engine.core.release(this.handle);
    this.#held = false;
    this.#engine.forget(this.handle);
    // It was closed in this very turn, and nobody has heard of it yet.
    if (fd < 0) {
      this.#engine.core.close(this.handle, false);
      return new net.Socket().destroy();
    }
    try {
      const socket = new net.Socket({ fd, readable: true, writable: true, allowHalfOpen: true });
      if (first) socket.unshift(Buffer.from(first));
      return socket;
    } catch (error) {
      // Nobody has it now.
      closeSync(fd);
      this.#arrivals.gone(this);
      throw error;
    }
  }

  /** The same for a connection that counts until it is closed, as one that was never given away. */
  handOver(first: Uint8Array | null): net.Socket {
    const socket = this.adopt(first);
    this.exchange = null;
    socket.once('close', () => this.#arrivals.gone(this));
    return socket;
  }

  /** Closes it, the origin of its tunnel too; `reset` shows both peers that it broke. */
  close(reset = false): void {
    if (!this.#held) return;
    this.#engine.core.close(this.handle, reset);
    this.gone();
  }

  /** Null: it has ended, and bytes of it are kept. */
  spoken(bytes: Buffer | null): void {
    try {
      if (bytes) this.#arrivals.spoken(this, bytes);
      else this.#arrivals.ended(this);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  overdue(): void {
    try {
      this.#arrivals.overdue(this);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Its descriptor is closed. */
  gone(): void {
    this.#held = false;
    this.#engine.forget(this.handle);
    if (this.#linger) clearTimeout(this.#linger);
    this.exchange?.gone();
    this.exchange = null;
    this.talker?.gone();
    this.talker = null;
    this.#arrivals.gone(this);
  }

  /** Both descriptors of its tunnel are closed; until now its counts could be asked for. */
  ended(outcome: Outcome, bytesUp: number, bytesDown: number): void {
    this.#engine.core.close(this.handle, false);
    this.exchange?.ended(outcome, bytesUp, bytesDown);
    this.gone();
  }
}

function closeConnection(connection: NativeConnection): void {
  connection.close();
}

function rethrow(error: unknown): void {
  throw error;
}
