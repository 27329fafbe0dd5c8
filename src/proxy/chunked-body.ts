// Reads the chunks of an answer's body (RFC 9112 §7.1) as they come, byte by byte where they say something and in one step where they
// carry data. As strict as llhttp, which reads them on the long road: a size is hexadecimal digits alone, every line ends in CRLF, an
// extension has the grammar of the RFC without white space. What goes on is what Node's server would write there: each piece of data in a
// chunk of its own, without extensions and trailers. PURE.
import { Buffer } from 'node:buffer';
import type { AnswerBody } from './answer-body.ts';

// What the next byte belongs to.
const SIZE_START = 0;
const SIZE = 1;
const EXTENSION_START = 2;
const EXTENSION_NAME = 3;
const EXTENSION_VALUE = 4;
const QUOTED = 5;
const ESCAPED = 6;
const QUOTED_END = 7;
const SIZE_LF = 8;
const DATA = 9;
const DATA_CR = 10;
const DATA_LF = 11;
const TRAILER_START = 12;
const TRAILER_NAME = 13;
const TRAILER_VALUE = 14;
const TRAILER_LF = 15;
const LAST_LF = 16;
const WHOLE = 17;
const MALFORMED = 18;

const TAB = 0x09;
const LF = 0x0a;
const CR = 0x0d;
const QUOTE = 0x22;
const COLON = 0x3a;
const SEMICOLON = 0x3b;
const EQUALS = 0x3d;
const CAPITAL_A = 0x41;
const CAPITAL_F = 0x46;
const BACKSLASH = 0x5c;
const DELETE = 0x7f;

const TOKEN = new Uint8Array(256);
for (const letter of "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
  TOKEN[letter.charCodeAt(0)] = 1;
const NOT_HEX = 16;
const HEX = new Uint8Array(256).fill(NOT_HEX);
for (const digit of '0123456789abcdefABCDEF') HEX[digit.charCodeAt(0)] = Number.parseInt(digit, 16);

const END = '0\r\n\r\n';
/** A piece's size, two line ends, and the end of all. */
const FRAMING_BYTES_MAX = 13 + 4 + END.length;
const NOTHING = Buffer.alloc(0);

let framed = NOTHING;

export class ChunkedBody implements AnswerBody {
  readonly delimited = true;
  count = 0;
  spoilt = false;
  readonly #bytesMax: number;
  #state = SIZE_START;
  /** Of the chunk: what of its data has not come. */
  #left = 0;
  /** Bytes since the last data. */
  #said = 0;
  /** Whether what has been read since take() is what Node would write. */
  #plain = true;
  #trailer = '';

  /** @param bytesMax of a size with its extensions, and of all trailers */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get whole(): boolean {
    return this.#state === WHOLE;
  }

  take(bytes: Buffer): Buffer | null {
    /** Where the pieces of data begin and end. */
    const pieces: number[] = [];
    this.#plain = this.#state === SIZE_START;
    let at = 0;
    while (at < bytes.length && this.#state !== WHOLE) {
      if (this.#state === DATA) {
        const end = Math.min(bytes.length, at + this.#left);
        pieces.push(at, end);
        this.#left -= end - at;
        this.count += end - at;
        this.#said = 0;
        if (this.#left === 0) this.#state = DATA_CR;
        at = end;
      } else {
        this.#state = this.#next(bytes[at++] as number);
        if (this.#state === MALFORMED || ++this.#said > this.#bytesMax) return null;
      }
    }
    if (at < bytes.length) this.spoilt = true;
    const even = this.#state === SIZE_START || this.#state === WHOLE;
    return this.#plain && even ? bytes.subarray(0, at) : reframed(bytes, pieces, this.whole);
  }

  ended(): null {
    return null;
  }

  /** What follows a byte that is no data. */
  #next(byte: number): number {
    switch (this.#state) {
      case SIZE_START:
        return this.#sizeStart(byte);
      case SIZE:
        if (HEX[byte] !== NOT_HEX) return this.#digit(byte);
        return byte === SEMICOLON ? this.#extension() : byte === CR ? SIZE_LF : MALFORMED;
      case EXTENSION_START:
      case EXTENSION_NAME:
        if (byte === EQUALS) return EXTENSION_VALUE;
        if (byte === CR) return this.#state === EXTENSION_START ? MALFORMED : SIZE_LF;
        return TOKEN[byte] ? EXTENSION_NAME : byte === SEMICOLON ? EXTENSION_START : MALFORMED;
      case EXTENSION_VALUE:
        if (TOKEN[byte]) return EXTENSION_VALUE;
        return byte === QUOTE ? QUOTED : afterValue(byte);
      case QUOTED:
        if (byte === QUOTE) return QUOTED_END;
        return byte === BACKSLASH ? ESCAPED : isText(byte) ? QUOTED : MALFORMED;
      case ESCAPED:
        return isText(byte) ? QUOTED : MALFORMED;
      case QUOTED_END:
        return afterValue(byte);
      case SIZE_LF:
        return byte !== LF ? MALFORMED : this.#left === 0 ? TRAILER_START : DATA;
      case DATA_CR:
        return byte === CR ? DATA_LF : MALFORMED;
      case DATA_LF:
        return byte === LF ? SIZE_START : MALFORMED;
      case LAST_LF:
        return byte === LF ? WHOLE : MALFORMED;
      default:
        return this.#nextOfTrailers(byte);
    }
  }

  #sizeStart(byte: number): number {
    this.#left = HEX[byte] as number;
    if (this.#left === NOT_HEX) return MALFORMED;
    this.#note(byte);
    return SIZE;
  }

  #digit(byte: number): number {
    // Node writes no leading zero.
    if (this.#left === 0) this.#plain = false;
    this.#note(byte);
    this.#left = this.#left * 16 + (HEX[byte] as number);
    return this.#left > Number.MAX_SAFE_INTEGER ? MALFORMED : SIZE;
  }

  /** Node writes no capital digit. */
  #note(byte: number): void {
    if (byte >= CAPITAL_A && byte <= CAPITAL_F) this.#plain = false;
  }

  #extension(): number {
    this.#plain = false;
    return EXTENSION_START;
  }

  #nextOfTrailers(byte: number): number {
    switch (this.#state) {
      case TRAILER_START:
        if (byte === CR) return LAST_LF;
        this.#plain = false;
        this.spoilt = true;
        this.#trailer = '';
        return this.#trailerName(byte);
      case TRAILER_NAME:
        // A length beside chunks, wherever it stands, is what two readers take for two things.
        if (byte === COLON) return this.#trailer.toLowerCase() === 'content-length' ? MALFORMED : TRAILER_VALUE;
        return this.#trailerName(byte);
      case TRAILER_VALUE:
        return byte === CR ? TRAILER_LF : isText(byte) ? TRAILER_VALUE : MALFORMED;
      default:
        return byte === LF ? TRAILER_START : MALFORMED;
    }
  }

  #trailerName(byte: number): number {
    this.#trailer += String.fromCharCode(byte);
    return TOKEN[byte] ? TRAILER_NAME : MALFORMED;
  }
}

/** One that lasts until the origin ends its side. It goes on in chunks, or as it is to a client that knows none. */
export class EndBody implements AnswerBody {
  readonly delimited: boolean;
  readonly spoilt = true;
  count = 0;
  whole = false;

  constructor(chunks: boolean) {
    this.delimited = chunks;
  }

  take(bytes: Buffer): Buffer {
    this.count += bytes.length;
    return this.delimited && bytes.length > 0 ? reframed(bytes, [0, bytes.length], false) : bytes;
  }

  ended(): string {
    this.whole = true;
    return this.delimited ? END : '';
  }
}

function afterValue(byte: number): number {
  return byte === SEMICOLON ? EXTENSION_START : byte === CR ? SIZE_LF : MALFORMED;
}

function isText(byte: number): boolean {
  return byte === TAB || (byte >= 0x20 && byte !== DELETE);
}

/** The pieces as chunks, in memory that the next call takes again. */
function reframed(bytes: Buffer, pieces: readonly number[], whole: boolean): Buffer {
  // A piece has come with at least as much framing as it goes with, except for the first and the last of a read.
  const room = bytes.length + 2 * FRAMING_BYTES_MAX;
  if (framed.length < room) framed = Buffer.allocUnsafeSlow(room);
  let at = 0;
  for (let i = 0; i < pieces.length; i += 2) {
    const start = pieces[i] as number;
    const end = pieces[i + 1] as number;
    at += framed.write(`${(end - start).toString(16)}\r\n`, at, 'latin1');
    at += bytes.copy(framed, at, start, end);
    framed[at++] = CR;
    framed[at++] = LF;
  }
  if (whole) at += framed.write(END, at, 'latin1');
  return framed.subarray(0, at);
}
