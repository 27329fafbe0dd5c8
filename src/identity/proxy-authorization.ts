// Reads a Proxy-Authorization header (RFC 7617 Basic). It decides nothing and keeps nothing: the password leaves this
// file only to the verifier that asked for it, never towards a record, a log or an error text.
import { Buffer } from 'node:buffer';

export interface BasicCredentials {
  readonly username: string;
  readonly password: string;
}

const BASIC = /^basic +([a-z0-9+/]+={0,2})$/i;
const HEADER_CHARS_MAX = 8_192;

/**
 * Decodes `Basic base64(user:password)`.
 * @returns null for anything else: another scheme, bad base64, bytes that are not UTF-8, control characters, no colon
 */
export function parseBasic(header: string): BasicCredentials | null {
  if (header.length > HEADER_CHARS_MAX) return null;
  const encoded = BASIC.exec(header.trim())?.[1];
  if (encoded === undefined) return null;
  const bytes = Buffer.from(encoded, 'base64');
  // Node's decoder skips what it does not know; re-encoding shows whether it had to.
  if (bytes.toString('base64').replace(/=+$/, '') !== encoded.replace(/=+$/, '')) return null;
  const text = bytes.toString('utf8');
  if (text.includes('\ufffd') || hasControl(text)) return null;
  const colon = text.indexOf(':');
  if (colon < 0) return null;
  return { username: text.slice(0, colon), password: text.slice(colon + 1) };
}

/** Whether text holds a control character: none belongs into a name that is shown to people. */
export function hasControl(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x20 || code === 0x7f) return true;
  }
  return false;
}
