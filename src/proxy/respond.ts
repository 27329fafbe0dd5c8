// Turns a refusal into bytes. One mapper for CONNECT and plain HTTP: status line with the cause (Go clients show only the reason
// phrase, curl and git only the number), Proxy-Status (RFC 9209), and a body as text or JSON by Accept.
// Untrusted text reaches headers only as visible ASCII, so that no answer can be split.
import { type RequestErrorCode, requestError } from '../errors.ts';
import { authorityText } from '../policy/authority.ts';
import type { PolicyRequest } from '../policy/decide.ts';
import type { Nearest } from '../policy/record.ts';
import { linesText } from './field-lines.ts';

/** Who to ask, from `help:` of the config; {host} {port} {pipeline} {job} are filled in. */
export interface Help {
  readonly owner: string | null;
  readonly contact: string | null;
  readonly requestUrl: string | null;
}

export interface Refusal {
  readonly code: RequestErrorCode;
  readonly id: string;
  readonly host?: string | null;
  readonly port?: number | null;
  /** How it was asked for; a CONNECT where that is not said. */
  readonly kind?: PolicyRequest['kind'];
  readonly rule?: string | null;
  readonly nearest?: Nearest | null;
  /** What exactly, for example the place in a malformed authority or the class of an address. */
  readonly detail?: string | null;
  readonly accept?: string | undefined;
  readonly help?: Help | undefined;
  readonly pipeline?: string | undefined;
  readonly job?: string | undefined;
  /** Whether the connection stays open behind it. */
  readonly keep?: boolean;
  /** Instead of the registry's: 401 where the proxy speaks as an origin. */
  readonly status?: number;
}

export interface Response {
  readonly status: number;
  readonly reason: string;
  /** Flat list of names and values. */
  readonly headers: readonly string[];
  readonly body: string;
}

/** Builds the whole response of a refusal; it closes the connection unless `keep` says otherwise. */
export function refusalResponse(refusal: Refusal): Response {
  const spec = requestError(refusal.code);
  const status = refusal.status ?? spec.status ?? 500;
  const { fix } = refusal.nearest ?? {};
  const hint = fix ? `Ask for this line under allow: ${fix}` : fill(spec.hint, refusal);
  const json = refusal.accept !== undefined && /\bapplication\/(?:[\w.+-]+\+)?json\b/i.test(refusal.accept);
  const body = json ? jsonBody(refusal, spec.title, hint) : textBody(refusal, spec.title, hint);
  const headers = [
    'Content-Type',
    json ? 'application/json' : 'text/plain; charset=utf-8',
    'Content-Length',
    String(Buffer.byteLength(body)),
    ...(refusal.keep === true ? [] : ['Connection', 'close']),
    'Cache-Control',
    'no-store',
    'X-Content-Type-Options',
    'nosniff',
    'Proxy-Status',
    proxyStatus(refusal.code, spec.proxyStatus),
    'Sallyport-Code',
    refusal.code,
    'Sallyport-Hint',
    ascii(hint),
    'Sallyport-Request-Id',
    refusal.id,
  ];
  if (status === 407) headers.push('Proxy-Authenticate', 'Basic realm="sallyport", charset="UTF-8"');
  if (status === 401) headers.push('WWW-Authenticate', 'Bearer realm="sallyport"');
  if (refusal.code === 'method-not-allowed')
    headers.push('Allow', 'CONNECT, GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS');
  if (refusal.code === 'job-method') headers.push('Allow', 'GET, POST, DELETE');
  return { status, reason: refusal.code, headers, body };
}

/** The response as one string for a raw socket (CONNECT, and requests that could not be parsed). */
export function serialise(response: Response): string {
  return `HTTP/1.1 ${response.status} ${response.reason}\r\n${linesText(response.headers)}\r\n${response.body}`;
}

/** RFC 9209 §2: one member, our name, the error type, and the code as details. */
export function proxyStatus(code: string, type: string | undefined): string {
  return type ? `sallyport; error=${type}; details="${code}"` : `sallyport; details="${code}"`;
}

function jsonBody(refusal: Refusal, message: string, hint: string): string {
  const { code, detail, host, port, rule, nearest, id } = refusal;
  const facts = {
    code,
    message,
    ...(detail ? { detail } : {}),
    ...(host ? { host, port: port ?? null } : {}),
    ...(rule ? { rule } : {}),
    ...(nearest ? { nearest } : {}),
    hint,
    ...Object.fromEntries(helpFacts(refusal)),
    request_id: id,
  };
  return `${JSON.stringify(facts)}\n`;
}

function textBody(refusal: Refusal, message: string, hint: string): string {
  const { code, detail, host, port, rule, nearest, id } = refusal;
  let text = `sallyport: ${code}${host && port ? ` ${authorityText(host, port)}` : ''}\n${message}\n`;
  if (detail) text += `${detail}\n`;
  if (rule) text += `rule: ${rule}\n`;
  if (nearest) text += `nearest: ${nearest.pattern}: ${nearest.why}\n`;
  text += `hint: ${hint}\n`;
  for (const [name, fact] of helpFacts(refusal)) text += `${name}: ${fact}\n`;
  return `${text}request id: ${id}\n`;
}

function helpFacts(refusal: Refusal): [name: string, fact: string][] {
  const facts: [string, string][] = [];
  const { owner, contact, requestUrl } = refusal.help ?? {};
  if (owner) facts.push(['owner', fill(owner, refusal)]);
  if (contact) facts.push(['contact', fill(contact, refusal)]);
  if (requestUrl) facts.push(['request_url', fill(requestUrl, refusal, encodeURIComponent)]);
  return facts;
}

/** Puts what is known in the places of a text; braces around anything else stay. No expression: it is made for each refusal. */
function fill(text: string, refusal: Refusal, encode?: (value: string) => string): string {
  let filled = '';
  let from = 0;
  for (let at = text.indexOf('{'); at >= 0; at = text.indexOf('{', at + 1)) {
    const end = text.indexOf('}', at);
    const value = placed(text.slice(at + 1, end), refusal);
    if (value === null) continue;
    filled += text.slice(from, at) + (encode ? encode(value) : value);
    from = end + 1;
  }
  return filled + text.slice(from);
}

function placed(place: string, refusal: Refusal): string | null {
  switch (place) {
    case 'host':
      return refusal.host ?? '';
    case 'port':
      return String(refusal.port ?? '');
    case 'asked':
      return askedText(refusal);
    case 'pipeline':
      return refusal.pipeline ?? '';
    case 'job':
      return refusal.job ?? '';
    default:
      return null;
  }
}

/** What `sallyport explain` is to be given for the same answer. */
function askedText({ host, port, kind }: Refusal): string {
  const authority = host && port ? authorityText(host, port) : '';
  return kind === 'forward' ? `http://${authority}/` : authority;
}

/** Visible ASCII and spaces only: a header value can then carry neither a line end nor a terminal escape. */
function ascii(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?');
}
