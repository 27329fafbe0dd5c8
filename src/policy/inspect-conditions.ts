// Conditions on the query and on header fields of an inspected request, and what makes an origin take another method or path. PURE.
// For what is allowed a key stands once, in the very spelling of the rule; a second one that some framework takes for the same
// (`action[]`, `Action`, ` action`, `X_Action`) is a doubt. For what is denied any of them counts.
import type { Condition, InspectEntry } from './inspect.ts';
import { globMatches } from './selector.ts';

/** `any`: for a deny, where one match among several is enough. */
type Strictness = 'exact' | 'any';

/** Why nobody can say what a query asks for. */
export const TWO_READINGS = 'a query that has two readings';

/** True, false, or in words why nobody can say. */
type Answer = boolean | string;

interface Pair {
  readonly name: string;
  readonly value: string;
}

/** A method as rules name it; no other is forwarded below an inspected host. */
export const METHOD = /^[A-Z][A-Z-]{0,30}$/;

/** Fields that make frameworks take another method than that of the request line. */
const METHOD_FIELDS: ReadonlySet<string> = new Set(['x-http-method-override', 'x-http-method', 'x-method-override']);
const METHOD_KEY = '_method';
/** Not among "every method". */
const NO_METHODS: ReadonlySet<string> = new Set(['CONNECT', 'TRACE']);
/** Fields that make some origins take another path. */
const PATH_FIELDS: ReadonlySet<string> = new Set([
  'x-original-url',
  'x-rewrite-url',
  'x-original-uri',
  'x-override-url',
]);

/** What a framework may make of the name of a key: PHP, ASP and Rails among them. */
function foldedKey(name: string): string {
  const cut = name.trimStart().search(/[[\0]/);
  const base = cut < 0 ? name.trimStart() : name.trimStart().slice(0, cut);
  return base.trimEnd().toLowerCase().replace(/[ .]/g, '_');
}

function foldedField(name: string): string {
  return name.trim().toLowerCase().replaceAll('_', '-');
}

/** A query as a form: null where two readers may split or decode it differently. */
function pairsOf(query: string): Pair[] | null {
  if (query.includes(';') || query.includes('#')) return null;
  const pairs: Pair[] = [];
  for (const part of query.split('&')) {
    if (part === '') continue;
    const equals = part.indexOf('=');
    const name = formDecoded(equals < 0 ? part : part.slice(0, equals));
    const value = formDecoded(equals < 0 ? '' : part.slice(equals + 1));
    if (name === null || value === null || name.includes('\0') || value.includes('\0')) return null;
    pairs.push({ name, value });
  }
  return pairs;
}

function formDecoded(text: string): string | null {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return null;
  }
}

function globsMatch(globs: readonly string[], value: string): boolean {
  return globs.some((glob) => globMatches(glob, value));
}

function globsMatchLoosely(globs: readonly string[], value: string): boolean {
  return globs.some((glob) => globMatches(glob.toLowerCase(), value.toLowerCase()));
}

/** Whether a query meets the conditions of a line. */
export function queryMatches(
  conditions: readonly Condition[] | 'none' | null,
  query: string | null,
  strictness: Strictness = 'exact',
): Answer {
  if (conditions === null) return true;
  if (conditions === 'none') return query === null || query === '';
  if (conditions.length === 0) return true;
  const pairs = pairsOf(query ?? '');
  if (pairs === null) return TWO_READINGS;
  return meets(conditions, pairs, foldedKey, strictness, 'the key');
}

/** Whether the header fields meet the conditions of a line. */
export function fieldsMatch(
  conditions: readonly Condition[],
  headers: readonly string[] | null,
  strictness: Strictness = 'exact',
): Answer {
  if (conditions.length === 0) return true;
  if (headers === null) return strictness === 'exact';
  return meets(conditions, fieldPairs(headers), foldedField, strictness, 'the field');
}

function fieldPairs(headers: readonly string[]): Pair[] {
  const pairs: Pair[] = [];
  for (let at = 0; at + 1 < headers.length; at += 2) {
    pairs.push({ name: (headers[at] ?? '').toLowerCase(), value: (headers[at + 1] ?? '').trim() });
  }
  return pairs;
}

function meets(
  conditions: readonly Condition[],
  pairs: readonly Pair[],
  fold: (name: string) => string,
  strictness: Strictness,
  word: string,
): Answer {
  let doubt: string | null = null;
  for (const { name, globs } of conditions) {
    const same = pairs.filter((pair) => fold(pair.name) === fold(name));
    if (strictness === 'any') {
      if (!same.some((pair) => globsMatchLoosely(globs, pair.value))) return false;
      continue;
    }
    if (!same.some((pair) => globsMatch(globs, pair.value))) return false;
    if (same.length > 1) doubt ??= `${word} ${name} more than once`;
    else if (same[0]?.name !== name) doubt ??= `${word} ${name} in another spelling`;
  }
  return doubt ?? true;
}

/** Whether a line is about a method; one for every method is not about tunnels and echoes. */
export function hasMethod(entry: InspectEntry, method: string): boolean {
  return entry.methods === null ? !NO_METHODS.has(method.toUpperCase()) : entry.methods.includes(method);
}

/** For a deny: also where it is the method of the line to an origin that knows no case. */
export function hasMethodLoosely(entry: InspectEntry, method: string): boolean {
  return hasMethod(entry, method) || hasMethod(entry, method.toUpperCase());
}

/** The method, and those that header fields or the key `_method` name besides; null where nobody can say which the query names. */
export function withOverrides(
  method: string,
  headers: readonly string[] | null,
  query: string | null,
): string[] | null {
  const methods = [method];
  for (const { name, value } of fieldPairs(headers ?? [])) {
    if (METHOD_FIELDS.has(foldedField(name))) methods.push(value.toUpperCase());
  }
  if (query !== null && /method|%/i.test(query)) {
    const pairs = pairsOf(query);
    if (pairs === null && looselyDecoded(query).includes('method')) return null;
    for (const { name, value } of pairs ?? []) {
      if (foldedKey(name) === METHOD_KEY) methods.push(value.trim().toUpperCase());
    }
  }
  return [...new Set(methods)];
}

/** In lower case, and decoded as far as it can be. */
function looselyDecoded(query: string): string {
  return query
    .replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
    .toLowerCase();
}

/** True where a header field names another path. */
export function pathOverridden(headers: readonly string[] | null): boolean {
  if (headers === null) return false;
  for (let at = 0; at < headers.length; at += 2) if (PATH_FIELDS.has(foldedField(headers[at] ?? ''))) return true;
  return false;
}
