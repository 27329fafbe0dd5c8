// The host catalog: what a group and an entry are, and how a group with its parameters becomes host patterns.
// PURE: it reads no file and decides nothing. What the published page says (published), what practice adds (companion)
// and what an operator adds (operator) stay told apart in every entry, so that a report can name its source.
import type { PathRule } from '../policy/paths.ts';
import { type Pattern, parsePattern } from '../policy/pattern.ts';
import { nearestSpelling } from './nearest.ts';

export type Need = 'required' | 'optional';
/** published: the network requirements page names it · companion: researched, with a citation · operator: from catalog.d. */
export type EntrySource = 'published' | 'companion' | 'operator';
/** doc: vendor documentation or code read · list: in a maintained public allowlist · observed-in-code · assumed: not re-read. */
export type Confidence = 'doc' | 'list' | 'observed-in-code' | 'assumed';
/** label: one DNS label · labels: one or more, dotted · host: a whole host pattern (also *.domain, or an address). */
export type ParameterKind = 'label' | 'labels' | 'host';

/** One `{name}` of a group's host templates. */
export interface CatalogParameter {
  readonly name: string;
  readonly about: string;
  readonly example: string;
  readonly kind: ParameterKind;
  /** Without a required parameter the group cannot be used; without an optional one its entries are left out. */
  readonly required: boolean;
}

/** One host, or one template of hosts, that a group lets through. */
export interface CatalogEntry {
  readonly id: string;
  readonly group: string;
  /** A pattern as in the policy, or a template with {parameter} in it. */
  readonly host: string;
  readonly need: Need;
  readonly ports: readonly number[];
  /** false where the published page names no port and 443 follows from the scheme. */
  readonly ports_stated: boolean;
  readonly scheme: 'https' | 'http' | 'ssh';
  readonly purpose: string;
  /** The agent versions that use it, such as ">=3.122.0"; absent = all. */
  readonly agent_versions?: string;
  readonly source: EntrySource;
  readonly cite?: string;
  readonly confidence?: Confidence;
  /** Anyone may own a name under this wildcard, so the wildcard alone does not say who receives the data. */
  readonly multi_tenant: boolean;
  /** direct: belongs into NO_PROXY; through a proxy it would answer for the proxy. */
  readonly via: 'proxy' | 'direct';
  readonly caution?: string;
  /** Only these paths, over plain HTTP; absent = every path. */
  readonly paths?: readonly PathRule[];
}

/** A named set of entries that an operator switches on as one: `- group: amazon-s3`. */
export interface CatalogGroup {
  readonly id: string;
  readonly title: string;
  readonly need: Need;
  readonly source: EntrySource;
  readonly provider?: string;
  /** The heading of the published page under which it stands. */
  readonly section?: string;
  readonly parameters: readonly CatalogParameter[];
  readonly notes: readonly string[];
  readonly entries: readonly CatalogEntry[];
  /** What the operator must state with `i_understand:` before the group may be used. */
  readonly requires?: 'proxy-host-identity';
}

/** An address that must never be reached through a proxy; `sallyport env` writes it into NO_PROXY literally. */
export interface NeverProxy {
  readonly host: string;
  readonly ports: readonly number[];
  readonly scheme: 'http';
  /** true: the published page names it. */
  readonly published: boolean;
  readonly why: string;
  readonly cite: string;
}

/** doh: a resolver over HTTPS · shared: any customer of a provider may own a name there · the others carry data out by design. */
export type WatchKind = 'doh' | 'tunnel' | 'paste' | 'upload' | 'webhook' | 'shared';

/** A host that an operator should think about before allowing; it decides nothing, the lint of `check` reads it. */
export interface WatchedHost {
  /** A pattern as in the policy. */
  readonly host: string;
  readonly kind: WatchKind;
  /** Whose it is, in a few words. */
  readonly what: string;
  readonly cite: string;
}

export interface Catalog {
  readonly version: string;
  /** What was read to write the shipped catalog, with revisions. */
  readonly snapshot: readonly string[];
  readonly groups: ReadonlyMap<string, CatalogGroup>;
  readonly neverProxy: readonly NeverProxy[];
  readonly watch: readonly WatchedHost[];
  /** "sha256:" and 64 hex digits over the canonical content, catalog.d included. */
  readonly digest: string;
}

/** What an operator gives under `with:`; a list expands to every value. */
export type ParameterValues = Readonly<Record<string, string | readonly string[]>>;

export interface ExpandedEntry {
  readonly entry: CatalogEntry;
  readonly pattern: Pattern;
}

/** A finding about `with:`. `index` is the place in a list of values, null where the value is no list or is missing. */
export interface ParameterProblem {
  readonly parameter: string | null;
  readonly index: number | null;
  readonly message: string;
  readonly hint: string;
}

export type Expansion =
  | { readonly ok: true; readonly entries: readonly ExpandedEntry[] }
  | { readonly ok: false; readonly problems: readonly ParameterProblem[] };

const HTTPS_PORT = 443;

/** What an entry speaks on one of its ports: a host of plain HTTP speaks TLS on 443. Paths are looked at in plain HTTP alone. */
export function spokenOn(entry: Pick<CatalogEntry, 'scheme' | 'paths'>, port: number): CatalogEntry['scheme'] {
  return entry.scheme === 'http' && port === HTTPS_PORT && entry.paths === undefined ? 'https' : entry.scheme;
}

/** The ports of an entry by what is spoken on them, as a person reads it: `80 http, 443 https`. */
export function portsText(entry: Pick<CatalogEntry, 'scheme' | 'paths' | 'ports'>): string {
  const spoken = Map.groupBy(entry.ports, (port) => spokenOn(entry, port));
  return [...spoken].map(([scheme, ports]) => `${ports.join(', ')} ${scheme}`).join(', ');
}

/** Patterns one group may expand to: 50 accounts in 20 regions fit, a slip that multiplies does not. */
export const EXPANSION_MAX = 2_000;

const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const TEMPLATE = /\{([a-z][a-z0-9_]*)\}/g;

/** The parameter names in a host template, each once, in order of appearance. */
export function templateParameters(host: string): string[] {
  return [...new Set([...host.matchAll(TEMPLATE)].map((match) => match[1] ?? ''))];
}

/** A host template with each {name} replaced; a name without a value stays as it is. */
export function fillTemplate(host: string, values: Readonly<Record<string, string>>): string {
  return host.replace(TEMPLATE, (whole, name: string) => values[name] ?? whole);
}

/**
 * Turns a group and its parameters into host patterns, in the order of the catalog.
 * An entry whose optional parameter is absent is left out; a list of values gives one pattern for each.
 */
export function expandGroup(group: CatalogGroup, given: ParameterValues): Expansion {
  const { values, problems } = readValues(group, given);
  if (problems.length > 0) return { ok: false, problems };
  const entries: ExpandedEntry[] = [];
  for (const entry of group.entries) {
    for (const filled of combinations(templateParameters(entry.host), values)) {
      if (entries.length >= EXPANSION_MAX) {
        return failed(
          null,
          null,
          `group ${group.id} expands to more than ${EXPANSION_MAX} patterns`,
          'Give fewer values, or write a wildcard rule of your own.',
        );
      }
      const host = fillTemplate(entry.host, filled);
      const parsed = parsePattern(host);
      if (!parsed.ok) {
        const hint =
          parsed.suggestion === null
            ? exampleHint(group)
            : `Write the value so that the host becomes ${parsed.suggestion}.`;
        return failed(
          Object.keys(filled)[0] ?? null,
          null,
          `${JSON.stringify(host)} is not a host pattern: ${parsed.problem}`,
          hint,
        );
      }
      entries.push({ entry, pattern: parsed.pattern });
    }
  }
  if (entries.length === 0) {
    const names = group.parameters.map((parameter) => parameter.name).join(' or ');
    return failed(null, null, `group ${group.id} allows nothing without ${names}`, exampleHint(group));
  }
  return { ok: true, entries };
}

/** The nearest group id to a word that is none, or null: a slip of the keys, or one of its words ("s3" → amazon-s3). */
export function nearestGroup(catalog: Pick<Catalog, 'groups'>, word: string): string | null {
  const ids = [...catalog.groups.keys()];
  const near = nearestSpelling(word, ids);
  if (near !== null) return near;
  const parts = word
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter((part) => part.length > 1);
  const scored = ids
    .map((id) => ({ id, hits: parts.filter((part) => id.split('-').includes(part)).length }))
    .filter((candidate) => candidate.hits > 0)
    .sort((a, b) => b.hits - a.hits || a.id.length - b.id.length);
  return scored[0]?.id ?? null;
}

function failed(parameter: string | null, index: number | null, message: string, hint: string): Expansion {
  return { ok: false, problems: [{ parameter, index, message, hint }] };
}

function readValues(
  group: CatalogGroup,
  given: ParameterValues,
): { values: Map<string, readonly string[]>; problems: ParameterProblem[] } {
  const values = new Map<string, readonly string[]>();
  const problems: ParameterProblem[] = [];
  const names = group.parameters.map((parameter) => parameter.name);
  for (const name of Object.keys(given)) {
    if (names.includes(name)) continue;
    const near = nearestSpelling(name, names);
    const known =
      names.length === 0 ? `group ${group.id} takes no parameters` : `group ${group.id} takes ${names.join(', ')}`;
    problems.push({
      parameter: name,
      index: null,
      message: `parameter ${JSON.stringify(name)} is unknown: ${known}`,
      hint: near === null ? exampleHint(group) : `Did you mean ${near}?`,
    });
  }
  for (const parameter of group.parameters) {
    const raw = Object.hasOwn(given, parameter.name) ? given[parameter.name] : undefined;
    if (raw === undefined) {
      if (parameter.required) {
        problems.push({
          parameter: parameter.name,
          index: null,
          message: `group ${group.id} needs parameter ${parameter.name}: ${parameter.about}`,
          hint: exampleHint(group),
        });
      }
      continue;
    }
    values.set(parameter.name, readList(parameter, raw, problems));
  }
  return { values, problems };
}

function readList(
  parameter: CatalogParameter,
  raw: string | readonly string[],
  problems: ParameterProblem[],
): string[] {
  const list = typeof raw === 'string' ? [raw] : raw;
  const hint = `Write it like ${parameter.name}: ${quoted(parameter.example)}`;
  if (list.length === 0)
    problems.push({
      parameter: parameter.name,
      index: null,
      message: `parameter ${parameter.name} has no value`,
      hint,
    });
  const found: string[] = [];
  list.forEach((value, position) => {
    const index = typeof raw === 'string' ? null : position;
    const text = value.toLowerCase();
    const bad = valueProblem(parameter.kind, text);
    if (bad !== null)
      problems.push({
        parameter: parameter.name,
        index,
        message: `${parameter.name} ${JSON.stringify(value)} ${bad}`,
        hint,
      });
    else if (found.includes(text))
      problems.push({
        parameter: parameter.name,
        index,
        message: `${parameter.name} ${JSON.stringify(value)} stands twice`,
        hint: 'Remove one of the two.',
      });
    else found.push(text);
  });
  return found;
}

/** What is wrong with one value. A label must stay one label: a dot in {region} would move the host to another domain. */
function valueProblem(kind: ParameterKind, text: string): string | null {
  if (kind === 'label')
    return LABEL.test(text) ? null : 'is not one DNS label (letters, digits, hyphens; no dot, no *)';
  if (kind === 'labels')
    return text.split('.').every((label) => LABEL.test(label))
      ? null
      : 'is not a dotted name (letters, digits, hyphens; no *)';
  const parsed = parsePattern(text);
  if (parsed.ok) return null;
  return `is not a host: ${parsed.problem}${parsed.suggestion === null ? '' : `; write ${parsed.suggestion}`}`;
}

/** Every combination of values for the names; none where a name has no value (its entry is left out). */
function combinations(
  names: readonly string[],
  values: ReadonlyMap<string, readonly string[]>,
): Record<string, string>[] {
  let rows: Record<string, string>[] = [{}];
  for (const name of names) {
    rows = rows.flatMap((row) => (values.get(name) ?? []).map((value) => ({ ...row, [name]: value })));
    if (rows.length > EXPANSION_MAX) return rows.slice(0, EXPANSION_MAX + 1);
  }
  return rows;
}

function exampleHint(group: CatalogGroup): string {
  if (group.parameters.length === 0) return `Remove with: from group ${group.id}.`;
  const example = group.parameters.map((parameter) => `${parameter.name}: ${quoted(parameter.example)}`).join(', ');
  return `Write: - group: ${group.id}, with: { ${example} }`;
}

/** An account number without quotes would be a number to YAML, and lose its leading zeros. */
function quoted(example: string): string {
  return /^\d+$/.test(example) ? `"${example}"` : example;
}
