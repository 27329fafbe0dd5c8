// Reads a PROXY protocol header of version 2 (HAProxy, proxy-protocol.txt §2.2): who a load balancer says its client is.
// PURE and strict, since the address decides who may use the proxy: version, command, family and lengths must be exactly right,
// and what is no address of a host is refused. Whether the sender may say it at all is the caller's question.
import { classifyAddress } from '../policy/address.ts';
import { formatIp, type Ip, ipv4, unmapped } from '../policy/ip.ts';

export type ProxyHeader =
  /** `atLeast`: bytes in all without which the answer cannot change. */
  | { readonly state: 'need-more'; readonly atLeast: number }
  /** `client` is null for LOCAL: the sender speaks for itself. `bytes`: the whole header; what follows is the client's. */
  | { readonly state: 'ok'; readonly client: Conveyed | null; readonly bytes: number }
  /** `tooLong`: it may be well-formed, and is larger than `bytesMax`. */
  | { readonly state: 'refused'; readonly detail: string; readonly tooLong: boolean };

/** The client's end of its connection to the sender. The address is canonical; a v4-mapped one is IPv4. */
export interface Conveyed {
  readonly address: string;
  readonly port: number;
}

const SIGNATURE = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
const VERSION_1 = [0x50, 0x52, 0x4f, 0x58, 0x59, 0x20]; // "PROXY "
const FIXED_BYTES = 16;
const LOCAL = 0x20;
const PROXY = 0x21;
const TCP4 = 0x11;
const TCP6 = 0x21;
// Source and destination, then a port of each.
const ADDRESS_BYTES: ReadonlyMap<number, number> = new Map([
  [TCP4, 12],
  [TCP6, 36],
]);

/**
 * Looks at the first bytes of a connection. Call it with all bytes so far, and again once `atLeast` bytes are there.
 * @param bytesMax the longest header that is read, its TLVs included; those are passed over
 */
export function parseProxyHeader(bytes: Uint8Array, bytesMax: number): ProxyHeader {
  const known = Math.min(bytes.length, SIGNATURE.length);
  if (!startsWith(bytes, SIGNATURE, known)) return otherStart(bytes);
  if (bytes.length < FIXED_BYTES) {
    // A wrong command is a reason to give up now; it stands before the length.
    if (bytes.length > SIGNATURE.length && !isCommand(bytes[12])) return badCommand(bytes[12]);
    return { state: 'need-more', atLeast: FIXED_BYTES };
  }
  const command = bytes[12] ?? 0;
  if (!isCommand(command)) return badCommand(command);
  const total = FIXED_BYTES + uint16(bytes, 14);
  if (command === LOCAL) return whole(bytes, total, bytesMax, null);
  const family = bytes[13] ?? 0;
  const needed = ADDRESS_BYTES.get(family);
  if (needed === undefined)
    return refused(
      `the header has family and protocol ${hex(family)}; only TCP over IPv4 (0x11) or IPv6 (0x21) passes`,
    );
  if (total < FIXED_BYTES + needed)
    return refused(`the header says ${total - FIXED_BYTES} bytes of addresses; ${needed} are needed`);
  return whole(bytes, total, bytesMax, family);
}

/** The header once all of it is there. `family` is null where the command is LOCAL, which says nothing about addresses. */
function whole(bytes: Uint8Array, total: number, bytesMax: number, family: number | null): ProxyHeader {
  if (total > bytesMax)
    return { state: 'refused', detail: `the header has ${total} bytes; the limit is ${bytesMax}`, tooLong: true };
  if (bytes.length < total) return { state: 'need-more', atLeast: total };
  if (family === null) return { state: 'ok', client: null, bytes: total };
  const ip = unmapped(family === TCP4 ? ipv4(uint16(bytes, 16) * 65_536 + uint16(bytes, 18)) : ipv6(bytes));
  const port = uint16(bytes, family === TCP4 ? 24 : 48);
  const address = formatIp(ip);
  const problem = notAHost(address, port);
  return problem === null ? { state: 'ok', client: { address, port }, bytes: total } : refused(problem);
}

/** No host sends from there: the sender is broken, or somebody plays with it. */
function notAHost(address: string, port: number): string | null {
  const kind = classifyAddress(address);
  if (kind === 'unspecified' || kind === 'multicast' || address === '255.255.255.255')
    return `the client address ${address} is not one of a host`;
  return port === 0 ? 'the client port is 0' : null;
}

function startsWith(bytes: Uint8Array, start: readonly number[], count: number): boolean {
  for (let at = 0; at < count; at += 1) if (bytes[at] !== start[at]) return false;
  return true;
}

function otherStart(bytes: Uint8Array): ProxyHeader {
  if (!startsWith(bytes, VERSION_1, Math.min(bytes.length, VERSION_1.length)))
    return refused('the connection does not begin with a PROXY header');
  if (bytes.length < VERSION_1.length) return { state: 'need-more', atLeast: VERSION_1.length };
  return refused('the PROXY header is of version 1 (text); let the sender use version 2 (HAProxy: send-proxy-v2)');
}

function isCommand(byte: number | undefined): boolean {
  return byte === LOCAL || byte === PROXY;
}

function badCommand(byte: number | undefined): ProxyHeader {
  return refused(`the header has version and command ${hex(byte ?? 0)}; 0x21 (PROXY) and 0x20 (LOCAL) pass`);
}

function refused(detail: string): ProxyHeader {
  return { state: 'refused', detail, tooLong: false };
}

function ipv6(bytes: Uint8Array): Ip {
  return { family: 6, groups: [16, 18, 20, 22, 24, 26, 28, 30].map((at) => uint16(bytes, at)) };
}

function uint16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

function hex(byte: number): string {
  return `0x${byte.toString(16).padStart(2, '0')}`;
}
