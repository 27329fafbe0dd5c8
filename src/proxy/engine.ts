// The contract between the walk of a CONNECT (connect.ts) and whatever moves its bytes. An engine owns sockets, waits and
// counters; it decides nothing: it is told which checked addresses to dial and which first message to demand.
// One conformance suite runs over every engine (test/proxy/engine.test.ts).
import type { OutcomeCode, RequestErrorCode } from '../errors.ts';
import type { Client } from '../identity/identify.ts';
import type { FirstMessage } from './first-message.ts';

/** The head of a CONNECT as it stood on the wire; nothing of it has been judged. */
export interface ConnectHead {
  readonly target: string;
  /** `1.1`, `1.0`, … as the parser read it. */
  readonly version: string;
  /** Names and values in turn. */
  readonly rawHeaders: readonly string[];
}

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

/** One CONNECT in the engine's hands. The walk calls refuse(), or dial() then open(); never both. */
export interface Exchange {
  readonly id: string;
  readonly client: Client;
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
}
