// Header fields of HTTP/2 messages on their way through (RFC 9113 §8.2, §8.3). Node hands them over with doubles joined or dropped, so
// what is sent is built from the raw list that was judged. Peers choose the names, so objects of them inherit nothing.
import type http2 from 'node:http2';
import { ENDS_HERE } from '../fields.ts';

const VIA = '2.0 sallyport';
// RFC 9113 §8.2.2: what is of a connection has no place in HTTP/2. `host` is said by :authority.
const NOT_FORWARDED = new Set<string>([...ENDS_HERE, 'http2-settings']);

/** The fields without the pseudo-fields, as names and values in turn. */
export function plainFields(raw: readonly string[]): string[] {
  const fields: string[] = [];
  for (let i = 0; i + 1 < raw.length; i += 2) {
    if (!raw[i]?.startsWith(':')) fields.push(raw[i] ?? '', raw[i + 1] ?? '');
  }
  return fields;
}

/** The request for the origin; a field that came twice is a list. */
export function requestHeaders(
  pseudo: { readonly method: string; readonly path: string; readonly authority: string },
  fields: readonly string[],
): http2.OutgoingHttpHeaders {
  const headers = bare();
  headers[':method'] = pseudo.method;
  headers[':scheme'] = 'https';
  headers[':authority'] = pseudo.authority;
  headers[':path'] = pseudo.path;
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = fields[i] ?? '';
    const value = fields[i + 1] ?? '';
    if (NOT_FORWARDED.has(name) || (name === 'te' && value !== 'trailers')) continue;
    const before = headers[name];
    headers[name] = before === undefined ? value : [...(Array.isArray(before) ? before : [`${before}`]), value];
  }
  const via = headers['via'];
  headers['via'] = via === undefined ? VIA : `${Array.isArray(via) ? via.join(', ') : via}, ${VIA}`;
  return headers;
}

/** The response for the client. */
export function responseHeaders(answer: http2.IncomingHttpHeaders): http2.OutgoingHttpHeaders {
  const headers = bare();
  for (const [name, value] of Object.entries(answer)) if (!NOT_FORWARDED.has(name)) headers[name] = value;
  headers['via'] = headers['via'] === undefined ? VIA : `${headers['via']}, ${VIA}`;
  return headers;
}

/** Without a prototype: `constructor` and `__proto__` are names of fields like others. */
function bare(): http2.OutgoingHttpHeaders {
  return Object.create(null) as http2.OutgoingHttpHeaders;
}
