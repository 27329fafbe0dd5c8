// The beginning of a head that came in several packets, kept until the rest is there, and whether it may still become one of the plain
// shapes of the short roads (connect-head.ts, plain-head.ts). As soon as it cannot, the http server has it, which then refuses or waits
// as if it had read every packet itself: what llhttp would refuse at once is never waited for. Each byte is looked at once. PURE.
import { Buffer } from 'node:buffer';

/** `whole`: the blank line has come, and the readers of the short roads are to say what it is. */
export type HeadState = 'more' | 'whole' | 'odd';

// What the next byte belongs to.
const METHOD = 0;
const AUTHORITY_START = 1;
const AUTHORITY = 2;
const SCHEME = 3;
const HOST_START = 4;
const HOST = 5;
const PORT_START = 6;
const PORT = 7;
const PATH = 8;
const VERSION = 9;
const MINOR = 10;
const LINE_CR = 11;
const LINE_LF = 12;
const LINE_START = 13;
const NAME = 14;
const VALUE = 15;
const LENGTH_START = 16;
const LENGTH = 17;
const LENGTH_END = 18;
const LAST_LF = 19;
const WHOLE = 20;
const ODD = 21;

const TAB = 0x09;
const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const SLASH = 0x2f;
const ZERO = 0x30;
const ONE = 0x31;
const NINE = 0x39;
const COLON = 0x3a;
const DELETE = 0x7f;

const CONNECT = 'CONNECT';
const METHODS = [CONNECT, 'GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];
const SCHEME_TEXT = 'http://';
const VERSION_TEXT = 'HTTP/1.';
const AUTHORITY_CHARS = setOf(/[A-Za-z0-9._:[\]-]/);
const HOST_CHARS = setOf(/[a-z0-9._-]/);
const PATH_CHARS = setOf(/[!$%&'()*+,./:;=?@A-Z_a-z~0-9-]/);
const TOKEN = setOf(/[!#$%&'*+.^_`|~0-9A-Za-z-]/);

// Fields with which a head is none of the plain shapes, and what llhttp judges within a line.
const NOT_OF_CONNECT = new Set(['content-length', 'transfer-encoding']);
const NOT_OF_HTTP = new Set(['expect', 'upgrade', 'trailer', 'transfer-encoding']);
/** Longer names are none of those. */
const NAME_CHARS_MAX = 18;
const LENGTH_DIGITS_MAX = 15;
const NOTHING = Buffer.alloc(0);

export class HeldHead {
  /** Exactly what has come, in memory of its own. */
  bytes: Buffer = NOTHING;
  #state = METHOD;
  /** The method, or the name of a field. */
  #word = '';
  #connect = false;
  /** How far the scheme or the version has come; digits of a length. */
  #at = 0;
  #zero = false;
  #length = false;

  get size(): number {
    return this.bytes.length;
  }

  /** @param chunk what came behind what is kept; not kept yet */
  look(chunk: Buffer): HeadState {
    for (const byte of chunk) {
      this.#state = this.#next(byte);
      if (this.#state === WHOLE) return 'whole';
      if (this.#state === ODD) return 'odd';
    }
    return 'more';
  }

  /** @param chunk is only lent */
  keep(chunk: Buffer): void {
    this.bytes = joined(this.bytes, chunk);
  }

  #next(byte: number): number {
    switch (this.#state) {
      case METHOD:
        return this.#method(byte);
      case AUTHORITY_START:
        return AUTHORITY_CHARS[byte] ? AUTHORITY : ODD;
      case AUTHORITY:
        return byte === SPACE ? this.#version() : AUTHORITY_CHARS[byte] ? AUTHORITY : ODD;
      case SCHEME:
        return this.#literal(byte, SCHEME_TEXT, HOST_START);
      case HOST_START:
        return HOST_CHARS[byte] ? HOST : ODD;
      case HOST:
        return HOST_CHARS[byte] ? HOST : byte === COLON ? PORT_START : byte === SLASH ? PATH : ODD;
      case PORT_START:
        return isDigit(byte) ? PORT : ODD;
      case PORT:
        return isDigit(byte) ? PORT : byte === SLASH ? PATH : ODD;
      case PATH:
        return byte === SPACE ? this.#version() : PATH_CHARS[byte] ? PATH : ODD;
      case VERSION:
        return this.#literal(byte, VERSION_TEXT, MINOR);
      case MINOR:
        return byte === ZERO || byte === ONE ? LINE_CR : ODD;
      case LINE_CR:
        return byte === CR ? LINE_LF : ODD;
      case LINE_LF:
        return byte === LF ? LINE_START : ODD;
      default:
        return this.#nextOfFields(byte);
    }
  }

  #nextOfFields(byte: number): number {
    switch (this.#state) {
      case LINE_START:
        this.#word = '';
        return byte === CR ? LAST_LF : this.#name(byte);
      case NAME:
        return byte === COLON ? this.#field() : this.#name(byte);
      case VALUE:
        return byte === CR ? LINE_LF : isText(byte) ? VALUE : ODD;
      case LENGTH_START:
        if (isWhite(byte)) return LENGTH_START;
        this.#zero = byte === ZERO;
        this.#at = 1;
        return isDigit(byte) ? LENGTH : ODD;
      case LENGTH:
        if (!isDigit(byte)) return endOfLength(byte);
        return this.#zero || ++this.#at > LENGTH_DIGITS_MAX ? ODD : LENGTH;
      case LENGTH_END:
        return endOfLength(byte);
      default:
        return byte === LF ? WHOLE : ODD;
    }
  }

  #method(byte: number): number {
    if (byte !== SPACE) {
      this.#word += String.fromCharCode(byte);
      return METHODS.some((method) => method.startsWith(this.#word)) ? METHOD : ODD;
    }
    this.#connect = this.#word === CONNECT;
    return !METHODS.includes(this.#word) ? ODD : this.#connect ? AUTHORITY_START : SCHEME;
  }

  #literal(byte: number, text: string, then: number): number {
    if (byte !== text.charCodeAt(this.#at)) return ODD;
    return ++this.#at < text.length ? this.#state : then;
  }

  #version(): number {
    this.#at = 0;
    return VERSION;
  }

  #name(byte: number): number {
    if (!TOKEN[byte]) return ODD;
    if (this.#word.length < NAME_CHARS_MAX) this.#word += String.fromCharCode(byte);
    return NAME;
  }

  #field(): number {
    const name = this.#word.toLowerCase();
    if (this.#connect) return NOT_OF_CONNECT.has(name) ? ODD : VALUE;
    if (NOT_OF_HTTP.has(name)) return ODD;
    if (name !== 'content-length') return VALUE;
    if (this.#length) return ODD;
    this.#length = true;
    return LENGTH_START;
  }
}

/** What was kept and what came behind it, in memory of exactly that size. */
export function joined(kept: Buffer, chunk: Buffer): Buffer {
  const all = Buffer.allocUnsafeSlow(kept.length + chunk.length);
  kept.copy(all);
  chunk.copy(all, kept.length);
  return all;
}

function endOfLength(byte: number): number {
  return byte === CR ? LINE_LF : isWhite(byte) ? LENGTH_END : ODD;
}

function isDigit(byte: number): boolean {
  return byte >= ZERO && byte <= NINE;
}

function isWhite(byte: number): boolean {
  return byte === SPACE || byte === TAB;
}

function isText(byte: number): boolean {
  return byte === TAB || (byte >= SPACE && byte !== DELETE);
}

function setOf(chars: RegExp): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, code) => (chars.test(String.fromCharCode(code)) ? 1 : 0));
}
