// What was asked for in a window + the policy in force + the catalog → the smallest policy that the window needs.
// PURE. It proposes and never widens by itself: what one job asked for, what is new, what strangers may own, and what is
// known for carrying data out is marked for review. Deny rules and expected denials stay what they are: never proposed.
import { type Catalog, type CatalogEntry, type CatalogGroup, templateParameters } from '../catalog/catalog.ts';
import { KnownHosts } from '../config/lint-hosts.ts';
import { classifyAddress } from '../policy/address.ts';
import { METADATA_NAMES } from '../policy/decide.ts';
import { parsePattern } from '../policy/pattern.ts';
import { bindTemplate, type Template, templateOf } from '../policy/template.ts';

/** One host, port and kind of request by one job; times are ms since the epoch. */
export interface SeenRow {
  readonly host: string;
  readonly port: number;
  readonly kind: 'connect' | 'forward';
  /** '' where it is not known. */
  readonly pipeline: string;
  readonly job: string;
  readonly requests: number;
  /** Requests that an origin answered, or would have been let through to one. */
  readonly answered: number;
  /** A deny rule refused them. */
  readonly denied: boolean;
  readonly first_seen: number;
  readonly last_seen: number;
}

export interface SuggestInput {
  readonly rows: Iterable<SeenRow>;
  readonly catalog: Catalog;
  /** The rule in force that lets it through, by group or by `file:line`; null where none does. */
  readonly inForce: (
    host: string,
    port: number,
    kind: SeenRow['kind'],
  ) => { readonly group: string | null; readonly origin: string } | null;
  readonly isExpected: (host: string) => boolean;
  /** Where the records of the window begin and end, ms. */
  readonly window: { readonly from: number; readonly to: number };
  /** Fewer jobs than this are a matter for review. */
  readonly jobsMin: number;
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

export type ReviewReason = 'few-jobs' | 'new' | 'multi-tenant' | 'doh' | 'exfiltration' | 'never-answered';

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
  /** Plain HTTP only. */
  readonly forward: boolean;
  readonly evidence: Evidence;
  /** Empty: it may go in as it stands. */
  readonly review: readonly ReviewReason[];
}

/** Names under one domain from which on a wildcard is thought of. */
const NAMES_VARY_MIN = 5;
/** First seen so late in the window is new, where the window is at least twice as long. */
const NEW_MS = 86_400_000;

interface Need {
  readonly host: string;
  readonly port: number;
  readonly kind: SeenRow['kind'];
  readonly jobs: Set<string>;
  readonly pipelines: Set<string>;
  requests: number;
  answered: number;
  unknownJobs: boolean;
  first: number;
  last: number;
}

interface Draft extends Omit<SuggestedLine, 'evidence' | 'review' | 'ports'> {
  readonly ports: Set<number>;
  readonly needs: Need[];
  readonly review: Set<ReviewReason>;
}

interface Fit {
  readonly group: CatalogGroup;
  readonly entry: CatalogEntry;
  readonly values: ReadonlyMap<string, string>;
}

/** The lines of the smallest policy: what is in force and used first, then groups, wildcards and hosts by name. */
export function suggest(input: SuggestInput): SuggestedLine[] {
  const known = new KnownHosts(input.catalog);
  const templates = new Templates(input.catalog);
  const drafts = new Map<string, Draft>();
  const rest: Need[] = [];
  for (const need of needsOf(input)) {
    const rule = input.inForce(need.host, need.port, need.kind);
    const fit = rule === null ? templates.fit(need) : null;
    if (rule !== null) add(drafts, `0 ${rule.origin}`, { by: 'policy', origin: rule.origin, group: rule.group }, need);
    else if (fit === null) rest.push(need);
    else addFit(drafts, fit, need);
  }
  for (const [key, about, needs] of byName(rest, known)) for (const need of needs) add(drafts, key, about, need);
  for (const draft of drafts.values()) if (draft.by !== 'policy') review(draft, input, known);
  return [...drafts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, draft]) => lineOf(draft));
}

/** Sums by host, port and kind; without what must not be proposed. */
function needsOf(input: SuggestInput): Iterable<Need> {
  const needs = new Map<string, Need>();
  for (const row of input.rows) {
    if (row.host === '' || row.port === 0 || row.denied || input.isExpected(row.host)) continue;
    if (METADATA_NAMES.has(row.host) || !parsePattern(shown(row.host)).ok) continue;
    if (classifyAddress(row.host) === 'metadata') continue;
    const key = `${row.host} ${row.port} ${row.kind}`;
    const before = needs.get(key);
    const need = before ?? {
      ...{ host: row.host, port: row.port, kind: row.kind, jobs: new Set(), pipelines: new Set() },
      ...{ requests: 0, answered: 0, unknownJobs: false, first: row.first_seen, last: row.last_seen },
    };
    if (before === undefined) needs.set(key, need);
    need.requests += row.requests;
    need.answered += row.answered;
    need.first = Math.min(need.first, row.first_seen);
    need.last = Math.max(need.last, row.last_seen);
    if (row.pipeline !== '') need.pipelines.add(row.pipeline);
    if (row.job === '') need.unknownJobs = true;
    else need.jobs.add(row.job);
  }
  return needs.values();
}

/** Patterns show an IPv6 address in brackets, records without. */
function shown(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}

/** The catalog read backwards: exact hosts by name, templates and wildcards by their last label. */
class Templates {
  readonly #exact = new Map<string, { group: CatalogGroup; entry: CatalogEntry }[]>();
  readonly #others = new Map<string, { group: CatalogGroup; entry: CatalogEntry; template: Template }[]>();

  constructor(catalog: Catalog) {
    for (const group of catalog.groups.values()) {
      const own = new Set(group.parameters.filter(({ kind }) => kind === 'host').map(({ name }) => name));
      if (group.requires !== undefined) continue;
      for (const entry of group.entries) {
        const names = templateParameters(entry.host);
        if (entry.via === 'direct' || names.some((name) => own.has(name))) continue;
        if (names.length === 0 && !entry.host.startsWith('*.')) push(this.#exact, entry.host, { group, entry });
        else {
          const template = templateOf(entry.host, group.source === 'published');
          push(this.#others, template.labels.at(-1) ?? '', { group, entry, template });
        }
      }
    }
  }

  /** The entry that fits best: an exact host, then the most literal text, then what is published. */
  fit({ host, port, kind }: Need): Fit | null {
    const speaks = (entry: CatalogEntry): boolean =>
      entry.ports.includes(port) && (entry.scheme === 'http') === (kind === 'forward');
    const exact = (this.#exact.get(host) ?? []).filter(({ group, entry }) => speaks(entry) && needsNothing(group));
    const published = exact.find(({ group }) => group.source === 'published') ?? exact[0];
    if (published !== undefined) return { ...published, values: new Map() };
    const labels = host.split('.');
    let best: (Fit & { score: number }) | null = null;
    for (const { group, entry, template } of this.#others.get(labels.at(-1) ?? '') ?? []) {
      if (!speaks(entry) || (best !== null && template.score <= best.score)) continue;
      const values = bindTemplate(template, labels);
      if (values === null || group.parameters.some(({ name, required }) => required && !values.has(name))) continue;
      best = { group, entry, values, score: template.score };
    }
    return best;
  }
}

function needsNothing(group: CatalogGroup): boolean {
  return !group.parameters.some(({ required }) => required);
}

function push<V>(map: Map<string, V[]>, key: string, value: V): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}

type About = Pick<SuggestedLine, 'by'> & Partial<Pick<SuggestedLine, 'origin' | 'group' | 'pattern' | 'forward'>>;

function add(drafts: Map<string, Draft>, key: string, about: About, need: Need): Draft {
  let draft = drafts.get(key);
  if (draft === undefined) {
    const blank = { origin: null, group: null, pattern: null, forward: false, parameters: {} };
    draft = { ...blank, ...about, ports: new Set(), needs: [], review: new Set() };
    drafts.set(key, draft);
  }
  draft.needs.push(need);
  if (draft.pattern !== null) draft.ports.add(need.port);
  return draft;
}

/** One line a group; with several required parameters one for each set of values: lists would give every combination. */
function addFit(drafts: Map<string, Draft>, { group, entry, values }: Fit, need: Need): void {
  const several = group.parameters.filter(({ required }) => required).length > 1;
  const key = `1 ${group.id}${several ? ` ${JSON.stringify([...values])}` : ''}`;
  const draft = add(drafts, key, { by: 'group', group: group.id }, need);
  const parameters = draft.parameters as Record<string, string[]>;
  for (const [name, value] of values) {
    const list = parameters[name];
    if (list === undefined) parameters[name] = [value];
    else if (!list.includes(value)) list.push(value);
  }
  if (entry.multi_tenant) draft.review.add('multi-tenant');
}

/** Hosts that no group names: a wildcard where names vary under a domain that one owner has, else each by itself. */
function* byName(rest: readonly Need[], known: KnownHosts): Generator<[string, About, readonly Need[]]> {
  const families = new Map<string, Need[]>();
  for (const need of rest) push(families, `${parentOf(need.host)} ${need.port} ${need.kind}`, need);
  for (const needs of families.values()) {
    const [first] = needs;
    if (first === undefined) continue;
    const forward = first.kind === 'forward';
    const wildcard = vary(needs) ? parsePattern(`*.${parentOf(first.host)}`) : null;
    if (wildcard?.ok && known.wholeDomainOf(wildcard.pattern) === null) {
      yield [
        `2 ${wildcard.pattern.host} ${forward}`,
        { by: 'wildcard', pattern: wildcard.pattern.text, forward },
        needs,
      ];
      continue;
    }
    for (const need of needs) {
      yield [`3 ${need.host} ${forward}`, { by: 'host', pattern: shown(need.host), forward }, [need]];
    }
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
  if (draft.pattern === null) return;
  const parsed = parsePattern(draft.pattern);
  if (!parsed.ok) return;
  if (known.strangers(parsed.pattern) !== null) draft.review.add('multi-tenant');
  if (known.resolvers(parsed.pattern).length > 0) draft.review.add('doh');
  if (known.carriers(parsed.pattern).length > 0) draft.review.add('exfiltration');
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
  const names = [...new Set(needs.map(({ host, port }) => `${shown(host)}:${port}`))].sort();
  return { requests, jobs: jobs.size, pipelines: [...pipelines].sort(), first_seen: first, last_seen: last, names };
}

function lineOf({ needs, ports, review: reasons, ...draft }: Draft): SuggestedLine {
  return {
    ...draft,
    ports: [...ports].sort((a, b) => a - b),
    evidence: evidenceOf(needs),
    review: [...reasons].sort(),
  };
}
