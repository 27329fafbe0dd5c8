// A second reader of HTTP/1 requests, written from the grammar of RFC 9112 and RFC 9110 and from nothing else: it takes what the
// grammar generates and stops at the first byte that it does not. Slow, whole and plain on purpose.

export interface Reading {
  readonly method: string;
  readonly target: string;
  readonly version: string;
  /** Names in lower case, values without surrounding white space. */
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly body: string;
  /** False where the bytes end within the body. */
  readonly complete: boolean;
  /** Offset of the byte behind the head, and behind the request. */
  readonly headEnd: number;
  readonly end: number;
}

const TCHAR = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]";
// RFC 9112 §3: a recipient may take several spaces for one. llhttp does, and what is passed on has one again.
const REQUEST_LINE = new RegExp(`^(${TCHAR}+) +([\\x21-\\x7e]+) +(HTTP/\\d\\.\\d)$`);
// RFC 9110 §5.5: VCHAR, obs-text, and between them SP and HTAB. No obs-fold: RFC 9112 §5.2 lets a proxy refuse it.
const FIELD = new RegExp(
  `^(${TCHAR}+):[ \\t]*((?:[\\x21-\\x7e\\x80-\\xff](?:[\\t \\x21-\\x7e\\x80-\\xff]*[\\x21-\\x7e\\x80-\\xff])?)?)[ \\t]*$`,
);
// RFC 9112 §7.1.1: what stands in an extension is not looked at; the proxy passes none on.
const CHUNK = /^([0-9A-Fa-f]{1,15})(?:[ \t]*;[^\r\n]*)?$/;

export function valuesOf(fields: Reading['fields'], name: string): string[] {
  return fields.filter((field) => field[0] === name).map((field) => field[1]);
}

/** Lines up to the empty one; null where a line is malformed or the end is missing. */
function readFields(text: string, from: number): { fields: [string, string][]; end: number } | null {
  const fields: [string, string][] = [];
  let at = from;
  for (;;) {
    const end = text.indexOf('\r\n', at);
    if (end < 0) return null;
    if (end === at) return { fields, end: at + 2 };
    const match = FIELD.exec(text.slice(at, end));
    if (match === null) return null;
    fields.push([match[1]!.toLowerCase(), match[2]!]);
    at = end + 2;
  }
}

type Body = { readonly body: string; readonly end: number; readonly complete: boolean };

/** A chunk that is malformed ends the reading, as its absence does: the head before it may have been let through by then. */
function readChunks(text: string, from: number): Body {
  let body = '';
  let at = from;
  for (;;) {
    const line = text.indexOf('\r\n', at);
    if (line < 0) return { body, end: text.length, complete: false };
    const match = CHUNK.exec(text.slice(at, line));
    if (match === null) return { body, end: text.length, complete: false };
    const size = Number.parseInt(match[1]!, 16);
    const start = line + 2;
    if (size === 0) {
      const trailer = readFields(text, start);
      if (trailer !== null) return { body, end: trailer.end, complete: true };
      return { body, end: text.length, complete: false };
    }
    body += text.slice(start, start + size);
    if (start + size + 2 > text.length) return { body, end: text.length, complete: false };
    if (text.slice(start + size, start + size + 2) !== '\r\n') return { body, end: text.length, complete: false };
    at = start + size + 2;
  }
}

/** RFC 9112 §6.3, with everything that two readers could take differently left out. Null: not to be framed. */
function readBody(text: string, from: number, version: string, fields: Reading['fields']): Body | null {
  const lengths = valuesOf(fields, 'content-length');
  const codings = valuesOf(fields, 'transfer-encoding');
  if (codings.length > 0) {
    if (version === 'HTTP/1.0' || lengths.length > 0 || codings.length > 1) return null;
    return codings[0]!.toLowerCase() === 'chunked' ? readChunks(text, from) : null;
  }
  if (lengths.length === 0) return { body: '', end: from, complete: true };
  if (lengths.length > 1 || !/^\d{1,15}$/.test(lengths[0]!)) return null;
  const end = from + Number(lengths[0]);
  return { body: text.slice(from, end), end: Math.min(end, text.length), complete: end <= text.length };
}

/** The request that begins at `from`; null where the bytes there are not (yet) the head of one. */
export function readRequest(text: string, from: number): Reading | null {
  let at = from;
  // RFC 9112 §2.2: empty lines before a request-line are passed over. llhttp passes over bare CR and LF there too, which is
  // more than the grammar gives, but there is nothing that they could mean.
  while (text[at] === '\r' || text[at] === '\n') at += 1;
  const lineEnd = text.indexOf('\r\n', at);
  if (lineEnd < 0) return null;
  const match = REQUEST_LINE.exec(text.slice(at, lineEnd));
  if (match === null) return null;
  const [, method = '', target = '', version = ''] = match;
  const head = readFields(text, lineEnd + 2);
  if (head === null) return null;
  const read = { method, target, version, fields: head.fields, headEnd: head.end };
  // RFC 9110 §9.3.6: what follows the head of a CONNECT is the tunnel's.
  if (method === 'CONNECT') return { ...read, body: '', complete: true, end: head.end };
  const body = readBody(text, head.end, version, head.fields);
  return body === null ? null : { ...read, ...body };
}

/** Every request in the bytes, up to the first CONNECT or the first byte that is none. */
export function readRequests(text: string): Reading[] {
  const found: Reading[] = [];
  for (let at = 0; ; ) {
    const reading = readRequest(text, at);
    if (reading === null) return found;
    found.push(reading);
    if (!reading.complete || reading.method === 'CONNECT') return found;
    at = reading.end;
  }
}

export interface Answer {
  readonly version: string;
  readonly status: number;
  readonly reason: string;
  readonly fields: Reading['fields'];
  readonly body: string;
  readonly complete: boolean;
  readonly end: number;
}

// RFC 9112 §4: the phrase may be empty, but the space before it is there. Servers leave that out too; it cannot mean anything else.
const STATUS_LINE = /^(HTTP\/1\.[01]) ([1-9]\d\d)(?: ((?:[\t \x21-\x7e\x80-\xff])*))?$/;

/**
 * The response that begins at `from`; null where the bytes there are not (yet) the head of one.
 * @param closed whether the far end has said its end behind the bytes: it completes a body that has no other end
 */
export function readAnswer(text: string, from: number, method: string, closed: boolean): Answer | null {
  const lineEnd = text.indexOf('\r\n', from);
  if (lineEnd < 0) return null;
  const match = STATUS_LINE.exec(text.slice(from, lineEnd));
  if (match === null) return null;
  const [, version = '', digits = '', reason = ''] = match;
  const head = readFields(text, lineEnd + 2);
  if (head === null) return null;
  const status = Number(digits);
  const read = { version, status, reason, fields: head.fields };
  if (status < 200) return { ...read, body: '', complete: true, end: head.end };
  // RFC 9112 §6.3: these have no body, whatever their fields say; the fields must make sense all the same.
  const bodiless = method === 'HEAD' || status === 204 || status === 304;
  const body = readBody(bodiless ? text.slice(0, head.end) : text, head.end, version, head.fields);
  if (body === null) return null;
  if (bodiless) return { ...read, body: '', complete: true, end: head.end };
  const framed = ['content-length', 'transfer-encoding'].some((name) => valuesOf(head.fields, name).length > 0);
  if (framed) return { ...read, ...body };
  return { ...read, body: text.slice(head.end), complete: closed, end: text.length };
}

export interface Place {
  /** Lower case, without a trailing dot; IPv6 in brackets. */
  readonly host: string;
  readonly port: number;
  /** Null for CONNECT. */
  readonly path: string | null;
}

const HOST = '(\\[[0-9A-Fa-f:.]{2,45}\\]|[0-9A-Za-z_.-]{1,254})';
const AUTHORITY = new RegExp(`^${HOST}:([1-9]\\d{0,4})$`);
const ABSOLUTE = new RegExp(`^http://${HOST}(?::([1-9]\\d{0,4}))?((?:[/?].*)?)$`, 'i');

/** Where a request goes (RFC 9112 §3.2.2, §3.2.3); null for other forms of target. */
export function placeOf({ method, target }: Reading): Place | null {
  const match = (method === 'CONNECT' ? AUTHORITY : ABSOLUTE).exec(target);
  if (match === null) return null;
  const [, host = '', port, rest = ''] = match;
  const path = rest.startsWith('/') ? rest : `/${rest}`;
  return {
    host: host.toLowerCase().replace(/\.$/, ''),
    port: Number(port ?? 80),
    path: method === 'CONNECT' ? null : path,
  };
}
