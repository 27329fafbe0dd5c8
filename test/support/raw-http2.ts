// HTTP/2 frame by frame (RFC 9113 §4.1), for what no library sends: resets in the midst, floods, header blocks without end.
import { Buffer } from 'node:buffer';

export const FRAME = { data: 0, headers: 1, reset: 3, settings: 4, ping: 6, continuation: 9 } as const;
export const FLAG = { endStream: 1, ack: 1, endHeaders: 4 } as const;

export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

export function frame(type: number, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** Literal fields without indexing and without Huffman codes (RFC 7541 §6.2.2); values of up to 126 bytes. */
export function fields(all: Readonly<Record<string, string>>): Buffer {
  const parts = Object.entries(all).map(([name, value]) =>
    Buffer.concat([Buffer.from([0, name.length]), Buffer.from(name), Buffer.from([value.length]), Buffer.from(value)]),
  );
  return Buffer.concat(parts);
}

/** The head of a request. */
export function requestFields(authority: string, path: string, method = 'GET'): Buffer {
  return fields({ ':method': method, ':scheme': 'https', ':authority': authority, ':path': path });
}

export function resetFrame(stream: number, code: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(code);
  return frame(FRAME.reset, 0, stream, payload);
}

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

/** Takes whole frames off the bytes that a peer has sent. */
export class FrameReader {
  #held: Buffer = Buffer.alloc(0);
  readonly frames: Frame[] = [];

  take(chunk: Buffer): void {
    this.#held = Buffer.concat([this.#held, chunk]);
    while (this.#held.length >= 9 && this.#held.length >= 9 + this.#held.readUIntBE(0, 3)) {
      const end = 9 + this.#held.readUIntBE(0, 3);
      const [, , , type = 0, flags = 0] = this.#held;
      const stream = this.#held.readUInt32BE(5) & 0x7f_ff_ff_ff;
      this.frames.push({ type, flags, stream, payload: this.#held.subarray(9, end) });
      this.#held = this.#held.subarray(end);
    }
  }
}
