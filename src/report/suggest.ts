// What was asked for in a window + the policy in force + the catalog → the smallest policy that the window needs.
// PURE. It proposes and never widens by itself: what one job asked for, what is new, what strangers may own, what somebody
// decided otherwise and what is known for carrying data out is marked for review. Deny rules, expected denials and instance
// metadata stay what they are: never proposed. Every other request is let through by the lines, or stands in one for review.
import { type Catalog, type CatalogEntry, expandGroup } from '../catalog/catalog.ts';
import { KnownHosts } from '../config/lint-hosts.ts';
import { classifyAddress } from '../policy/address.ts';
import { authorityText, hostText } from '../policy/authority.ts';
import { METADATA_NAMES } from '../policy/decide.ts';
import { parsePattern, patternMatches } from '../policy/pattern.ts';
import { statedAttributes } from '../policy/record.ts';
import { isUnproven } from '../policy/selector.ts';
import { CatalogFit, type Fit, speaks, type Wanted } from './catalog-fit.ts';
import type { Asked, Doubt, Standing } from './standing.ts';

/** One host, port and kind of request by one asker; times are ms since the epoch. */
export interface SeenRow extends Asked {
  readonly requests: number;
  /** Requests that an origin answered, or would have been let through to one. */
  readonly answered: number;
  readonly first_seen: number;
  readonly last_seen: number;
}

/** What a test of the policy file wants to be refused. */
export type Guarded = Pick<Wanted, 'host' | 'port'>;

export interface SuggestInput {
  readonly rows: Iterable<SeenRow>;
  readonly catalog: Catalog;
  /** What the request is to the policy in force. */
  readonly standing: (row: SeenRow) => Standing;
  readonly isExpected: (host: string) => boolean;
  /** Where the records of the window begin and end, ms. */
  readonly window: { readonly from: number; readonly to: number };
  /** Fewer jobs than this are a matter for review. */
  readonly jobsMin: number;
  /** Lets through only the pipeline that asked, where it is one and proven. */
  readonly scoped: boolean;
  /** Internal addresses that the address guard met, by `host:port`. */
  readonly internal: ReadonlyMap<string, readonly string[]>;
  readonly guarded: readonly Guarded[];
}

export interface Evidence {
  readonly requests: number;
  /** Known jobs; requests without one count in `requests` alone. */
  readonly jobs: number;
  readonly pipelines: readonly string[];
  readonly first_seen: number;
  readonly last_seen: number;
  /** The concrete names, `host:port`. */
  readonly names: readonly string[];
}

export type ReviewReason =
  | Doubt
  | 'few-jobs'
  | 'new'
  | 'multi-tenant'
  | 'doh'
  | 'exfiltration'
  | 'internal'
  | 'tested'
  | 'never-answered';

/** One item for `allow:`. */
export interface SuggestedLine {
  /** Of the policy in force; by a catalog group; an exact host; a wildcard. */
  readonly by: 'policy' | 'group' | 'host' | 'wildcard';
  /** `file:line` of the rule in force; null for what is new. */
  readonly origin: string | null;
  readonly group: string | null;
  /** Parameters of the group, each with its values. */
  readonly parameters: Readonly<Record<string, readonly string[]>>;
  readonly pattern: string | null;
  readonly ports: readonly number[];
  /** null: what the ports say. */
  readonly protocol: 'http' | 'any' | null;
  /** Internal addresses that were met, as ranges of one. */
  readonly addresses: readonly string[];
  /** `for: { pipeline }`; null is everyone. */
  readonly pipeline: string | null;
  readonly evidence: Evidence;
  /** Empty: it may go in as it stands. */
  readonly review: readonly ReviewReason[];
}

/** Names under one domain from which on a wildcard is thought of. */
const NAMES_VARY_MIN = 5;
/** First seen so late in the window is new, where the window is at least twice as long. */
const NEW_MS = 86_400_000;
/** Values in one line of a group: what a group expands to has a bound, and clients invent names. */
const VALUES_MAX = 64;

interface Need extends Wanted {
  readonly standing: Exclude<Standing, { as: 'refused' }>;
  readonly jobs: Set<string>;
  readonly pipelines: Set<string>;
  /** Proven pipelines; null where somebody asked who proves none. */
  scope: Set<string> | null;
  requests: number;
  answered: number;
  unknownJobs: boolean;
  first: number;
  last: number;
}

interface Draft extends Pick<SuggestedLine, 'by' | 'origin' | 'group' | 'pattern' | 'protocol'> {
  readonly parameters: Record<string, string[]>;
  readonly ports: Set<number>;
  readonly needs: Need[];
  readonly addresses: Set<string>;
  readonly review: Set<ReviewReason>;
}

/** The lines of the smallest policy: what is in force and used first, then groups, wildcards and hosts by name. */
export function suggest(input: SuggestInput): SuggestedLine[] {
  const known = new KnownHosts(input.catalog);
  const fits = new CatalogFit(input.catalog);
  const drafts = new Drafts();
  const rest: Need[] = [];
  const wide: [Fit, Need][] = [];
  for (const need of needsOf(input)) {
    const { standing } = need;
    const internal = input.internal.get(nameOf(need)) ?? [];
    if (internal.length > 0) addInternal(drafts, need, internal);
    else if (standing.as === 'in-force') {
      drafts.add(`0 ${standing.origin}`, { by: 'policy', origin: standing.origin, group: standing.group }, need);
    } else {
      const fit = fits.fit(need);
      if (fit === null) rest.push(need);
      else if (fit.entry.host.startsWith('*.')) wide.push([fit, need]);
      else drafts.addFit(fit, need);
    }
  }
  // A group that is there anyway may name a host for which a wildcard or a line of its own would be wider.
  const named = drafts.named(input.catalog);
  for (const [fit, need] of wide) if (!drafts.join(named, need)) drafts.addFit(fit, need);
  const all = drafts.named(input.catalog);
  const left = rest.filter((need) => !drafts.join(all, need));
  for (const [key, about, needs] of byName(left, known)) for (const need of needs) drafts.add(key, about, need);
  const lines = drafts.sorted().map((draft) => {
    if (draft.by !== 'policy') review(draft, input, known);
    return lineOf(draft, input.scoped);
  });
  return lines;
}

/** Sums by host, port, kind and rule in force; without what must not be proposed. */
function needsOf(input: SuggestInput): Iterable<Need> {
  const needs = new Map<string, Need>();
  for (const row of input.rows) {
    if (row.host === '' || row.port === 0 || input.isExpected(row.host)) continue;
    if (METADATA_NAMES.has(row.host) || !parsePattern(hostText(row.host)).ok) continue;
    if (classifyAddress(row.host) === 'metadata') continue;
    const standing = input.standing(row);
    if (standing.as === 'refused') continue;
    const which = standing.as === 'in-force' ? standing.origin : (standing.doubt ?? '');
    const key = `${row.host} ${row.port} ${row.kind} ${standing.as} ${which}`;
    const before = needs.get(key);
    const need = before ?? {
      ...{ host: row.host, port: row.port, kind: row.kind, standing, jobs: new Set(), pipelines: new Set() },
      ...{ scope: new Set(), requests: 0, answered: 0, unknownJobs: false, first: row.first_seen, last: row.last_seen },
    };
    if (before === undefined) needs.set(key, need);
    count(need, row);
  }
  return needs.values();
}

function count(need: Need, row: SeenRow): void {
  need.requests += row.requests;
  need.answered += row.answered;
  need.first = Math.min(need.first, row.first_seen);
  need.last = Math.max(need.last, row.last_seen);
  const { pipeline, job } = statedAttributes(row.identity);
  if (pipeline !== undefined) need.pipelines.add(pipeline);
  if (job === undefined) need.unknownJobs = true;
  else need.jobs.add(job);
  // In `for:` a star stands for any characters: such a name cannot be written there.
  if (isUnproven(row.identity) || pipeline === undefined || pipeline.includes('*')) need.scope = null;
  else need.scope?.add(pipeline);
}

function nameOf({ host, port }: Wanted): string {
  return authorityText(host, port);
}

type About = Pick<SuggestedLine, 'by'> & Partial<Pick<SuggestedLine, 'origin' | 'group' | 'pattern' | 'protocol'>>;

type Named = ReadonlyMap<string, readonly { readonly key: string; readonly entry: CatalogEntry }[]>;

class Drafts {
  readonly #drafts = new Map<string, Draft>();

  add(key: string, about: About, need: Need): Draft {
    let draft = this.#drafts.get(key);
    if (draft === undefined) {
      const blank = { origin: null, group: null, pattern: null, protocol: null, parameters: {} };
      draft = { ...blank, ...about, ports: new Set(), needs: [], addresses: new Set(), review: new Set() };
      this.#drafts.set(key, draft);
    }
    draft.needs.push(need);
    if (need.standing.as === 'wanted' && need.standing.doubt !== null) draft.review.add(need.standing.doubt);
    if (draft.pattern !== null) draft.ports.add(need.port);
    return draft;
  }

  /** One line a group; where several parameters are bound, one for each set: lists would give every combination. */
  addFit({ group, entry, values }: Fit, need: Need): void {
    const several = values.size > 1 ? ` ${JSON.stringify([...values])}` : '';
    let part = 0;
    const keyOf = (): string => `1 ${group.id}${several} ${String(part).padStart(6, '0')}`;
    while (isFull(this.#drafts.get(keyOf()), values)) part += 1;
    const { parameters, review: reasons } = this.add(keyOf(), { by: 'group', group: group.id }, need);
    for (const [name, value] of values) {
      const list = parameters[name];
      if (list === undefined) parameters[name] = [value];
      else if (!list.includes(value)) list.push(value);
    }
    if (entry.multi_tenant) reasons.add('multi-tenant');
  }

  /** The lines of groups by the exact hosts that they let through. */
  named(catalog: Catalog): Named {
    const named = new Map<string, { key: string; entry: CatalogEntry }[]>();
    for (const [key, { group, parameters }] of this.#drafts) {
      const found = catalog.groups.get(group ?? '');
      const expansion = found === undefined ? null : expandGroup(found, parameters);
      for (const { entry, pattern } of expansion?.ok ? expansion.entries : []) {
        if (pattern.kind !== 'exact' || !key.startsWith('1 ')) continue;
        const list = named.get(pattern.host);
        if (list === undefined) named.set(pattern.host, [{ key, entry }]);
        else list.push({ key, entry });
      }
    }
    return named;
  }

  /** Puts a need to a line that names its host already; false where there is none. */
  join(named: Named, need: Need): boolean {
    const found = named.get(need.host)?.find(({ entry }) => speaks(entry, need));
    if (found === undefined) return false;
    const { review: reasons } = this.add(found.key, { by: 'group' }, need);
    if (found.entry.multi_tenant) reasons.add('multi-tenant');
    return true;
  }

  sorted(): Draft[] {
    return [...this.#drafts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, draft]) => draft);
  }
}

function isFull(draft: Draft | undefined, values: ReadonlyMap<string, string>): boolean {
  if (draft === undefined || values.size !== 1) return false;
  return [...values].some(([name, value]) => {
    const list = draft.parameters[name] ?? [];
    return list.length >= VALUES_MAX && !list.includes(value);
  });
}

/** A host that resolves into the network: a rule of its own with the addresses seen, or those for the rule that names it. */
function addInternal(drafts: Drafts, need: Need, internal: readonly string[]): void {
  const { standing } = need;
  const draft =
    standing.as === 'in-force' && standing.exact
      ? drafts.add(`4 ${standing.origin}`, { by: 'policy', origin: standing.origin, group: standing.group }, need)
      : drafts.add(`4 ${need.host} ${protocolOf(need)}`, aboutHost(need), need);
  draft.review.add('internal');
  for (const address of internal) draft.addresses.add(`${address}/${address.includes(':') ? 128 : 32}`);
}

/** What the port does not say: plain HTTP elsewhere than on port 80, and a tunnel there. */
function protocolOf({ port, kind }: Wanted): SuggestedLine['protocol'] {
  if (kind === 'forward') return port === 80 ? null : 'http';
  return port === 80 ? 'any' : null;
}

function aboutHost(need: Wanted): About {
  return { by: 'host', pattern: hostText(need.host), protocol: protocolOf(need) };
}

/** Hosts that no group names: a wildcard where names vary under a domain that one owner has, else each by itself. */
function* byName(rest: readonly Need[], known: KnownHosts): Generator<[string, About, readonly Need[]]> {
  const families = Map.groupBy(rest, ({ host, port, kind }) => `${parentOf(host)} ${port} ${kind}`);
  for (const needs of families.values()) {
    const [first] = needs;
    if (first === undefined) continue;
    const protocol = protocolOf(first);
    const wildcard = vary(needs) ? parsePattern(`*.${parentOf(first.host)}`) : null;
    if (wildcard?.ok && known.wholeDomainOf(wildcard.pattern) === null) {
      const about = { by: 'wildcard', pattern: wildcard.pattern.text, protocol } as const;
      yield [`2 ${wildcard.pattern.host} ${protocol}`, about, needs];
      continue;
    }
    for (const need of needs) yield [`3 ${need.host} ${protocol}`, aboutHost(need), [need]];
  }
}

/** Names vary where there are several and most of them were met by one job alone: a service keeps its name. */
function vary(needs: readonly Need[]): boolean {
  const once = needs.filter((need) => need.jobs.size === 1 && !need.unknownJobs).length;
  return needs.length >= NAMES_VARY_MIN && once * 2 > needs.length;
}

function parentOf(host: string): string {
  return host.includes(':') ? '' : host.slice(host.indexOf('.') + 1);
}

function review(draft: Draft, input: SuggestInput, known: KnownHosts): void {
  const { from, to } = input.window;
  const evidence = evidenceOf(draft.needs);
  const { jobsMin } = input;
  const isKnown = draft.needs.every((need) => !need.unknownJobs);
  if (isKnown && evidence.jobs < jobsMin) draft.review.add('few-jobs');
  if (to - from >= 2 * NEW_MS && evidence.first_seen > to - NEW_MS) draft.review.add('new');
  if (draft.needs.every((need) => need.answered === 0)) draft.review.add('never-answered');
  if (input.guarded.some((target) => covers(draft, target, input.catalog))) draft.review.add('tested');
  if (draft.pattern === null) return;
  const parsed = parsePattern(draft.pattern);
  if (!parsed.ok) return;
  const { pattern } = parsed;
  if (pattern.kind === 'address' && classifyAddress(pattern.host) !== 'public') draft.review.add('internal');
  if (pattern.host === 'localhost' || pattern.host.endsWith('.localhost')) draft.review.add('internal');
  if (known.strangers(pattern) !== null) draft.review.add('multi-tenant');
  if (known.resolvers(pattern).length > 0) draft.review.add('doh');
  if (known.carriers(pattern).length > 0) draft.review.add('exfiltration');
}

/** Whether the line would let a target through: what a test wants to be refused. */
function covers(draft: Draft, { host, port }: Guarded, catalog: Catalog): boolean {
  if (draft.pattern !== null) {
    const parsed = parsePattern(draft.pattern);
    return parsed.ok && draft.ports.has(port) && patternMatches(parsed.pattern, host);
  }
  const group = catalog.groups.get(draft.group ?? '');
  const expansion = group === undefined ? null : expandGroup(group, draft.parameters);
  if (!expansion?.ok) return false;
  return expansion.entries.some(({ entry, pattern }) => entry.ports.includes(port) && patternMatches(pattern, host));
}

function evidenceOf(needs: readonly Need[]): Evidence {
  const jobs = new Set<string>();
  const pipelines = new Set<string>();
  let [requests, first, last] = [0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const need of needs) {
    for (const job of need.jobs) jobs.add(job);
    for (const pipeline of need.pipelines) pipelines.add(pipeline);
    requests += need.requests;
    first = Math.min(first, need.first);
    last = Math.max(last, need.last);
  }
  const names = [...new Set(needs.map(nameOf))].sort();
  return { requests, jobs: jobs.size, pipelines: [...pipelines].sort(), first_seen: first, last_seen: last, names };
}

/** The one pipeline behind all needs, where each request proved it. */
function pipelineOf(needs: readonly Need[]): string | null {
  const names = new Set<string>();
  for (const { scope } of needs) {
    if (scope === null) return null;
    for (const name of scope) names.add(name);
  }
  const [only] = names;
  return names.size === 1 && only !== undefined ? only : null;
}

function lineOf(draft: Draft, scoped: boolean): SuggestedLine {
  const { by, origin, group, parameters, pattern, protocol, needs } = draft;
  // What others are let through to by a rule is never opened to everyone.
  const narrow = by !== 'policy' && (scoped || draft.review.has('reserved'));
  return {
    ...{ by, origin, group, parameters, pattern, protocol },
    ports: [...draft.ports].sort((a, b) => a - b),
    addresses: [...draft.addresses].sort(),
    pipeline: narrow ? pipelineOf(needs) : null,
    evidence: evidenceOf(needs),
    review: [...draft.review].sort(),
  };
}
