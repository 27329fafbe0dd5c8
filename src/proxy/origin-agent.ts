// Connections to origins for plain HTTP: dialled to checked addresses only, kept alive per authority AND address set, so that
// a pooled connection never serves another name, nor a name whose checked addresses have changed. Node's agent would let a
// connection come for a request that has ended: its dial is cancelled.
import type http from 'node:http';
import type net from 'node:net';
import type { Duplex } from 'node:stream';
import type { RequestErrorCode } from '../errors.ts';
import type { Limits } from '../limits.ts';
import { dial } from '../net/dial.ts';
import { nodeHttp } from '../net/http.ts';

/** The dial's own failure, told apart from what Node's client throws. */
export class DialError extends Error {
  readonly code: RequestErrorCode;
  constructor(code: RequestErrorCode, detail: string) {
    super(detail);
    this.code = code;
  }
}

/** Who asks for a connection, and may end before it is there. */
export interface Dialler {
  /** Set while it is being dialled. */
  cancelDial: (() => void) | null;
}

export interface OriginOptions extends http.RequestOptions {
  readonly dialler: Dialler;
  readonly poolKey: string;
  readonly addresses: readonly string[];
}

export class OriginAgent extends nodeHttp.Agent {
  readonly #limits: Limits;

  constructor(limits: Limits) {
    const { origin_idle_max: maxFreeSockets, origin_idle_ms: timeout } = limits;
    super({ keepAlive: true, maxFreeSockets, timeout, scheduling: 'lifo' });
    this.#limits = limits;
  }

  override getName(options?: http.RequestOptions): string {
    return (options as unknown as OriginOptions).poolKey;
  }

  /** What an origin says unasked would be the answer to the next request: an older Node (22.14) takes it for that. */
  override keepSocketAlive(socket: Duplex): boolean {
    const kept = super.keepSocketAlive(socket) as unknown as boolean;
    if (kept) socket.on('data', spoken);
    return kept;
  }

  override reuseSocket(socket: Duplex, request: http.ClientRequest): void {
    socket.removeListener('data', spoken);
    super.reuseSocket(socket, request);
  }

  override createConnection(
    options: http.ClientRequestArgs,
    callback?: (error: Error | null, socket: net.Socket) => void,
  ): net.Socket | null | undefined {
    const { addresses, port, dialler } = options as OriginOptions;
    // Node reads the error first and never touches the socket argument then.
    const fail = (code: RequestErrorCode, detail: string): void =>
      callback?.(new DialError(code, detail), undefined as unknown as net.Socket);
    const race = dial(
      {
        addresses,
        port: Number(port),
        timeoutMs: this.#limits.connect_timeout_ms,
        attemptDelayMs: this.#limits.connect_attempt_delay_ms,
      },
      (dialled) => {
        dialler.cancelDial = null;
        if (!dialled.ok) return fail(dialled.code, dialled.detail);
        // An origin that ends a kept connection must leave the pool with it: a half-open one would eat the next request.
        dialled.socket.allowHalfOpen = false;
        // Where Node sends a head ahead of its body (flushHeaders, Expect) it names no encoding, and a Latin-1 byte in a field
        // would go on as the two bytes of UTF-8. Bodies are buffers.
        dialled.socket.setDefaultEncoding('latin1');
        callback?.(null, dialled.socket);
      },
    );
    dialler.cancelDial = () => {
      dialler.cancelDial = null;
      race.cancel();
      // Node's request waits for one or the other before it is over.
      fail('connect-failed', 'the request has ended');
    };
    return undefined;
  }
}

function spoken(this: Duplex): void {
  this.destroy();
}

/** The pool key of an authority with its checked addresses. */
export function poolKey(authorityText: string, addresses: readonly string[]): string {
  return `${authorityText}|${addresses.length === 1 ? addresses[0] : [...addresses].sort().join(',')}`;
}
