// The contract between the walk of a CONNECT (connect.ts) and whatever moves its bytes. An engine owns sockets, waits and
// counters; it decides nothing: it is told which checked addresses to dial and which first message to demand.
// One conformance suite runs over every engine (test/proxy/engine.test.ts).
import type { Buffer } from 'node:buffer';
import type http from 'node:http';
import type net from 'node:net';
import type { ChurnMap } from '../churn-map.ts';
import type { OutcomeCode, RequestErrorCode } from '../errors.ts';
import type { Client } from '../identity/identify.ts';
import type { Dial, DialFailureCode } from '../net/dial.ts';
import type { Listening, ListenSource } from '../net/listen.ts';
import type { ConveyedHeader } from './conveyed.ts';
import type { FirstMessage } from './first-message.ts';
import type { HeldHead } from './held-head.ts';

/** The head of a CONNECT as it stood on the wire; nothing of it has been judged. */
export interface ConnectHead {
  readonly target: string;
  /** `1.1`, `1.0`, … as the parser read it. */
  readonly version: string;
  /** Names and values in turn. */
  readonly rawHeaders: readonly string[];
}

/** What becomes of it once it is not needed any more. */
export const NO_HEAD: ConnectHead = Object.freeze({ target: '', version: '', rawHeaders: Object.freeze([]) });

/** The answer to a CONNECT whose origin has been reached. */
export const ESTABLISHED = 'HTTP/1.1 200 Connection established\r\n\r\n';

export interface DialOrder {
  /** Checked addresses, in the order to be tried; never names. */
  readonly addresses: readonly string[];
  readonly port: number;
}

export type DialResult =
  | { readonly ok: true; readonly address: string }
  | { readonly ok: false; readonly code: RequestErrorCode | 'client-gone'; readonly detail: string };

/** How a tunnel ended; counts are payload bytes read from the client and from the origin. */
export interface TunnelEnd {
  readonly outcome: OutcomeCode | RequestErrorCode;
  readonly bytesUp: number;
  readonly bytesDown: number;
  /** What the first-message check found: set where it refused, or would have. */
  readonly finding: { readonly reason: RequestErrorCode; readonly detail: string } | null;
}

/** One CONNECT in the engine's hands. The walk calls refuse(), or dial() then open(), or adopt(); never two of them. */
export interface Exchange {
  readonly id: string;
  readonly client: Client;
  /** Empty once it is dialled or adopted: a tunnel keeps neither its head nor its credentials. */
  readonly head: ConnectHead;
  /** Sends a whole response and closes; reads and drops what the client still sends, within a bound. */
  refuse(response: string): void;
  /** Connects to the first of the addresses that answers. Never rejects. */
  dial(order: DialOrder): Promise<DialResult>;
  /**
   * Sends the 200, demands the first message (null: nothing is looked at), relays until both sides are done.
   * `done` is called exactly once. Nothing but the 200 is ever written to the client by the engine itself.
   */
  open(first: FirstMessage | null, done: (end: TunnelEnd) => void): void;
  /**
   * Gives the client's connection to the caller, who speaks on it from now on (an inspected connection). What was read behind the head
   * stands in it again. It counts as this exchange did until it is closed. Null where the client has gone.
   */
  adopt(): net.Socket | null;
}

/** An open tunnel in the engine's table. */
export interface OpenTunnel {
  readonly bytesUp: number;
  readonly bytesDown: number;
  /** Resets both ends: neither may take a broken stream for a whole one. Its `done` is called before this returns. */
  cut(outcome: OutcomeCode | 'internal-error'): void;
  /** Called by every idle sweep: how long no byte has passed, as far as sweeps have seen. */
  idleMs(nowMs: number): number;
}

/** Who answers a client over its connection himself (plain HTTP). */
export interface Talker {
  /** All that was said is in the kernel. */
  drained(): void;
  /** The client has ended, or its connection is closed. */
  gone(): void;
}

/** Who hears of an origin that is spoken with. */
export interface OriginListener {
  /** What it said, one read of it, only lent for this call; nothing more is read before ask(). `ended`: nothing more will come. */
  heard(bytes: Buffer, ended: boolean): void;
  /** All that was said to it is in the kernel, where `sent` was false. */
  originDrained(): void;
  /** Its descriptor is closed; the system's name of the error. */
  lost(errno: string): void;
}

/** A connection to an origin over which the walk speaks itself. */
export interface OriginWire {
  readonly address: string;
  listener: OriginListener;
  /** Whether all that was said is in the kernel; until then it cannot be adopted. */
  readonly sent: boolean;
  /** A character a byte. What the kernel does not take at once follows by itself; a failure is told as a loss. */
  say(head: string, body: Uint8Array | null): void;
  ask(): void;
  /** Whether it is open and nothing has come. */
  quiet(): boolean;
  /** Nothing is told after it. */
  close(): void;
  /** Where all is sent: gives it to Node's client, which will send its request into the void: the origin has it. `heard` is what was read. */
  adoptAsked(heard: Uint8Array): net.Socket;
}

export type Reached =
  | { readonly ok: true; readonly wire: OriginWire }
  | { readonly ok: false; readonly code: DialFailureCode; readonly detail: string };

/**
 * A client connection that the engine has accepted and Node has not seen. Nothing is read of it before collect(); it is given to
 * Node by adopt(), or becomes an exchange; whatever happens, Arrivals.gone comes once, except after adopt().
 */
export interface Arrival {
  /** As net.Socket.remoteAddress has it. */
  readonly peer: string;
  /** Set by who lets it in. */
  client: Client | null;
  /** Whether it counts as a tunnel of its client. */
  tunnel: boolean;
  /** On the clock of performance.now(): since when it is silent, or since the first byte of a head that is not whole. */
  sinceMs: number;
  /** What has come and wants more. */
  gathered: Gathered | null;
  /** Set by talk(); stays for the requests that follow. */
  talker: Talker | null;
  /**
   * Waits for its first bytes, for more behind those that are gathered, or for those of its next request: then the talker has
   * nothing to say any more. Who ends while nothing is gathered is closed.
   */
  collect(): void;
  /** From now on `talker` answers. @returns false where the client has ended already */
  talk(talker: Talker): boolean;
  /** A character a byte. @returns whether all is in the kernel; the rest follows by itself, a failure is told as the client's going */
  say(head: string, body: Uint8Array | null): boolean;
  /** Says the last of an answer and closes as Exchange.refuse does. */
  dismiss(answer: string): void;
  /** Connects to an origin; `done` as in race(). */
  reach(order: DialOrder, done: (reached: Reached) => void): Dial;
  /** Gives the connection to Node; `first` is what was read of it. The engine has it no more. */
  adopt(first: Uint8Array | null): net.Socket;
  /** It was waited for long enough; Arrivals.overdue says what then. */
  overdue(): void;
  /** Closes it, unanswered. `reset` shows the client that what it has got is not all. */
  close(reset?: boolean): void;
}

/** The bytes of a connection that wait for more: of a PROXY header, or of a head. */
export type Gathered = ConveyedHeader | HeldHead;

/** Who receives connections that the engine accepts by itself. */
export interface Arrivals {
  arrived(arrival: Arrival): void;
  /** The first bytes, or more; they are only lent for this call. It waits until it is collected again, adopted, closed, or made an exchange. */
  spoken(arrival: Arrival, bytes: Buffer): void;
  /** It has ended its side, and what it has sent wants more. */
  ended(arrival: Arrival): void;
  /** It has had its time. */
  overdue(arrival: Arrival): void;
  /** Its descriptor is closed. */
  gone(arrival: Arrival): void;
  /** Accepting fails, for want of descriptors for example; the system's name of the error. */
  failing(errno: string): void;
}

/** A CONNECT whose head has just been read. */
export interface ArrivedHead {
  readonly id: string;
  readonly source: net.Socket | Arrival;
  /** What came behind the head; copied if kept. */
  readonly early: Buffer;
  readonly head: ConnectHead;
  readonly client: Client;
}

/** Two sockets that are connected already (an upgraded plain-HTTP exchange). */
export interface Joined {
  readonly id: string;
  readonly client: net.Socket;
  readonly origin: net.Socket;
  readonly early: Buffer;
  /** What the client is sent first. */
  readonly prefix: string;
  readonly done: (end: TunnelEnd) => void;
}

/** What moves the bytes of one process. */
export interface Engine {
  readonly kind: 'js' | 'native';
  /** What is open, by request id. */
  readonly tunnels: ChurnMap<string, OpenTunnel>;
  /** Exchanges and tunnels that hold a slot: counted from the head's arrival. */
  load: number;
  /**
   * Listens on one more socket. Connections come to `arrivals` or, accepted by Node, as 'connection' events of `server`; that one
   * also reads whatever is adopted. Rejects with Node's error.
   */
  listen(server: http.Server, on: ListenSource, backlog: number, arrivals: Arrivals): Promise<Listening>;
  /** Accepts no more by itself; what is open stays. */
  stopListening(): void;
  /** A socket has its error listener from this call on. */
  exchange(options: ArrivedHead): Exchange;
  /** Makes a tunnel of the two. */
  join(options: Joined): void;
  /** Cuts every tunnel without a byte since tunnel_idle_ms; called twice at least before a quiet one goes. */
  cutIdle(nowMs: number): void;
  /** Cuts what is open. */
  close(): void;
}
