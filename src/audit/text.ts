// Text that others wrote (targets, user agents, claimed names), made fit for one line of the audit log.
// The log is pure ASCII: whatever else a client sends is escaped, so that no terminal, pager or line splitter is fooled
// (log forging by CR LF, U+2028, bidi overrides) and one record is one line. Secrets are cut out before anything is cut off.

const PLAIN = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/;
const NOT_ASCII = /[\x7f-\uffff]/g;

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

/**
 * A JSON string literal of `text` in ASCII alone; at most `cap` characters of it, then `…[cut N]` with the number cut off.
 * Lone surrogates stay what they are (`\udXXX`).
 */
export function quote(text: string, cap: number): string {
  const kept = text.length > cap ? `${text.slice(0, cap)}…[cut ${text.length - cap}]` : text;
  if (PLAIN.test(kept)) return `"${kept}"`;
  return JSON.stringify(kept).replace(NOT_ASCII, escapeUnit);
}

const MAY_HOLD_SECRET = /@|%40|authorization|cookie|basic|bearer|negotiate|digest/i;
// Each expression is linear: its repetitions exclude the character that starts the next match.
const USERINFO = /\/\/[^/?#\\\s]*(?:@|%40)/gi;
const HEADER = /((?:authorization|cookie2?)["']?\s*(?:[:=]|%3a))[\s\S]*$/i;
const SCHEME = /\b(basic|bearer|negotiate|digest)\s+[^\s"',;]+/gi;
const CUT = '[redacted]';

/**
 * Takes credentials out of free text: the userinfo of URLs, the values of Authorization, Proxy-Authorization and Cookie
 * headers (up to the end of the text: a folded header has no certain end), and bare `Basic …`, `Bearer …` tokens.
 */
export function redact(text: string): string {
  if (!MAY_HOLD_SECRET.test(text)) return text;
  return text
    .replace(HEADER, (_match, name: string) => `${name} ${CUT}`)
    .replace(SCHEME, (_match, scheme: string) => `${scheme} ${CUT}`)
    .replace(USERINFO, `//${CUT}@`);
}

/**
 * Takes credentials out of a request-target that could not be parsed: userinfo with or without a scheme, also where the
 * password holds a slash, and the query, which carries the signatures of presigned URLs.
 */
export function redactTarget(target: string): string {
  const query = target.search(/[?#]/);
  const head = query < 0 ? target : target.slice(0, query);
  const rest = query < 0 ? '' : `${target.charAt(query)}${query + 1 < target.length ? CUT : ''}`;
  const scheme = /^(?:[a-z][a-z0-9+.-]*:)?[/\\]{2}/i.exec(head)?.[0] ?? '';
  return redact(scheme + withoutUserinfo(head.slice(scheme.length))) + rest;
}

/** `text` is what follows the scheme. An @ in the path of a sound authority (npm scopes) is no userinfo and stays. */
function withoutUserinfo(text: string): string {
  const slash = text.search(/[/\\]/);
  const authority = slash < 0 ? text : text.slice(0, slash);
  const sound = /^[^@%:]*(?::\d*)?$/.test(authority) || /^\[[^\]@]*\](?::\d*)?$/.test(authority);
  if (sound) return text;
  const at = Math.max(text.lastIndexOf('@'), text.toLowerCase().lastIndexOf('%40'));
  if (at < 0) return text;
  return `${CUT}@${text.slice(at + (text.charAt(at) === '@' ? 1 : 3))}`;
}
