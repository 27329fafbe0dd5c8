// The single values of the configuration: text in, parsed value out, or one sentence and the nearest right spelling.
// PURE. Each is a zod transform, so that a value is parsed once and the same shape gives the JSON Schema.
// It must not repair: what is refused here is a slip that would open or close something else than was meant.
import { z } from 'zod';
import type { OperatorErrorCode } from '../errors.ts';
import { type Cidr, parseCidr } from '../policy/address.ts';
import {
  type Authority,
  authorityText,
  hostText,
  parseAuthority,
  parseHttpsTarget,
  parseHttpTarget,
} from '../policy/authority.ts';
import { formatIp, type Ip, parseIp } from '../policy/ip.ts';
import { type Pattern, parsePattern, parseRuleText } from '../policy/pattern.ts';
import { parsePostgresUrl, type StorePlace } from './store-place.ts';

/** What a transform hands to the issue mapper: the code of the registry, and what to do. */
export interface LeafParams {
  readonly code: OperatorErrorCode;
  readonly hint?: string;
}

type Leaf<T> = { readonly value: T } | { readonly problem: string; readonly hint?: string };

/** A text that is read into a value, or refused with a sentence. */
export function leaf<T>(code: OperatorErrorCode, about: string, read: (text: string) => Leaf<T>) {
  return z
    .string()
    .describe(about)
    .transform((text, context): T => {
      const result = read(text);
      if ('value' in result) return result.value;
      const params: LeafParams = { code, ...(result.hint === undefined ? {} : { hint: result.hint }) };
      context.addIssue({ code: 'custom', message: result.problem, params: { ...params } });
      return z.NEVER;
    });
}

function didYouMean(suggestion: string | null): { hint?: string } {
  return suggestion === null ? {} : { hint: `Did you mean ${suggestion}?` };
}

/** The first address of the range that an address with host bits lies in; null where the text is no such thing. */
function networkOf(text: string): string | null {
  const slash = text.indexOf('/');
  const ip = parseIp(slash === -1 ? text : text.slice(0, slash));
  if (ip === null) return null;
  const length = Number(text.slice(slash + 1));
  const width = ip.family === 4 ? 32 : 128;
  if (slash === -1 || !/^\d{1,3}$/.test(text.slice(slash + 1)) || length > width) return null;
  const bits = length + (128 - width);
  const groups = ip.groups.map((group, at) => {
    const kept = Math.min(16, Math.max(0, bits - at * 16));
    return group & ((0xffff << (16 - kept)) & 0xffff);
  });
  const network: Ip = { family: ip.family, groups };
  return `${formatIp(network)}/${length}`;
}

function readCidr(text: string): Leaf<Cidr> {
  const cidr = parseCidr(text);
  if (cidr !== null) return { value: cidr };
  const network = networkOf(text);
  if (network !== null)
    return { problem: `${text} has bits set beyond its prefix length`, hint: `Did you mean ${network}?` };
  return { problem: `${JSON.stringify(text)} is not an address range` };
}

export function cidr(about = 'An address range: 10.0.0.0/8, fd00::/8, or one address.') {
  return leaf<Cidr>('config-cidr', about, readCidr);
}

export function pattern(about: string) {
  return leaf<Pattern>('config-pattern', about, (text) => {
    const parsed = parsePattern(text);
    if (parsed.ok) return { value: parsed.pattern };
    return { problem: `${JSON.stringify(text)}: ${parsed.problem}`, ...didYouMean(parsed.suggestion) };
  });
}

/** The string form of a rule. */
export interface RuleText {
  readonly pattern: Pattern;
  readonly port: number | null;
}

export function ruleText(about: string) {
  return leaf<RuleText>('config-pattern', about, (text) => {
    const parsed = parseRuleText(text);
    if (parsed.ok) return { value: { pattern: parsed.pattern, port: parsed.port } };
    return { problem: `${JSON.stringify(text)}: ${parsed.problem}`, ...didYouMean(parsed.suggestion) };
  });
}

/** Where to listen. `host` is an address (IPv6 without brackets) or localhost. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

function readEndpoint(text: string, defaultPort: number | null): Leaf<Endpoint> {
  const bare = /^\[?([^\]]+)\]?$/.exec(text)?.[1] ?? text;
  const alone = defaultPort === null ? null : parseIp(bare);
  if (defaultPort !== null && alone !== null) return { value: { host: formatIp(alone), port: defaultPort } };
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*)):(0|[1-9]\d{0,4})$/.exec(text);
  const host = match?.[1] ?? match?.[2] ?? '';
  const port = Number(match?.[3]);
  const ip = parseIp(host);
  if (
    match !== null &&
    port <= 65_535 &&
    (host === 'localhost' || (ip !== null && (ip.family === 6) === (match[1] !== undefined)))
  )
    return { value: { host: ip === null ? host : formatIp(ip), port } };
  const suggestion = endpointSuggestion(text);
  const hint =
    suggestion === null ? 'Write an address and a port, such as 127.0.0.1:3128.' : `Did you mean ${suggestion}?`;
  return { problem: `${JSON.stringify(text)} is not an address and a port`, hint };
}

function endpointSuggestion(text: string): string | null {
  const port = /(?:^|:)(\d{1,5})$/.exec(text)?.[1];
  if (text === 'localhost' || parseIp(text) !== null) return authorityText(text, 3128);
  if (port === undefined || Number(port) > 65_535) return null;
  const host = text.slice(0, text.length - port.length).replace(/:$/, '');
  if (host === '') return text.startsWith(':') ? `0.0.0.0:${port}` : `127.0.0.1:${port}`;
  if (host === '*') return `0.0.0.0:${port}`;
  const ip = parseIp(host);
  return ip === null ? null : `${hostText(host)}:${port}`;
}

/** host:port to listen on; port 0 lets the kernel choose. */
export function endpoint(about: string) {
  return leaf<Endpoint>('config-value', about, (text) => readEndpoint(text, null));
}

/** An address with a port, or without one: then `defaultPort`. */
export function addressAndPort(about: string, defaultPort: number) {
  return leaf<Endpoint>('config-value', about, (text) => {
    const read = readEndpoint(text, defaultPort);
    const hint =
      defaultPort === 0 ? 'Write an address, or address:port.' : `Write address:port, such as 10.0.0.2:${defaultPort}.`;
    if (!('value' in read)) return { problem: read.problem, hint };
    if (read.value.host === 'localhost') return { problem: `${JSON.stringify(text)} is a name, not an address`, hint };
    if (text.endsWith(':0')) return { problem: `${JSON.stringify(text)}: port 0 is no port`, hint };
    return read;
  });
}

/** Where the admin listener is: an address, or with `path` a Unix socket (then host is '' and port 0). */
export interface AdminListen extends Endpoint {
  readonly path: string | null;
}

const UNIX = 'unix:';
/** The system's bound is 108 bytes, and a process makes its socket under a longer name first. */
const SOCKET_PATH_BYTES_MAX = 90;

function readAdminListen(text: string): Leaf<AdminListen> {
  if (!text.startsWith(UNIX)) {
    const read = readEndpoint(text, null);
    return 'value' in read ? { value: { ...read.value, path: null } } : read;
  }
  const path = text.slice(UNIX.length);
  const hint = 'Write it like unix:/run/sallyport/admin.sock.';
  if (!path.startsWith('/') || path.endsWith('/') || path.includes('\0'))
    return { problem: `${JSON.stringify(text)} names no file by its whole path`, hint };
  if (new TextEncoder().encode(path).length > SOCKET_PATH_BYTES_MAX)
    return { problem: `the path of a socket has at most ${SOCKET_PATH_BYTES_MAX} bytes`, hint };
  return { value: { host: '', port: 0, path } };
}

export function adminListen(about: string) {
  return leaf<AdminListen>('config-value', about, readAdminListen);
}

export function adminEndpoint(about: string) {
  return leaf<AdminListen | null>('config-value', about, (text) =>
    text === 'off' ? { value: null } : readAdminListen(text),
  );
}

/** A date as written, and the last millisecond of that day in UTC, since the epoch. */
export interface LastDay {
  readonly text: string;
  readonly until: number;
}

export function lastDay(about: string) {
  return leaf<LastDay>('config-value', about, (text) => {
    const match = /^(\d{4})-(\d{2})-(\d{2})$/.exec(text);
    const [year, month, day] = [Number(match?.[1]), Number(match?.[2]), Number(match?.[3])];
    if (match === null)
      return { problem: `${JSON.stringify(text)} is not a date`, hint: 'Write it as year-month-day: 2026-12-31.' };
    if (month < 1 || month > 12)
      return { problem: `${text} has no such month`, hint: 'Write it as year-month-day: 2026-12-31.' };
    const last = daysIn(year, month);
    if (day < 1 || day > last) {
      const near = `${match[1]}-${match[2]}-${String(last).padStart(2, '0')}`;
      return { problem: `${text} is not a day of that month`, hint: `The last day of that month is ${near}.` };
    }
    return { value: { text, until: Date.UTC(year, month - 1, day, 23, 59, 59, 999) } };
  });
}

function daysIn(year: number, month: number): number {
  if (month === 2) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28;
  return [4, 6, 9, 11].includes(month) ? 30 : 31;
}

/** One line of text that may end up in a refusal's header or body. */
export function line(about: string, charactersMax = 300) {
  return leaf<string>('config-value', about, (text) => {
    if (text.trim() === '') return { problem: 'the text is empty', hint: 'Write something, or remove the key.' };
    if (text.length > charactersMax)
      return { problem: `the text has ${text.length} characters; allowed are ${charactersMax}` };
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
    if (/[\u0000-\u001f\u007f]/.test(text)) return { problem: 'the text must be one line without control characters' };
    return { value: text };
  });
}

/** A text of one shape that `read` knows; null: it is none. */
export function text<T>(
  about: string,
  read: (text: string) => T | null,
  otherwise: { readonly problem: string; readonly hint: string },
) {
  return leaf<T>('config-value', about, (given) => {
    const value = read(given);
    // Not quoted: somebody may have written a password into it.
    return value === null ? otherwise : { value };
  });
}

const PLACEHOLDERS = ['host', 'port', 'pipeline', 'job'] as const;

export function requestUrl(about: string) {
  return leaf<string>('config-value', about, (text) => {
    if (!/^https?:\/\/[^\s/]+\S*$/.test(text) || text.length > 2_048)
      return {
        problem: `${JSON.stringify(text)} is not a web address`,
        hint: 'Write https://…, up to 2048 characters and without spaces.',
      };
    for (const [whole, name] of text.matchAll(/\{([^}]*)\}/g)) {
      if (!PLACEHOLDERS.some((known) => known === name))
        return {
          problem: `${whole} is not filled in`,
          hint: `Known are ${PLACEHOLDERS.map((known) => `{${known}}`).join(', ')}.`,
        };
    }
    return { value: text };
  });
}

/** An https:// URL without user, query and fragment; `text` is as written. */
export interface HttpsUrl {
  readonly text: string;
  readonly authority: Authority;
  /** '' where the URL has none. */
  readonly path: string;
}

export function httpsUrl(about: string) {
  return leaf<HttpsUrl>('config-value', about, readHttpsUrl);
}

function readHttpsUrl(text: string): Leaf<HttpsUrl> {
  const [, host = '', path = ''] = /^https:\/\/([^/?#@\s]+)((?:\/[\w.~%!$&'()*+,;=:@-]*)*)$/.exec(text) ?? [];
  const authority = parseAuthority(/:\d+$/.test(host) ? host : `${host}:443`);
  if (host === '' || text.length > 2_048)
    return {
      problem: `${JSON.stringify(text.slice(0, 80))} is not an https:// URL`,
      hint: 'Write https://HOST/PATH, without user, query and fragment.',
    };
  if (!authority.ok) return { problem: `${JSON.stringify(text.slice(0, 80))}: ${authority.problem}` };
  return { value: { text, authority: authority.authority, path } };
}

/** Where a policy comes from: `url` null for a folder. */
export type PolicySourcePlace =
  | { readonly url: HttpsUrl; readonly folder: null }
  | { readonly url: null; readonly folder: string };

/** An https:// URL, or a folder. */
export function policySource(about: string) {
  return leaf<PolicySourcePlace>('config-value', about, (text) => {
    const scheme = schemeOf(text);
    if (scheme === null) {
      if (text.trim() === '' || text.includes('\0'))
        return { problem: 'the path is empty', hint: 'Write a folder, or an https:// URL.' };
      return { value: { url: null, folder: text } };
    }
    const read = readHttpsUrl(text);
    return 'value' in read ? { value: { url: read.value, folder: null } } : read;
  });
}

/** A file path; a URL is refused with what is supported. */
export function filePath(about: string) {
  return leaf<string>('config-value', about, (text) => {
    if (text.trim() === '') return { problem: 'the path is empty', hint: 'Write a file path, such as data/usage.db.' };
    if (text.includes('\0')) return { problem: 'a path has no NUL character' };
    const scheme = schemeOf(text);
    if (scheme !== null)
      return {
        problem: `${scheme}:// is not supported; supported is a file path`,
        hint: 'Write a file path, such as data/usage.db.',
      };
    return { value: text };
  });
}

/**
 * The path of a layer, below the folder of the file that names it: so a policy is one folder, and a link of it to the outside shows.
 * @param several whether a * may stand in the file's name
 */
export function layerPath(about: string, several: boolean) {
  return leaf<string>('config-value', about, (text) => {
    const parts = text.split('/');
    const hint = `Write a path such as ${several ? 'pipelines/web.yaml or pipelines/*.yaml' : 'ceiling.yaml'}.`;
    if (text.startsWith('/') || parts.includes('..') || text.includes('\\') || schemeOf(text) !== null)
      return { problem: `${JSON.stringify(text)} is not a path below the folder of this file`, hint };
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
    if (parts.some((part) => part === '' || part === '.') || /[\u0000-\u001f\u007f]/.test(text))
      return { problem: `${JSON.stringify(text)} is not a path`, hint };
    if (!/\.ya?ml$/.test(text)) return { problem: `${JSON.stringify(text)} does not end in .yaml`, hint };
    if (several ? parts.slice(0, -1).join('').includes('*') : text.includes('*'))
      return { problem: `${JSON.stringify(text)}: a * may stand in the name of a pipeline's file alone`, hint };
    return { value: text };
  });
}

/** A file path, or a postgres:// URL; nothing of a URL is repeated in a message, it may hold a password. */
export function storePlace(about: string) {
  return leaf<StorePlace>('config-value', about, (text) => {
    const scheme = schemeOf(text);
    if (scheme === 'postgres' || scheme === 'postgresql') {
      const parsed = parsePostgresUrl(text);
      return 'place' in parsed ? { value: parsed.place } : parsed;
    }
    const hint = 'Write a file path, such as data/usage.db, or postgres://USER@HOST/DATABASE.';
    if (scheme !== null)
      return { problem: `${scheme}:// is not supported; supported are a file path and postgres://`, hint };
    if (text.trim() === '') return { problem: 'the path is empty', hint };
    if (text.includes('\0')) return { problem: 'a path has no NUL character' };
    return { value: text };
  });
}

function schemeOf(text: string): string | null {
  return /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]?.toLowerCase() ?? null;
}

/** A number of days: 30d. */
export function days(about: string) {
  return leaf<number>('config-value', about, (text) => {
    const number = Number(/^([1-9]\d{0,4})d$/.exec(text)?.[1] ?? Number.NaN);
    if (Number.isNaN(number))
      return {
        problem: `${JSON.stringify(text.slice(0, 40))} is not a number of days`,
        hint: 'Write days from 1d to 99999d, such as 30d.',
      };
    return { value: number };
  });
}

/** What a policy test asks for. */
export type TestTarget =
  | { readonly kind: 'connect'; readonly text: string }
  | { readonly kind: 'forward'; readonly text: string }
  /** An https:// URL: the CONNECT, and the request inside it. */
  | { readonly kind: 'below'; readonly text: string };

/** host:port, or an absolute URL; parsed here for its grammar, and once more by the test's run. */
export function testTarget(about: string) {
  return leaf<TestTarget>('config-value', about, (text) => {
    if (/^http:\/\//i.test(text)) {
      const target = parseHttpTarget(text);
      if (!target.ok) return { problem: `${JSON.stringify(text)}: ${target.problem}` };
      return { value: { kind: 'forward', text } };
    }
    if (/^https:\/\//i.test(text)) {
      const target = parseHttpsTarget(text);
      if (!target.ok) return { problem: `${JSON.stringify(text)}: ${target.problem}` };
      return { value: { kind: 'below', text } };
    }
    const authority = parseAuthority(text);
    if (authority.ok) return { value: { kind: 'connect', text } };
    const withPort = parseAuthority(`${text.replace(/\/.*$/, '')}:443`);
    const hint = withPort.ok ? `Did you mean ${withPort.authority.text}?` : 'Write host:port, or http://host/path.';
    return { problem: `${JSON.stringify(text)}: ${authority.problem}`, hint };
  });
}
