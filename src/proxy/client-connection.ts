// One client connection and the order of its requests. Node's server hands over pipelined requests all at once; here each waits
// until the answer before it is through: no answer can stand in another one or in a tunnel, nothing runs behind a refusal that
// closes, and what one connection can make the proxy do at a time is one request.
import type http from 'node:http';
import type net from 'node:net';
import type { Client } from '../identity/identify.ts';
import type { AskedRequest } from './asked.ts';

export const CONNECTION = Symbol('connection');
export type ClientSocket = net.Socket & { [CONNECTION]?: ClientConnection };

/** Begins a request; gives its response back, or null when the connection is no longer HTTP (CONNECT, a refusal). */
type Start = () => http.ServerResponse | null;

export class ClientConnection {
  readonly client: Client;
  readonly headerBytes: number;
  readonly #socket: net.Socket;
  /** limits.waiting_requests_max: apt keeps ten requests under way on one connection. */
  readonly #waitingMax: number;
  #response: http.ServerResponse | null = null;
  readonly #waiting: Start[] = [];
  /** Its first request, where that was sent before Node had the connection. */
  asked: AskedRequest | null = null;
  #headTimer: NodeJS.Timeout | null = null;
  /** Set once nothing more is taken from this connection: refused, unparsable, or handed to a tunnel. */
  closed = false;

  /**
   * @param headerBytes what a PROXY header took of socket.bytesRead before the first request; below zero where bytes of the request
   * were read before the socket was Node's
   */
  constructor(client: Client, socket: net.Socket, waitingMax: number, headerBytes = 0) {
    this.headerBytes = headerBytes;
    this.client = client;
    this.#socket = socket;
    this.#waitingMax = waitingMax;
  }

  /** Its first head began to come before it was Node's, whose own deadline begins now. @param dueMs on the clock of performance.now() */
  awaitHead(dueMs: number, overdue: (socket: net.Socket) => void): void {
    const look = (): void => {
      const leftMs = dueMs - performance.now();
      if (leftMs > 0) this.#headTimer = setTimeout(look, leftMs);
      else if (!this.closed) overdue(this.#socket);
    };
    this.#headTimer = setTimeout(look, Math.max(0, dueMs - performance.now()));
    this.#socket.once('close', () => this.headCame());
  }

  headCame(): void {
    if (this.#headTimer) clearTimeout(this.#headTimer);
    this.#headTimer = null;
  }

  /** The response under way. */
  get response(): http.ServerResponse | null {
    return this.#response;
  }

  /** Whether one more request would be too many. */
  get full(): boolean {
    return this.#waiting.length >= this.#waitingMax;
  }

  /** Begins the request now, or when all before it are answered; never, where the connection ends before that. */
  enter(start: Start): void {
    // Node reads on behind an answer that closes: what was sent there is not asked any more.
    if (!this.#socket.writable) return;
    if (this.#response) this.#waiting.push(start);
    else this.#begin(start);
  }

  /** Node has let the socket go while an answer is under way: its errors and drains are looked after here. */
  adopt(): void {
    this.#socket.on('error', ignore);
    this.#socket.on('drain', this.#onDrain);
  }

  /** The socket is somebody else's from here on. */
  release(): void {
    this.#socket.removeListener('drain', this.#onDrain);
  }

  readonly #onDrain = (): void => {
    this.#response?.emit('drain');
  };

  #begin(start: Start): void {
    const response = start();
    this.#response = response;
    response?.once('close', () => this.#next());
  }

  #next(): void {
    this.#response = null;
    if (this.#socket.destroyed || !this.#socket.writable) {
      this.#waiting.length = 0;
      return;
    }
    const next = this.#waiting.shift();
    if (next) this.#begin(next);
  }
}

function ignore(): void {
  // The 'close' that follows every error is what is acted on.
}
