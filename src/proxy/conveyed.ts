// Reads from a load balancer's connection who its client is (PROXY protocol v2), before any reader of heads sees it: what comes behind
// the header goes back into Node's socket, or on with an arrival (door.ts). It judges what only this machine can know of the address;
// who may send a header at all stands in the client rules.
import { Buffer } from 'node:buffer';
import type net from 'node:net';
import type { Client } from '../identity/identify.ts';
import type { LimitName, Limits, Meter } from '../limits.ts';
import { type Conveyed, parseProxyHeader } from '../net/proxy-header.ts';
import { classifyAddress } from '../policy/address.ts';
import type { ProxyContext } from './context.ts';
import { joined } from './held-head.ts';

export type ConveyedClient =
  /** `client` is null where the sender speaks for itself. `bytes`: what the header took of the connection; `rest`: what came behind it. */
  | { readonly ok: true; readonly client: Conveyed | null; readonly bytes: number; readonly rest: Buffer }
  /** `bytes` is 0 where the sender said nothing at all, as the health check of a load balancer does. */
  | { readonly ok: false; readonly detail: string; readonly bytes: number };

/** Who a connection of a load balancer is, once its header was read. */
export type Conveyance =
  | { readonly kind: 'client'; readonly client: Client }
  | { readonly kind: 'full'; readonly client: Client; readonly limit: LimitName }
  | { readonly kind: 'refused'; readonly detail: string };

const NOTHING = Buffer.alloc(0);

/** The header of one connection, gathered until there is an answer: within limits.proxy_header_bytes, and limits.head_timeout_ms of its own. */
export class ConveyedHeader {
  readonly sender: Client;
  readonly #limits: Limits;
  readonly #meter: Meter;
  #held: Buffer = NOTHING;
  #atLeast = 1;

  constructor(sender: Client, at: { readonly limits: Limits; readonly meter: Meter }) {
    this.sender = sender;
    this.#limits = at.limits;
    this.#meter = at.meter;
  }

  /** Bytes that were taken. */
  get size(): number {
    return this.#held.length;
  }

  /** @param chunk is only lent, and so is `rest`. @returns null where more must come */
  take(chunk: Buffer): ConveyedClient | null {
    const bytes = this.size === 0 ? chunk : joined(this.#held, chunk);
    if (bytes.length >= this.#atLeast) {
      const header = parseProxyHeader(bytes, this.#limits.proxy_header_bytes);
      if (header.state === 'ok')
        return { ok: true, client: header.client, bytes: header.bytes, rest: bytes.subarray(header.bytes) };
      if (header.state === 'refused') {
        if (header.tooLong) this.#meter.hit('proxy_header_bytes');
        return { ok: false, detail: header.detail, bytes: bytes.length };
      }
      this.#atLeast = header.atLeast;
    }
    this.#held = bytes === chunk ? joined(NOTHING, chunk) : bytes;
    return null;
  }

  /** Nothing more comes. */
  ended(): ConveyedClient {
    return { ok: false, detail: 'the connection ended before its PROXY header did', bytes: this.size };
  }

  /** Its time is over. */
  overdue(): ConveyedClient {
    const detail = `the PROXY header did not arrive within ${this.#limits.head_timeout_ms} ms`;
    return { ok: false, detail, bytes: this.size };
  }
}

/** Calls back once, unless the socket closes before; with `ok` the socket is as if the header had never been there. */
export function readConveyed(
  socket: net.Socket,
  sender: Client,
  at: { readonly limits: Limits; readonly meter: Meter },
  done: (conveyed: ConveyedClient) => void,
): void {
  const header = new ConveyedHeader(sender, at);
  const finish = (conveyed: ConveyedClient | null): void => {
    clearTimeout(timer);
    socket.removeListener('readable', read);
    socket.removeListener('end', ended);
    socket.removeListener('close', closed);
    socket.removeListener('error', ignore);
    if (conveyed) done(conveyed);
  };
  const read = (): void => {
    const chunk = socket.read() as Buffer | null;
    const conveyed = chunk && header.take(chunk);
    if (!conveyed) return;
    if (conveyed.ok && conveyed.rest.length > 0) socket.unshift(conveyed.rest);
    finish(conveyed);
  };
  const ended = (): void => finish(header.ended());
  const closed = (): void => finish(null);
  const timer = setTimeout(() => {
    at.meter.hit('head_timeout_ms');
    finish(header.overdue());
  }, at.limits.head_timeout_ms);
  socket.on('readable', read);
  socket.once('end', ended);
  socket.once('close', closed);
  socket.on('error', ignore);
}

/** Counts the slot that the sender's connection has taken for the client that its header names; where that may not be, the slot stays. */
export function nameConveyed(ctx: ProxyContext, sender: Client, read: ConveyedClient): Conveyance {
  if (!read.ok) return { kind: 'refused', detail: read.detail };
  const problem = read.client && conveyedProblem(read.client, sender.address, ctx.policy.compiled.self);
  if (problem) return { kind: 'refused', detail: problem };
  const client = read.client ? ctx.book.client(read.client.address) : sender;
  const limit = ctx.slots.name(client.address, Date.now());
  return limit ? { kind: 'full', client, limit } : { kind: 'client', client };
}

/**
 * Why the address cannot be that of a client of `sender`, or null. An address of this proxy is a loop, or a lie; on loopback
 * everybody on this machine has it, and nobody elsewhere.
 * @param self this proxy's own endpoints
 */
export function conveyedProblem(
  client: Conveyed,
  sender: string,
  self: readonly { readonly address: string; readonly port: number }[],
): string | null {
  const { address, port } = client;
  if (classifyAddress(address) === 'loopback') {
    if (classifyAddress(sender) !== 'loopback') return `${address} is loopback, and the sender is another machine`;
    if (!self.some((own) => own.address === address && own.port === port)) return null;
  } else if (!self.some((own) => own.address === address)) return null;
  return `${address} is this proxy itself`;
}

function ignore(): void {
  // The 'close' that follows every error is what is acted on.
}
