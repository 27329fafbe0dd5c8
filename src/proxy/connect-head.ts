// Reads the head of a CONNECT from a connection's first bytes, where it has the one plain shape that clients send: whole,
// CRLF line ends, no folding, token names, no control characters. Whatever has another shape, malformed or merely odd, is
// left to llhttp, which knows all of HTTP; so this reader refuses nothing and needs no errors. PURE.
// Measured: llhttp and the http server's objects are a tenth of what a tunnel costs.
import type { Buffer } from 'node:buffer';
import type { ConnectHead } from './engine.ts';
import { FIELD_LINES, fieldLines } from './field-lines.ts';
import { fieldCount } from './head.ts';

export interface PlainConnect {
  readonly head: ConnectHead;
  /** Index of the first byte behind the head: early data of the tunnel. */
  readonly end: number;
}

// RFC 9112 §3 and §5: the request-line with single spaces, then `field-name ":" OWS field-value OWS` lines. A target with other
// characters than names, addresses and ports have is nothing for this road; what is left is judged by the authority's own grammar.
const PLAIN = new RegExp(`^CONNECT ([A-Za-z0-9._:[\\]-]+) HTTP/(1\\.[01])\\r\\n${FIELD_LINES}$`);
const END = '\r\n\r\n';
const C = 0x43;

/** @param bytesMax limits.head_bytes. @returns null for anything but a whole, plain CONNECT head within `bytesMax` bytes */
export function readPlainConnect(chunk: Buffer, bytesMax: number): PlainConnect | null {
  if (chunk[0] !== C) return null;
  const text = chunk.toString('latin1', 0, Math.min(chunk.length, bytesMax));
  const blank = text.indexOf(END);
  if (blank < 0) return null;
  const lines = text.slice(0, blank + 2);
  const request = PLAIN.exec(lines);
  if (request === null) return null;
  const rawHeaders = fieldLines(lines, lines.indexOf('\r\n') + 2);
  // A CONNECT has no body; how one that announces it was meant is llhttp's to say.
  if (fieldCount(rawHeaders, 'content-length') + fieldCount(rawHeaders, 'transfer-encoding') > 0) return null;
  const [, target = '', version = ''] = request;
  return { head: { target, version, rawHeaders }, end: blank + END.length };
}
