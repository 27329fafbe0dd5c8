// IP addresses as text and as eight 16-bit groups: one strict reader, one canonical writer (RFC 4291 §2.2, RFC 5952).
// It must never guess: inet_aton spellings (127.1, 0x7f000001, 0177.0.0.1) and zone ids are not addresses here,
// because a resolver or kernel would read them as another address than the matcher did.

/** An address. `groups` has eight 16-bit numbers; an IPv4 address stands in the last two, behind 0:0:0:0:0:ffff. */
export interface Ip {
  readonly family: 4 | 6;
  readonly groups: readonly number[];
}

/** The longest text that can be an address: 0000:0000:0000:0000:0000:ffff:255.255.255.255. */
const IP_TEXT_LENGTH_MAX = 45;

const DOT = 46;
const COLON = 58;

/** Reads `a.b.c.d` (no leading zeros) from text[start..end); -1 where it is anything else. */
function readQuad(text: string, start: number, end: number): number {
  let value = 0;
  let octets = 0;
  let at = start;
  while (octets < 4) {
    const first = at;
    let octet = 0;
    while (at < end) {
      const digit = text.charCodeAt(at) - 48;
      if (digit < 0 || digit > 9) break;
      octet = octet * 10 + digit;
      at += 1;
      if (at - first > 3) return -1;
    }
    if (at === first || octet > 255) return -1;
    if (at - first > 1 && text.charCodeAt(first) === 48) return -1;
    value = value * 256 + octet;
    octets += 1;
    if (octets < 4) {
      if (at >= end || text.charCodeAt(at) !== DOT) return -1;
      at += 1;
    }
  }
  return at === end ? value : -1;
}

function hexDigit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  const lower = code | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}

interface GroupScan {
  readonly groups: number[];
  /** Index in `groups` where `::` stands; -1 without one. */
  gap: number;
}

/** Reads one hex group, or the dotted quad that ends the text; returns where it ends, -1 where it is malformed. */
function readGroup(text: string, at: number, scan: GroupScan): number {
  let end = at;
  let value = 0;
  while (end < text.length && end - at < 5) {
    const digit = hexDigit(text.charCodeAt(end));
    if (digit < 0) break;
    value = value * 16 + digit;
    end += 1;
  }
  if (end < text.length && text.charCodeAt(end) === DOT) {
    const quad = readQuad(text, at, text.length);
    if (quad < 0) return -1;
    scan.groups.push(Math.floor(quad / 65_536), quad % 65_536);
    return text.length;
  }
  if (end === at || end - at > 4) return -1;
  scan.groups.push(value);
  return end;
}

function parseIpv6(text: string): Ip | null {
  const scan: GroupScan = { groups: [], gap: -1 };
  let at = 0;
  if (text.startsWith('::')) {
    scan.gap = 0;
    at = 2;
  }
  while (at < text.length) {
    if (scan.groups.length >= 8) return null;
    at = readGroup(text, at, scan);
    if (at < 0) return null;
    if (at === text.length) break;
    if (text.charCodeAt(at) !== COLON) return null;
    at += 1;
    if (at === text.length) return null;
    if (text.charCodeAt(at) !== COLON) continue;
    if (scan.gap >= 0) return null;
    scan.gap = scan.groups.length;
    at += 1;
  }
  const { groups, gap } = scan;
  if (gap < 0) return groups.length === 8 ? { family: 6, groups } : null;
  // `::` stands for one group at least (RFC 4291 §2.2).
  if (groups.length > 7) return null;
  const zeros = new Array<number>(8 - groups.length).fill(0);
  return { family: 6, groups: [...groups.slice(0, gap), ...zeros, ...groups.slice(gap)] };
}

/**
 * Reads an address in a strict spelling: a dotted quad without leading zeros, or RFC 4291 text without brackets and zone id.
 * @returns null for everything else
 */
export function parseIp(text: string): Ip | null {
  if (text.length < 2 || text.length > IP_TEXT_LENGTH_MAX) return null;
  if (text.includes(':')) return parseIpv6(text);
  const quad = readQuad(text, 0, text.length);
  return quad < 0 ? null : ipv4(quad);
}

/** The IPv4 address of a 32-bit number. */
export function ipv4(quad: number): Ip {
  return { family: 4, groups: [0, 0, 0, 0, 0, 0xffff, Math.floor(quad / 65_536), quad % 65_536] };
}

/** True for ::ffff:a.b.c.d, in either family. */
export function isMapped(groups: readonly number[]): boolean {
  return (
    groups[0] === 0 && groups[1] === 0 && groups[2] === 0 && groups[3] === 0 && groups[4] === 0 && groups[5] === 0xffff
  );
}

/** The address with ::ffff:a.b.c.d read as a.b.c.d; others stay as they are. */
export function unmapped(ip: Ip): Ip {
  return ip.family === 6 && isMapped(ip.groups) ? { family: 4, groups: ip.groups } : ip;
}

function quadText(high: number, low: number): string {
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
}

/** Where the longest run of zero groups starts (the first of equals), and its length; length 0 where none is longer than 1. */
function longestZeros(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  let start = 0;
  while (start < groups.length) {
    let end = start;
    while (end < groups.length && groups[end] === 0) end += 1;
    if (end - start > best.length && end - start > 1) best = { start, length: end - start };
    start = end + 1;
  }
  return best;
}

/** Canonical text: dotted quad, or RFC 5952 (lower case, longest run of zeros cut, ::ffff:a.b.c.d in mixed form). */
export function formatIp(ip: Ip): string {
  const { groups } = ip;
  const quad = quadText(groups[6] ?? 0, groups[7] ?? 0);
  if (ip.family === 4) return quad;
  if (isMapped(groups)) return `::ffff:${quad}`;
  const zeros = longestZeros(groups);
  const hex = groups.map((group) => group.toString(16));
  if (zeros.length === 0) return hex.join(':');
  return `${hex.slice(0, zeros.start).join(':')}::${hex.slice(zeros.start + zeros.length).join(':')}`;
}
