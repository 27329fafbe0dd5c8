// Reads a plain-HTTP request and the head of an origin's answer where they have the one plain shape that nearly all have: whole in one
// read, CRLF line ends, no folding, one way of framing, nothing that changes the connection. Whatever has another shape is left to
// llhttp and Node's objects (forward.ts), so these readers refuse nothing and need no errors. PURE.
import type { Buffer } from 'node:buffer';
import { FIELD_LINES, fieldLines } from './field-lines.ts';
import { readFraming } from './fields.ts';

/** A request head as it stood on the wire; nothing of it has been judged. */
export interface RequestHead {
  readonly method: string;
  readonly target: string;
  /** `1.1`, `1.0`, … as the parser read it. */
  readonly version: string;
  /** Names and values in turn. */
  readonly rawHeaders: readonly string[];
}

export interface PlainRequest {
  readonly head: RequestHead;
  /** All that was read, a character a byte. */
  readonly text: string;
  /** Where the body begins; it goes to the end. */
  readonly end: number;
  /** Whether the client sends nothing behind it. */
  readonly closes: boolean;
}

export interface PlainAnswer {
  readonly status: number;
  readonly reason: string;
  readonly rawHeaders: readonly string[];
  /** Where the body begins. */
  readonly end: number;
  /** Bytes of the body, those behind the head included. `end`: it lasts until the origin ends its side. */
  readonly length: number | 'chunked' | 'end';
  /** Whether the origin keeps the connection. */
  readonly keeps: boolean;
}

const END = '\r\n\r\n';
// RFC 9112 §3.2.2, the absolute-form with a name or an IPv4 address and the characters that a path and a query have by RFC 3986; the
// authority's own grammar is still to judge it.
const REQUEST = new RegExp(
  `^(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (http://[a-z0-9._-]+(?::[0-9]+)?/[!$%&'()*+,./:;=?@A-Z_a-z~0-9-]*) HTTP/(1\\.[01])\\r\\n${FIELD_LINES}$`,
);
const ANSWER = new RegExp(`^HTTP/(1\\.[01]) ([2-5][0-9][0-9]) ([\\t -~\\x80-\\xff]*)\\r\\n${FIELD_LINES}$`);
// What a body or a connection may mean by these is llhttp's to say.
const ODD_REQUEST =
  /\r\n(?:(?:expect|upgrade|trailer|transfer-encoding):|(?:proxy-)?connection:(?![\t ]*(?:keep-alive|close)[\t ]*\r\n))/i;
const ODD_ANSWER = /\r\n(?:(?:upgrade|trailer):|(?:proxy-)?connection:(?![\t ]*(?:keep-alive|close)[\t ]*\r\n))/i;
const LENGTHS = /\r\ncontent-length:[\t ]*(?:(0|[1-9][0-9]{0,14})[\t ]*\r\n)?/gi;
const CLOSES = /\r\n(?:proxy-)?connection:[\t ]*close/i;
const KEEPS = /\r\n(?:proxy-)?connection:[\t ]*keep-alive/i;

// The first letters of the methods, without CONNECT's.
const METHODS = new Set([...'GHPDO'].map((letter) => letter.charCodeAt(0)));
const NO_CONTENT = 204;
const NOT_MODIFIED = 304;

/** @param bytesMax limits.head_bytes. @returns null for anything but one whole plain request, body included, and nothing behind it */
export function readPlainRequest(chunk: Buffer, bytesMax: number): PlainRequest | null {
  if (!METHODS.has(chunk[0] ?? 0)) return null;
  const text = chunk.toString('latin1');
  const blank = text.indexOf(END);
  const end = blank + END.length;
  if (blank < 0 || end > bytesMax) return null;
  const lines = text.slice(0, blank + 2);
  const request = REQUEST.exec(lines);
  if (request === null || ODD_REQUEST.test(lines)) return null;
  const length = lengthOf(lines);
  if (length === null || end + (length ?? 0) !== text.length) return null;
  const [, method = '', target = '', version = ''] = request;
  // Of these two Node's server tells each client another thing.
  if (version === '1.0' && KEEPS.test(lines)) return null;
  const rawHeaders = fieldLines(lines, lines.indexOf('\r\n') + 2);
  return { head: { method, target, version, rawHeaders }, text, end, closes: version === '1.0' || CLOSES.test(lines) };
}

/** @param method of the request that it answers. @returns null for anything but a whole plain head */
export function readPlainAnswer(chunk: Buffer, method: string, bytesMax: number): PlainAnswer | null {
  const blank = chunk.indexOf(END);
  const end = blank + END.length;
  if (blank < 0 || end > bytesMax) return null;
  const lines = chunk.toString('latin1', 0, blank + 2);
  const answer = ANSWER.exec(lines);
  if (answer === null || ODD_ANSWER.test(lines)) return null;
  const [, version = '', digits, reason = ''] = answer;
  const status = Number(digits);
  const rawHeaders = fieldLines(lines, lines.indexOf('\r\n') + 2);
  const read = readFraming(rawHeaders, version);
  const bodiless = method === 'HEAD' || status === NO_CONTENT || status === NOT_MODIFIED;
  if (!read.ok) return null;
  const { framing } = read;
  const length = bodiless ? 0 : framing.kind === 'length' ? Number(framing.length) : framing.kind;
  const stays = version === '1.1' ? !CLOSES.test(lines) : KEEPS.test(lines) && !CLOSES.test(lines);
  return {
    status,
    reason,
    rawHeaders,
    end,
    length: length === 'none' ? 'end' : length,
    keeps: stays && length !== 'none',
  };
}

/** Of the one Content-Length; undefined where there is none, null where there are several or one is no plain number. */
function lengthOf(lines: string): number | null | undefined {
  let found: number | undefined;
  LENGTHS.lastIndex = 0;
  for (let match = LENGTHS.exec(lines); match !== null; match = LENGTHS.exec(lines)) {
    if (match[1] === undefined || found !== undefined) return null;
    found = Number(match[1]);
    // The next line's name follows the line end that was just read.
    LENGTHS.lastIndex -= 2;
  }
  return found;
}
