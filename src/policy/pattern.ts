// What may stand in the policy as a host: an exact name, `*.domain`, or an IP address. Everything else is refused with
// the corrected spelling, because a pattern that means something else than it looks like is an open proxy that looks
// closed. Label boundaries only: `*.d` is one or more labels below d, and never d itself. Public suffixes come from
// the Public Suffix List (tldts), whose private section marks names under which anyone may own a host.
import { parse as parseSuffix } from 'tldts';
import { hostText, parseHost } from './authority.ts';
import { isMapped, parseIp } from './ip.ts';

export interface Pattern {
  readonly kind: 'exact' | 'wildcard' | 'address';
  /** Canonical host, without `*.`; an IPv6 address without brackets. */
  readonly host: string;
  /** As it is shown: `*.d`, `d`, `[::1]`. */
  readonly text: string;
}

type Refusal = { readonly ok: false; readonly problem: string; readonly suggestion: string | null };

export type PatternResult = { readonly ok: true; readonly pattern: Pattern } | Refusal;

export type RuleTextResult = { readonly ok: true; readonly pattern: Pattern; readonly port: number | null } | Refusal;

/** Longer texts are not repaired, only refused. */
const REPAIR_LENGTH_MAX = 1_024;

const PORT_PROBLEM = 'a port is a whole number from 1 to 65535, without leading zeros';

/** extractHostname off: the name has been parsed already, and a second parser must not repair it. */
const ICANN_ONLY = { allowPrivateDomains: false, extractHostname: false, validateHostname: false, detectIp: false };
const WITH_PRIVATE = { ...ICANN_ONLY, allowPrivateDomains: true };

/** True where the host is a public suffix of the ICANN section: com, co.uk. */
function isPublicSuffix(host: string): boolean {
  const found = parseSuffix(host, ICANN_ONLY);
  return found.isIcann === true && found.publicSuffix === host;
}

/**
 * True where anyone may own a name under the pattern (or a path of it): its host is a suffix of the list's private
 * section, such as s3.amazonaws.com or github.io. A broader wildcard over such a suffix (`*.amazonaws.com`) is not seen.
 */
export function isMultiTenant(pattern: Pattern): boolean {
  if (pattern.kind === 'address') return false;
  const found = parseSuffix(pattern.host, WITH_PRIVATE);
  return found.isPrivate === true && found.publicSuffix === pattern.host;
}

/** The domain that somebody registered, of a host name: amazonaws.com of s3.amazonaws.com; null for a public suffix. */
export function registrableDomain(host: string): string | null {
  return parseSuffix(host, ICANN_ONLY).domain;
}

type Strict = { readonly pattern: Pattern } | { readonly problem: string };

function strictWildcard(rest: string): Strict {
  if (rest.includes('*')) return { problem: '"*" stands only once, as the first label: *.example.com' };
  const host = parseHost(rest);
  if (!host.ok) return { problem: host.problem };
  if (host.kind !== 'name') return { problem: 'an IP address has no names below it' };
  if (isPublicSuffix(host.host)) {
    return { problem: `*.${host.host} covers a whole public suffix: name the domain below it` };
  }
  if (host.host === 'localhost' || host.host.endsWith('.localhost')) {
    return { problem: 'names below localhost are this machine (RFC 6761): list each one exactly' };
  }
  return { pattern: { kind: 'wildcard', host: host.host, text: `*.${host.host}` } };
}

function strictExact(raw: string): Strict {
  const host = parseHost(raw);
  if (!host.ok) return { problem: host.problem };
  if (host.kind === 'ipv6') {
    const ip = parseIp(host.host);
    if (ip !== null && isMapped(ip.groups)) return { problem: 'write a v4-mapped address as the IPv4 address' };
    return { pattern: { kind: 'address', host: host.host, text: hostText(host.host) } };
  }
  if (host.kind === 'ipv4') return { pattern: { kind: 'address', host: host.host, text: host.host } };
  if (isPublicSuffix(host.host))
    return { problem: `${host.host} is a public suffix, not a host: name the domain below it` };
  return { pattern: { kind: 'exact', host: host.host, text: host.host } };
}

/** True for `host:…` and `[v6]:…`; a bare IPv6 address has more than one colon. */
function hasPort(raw: string): boolean {
  const colon = raw.indexOf(':', raw.indexOf(']') + 1);
  return colon >= 0 && (raw.startsWith('[') || raw.lastIndexOf(':') === colon);
}

function strict(raw: string): Strict {
  if (raw === '') return { problem: 'the host is empty' };
  if (raw === '*') return { problem: '"*" would open the proxy to every host: list the hosts, or use mode: observe' };
  if (raw === '*.') return { problem: 'there is no domain after "*."' };
  if (raw.endsWith('.')) return { problem: 'a pattern has no trailing dot' };
  if (raw.includes('://')) return { problem: 'a pattern has no scheme: write the host alone' };
  if (raw.includes('/')) return { problem: 'a pattern has no path: write the host alone' };
  if (hasPort(raw)) return { problem: 'a pattern has no port: write the host alone' };
  if (raw.startsWith('*.')) return strictWildcard(raw.slice(2));
  if (raw.includes('*')) return { problem: '"*" stands only as the whole first label: *.example.com' };
  return strictExact(raw);
}

/** Cuts what people paste around a host (scheme, user, path, port, dots), and moves stars to the front. */
function stripped(raw: string): string {
  let text = raw.trim();
  const scheme = text.indexOf('://');
  if (scheme >= 0) text = text.slice(scheme + 3);
  for (const end of ['/', '?', '#', '\\']) {
    const at = text.indexOf(end);
    if (at >= 0) text = text.slice(0, at);
  }
  text = text.slice(text.lastIndexOf('@') + 1);
  const mapped = parseIp(text.startsWith('[') ? text.slice(1, text.indexOf(']')) : text);
  if (mapped?.family === 6 && isMapped(mapped.groups)) return text.slice(text.lastIndexOf(':') + 1).replace(']', '');
  while (text.endsWith('.')) text = text.slice(0, -1);
  return text;
}

function starsToFront(text: string): string {
  const star = text.lastIndexOf('*');
  if (star < 0) return text.startsWith('.') ? `*${text}` : text;
  const dot = text.indexOf('.', star);
  const tail = text.slice(star + 1);
  // `*example.com` is meant as `*.example.com`; `a.*.b` and `api*.b` as `*.b`.
  const rest = dot === star + 1 || star > 0 ? text.slice(dot < 0 ? text.length : dot + 1) : tail;
  return `*.${rest}`;
}

/** One to five digits without a leading zero, up to 65535; null for everything else. */
function portNumber(text: string): number | null {
  if (text === '' || text.length > 5 || text.startsWith('0')) return null;
  let port = 0;
  for (let at = 0; at < text.length; at += 1) {
    const digit = text.charCodeAt(at) - 48;
    if (digit < 0 || digit > 9) return null;
    port = port * 10 + digit;
  }
  return port <= 65_535 ? port : null;
}

/** The nearest spelling that is allowed; null where none is near. */
function repaired(raw: string, keepPort: boolean): string | null {
  if (raw.length > REPAIR_LENGTH_MAX) return null;
  const text = stripped(raw);
  const colon = hasPort(text) ? text.lastIndexOf(':') : text.length;
  const result = strict(starsToFront(stripped(text.slice(0, colon))));
  if (!('pattern' in result)) return null;
  const port = portNumber(text.slice(colon + 1));
  const suggestion = keepPort && port !== null ? `${result.pattern.text}:${port}` : result.pattern.text;
  return suggestion === raw ? null : suggestion;
}

/**
 * Reads a pattern. Upper case is made canonical; every other deviation is refused.
 * @returns the pattern, or a sentence and the corrected spelling (null where none is near)
 */
export function parsePattern(raw: string): PatternResult {
  const result = strict(raw);
  if ('pattern' in result) return { ok: true, pattern: result.pattern };
  return { ok: false, problem: result.problem, suggestion: repaired(raw, false) };
}

/**
 * Reads the string form of a rule: a pattern with an optional port, `*.acme.dev:8443`, `[::1]:443`.
 * @returns the pattern and the port (null where none stands), or a sentence and the corrected spelling
 */
export function parseRuleText(raw: string): RuleTextResult {
  const colon = raw.includes('/') || !hasPort(raw) ? -1 : raw.lastIndexOf(':');
  const result = strict(colon < 0 ? raw : raw.slice(0, colon));
  if (!('pattern' in result)) return { ok: false, problem: result.problem, suggestion: repaired(raw, true) };
  if (colon < 0) return { ok: true, pattern: result.pattern, port: null };
  const port = portNumber(raw.slice(colon + 1));
  if (port === null) return { ok: false, problem: PORT_PROBLEM, suggestion: repaired(raw, true) };
  return { ok: true, pattern: result.pattern, port };
}

/**
 * True where the pattern holds for a host in canonical spelling (an IPv6 address without brackets). For one pattern; a policy's
 * many stand in a trie.
 */
export function patternMatches(pattern: Pattern, host: string): boolean {
  return pattern.kind === 'wildcard' ? host.endsWith(`.${pattern.host}`) : host === pattern.host;
}
