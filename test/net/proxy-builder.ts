// Builds PROXY protocol v2 headers from the text of HAProxy's specification alone, sharing no code with the reader.
import { isIPv6 } from 'node:net';

export const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');

/** Eight groups of an IPv6 text, without `::ffff:1.2.3.4` forms. */
function groups6(text: string): number[] {
  const [left = '', right] = text.split('::');
  const read = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16));
  const head = read(left);
  const tail = right === undefined ? [] : read(right);
  const zeros = right === undefined ? 0 : 8 - head.length - tail.length;
  return [...head, ...Array<number>(zeros).fill(0), ...tail];
}

function addressBytes(text: string): Buffer {
  if (!isIPv6(text)) return Buffer.from(text.split('.').map(Number));
  return Buffer.from(groups6(text).flatMap((group) => [group >> 8, group & 255]));
}

export function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

export function tlv(type: number, value: Buffer): Buffer {
  return Buffer.concat([Buffer.from([type]), u16(value.length), value]);
}

export interface HeaderParts {
  readonly from?: string;
  readonly fromPort?: number;
  readonly to?: string;
  readonly toPort?: number;
  readonly tlvs?: readonly Buffer[];
  /** Version and command; family and protocol; each as one byte. */
  readonly command?: number;
  readonly family?: number;
  /** Instead of the addresses and TLVs. */
  readonly body?: Buffer;
  /** Added to the length that is told. */
  readonly lie?: number;
}

export function proxyHeader(parts: HeaderParts = {}): Buffer {
  const {
    from = '192.0.2.7',
    fromPort = 40_000,
    to = isIPv6(from) ? '2001:db8::1' : '192.0.2.1',
    toPort = 3_128,
  } = parts;
  const body =
    parts.body ??
    Buffer.concat([addressBytes(from), addressBytes(to), u16(fromPort), u16(toPort), ...(parts.tlvs ?? [])]);
  return Buffer.concat([
    SIGNATURE,
    Buffer.from([parts.command ?? 0x21, parts.family ?? (isIPv6(from) ? 0x21 : 0x11)]),
    u16(body.length + (parts.lie ?? 0)),
    body,
  ]);
}

export const localHeader = (body: Buffer = Buffer.alloc(0)): Buffer => proxyHeader({ command: 0x20, family: 0, body });
