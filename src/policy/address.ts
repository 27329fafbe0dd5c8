// IP address → class, and CIDR ranges: the guard between a resolver's answer and the dial. It must fail closed:
// an address that hides another one (v4-mapped, NAT64, 6to4, Teredo …) is as bad as the worst it hides, and what
// IANA has not given out for global use is not public. Sources: IANA IPv4/IPv6 special-purpose registries, RFC 6890.
import { formatIp, type Ip, ipv4, parseIp, unmapped } from './ip.ts';

export type AddressClass =
  | 'public'
  | 'private'
  | 'loopback'
  | 'link-local'
  | 'metadata'
  | 'cgnat'
  | 'multicast'
  | 'reserved'
  | 'unspecified';

/** A range of addresses of one family. Plain data, so that it survives structured clone. */
export interface Cidr {
  /** Canonical text: `10.0.0.0/8`, `fd00::/8`. */
  readonly text: string;
  readonly family: 4 | 6;
  /** Eight 16-bit groups; IPv4 stands in the last two. */
  readonly groups: readonly number[];
  /** Prefix length over the 128 bits of `groups`: 96 more than written for IPv4. */
  readonly bits: number;
}

/** From harmless to worst: the worst of an address and what it embeds is its class. */
const SEVERITY: readonly AddressClass[] = [
  'public',
  'reserved',
  'multicast',
  'cgnat',
  'private',
  'link-local',
  'unspecified',
  'loopback',
  'metadata',
];

/** First match wins, so the narrow ranges stand first. What no row names is public. */
const IPV4_CLASSES: readonly (readonly [string, AddressClass])[] = [
  ['169.254.0.0/16', 'metadata'], // link-local: EC2, GCE, Azure, ECS, EKS pod identity … all live here
  ['168.63.129.16/32', 'metadata'], // Azure WireServer
  ['100.100.100.200/32', 'metadata'], // Alibaba Cloud
  ['192.0.0.192/32', 'metadata'], // Oracle Cloud
  ['0.0.0.0/8', 'unspecified'],
  ['10.0.0.0/8', 'private'],
  ['100.64.0.0/10', 'cgnat'],
  ['127.0.0.0/8', 'loopback'],
  ['172.16.0.0/12', 'private'],
  ['192.0.0.0/24', 'reserved'],
  ['192.0.2.0/24', 'reserved'],
  ['192.88.99.0/24', 'reserved'],
  ['192.168.0.0/16', 'private'],
  ['198.18.0.0/15', 'reserved'],
  ['198.51.100.0/24', 'reserved'],
  ['203.0.113.0/24', 'reserved'],
  ['224.0.0.0/4', 'multicast'],
  ['240.0.0.0/4', 'reserved'],
];

/** First match wins. What no row names is reserved: only 2000::/3 is given out for global use. */
const IPV6_CLASSES: readonly (readonly [string, AddressClass])[] = [
  ['::1/128', 'loopback'],
  ['::/128', 'unspecified'],
  ['64:ff9b::/96', 'public'], // NAT64: judged by the address inside
  ['fd00:ec2::/32', 'metadata'], // EC2
  ['fd20:ce::254/128', 'metadata'], // GCE
  ['fc00::/7', 'private'],
  ['fe80::/10', 'link-local'],
  ['fec0::/10', 'private'], // site-local, deprecated by RFC 3879, still routed in places
  ['ff00::/8', 'multicast'],
  ['2001::/23', 'reserved'], // Teredo, ORCHID, benchmarking, AMT, PCP anycast …
  ['2001:db8::/32', 'reserved'],
  ['3fff::/20', 'reserved'],
  ['2000::/3', 'public'], // 6to4 (2002::/16) is in here: judged by the address inside
];

/** True where the leading bits of both, so many, are the same. */
export function prefixEqual(left: readonly number[], right: readonly number[], bits: number): boolean {
  const whole = bits >> 4;
  for (let at = 0; at < whole; at += 1) if (left[at] !== right[at]) return false;
  const rest = bits & 15;
  if (rest === 0) return true;
  const shift = 16 - rest;
  return (left[whole] ?? 0) >> shift === (right[whole] ?? 0) >> shift;
}

function parsePrefixLength(text: string, max: number): number {
  if (text.length < 1 || text.length > 3) return -1;
  let value = 0;
  for (let at = 0; at < text.length; at += 1) {
    const digit = text.charCodeAt(at) - 48;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value > max || (text.length > 1 && text.startsWith('0')) ? -1 : value;
}

/**
 * Reads `address/length`, or one address (then /32 or /128). An address with bits beyond the length is refused:
 * 10.0.0.5/8 is more often a slip of the pen than a wish for sixteen million addresses.
 * @returns null where it is malformed
 */
export function parseCidr(text: string): Cidr | null {
  const slash = text.indexOf('/');
  const ip = parseIp(slash < 0 ? text : text.slice(0, slash));
  if (ip === null) return null;
  const base = ip.family === 4 ? 96 : 0;
  const length = slash < 0 ? 128 - base : parsePrefixLength(text.slice(slash + 1), 128 - base);
  if (length < 0) return null;
  const bits = base + length;
  for (let bit = bits; bit < 128; bit += 1) {
    if (((ip.groups[bit >> 4] ?? 0) >> (15 - (bit & 15))) & 1) return null;
  }
  // ::ffff:10.0.0.0/104 is 10.0.0.0/8: the other side of every comparison is unmapped too.
  const { family, groups } = bits >= 96 ? unmapped(ip) : ip;
  return { text: `${formatIp({ family, groups })}/${prefixLength({ family, bits })}`, family, groups, bits };
}

/** The prefix length as it is written: 8 of 10.0.0.0/8. */
export function prefixLength({ family, bits }: Pick<Cidr, 'family' | 'bits'>): number {
  return family === 4 ? bits - 96 : bits;
}

function range(text: string): Cidr {
  const cidr = parseCidr(text);
  if (cidr === null) throw new Error(`not a range: ${text}`);
  return cidr;
}

interface ClassRow {
  readonly range: Cidr;
  readonly class: AddressClass;
}

const ROWS_4: readonly ClassRow[] = IPV4_CLASSES.map(([text, name]) => ({ range: range(text), class: name }));
const ROWS_6: readonly ClassRow[] = IPV6_CLASSES.map(([text, name]) => ({ range: range(text), class: name }));

const NAT64 = range('64:ff9b::/96');
const NAT64_LOCAL = range('64:ff9b:1::/48');
const COMPATIBLE = range('::/96');
const SIIT = range('::ffff:0:0:0/96');
const SIX_TO_FOUR = range('2002::/16');
const TEREDO = range('2001::/32');

function inRange(cidr: Cidr, ip: Ip): boolean {
  return ip.family === cidr.family && prefixEqual(cidr.groups, ip.groups, cidr.bits);
}

function embedded(high: number | undefined, low: number | undefined): Ip {
  return ipv4((high ?? 0) * 65_536 + (low ?? 0));
}

/** The addresses that hide in an IPv6 address; a packet to it may end at any of them. */
function hidden(ip: Ip): Ip[] {
  if (ip.family === 4) return [];
  const g = ip.groups;
  if (inRange(COMPATIBLE, ip)) return [embedded(g[6], g[7])];
  if (inRange(NAT64, ip) || inRange(SIIT, ip)) return [embedded(g[6], g[7])];
  // RFC 8215 leaves the operator's prefix length open (RFC 6052 §2.2): /48, /56, /64 and /96 put the quad elsewhere.
  if (inRange(NAT64_LOCAL, ip)) return nat64Places(g);
  if (inRange(SIX_TO_FOUR, ip)) return [embedded(g[1], g[2])];
  // RFC 4380 §4: the server in groups 2 and 3, the client with its bits flipped in 6 and 7.
  if (inRange(TEREDO, ip)) return [embedded(g[2], g[3]), embedded((g[6] ?? 0) ^ 0xffff, (g[7] ?? 0) ^ 0xffff)];
  return [];
}

/** RFC 6052 §2.2: where the IPv4 bytes stand for prefixes of 48, 56, 64 and 96 bits; byte 8 is always skipped. */
function nat64Places(g: readonly number[]): Ip[] {
  const byte = (at: number): number => ((g[at >> 1] ?? 0) >> (at & 1 ? 0 : 8)) & 255;
  const places = [
    [6, 7, 9, 10],
    [7, 9, 10, 11],
    [9, 10, 11, 12],
    [12, 13, 14, 15],
  ];
  return places.map((place) => ipv4(place.reduce((value, at) => value * 256 + byte(at), 0)));
}

function ownClass(ip: Ip): AddressClass {
  const rows = ip.family === 4 ? ROWS_4 : ROWS_6;
  for (const row of rows) if (inRange(row.range, ip)) return row.class;
  return ip.family === 4 ? 'public' : 'reserved';
}

function worse(left: AddressClass, right: AddressClass): AddressClass {
  return SEVERITY.indexOf(left) >= SEVERITY.indexOf(right) ? left : right;
}

/**
 * The class of an address, after unmapping; of an address that embeds others the worst class counts.
 * @returns 'reserved' for what is not an address in a strict spelling
 */
export function classifyAddress(address: string): AddressClass {
  const parsed = parseIp(address);
  if (parsed === null) return 'reserved';
  const ip = unmapped(parsed);
  const own = ownClass(ip);
  // ::1 and :: lie inside ::/96; the quads 0.0.0.1 and 0.0.0.0 in them say nothing.
  if (own === 'loopback' || own === 'unspecified') return own;
  return hidden(ip).reduce<AddressClass>((worst, inner) => worse(worst, ownClass(inner)), own);
}

/** True where the address lies in the range; v4-mapped addresses are unmapped first, other embeddings are not opened. */
export function cidrContains(cidr: Cidr, address: string): boolean {
  const ip = parseIp(address);
  return ip !== null && inRange(cidr, unmapped(ip));
}

/** True where the address, or any address that hides in it, lies in one of the ranges: for lists that forbid. */
export function touchesAny(cidrs: readonly Cidr[], address: string): boolean {
  if (cidrs.length === 0) return false;
  const parsed = parseIp(address);
  if (parsed === null) return false;
  const ip = unmapped(parsed);
  const all = [ip, ...hidden(ip)];
  return cidrs.some((cidr) => all.some((one) => inRange(cidr, one)));
}

/** Every address that a packet to this one may end at, canonical: itself unmapped, then those it embeds. */
export function reachableAddresses(address: string): string[] {
  const parsed = parseIp(address);
  if (parsed === null) return [];
  const ip = unmapped(parsed);
  return [ip, ...hidden(ip)].map(formatIp);
}

/** RFC 5952 text or dotted quad; null where the text is not an address in a strict spelling. */
export function canonicalAddress(text: string): string | null {
  const ip = parseIp(text);
  return ip === null ? null : formatIp(ip);
}
