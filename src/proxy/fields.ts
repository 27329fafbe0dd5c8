// Which header fields go on, and which end here (RFC 9110 §7.6.1). Pure; works on raw name/value lists so that order,
// case and repetition of what passes are kept.
import type { Authority } from '../policy/authority.ts';

/** Never forwarded by any version of HTTP: what is of one connection, what is for a proxy alone, and what each side says anew. */
export const ENDS_HERE = [
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authorization',
  'proxy-authenticate',
  'proxy-authentication-info',
  'transfer-encoding',
  'upgrade',
  'host',
] as const;
// Never forwarded, whatever Connection says; framing is re-made by the forwarder.
const HOP_BY_HOP = new Set<string>([...ENDS_HERE, 'te', 'trailer', 'content-length']);
// A name of another length is none of them, and need not be written small to tell.
const HOP_BY_HOP_LENGTHS = new Set([...HOP_BY_HOP].map(({ length }) => length));
const NONE: ReadonlySet<string> = new Set();

// Methods for which no framing means no body, by all readers.
const BODILESS = new Set(['GET', 'HEAD', 'DELETE', 'OPTIONS']);

const VIA = '1.1 sallyport';

/** Names listed in Connection fields, lower case: they are hop-by-hop for this message. */
function connectionNames(raw: readonly string[]): ReadonlySet<string> {
  let names: Set<string> | null = null;
  for (let i = 0; i + 1 < raw.length; i += 2) {
    if (!isNamed(raw[i] ?? '', 'connection')) continue;
    names ??= new Set();
    for (const name of (raw[i + 1] ?? '').split(',')) names.add(name.trim().toLowerCase());
  }
  return names ?? NONE;
}

function isNamed(field: string, name: string): boolean {
  return field.length === name.length && field.toLowerCase() === name;
}

function endToEnd(raw: readonly string[]): string[] {
  const listed = connectionNames(raw);
  const kept: string[] = [];
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i] ?? '';
    if (listed.size > 0 || HOP_BY_HOP_LENGTHS.has(name.length)) {
      const lower = name.toLowerCase();
      if (HOP_BY_HOP.has(lower) || listed.has(lower)) continue;
    }
    kept.push(name, raw[i + 1] ?? '');
  }
  return kept;
}

/** How a body is framed on the next hop: as it came, never guessed. */
export type Framing =
  | { readonly kind: 'none' }
  | { readonly kind: 'length'; readonly length: string }
  | { readonly kind: 'chunked' };

export type FramingResult =
  | { readonly ok: true; readonly framing: Framing }
  | { readonly ok: false; readonly detail: string };

/**
 * Reads the framing of a message head; anything two parsers could read differently is refused (RFC 9112 §6.3).
 * @param version of the message: Transfer-Encoding is not defined for HTTP/1.0
 */
export function readFraming(raw: readonly string[], version: string): FramingResult {
  let length: string | null = null;
  let chunked = false;
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i] ?? '';
    const value = raw[i + 1] ?? '';
    if (isNamed(name, 'content-length')) {
      if (length !== null) return { ok: false, detail: 'there are two Content-Length fields' };
      // A leading zero makes some readers count in octal.
      if (!/^(?:0|[1-9]\d{0,14})$/.test(value)) return { ok: false, detail: 'Content-Length is not a plain number' };
      length = value;
    } else if (isNamed(name, 'transfer-encoding')) {
      if (chunked) return { ok: false, detail: 'there are two Transfer-Encoding fields' };
      if (value.toLowerCase() !== 'chunked') return { ok: false, detail: 'Transfer-Encoding is not exactly "chunked"' };
      if (version !== '1.1') return { ok: false, detail: 'Transfer-Encoding needs HTTP/1.1' };
      chunked = true;
    }
  }
  if (chunked && length !== null) return { ok: false, detail: 'both Content-Length and Transfer-Encoding are there' };
  if (chunked) return { ok: true, framing: { kind: 'chunked' } };
  return { ok: true, framing: length === null ? { kind: 'none' } : { kind: 'length', length } };
}

/** The port that a Host field of plain HTTP leaves out. */
export const HTTP_PORT = 80;

/** An authority as a Host field or :authority writes it. */
export function hostOf({ host, port, kind, text }: Authority, defaultPort: number): string {
  if (port !== defaultPort) return text;
  return kind === 'ipv6' ? `[${host}]` : host;
}

/**
 * The fields of the request towards the origin: Host from the URL, framing as read, Via added.
 * @param host the authority as the Host field writes it (without the default port)
 */
export function requestFields(
  raw: readonly string[],
  host: string,
  framing: Framing,
  upgrade: string | null,
  method: string,
): string[] {
  const fields = ['Host', host, ...endToEnd(raw), 'Via', VIA];
  if (framing.kind === 'length') fields.push('Content-Length', framing.length);
  // Where a body is to be expected and there is none, that is said; Node would frame an empty one itself.
  if (framing.kind === 'none' && !BODILESS.has(method)) fields.push('Content-Length', '0');
  if (framing.kind === 'chunked') fields.push('Transfer-Encoding', 'chunked');
  if (upgrade !== null) fields.push('Connection', 'Upgrade', 'Upgrade', upgrade);
  return fields;
}

/** The fields of the response towards the client. A chunked or close-delimited body is framed by the server. */
export function responseFields(raw: readonly string[], framing: Framing): string[] {
  const fields = [...endToEnd(raw), 'Via', VIA];
  if (framing.kind === 'length') fields.push('Content-Length', framing.length);
  return fields;
}
