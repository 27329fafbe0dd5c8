// What becomes of a connection that an engine has accepted by itself, until it is a CONNECT's exchange or Node's: the same questions in
// the same order as server.ts asks of Node's sockets. A PROXY header and a head that come in pieces are gathered here; an answer to who
// is turned away and every head that is not plain are written and read over Node's own sockets: the engine gives those away.
import type { Buffer } from 'node:buffer';
import type { Client } from '../identity/identify.ts';
import type { LimitName } from '../limits.ts';
import { type Asked, AskedRequest } from './asked.ts';
import { type ClientSocket, CONNECTION } from './client-connection.ts';
import { readPlainConnect } from './connect-head.ts';
import type { ProxyContext } from './context.ts';
import { type ConveyedClient, ConveyedHeader, nameConveyed } from './conveyed.ts';
import type { Arrival, Arrivals } from './engine.ts';
import { HeldHead, joined } from './held-head.ts';
import type { Reception, Roads } from './reception.ts';
import { refusalResponse, serialise } from './respond.ts';
import { refuseUnasked } from './route.ts';

interface Parts {
  readonly ctx: ProxyContext;
  readonly reception: Reception;
  readonly roads: Roads;
  readonly turnAway: (socket: ClientSocket, client: Client, limit: LimitName) => void;
  /** A load balancer's connection was closed for its header. */
  readonly recordHeader: (sender: Client, detail: string, bytes: number) => void;
}

export class Door implements Arrivals {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  arrived(arrival: Arrival): void {
    const { ctx, reception, turnAway } = this.#parts;
    const peer = ctx.book.client(arrival.peer);
    // A load balancer's connection counts in all at once, and for its client when the header has said who that is.
    const limit = peer.conveys ? ctx.slots.enter() : ctx.slots.admit(peer.address, Date.now());
    if (limit) return turnAway(arrival.adopt(null), peer, limit);
    if (peer.conveys) arrival.gathered = new ConveyedHeader(peer, ctx);
    else arrival.client = peer;
    reception.receiveArrival(arrival);
  }

  spoken(arrival: Arrival, bytes: Buffer): void {
    const { gathered } = arrival;
    if (!(gathered instanceof ConveyedHeader)) return this.#head(arrival, arrival.client as Client, bytes);
    const read = gathered.take(bytes);
    if (read) this.#conveyed(arrival, gathered.sender, read);
    else arrival.collect();
  }

  ended(arrival: Arrival): void {
    const { gathered } = arrival;
    if (gathered instanceof ConveyedHeader) this.#conveyed(arrival, gathered.sender, gathered.ended());
    // Node's parser finds the end, and says what it means.
    else if (gathered) this.#parse(arrival, arrival.client as Client, gathered.bytes, null);
  }

  overdue(arrival: Arrival): void {
    const { ctx, reception } = this.#parts;
    const { gathered } = arrival;
    if (gathered instanceof ConveyedHeader) return this.#conveyed(arrival, gathered.sender, gathered.overdue());
    if (!gathered) return arrival.close();
    reception.letArrivalGo(arrival);
    arrival.gathered = null;
    // As Node's parser has it: what came may begin with credentials, so nothing of it is recorded.
    const what = { client: arrival.client as Client, method: '', target: '', detail: null, authority: null };
    const refusal = refuseUnasked(ctx, { ...what, id: ctx.nextId(), code: 'head-timeout' });
    arrival.dismiss(serialise(refusalResponse(refusal)));
  }

  /** Between two requests. */
  rest(arrival: Arrival): void {
    this.#parts.reception.rest(arrival);
  }

  gone(arrival: Arrival): void {
    const { ctx, reception } = this.#parts;
    reception.letArrivalGo(arrival);
    if (arrival.gathered instanceof ConveyedHeader) return ctx.slots.leave();
    if (!arrival.client) return;
    if (arrival.tunnel) ctx.slots.leaveTunnel(arrival.client.address);
    ctx.slots.release(arrival.client.address);
  }

  failing(errno: string): void {
    this.#parts.ctx.log.error({ errno }, 'the listener failed');
  }

  /** Its PROXY header is read, or will not be. */
  #conveyed(arrival: Arrival, sender: Client, read: ConveyedClient): void {
    const { ctx, reception, turnAway, recordHeader } = this.#parts;
    const named = nameConveyed(ctx, sender, read);
    if (named.kind === 'refused') {
      arrival.close();
      return recordHeader(sender, named.detail, read.bytes);
    }
    reception.letArrivalGo(arrival);
    if (named.kind === 'full') {
      const socket = arrival.adopt(null);
      socket.once('close', () => ctx.slots.leave());
      return turnAway(socket, named.client, named.limit);
    }
    arrival.gathered = null;
    arrival.client = named.client;
    if (read.ok && read.rest.length > 0) this.#head(arrival, named.client, read.rest);
    else reception.receiveArrival(arrival);
  }

  /** A head, or a part of one. */
  #head(arrival: Arrival, client: Client, chunk: Buffer): void {
    const { ctx, reception } = this.#parts;
    const before = arrival.gathered as HeldHead | null;
    if (!before) {
      reception.letArrivalGo(arrival);
      if (this.#take(arrival, client, chunk)) return;
    }
    const head = before ?? new HeldHead();
    const small = head.size + chunk.length < ctx.limits.head_bytes;
    const state = small || before ? head.look(chunk.subarray(0, ctx.limits.head_bytes)) : 'odd';
    if (small && state === 'more') {
      if (!before) reception.awaitRest(arrival);
      head.keep(chunk);
      arrival.gathered = head;
      return arrival.collect();
    }
    if (before && state === 'whole') {
      reception.letArrivalGo(arrival);
      arrival.gathered = null;
      if (this.#take(arrival, client, joined(before.bytes, chunk))) return;
    }
    const dueMs = arrival.sinceMs + ctx.limits.head_timeout_ms;
    if (before) this.#parse(arrival, client, before.bytes, chunk, state === 'whole' ? null : dueMs);
    else this.#parse(arrival, client, chunk, null);
  }

  /** Whether one of the short roads takes these bytes, which are only lent. */
  #take(arrival: Arrival, client: Client, bytes: Buffer): boolean {
    const { ctx, roads } = this.#parts;
    const plain = readPlainConnect(bytes, ctx.limits.head_bytes);
    if (plain) roads.connect(arrival, client, plain.head, bytes.subarray(plain.end));
    return plain !== null || roads.forward(arrival, client, bytes, this);
  }

  /** Node reads what was read again, and goes on. `asked`: it is a request that an origin has already. */
  handOver(arrival: Arrival, client: Client, bytes: Buffer, asked: Asked): void {
    const socket = this.#adopted(arrival, client, bytes, null);
    const connection = socket[CONNECTION];
    if (connection) connection.asked = new AskedRequest(this.#parts.ctx, socket, asked);
    socket.resume();
  }

  /** @param dueMs when the rest of the head must be there, where Node would give it longer */
  #parse(arrival: Arrival, client: Client, first: Buffer, second: Buffer | null, dueMs: number | null = null): void {
    this.#parts.reception.letArrivalGo(arrival);
    const socket = this.#adopted(arrival, client, first, second);
    if (dueMs !== null) socket[CONNECTION]?.awaitHead(dueMs, this.#parts.roads.overdue);
    socket.resume();
  }

  /** What came in pieces goes there in pieces: the parser's errors show the last one alone. */
  #adopted(arrival: Arrival, client: Client, first: Buffer, second: Buffer | null): ClientSocket {
    const { ctx, roads } = this.#parts;
    const socket: ClientSocket = arrival.adopt(second ?? first);
    if (second) socket.unshift(first);
    socket.once('close', () => ctx.slots.release(client.address));
    // Its own count of bytes read begins behind these.
    roads.parse(socket, client, -(first.length + (second?.length ?? 0)));
    return socket;
  }
}
