// The bytes of a simulated connection. Each direction of each request is a known stream: a prefix (a hello) and then a
// pattern, so that every byte that arrives is checked at its place. A body reader undoes HTTP's framing for the same check.
import { Pattern } from '../proxy/pattern.ts';

const pattern = new Pattern(7);

/** An endless stream of known bytes. */
export class Stream {
  readonly #prefix: Buffer;
  readonly #offset: number;

  constructor(n: number, prefix: Buffer = Buffer.alloc(0)) {
    this.#offset = n * 7_919;
    this.#prefix = prefix;
  }

  slice(from: number, length: number): Buffer {
    const head = this.#prefix.subarray(from, from + length);
    const start = Math.max(0, from - this.#prefix.length);
    return Buffer.concat([head, pattern.slice(this.#offset + start, length - head.length)]);
  }

  /** Whether `chunk` is what stands at `from`. */
  has(chunk: Buffer, from: number): boolean {
    const head = this.#prefix.subarray(from, from + chunk.length);
    if (!chunk.subarray(0, head.length).equals(head)) return false;
    const start = Math.max(0, from - this.#prefix.length);
    return pattern.mismatch(chunk.subarray(head.length), this.#offset + start) < 0;
  }
}

export type BodyFraming = { readonly kind: 'none' | 'chunked' | 'close' } | { readonly kind: 'length'; length: number };

/** Takes the payload out of a message body. Strict: it accepts what this proxy and these origins write, nothing else. */
export class BodyReader {
  readonly framing: BodyFraming;
  complete: boolean;
  #left: number;
  #line = '';
  #state: 'size' | 'data' | 'after' | 'last' = 'size';

  constructor(framing: BodyFraming) {
    this.framing = framing;
    this.#left = framing.kind === 'length' ? framing.length : 0;
    this.complete = framing.kind === 'none' || (framing.kind === 'length' && framing.length === 0);
  }

  /** Gives payload and what lies behind the body. Throws where the framing is broken. */
  feed(bytes: Buffer): { payload: Buffer; rest: Buffer } {
    const { kind } = this.framing;
    const nothing = Buffer.alloc(0);
    if (this.complete) return { payload: nothing, rest: bytes };
    if (kind === 'close') return { payload: bytes, rest: nothing };
    if (kind === 'length') {
      const payload = bytes.subarray(0, this.#left);
      this.#left -= payload.length;
      this.complete = this.#left === 0;
      return { payload, rest: bytes.subarray(payload.length) };
    }
    return this.#chunked(bytes);
  }

  #chunked(bytes: Buffer): { payload: Buffer; rest: Buffer } {
    const parts: Buffer[] = [];
    let at = 0;
    while (at < bytes.length && !this.complete) {
      if (this.#state === 'data') {
        const part = bytes.subarray(at, at + this.#left);
        parts.push(part);
        at += part.length;
        this.#left -= part.length;
        if (this.#left === 0) this.#state = 'after';
        continue;
      }
      this.#line += String.fromCharCode(bytes[at++] as number);
      if (!this.#line.endsWith('\r\n')) continue;
      this.#lineEnds(this.#line.slice(0, -2));
      this.#line = '';
    }
    return { payload: Buffer.concat(parts), rest: bytes.subarray(at) };
  }

  #lineEnds(line: string): void {
    if (this.#state === 'size') {
      if (!/^[0-9a-f]+$/i.test(line)) throw new Error(`not a chunk size: ${JSON.stringify(line)}`);
      this.#left = Number.parseInt(line, 16);
      this.#state = this.#left === 0 ? 'last' : 'data';
    } else if (line !== '') throw new Error(`behind a chunk stands ${JSON.stringify(line)}`);
    else if (this.#state === 'last') this.complete = true;
    else this.#state = 'size';
  }
}

/** Bytes as chunks of a chunked body, without the last one. */
export function chunksOf(bytes: Buffer, size: number): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += size) {
    const part = bytes.subarray(at, at + size);
    parts.push(Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from('\r\n'));
  }
  return Buffer.concat(parts);
}

export const LAST_CHUNK = Buffer.from('0\r\n\r\n');
