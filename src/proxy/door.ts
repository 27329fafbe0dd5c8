// What becomes of a connection that an engine has accepted by itself, until it is a CONNECT's exchange or Node's: the same
// questions in the same order as server.ts asks of Node's sockets. A PROXY header, an answer to who is turned away and every
// head but a plain CONNECT are read and written over Node's own sockets: the engine gives those away.
import type { Buffer } from 'node:buffer';
import type { Client } from '../identity/identify.ts';
import type { LimitName } from '../limits.ts';
import { type Asked, AskedRequest } from './asked.ts';
import { type ClientSocket, CONNECTION } from './client-connection.ts';
import { readPlainConnect } from './connect-head.ts';
import type { ProxyContext } from './context.ts';
import type { Arrival, Arrivals } from './engine.ts';
import type { Reception, Roads } from './reception.ts';

interface Parts {
  readonly ctx: ProxyContext;
  readonly reception: Reception;
  readonly roads: Roads;
  /** A connection of a load balancer. */
  readonly convey: (socket: ClientSocket, sender: Client) => void;
  readonly turnAway: (socket: ClientSocket, client: Client, limit: LimitName) => void;
}

export class Door implements Arrivals {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  arrived(arrival: Arrival): void {
    const { ctx, reception, convey, turnAway } = this.#parts;
    const peer = ctx.book.client(arrival.peer);
    if (peer.conveys) return convey(arrival.adopt(null), peer);
    const limit = ctx.slots.admit(peer.address, Date.now());
    if (limit) return turnAway(arrival.adopt(null), peer, limit);
    arrival.client = peer;
    reception.receiveArrival(arrival);
  }

  spoken(arrival: Arrival, bytes: Buffer): void {
    const { ctx, reception, roads } = this.#parts;
    const client = arrival.client as Client;
    reception.letArrivalGo(arrival);
    const plain = readPlainConnect(bytes, ctx.limits.head_bytes);
    if (plain) return roads.connect(arrival, client, plain.head, bytes.subarray(plain.end));
    if (!roads.forward(arrival, client, bytes, this)) this.handOver(arrival, client, bytes, null);
  }

  /** Between two requests. */
  rest(arrival: Arrival): void {
    this.#parts.reception.rest(arrival);
  }

  /** Node reads what was read again, and goes on. `asked`: it is a request that an origin has already. */
  handOver(arrival: Arrival, client: Client, bytes: Buffer, asked: Asked | null): void {
    const { ctx, roads } = this.#parts;
    const socket: ClientSocket = arrival.adopt(bytes);
    socket.once('close', () => ctx.slots.release(client.address));
    // Its own count of bytes read begins behind these.
    roads.parse(socket, client, -bytes.length);
    const connection = socket[CONNECTION];
    if (connection && asked) connection.asked = new AskedRequest(ctx, socket, asked);
    socket.resume();
  }

  gone(arrival: Arrival): void {
    const { ctx, reception } = this.#parts;
    reception.letArrivalGo(arrival);
    if (!arrival.client) return;
    if (arrival.tunnel) ctx.slots.leaveTunnel(arrival.client.address);
    ctx.slots.release(arrival.client.address);
  }

  failing(errno: string): void {
    this.#parts.ctx.log.error({ errno }, 'the listener failed');
  }
}
