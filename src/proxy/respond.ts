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
  const hint = fill(
    refusal.nearest?.fix ? `Ask for this line under allow: ${refusal.nearest.fix}` : spec.hint,
    refusal,
  );
  const facts = {
    code: refusal.code,
    message: spec.title,
    ...(refusal.detail ? { detail: refusal.detail } : {}),
    ...(refusal.host ? { host: refusal.host, port: refusal.port ?? null } : {}),
    ...(refusal.rule ? { rule: refusal.rule } : {}),
    ...(refusal.nearest ? { nearest: refusal.nearest } : {}),
    hint,
    ...helpFacts(refusal),
    request_id: refusal.id,
  };
  const json = refusal.accept !== undefined && /\bapplication\/(?:[\w.+-]+\+)?json\b/i.test(refusal.accept);
  const body = json ? `${JSON.stringify(facts)}\n` : textBody(facts, refusal);
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

function helpFacts(refusal: Refusal): Record<string, string> {
  const help = refusal.help;
  if (!help) return {};
  const facts: Record<string, string> = {};
  if (help.owner) facts['owner'] = fill(help.owner, refusal);
  if (help.contact) facts['contact'] = fill(help.contact, refusal);
  if (help.requestUrl) facts['request_url'] = fill(help.requestUrl, refusal, encodeURIComponent);
  return facts;
}

function textBody(facts: Record<string, unknown>, refusal: Refusal): string {
  const at = refusal.host && refusal.port ? ` ${authorityText(refusal.host, refusal.port)}` : '';
  const lines = [`sallyport: ${facts['code']}${at}`, String(facts['message'])];
  if (facts['detail']) lines.push(String(facts['detail']));
  if (refusal.rule) lines.push(`rule: ${refusal.rule}`);
  if (refusal.nearest) lines.push(`nearest: ${refusal.nearest.pattern}: ${refusal.nearest.why}`);
  lines.push(`hint: ${facts['hint']}`);
  for (const key of ['owner', 'contact', 'request_url']) if (facts[key]) lines.push(`${key}: ${facts[key]}`);
  lines.push(`request id: ${refusal.id}`);
  return `${lines.join('\n')}\n`;
}

function fill(text: string, refusal: Refusal, encode: (value: string) => string = (value) => value): string {
  if (!text.includes('{')) return text;
  const values: Record<string, string> = {
    host: refusal.host ?? '',
    port: refusal.port === null || refusal.port === undefined ? '' : String(refusal.port),
    asked: askedText(refusal),
    pipeline: refusal.pipeline ?? '',
    job: refusal.job ?? '',
  };
  return text.replace(/\{(host|port|asked|pipeline|job)\}/g, (_, key: string) => encode(values[key] ?? ''));
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
