// Builds ClientHellos byte by byte, right and wrong ones, and cuts messages into TLS records.
import { Buffer } from 'node:buffer';

export const u8 = (value: number): Buffer => Buffer.from([value & 0xff]);
export const u16 = (value: number): Buffer => Buffer.from([(value >> 8) & 0xff, value & 0xff]);
const u24 = (value: number): Buffer => Buffer.concat([u8(value >> 16), u16(value)]);

/** A vector with its length before it; `lie` is added to the length. */
export const vector8 = (data: Buffer, lie = 0): Buffer => Buffer.concat([u8(data.length + lie), data]);
export const vector16 = (data: Buffer, lie = 0): Buffer => Buffer.concat([u16(data.length + lie), data]);

export const extension = (type: number, data: Buffer, lie = 0): Buffer =>
  Buffer.concat([u16(type), vector16(data, lie)]);
export const entry = (name: string | Buffer, type = 0, lie = 0): Buffer =>
  Buffer.concat([u8(type), vector16(typeof name === 'string' ? Buffer.from(name, 'latin1') : name, lie)]);
export const serverName = (...entries: readonly Buffer[]): Buffer => extension(0, vector16(Buffer.concat(entries)));
export const sni = (name: string | Buffer): Buffer => serverName(entry(name));

export interface HelloParts {
  readonly version?: number;
  readonly session?: Buffer;
  readonly ciphers?: Buffer;
  readonly compressions?: Buffer;
  /** null: none at all, as TLS 1.0 allows. */
  readonly extensions?: readonly Buffer[] | null;
  /** Added to the length of the extensions. */
  readonly lie?: number;
  readonly after?: Buffer;
}

/** The handshake message of a ClientHello, its four-byte header included. */
export function helloMessage(parts: HelloParts = {}): Buffer {
  const { extensions = [sni('a.test')] } = parts;
  return handshake(
    1,
    Buffer.concat([
      u16(parts.version ?? 0x0303),
      Buffer.alloc(32, 7),
      vector8(parts.session ?? Buffer.alloc(32, 9)),
      vector16(parts.ciphers ?? Buffer.from('130113021303', 'hex')),
      vector8(parts.compressions ?? u8(0)),
      extensions === null ? Buffer.alloc(0) : vector16(Buffer.concat(extensions), parts.lie),
      parts.after ?? Buffer.alloc(0),
    ]),
  );
}

export const handshake = (type: number, body: Buffer, lie = 0): Buffer =>
  Buffer.concat([u8(type), u24(body.length + lie), body]);

export const record = (data: Buffer, { type = 22, version = 0x0301, lie = 0 } = {}): Buffer =>
  Buffer.concat([u8(type), u16(version), vector16(data, lie)]);

/** The message in records of `size` bytes each; the last may be shorter. */
export function records(message: Buffer, size = 16_384): Buffer {
  const pieces: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) pieces.push(record(message.subarray(at, at + size)));
  return Buffer.concat(pieces);
}
