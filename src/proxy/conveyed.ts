// Reads from a load balancer's connection who its client is (PROXY protocol v2), before the HTTP parser sees the socket: what
// comes behind the header goes back into the socket. It judges what only this machine can know of the address; who may send a
// header at all stands in the client rules.
import { Buffer } from 'node:buffer';
import type net from 'node:net';
import type { Limits, Meter } from '../limits.ts';
import { type Conveyed, parseProxyHeader } from '../net/proxy-header.ts';
import { classifyAddress } from '../policy/address.ts';
import { appendHeld } from './first-message.ts';

export type ConveyedClient =
  /** `client` is null where the sender speaks for itself. `bytes`: what the header took of the connection. */
  | { readonly ok: true; readonly client: Conveyed | null; readonly bytes: number }
  /** `bytes` is 0 where the sender said nothing at all, as the health check of a load balancer does. */
  | { readonly ok: false; readonly detail: string; readonly bytes: number };

/**
 * Calls back once, unless the socket closes before; with `ok` the socket is as if the header had never been there.
 * The header has limits.head_timeout_ms of its own, and limits.proxy_header_bytes.
 */
export function readConveyed(
  socket: net.Socket,
  at: { readonly limits: Limits; readonly meter: Meter },
  done: (conveyed: ConveyedClient) => void,
): void {
  const { limits, meter } = at;
  let held: Buffer = Buffer.alloc(0);
  let bytes = 0;
  let atLeast = 1;
  const finish = (conveyed: ConveyedClient | null): void => {
    clearTimeout(timer);
    socket.removeListener('readable', read);
    socket.removeListener('end', ended);
    socket.removeListener('close', closed);
    socket.removeListener('error', ignore);
    if (conveyed) done(conveyed);
  };
  const fail = (detail: string): void => finish({ ok: false, detail, bytes });
  const read = (): void => {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) return;
    held = bytes === 0 ? chunk : appendHeld(held, bytes, chunk);
    bytes += chunk.length;
    if (bytes < atLeast) return;
    const header = parseProxyHeader(held.subarray(0, bytes), limits.proxy_header_bytes);
    if (header.state === 'need-more') {
      atLeast = header.atLeast;
      return;
    }
    if (header.state === 'refused') {
      if (header.tooLong) meter.hit('proxy_header_bytes');
      return fail(header.detail);
    }
    if (bytes > header.bytes) socket.unshift(held.subarray(header.bytes, bytes));
    finish({ ok: true, client: header.client, bytes: header.bytes });
  };
  const ended = (): void => fail('the connection ended before its PROXY header did');
  const closed = (): void => finish(null);
  const timer = setTimeout(() => {
    meter.hit('head_timeout_ms');
    fail(`the PROXY header did not arrive within ${limits.head_timeout_ms} ms`);
  }, limits.head_timeout_ms);
  socket.on('readable', read);
  socket.once('end', ended);
  socket.once('close', closed);
  socket.on('error', ignore);
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
