// host:port of a request: ONE strict reader, and the canonical value that is matched, resolved, dialled, compared with
// SNI and logged. No second parser may see the raw text: `new URL`, split(':') and parseInt all repair what they read,
// and what they repair differs from what a resolver reads. RFC 9110 §7.2 and §9.3.6, RFC 9112 §3.2, RFC 1035 §2.3.4.
//
// Names: ASCII letters, digits, `-`, `_`, `.`; labels of 1 to 63; 253 in all; one trailing dot is stripped. DNS carries
// labels that begin or end with a hyphen, so they pass, but a host must not begin with one: programs that take the host
// as an argument read it as an option. A last label that inet_aton reads as a number makes the host an address spelling.
import { formatIp, parseIp } from './ip.ts';

export interface Authority {
  /** Canonical: lower case, one trailing dot stripped, IPv6 without brackets in RFC 5952 form. */
  readonly host: string;
  readonly port: number;
  readonly kind: 'name' | 'ipv4' | 'ipv6';
  /** host:port, or [v6]:port. */
  readonly text: string;
}

export type AuthorityResult =
  | { readonly ok: true; readonly authority: Authority }
  | { readonly ok: false; readonly problem: string };

export type HostResult =
  | { readonly ok: true; readonly host: string; readonly kind: Authority['kind'] }
  | { readonly ok: false; readonly problem: string };

export type HttpTarget =
  | { readonly ok: true; readonly authority: Authority; readonly path: string }
  | { readonly ok: false; readonly problem: string };

type Failure = { readonly ok: false; readonly problem: string };

const LABEL_LENGTH_MAX = 63;
const NAME_LENGTH_MAX = 253;
/** A name, its trailing dot, a colon and five digits. */
const AUTHORITY_LENGTH_MAX = NAME_LENGTH_MAX + 7;

const ALLOWED = 'a host has only ASCII letters, digits, "-", "_" and "."';

function fail(problem: string): Failure {
  return { ok: false, problem };
}

/** A character for a sentence that a person reads: control and non-ASCII characters never appear raw. */
function named(code: number): string {
  if (code > 0x20 && code < 0x7f) return `character "${String.fromCharCode(code)}"`;
  if (code === 0x20) return 'space';
  const hex = code.toString(16).toUpperCase();
  return code > 0x7f ? `non-ASCII character U+${hex.padStart(4, '0')}` : `control character 0x${hex.padStart(2, '0')}`;
}

const ADVICE: Readonly<Record<string, string>> = {
  '@': 'user information is not part of an authority',
  '%': 'percent-encoding is not decoded',
  '*': 'a pattern is not a host',
  '/': 'an authority has no path',
  '?': 'an authority has no query',
  '#': 'an authority has no fragment',
  '[': 'brackets hold an IPv6 address only',
  ']': 'brackets hold an IPv6 address only',
};

function badCharacter(raw: string, at: number): Failure {
  const code = raw.charCodeAt(at);
  const advice = ADVICE[String.fromCharCode(code)];
  return fail(`${named(code)} at position ${at + 1}: ${advice ?? ALLOWED}`);
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}

/** Letters, digits, `-`, `_`. */
function isLabelCode(code: number): boolean {
  const lower = code | 32;
  return (lower >= 97 && lower <= 122) || isDigit(code) || code === 45 || code === 95;
}

/** True for a label that inet_aton reads as a number: all digits, or 0x and hex digits (none of them counts as 0). */
function isNumeric(label: string): boolean {
  if (label.startsWith('0x')) {
    for (let at = 2; at < label.length; at += 1) {
      const code = label.charCodeAt(at);
      if (!isDigit(code) && !(code >= 97 && code <= 102)) return false;
    }
    return true;
  }
  for (let at = 0; at < label.length; at += 1) if (!isDigit(label.charCodeAt(at))) return false;
  return true;
}

/** Checks the characters and lengths of raw[start..end); null when a name (with at most one trailing dot) stands there. */
function checkName(raw: string, start: number, end: number): Failure | null {
  if (start === end) return fail(`the host is empty at position ${start + 1}`);
  let labelStart = start;
  for (let at = start; at <= end; at += 1) {
    const code = at === end ? 46 : raw.charCodeAt(at);
    if (code !== 46) {
      if (!isLabelCode(code)) return badCharacter(raw, at);
      continue;
    }
    if (at === labelStart) {
      if (at === end && at - start > 1) break;
      return fail(`empty label at position ${at + 1}: a host has no leading or doubled dot`);
    }
    if (at - labelStart > LABEL_LENGTH_MAX) {
      return fail(`the label at position ${labelStart + 1} has ${at - labelStart} characters; 63 are allowed`);
    }
    labelStart = at + 1;
  }
  if (raw.charCodeAt(start) === 45) {
    return fail(`character "-" at position ${start + 1}: a host does not begin with a hyphen`);
  }
  return null;
}

/** The name or dotted quad in raw[start..end), canonical. */
function readName(raw: string, start: number, end: number): HostResult {
  const bad = checkName(raw, start, end);
  if (bad !== null) return bad;
  const dotted = raw.charCodeAt(end - 1) === 46;
  const host = raw.slice(start, dotted ? end - 1 : end).toLowerCase();
  if (host.length > NAME_LENGTH_MAX) return fail(`the host has ${host.length} characters; 253 are allowed`);
  if (!isNumeric(host.slice(host.lastIndexOf('.') + 1))) return { ok: true, host, kind: 'name' };
  if (parseIp(host) === null || dotted) {
    return fail(
      `the host at position ${start + 1} ends in a number: an IPv4 address is four decimal numbers, 192.0.2.1`,
    );
  }
  return { ok: true, host, kind: 'ipv4' };
}

/** The IPv6 address in raw[start..end), without brackets. */
function readIpv6(raw: string, start: number, end: number): HostResult {
  const text = raw.slice(start, end);
  if (text.includes('%'))
    return fail(`a zone id at position ${raw.indexOf('%', start) + 1}: no zone is reached from here`);
  const ip = parseIp(text);
  if (ip === null || ip.family === 4) {
    return fail(`what stands at position ${start + 1} is not an IPv6 address such as 2001:db8::1`);
  }
  return { ok: true, host: formatIp(ip), kind: 'ipv6' };
}

/** The port in raw[start..end): one to five digits, no sign, no leading zero, 1 to 65535. */
function readPort(raw: string, start: number, end: number): number | Failure {
  if (start >= end) return fail(`the port is empty at position ${start + 1}: write it as digits, for example 443`);
  let port = 0;
  for (let at = start; at < end; at += 1) {
    const code = raw.charCodeAt(at);
    if (code === 58 && raw.charCodeAt(0) !== 91) {
      return fail(`a second ":" at position ${at + 1}: an IPv6 address stands in brackets, [2001:db8::1]:443`);
    }
    if (!isDigit(code)) return fail(`${named(code)} at position ${at + 1}: a port has only digits`);
    if (at - start < 6) port = port * 10 + (code - 48);
  }
  if (raw.charCodeAt(start) === 48) return fail(`the port begins with 0 at position ${start + 1}: write 1 to 65535`);
  if (port > 65_535 || end - start > 5) return fail(`the port at position ${start + 1} is above 65535`);
  return port;
}

/** A host as URLs, Host fields and policy files write it: an IPv6 address in brackets. */
export function hostText(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}

/** host:port, or [v6]:port. */
export function authorityText(host: string, port: number): string {
  return `${hostText(host)}:${port}`;
}

function withPort(host: string, kind: Authority['kind'], port: number): AuthorityResult {
  return { ok: true, authority: { host, port, kind, text: authorityText(host, port) } };
}

/** Reads an authority from raw[0..]; `portDefault` stands in where no ":" follows the host, 0 makes the port required. */
function readAuthority(raw: string, portDefault: number): AuthorityResult {
  if (raw.length > AUTHORITY_LENGTH_MAX) {
    return fail(`the authority has ${raw.length} characters; ${AUTHORITY_LENGTH_MAX} are allowed`);
  }
  const bracketed = raw.charCodeAt(0) === 91;
  let hostEnd: number;
  let host: HostResult;
  if (bracketed) {
    const close = raw.indexOf(']');
    if (close < 0) return fail('the bracket at position 1 is not closed');
    hostEnd = close + 1;
    host = readIpv6(raw, 1, close);
  } else {
    const colon = raw.indexOf(':');
    hostEnd = colon < 0 ? raw.length : colon;
    host = readName(raw, 0, hostEnd);
  }
  if (!host.ok) return host;
  if (hostEnd === raw.length) {
    if (portDefault === 0) return fail(`the port is missing at position ${hostEnd + 1}: write host:port`);
    return withPort(host.host, host.kind, portDefault);
  }
  if (raw.charCodeAt(hostEnd) !== 58) return badCharacter(raw, hostEnd);
  const port = readPort(raw, hostEnd + 1, raw.length);
  return typeof port === 'number' ? withPort(host.host, host.kind, port) : port;
}

/**
 * Reads the request-target of CONNECT, `host ":" port` (RFC 9112 §3.2.3). The port is required: there is no default.
 * @returns the canonical authority, or a sentence that says what is wrong, where (counted from 1), and what is allowed
 */
export function parseAuthority(raw: string): AuthorityResult {
  return readAuthority(raw, 0);
}

/** The authority of a record. Its host is canonical, so it reads as itself; null for what no proxy has written. */
export function recordedAuthority(host: string, port: number): Authority | null {
  const read = readAuthority(authorityText(host, port), 0);
  return read.ok && read.authority.host === host ? read.authority : null;
}

/** Reads a host alone (configuration, SNI): a name, a dotted quad, or an IPv6 address with or without brackets. */
export function parseHost(raw: string): HostResult {
  if (raw.length > AUTHORITY_LENGTH_MAX) {
    return fail(`the host has ${raw.length} characters; ${NAME_LENGTH_MAX} are allowed`);
  }
  if (raw.charCodeAt(0) === 91) {
    const close = raw.indexOf(']');
    if (close < 0) return fail('the bracket at position 1 is not closed');
    return close === raw.length - 1 ? readIpv6(raw, 1, close) : badCharacter(raw, close + 1);
  }
  const colon = raw.indexOf(':');
  if (colon >= 0 && raw.indexOf(':', colon + 1) >= 0) return readIpv6(raw, 0, raw.length);
  return readName(raw, 0, raw.length);
}

const SCHEME = 'http://';
const TLS_SCHEME = 'https://';

/** Why a target is not absolute-form http, in words for the person whose client sent it. */
function schemeProblem(raw: string): string {
  if (raw === '') return 'the request-target is empty: send an absolute http:// URL';
  if (raw === '*') return 'the asterisk-form is not for a proxy: send an absolute http:// URL';
  if (raw.startsWith('/')) {
    return 'the request-target is a path, as for an origin server: set this address as the proxy (http_proxy), not as the site';
  }
  const lower = raw.slice(0, 16).toLowerCase();
  if (lower.startsWith('https:')) return 'https:// is not forwarded in the clear: send CONNECT host:443';
  if (lower.startsWith('http:')) return '"http:" is not followed by "//" and a host at position 6';
  if (raw.includes('://')) return 'only the scheme http is forwarded: send an absolute http:// URL';
  return 'the request-target has no scheme at position 1: send an absolute http:// URL';
}

/** The first character that a path must not have; -1 when all may stand. */
function badPathAt(raw: string, start: number): number {
  for (let at = start; at < raw.length; at += 1) {
    const code = raw.charCodeAt(at);
    if (code < 0x21 || code > 0x7e || code === 35 || code === 92) return at;
  }
  return -1;
}

/**
 * Reads the request-target of a forwarded request, `http://host[:port][/path][?query]` (RFC 9112 §3.2.2). The path is the
 * raw rest, so that the bytes judged are the bytes sent: `//a` and `%2e` stay as they are. The port is 80 where none stands.
 */
export function parseHttpTarget(raw: string): HttpTarget {
  if (raw.slice(0, SCHEME.length).toLowerCase() !== SCHEME) return fail(schemeProblem(raw));
  return readUrl(raw, SCHEME, 80);
}

/** Reads an https:// URL that somebody asks about, in the same way; the port is 443 where none stands. */
export function parseHttpsTarget(raw: string): HttpTarget {
  if (raw.slice(0, TLS_SCHEME.length).toLowerCase() !== TLS_SCHEME) return fail('it does not begin with https://');
  return readUrl(raw, TLS_SCHEME, 443);
}

function readUrl(raw: string, scheme: string, port: number): HttpTarget {
  let end = scheme.length;
  while (end < raw.length && raw.charCodeAt(end) !== 47 && raw.charCodeAt(end) !== 63) {
    if (raw.charCodeAt(end) === 64)
      return fail(`character "@" at position ${end + 1}: user information is not accepted`);
    end += 1;
  }
  const bad = badPathAt(raw, scheme.length);
  if (bad >= 0) {
    return fail(`${named(raw.charCodeAt(bad))} at position ${bad + 1}: a URL has visible ASCII without "#" and "\\"`);
  }
  const result = readAuthority(raw.slice(scheme.length, end), port);
  if (!result.ok) return fail(`after "${scheme}": ${result.problem}`);
  const rest = raw.slice(end);
  return { ok: true, authority: result.authority, path: rest.startsWith('/') ? rest : `/${rest}` };
}
