// Folds lines of the audit log into usage rows. PURE: no clock, no I/O; the same lines give the same rows.
// A request is counted once, by the line that finishes it: its decided line where that has an outcome or refuses, else its
// ended line, whose verdict counts (a tunnel that was cut for its server name is a denial).
// What clients can invent without end (hosts, ports, claimed names) is bounded for each hour: beyond it the requests are
// still counted, under OVERFLOW, so that a flood of names cannot fill the disk or hide the sum.
import type { DecidedRead, EndedRead, Facts, ReadLine } from '../audit/line-reader.ts';
import { type Attributes, statedAttributes } from '../policy/record.ts';
import { shownPath } from '../policy/shown-target.ts';
import type { Recent } from './recent.ts';
import type { ActorColumns, PathColumns, UsageColumns } from './schema.ts';

export const OVERFLOW = '(overflow)';
export const HOUR_MS = 3_600_000;
export const DAY_HOURS = 24;
/** Characters of a method and of a path that are kept: an index of PostgreSQL takes 2,704 bytes. */
const METHOD_MAX = 32;
const PATH_MAX = 512;

export interface Target {
  readonly host: string;
  readonly port: number;
}

export interface Rule {
  readonly rule: string;
  readonly grp: string;
}

type Sums = Omit<UsageColumns, 'node_id' | 'target_id' | 'actor_id' | 'rule_id' | 'pipeline_id'>;
/** A usage row whose dimensions are keys of the tally's maps. */
export interface TallyRow extends Sums {
  readonly node: string;
  readonly target: string;
  readonly actor: string;
  readonly rule: string;
}

/** A row of `path` whose dimensions are keys of the tally's maps. */
export type PathRow = Omit<PathColumns, 'node_id' | 'target_id' | 'actor_id' | 'pipeline_id'> & {
  readonly node: string;
  readonly target: string;
  readonly actor: string;
};

export interface Denial {
  reason: string;
  nearest: string;
  rule: string;
  last_seen: number;
}

/** See schema.ts. */
export interface Redirect {
  readonly host: string;
  readonly port: number;
  votes: number;
  last_seen: number;
}

/** Names already counted in an hour; the store's rows are the truth, this is their copy for the hours at hand. */
export interface HourNames {
  readonly targets: Set<string>;
  /** Who proved something, or said nothing of himself. */
  readonly actors: Set<string>;
  /** Apart, since anybody can claim to be another one with each request: it must not push out who is proven. */
  readonly claimed: Set<string>;
}

/** By key of the target: methods and paths that are counted by name on a day. */
export type DayPaths = Map<string, Set<string>>;

export interface Tally {
  readonly rows: Map<string, TallyRow>;
  readonly paths: Map<string, PathRow>;
  readonly targets: Map<string, Target>;
  readonly actors: Map<string, ActorColumns>;
  readonly rules: Map<string, Rule>;
  readonly denials: Map<string, Denial>;
  /** By key of the refused target. */
  readonly redirects: Map<string, Redirect>;
  /** Let through and not ended in this tally: id → node and line as in the log. */
  readonly opened: Map<string, { readonly node: string; readonly line: string }>;
  /** Ended here, opened before this tally. */
  readonly closed: Set<string>;
  /** Nodes that started: whatever they had open before is over. */
  readonly started: Set<string>;
  readonly windows: Map<string, { first: number; last: number }>;
  /** The row where requests with these facts were counted last. */
  readonly latest: Map<Facts, TallyRow>;
}

export interface TallyBounds {
  /** Names of an hour; must give the same object for the same hour. */
  readonly names: (hour: number) => HourNames;
  readonly namesPerHour: number;
  /** Paths of a day, by its first hour; must give the same object for the same day. */
  readonly paths: (hour: number) => DayPaths;
  readonly pathsPerDay: number;
  /** What was let through just now, across batches. */
  readonly recent: Recent;
}

export function createTally(): Tally {
  return {
    rows: new Map(),
    paths: new Map(),
    targets: new Map(),
    actors: new Map(),
    rules: new Map(),
    denials: new Map(),
    redirects: new Map(),
    opened: new Map(),
    closed: new Set(),
    started: new Set(),
    windows: new Map(),
    latest: new Map(),
  };
}

/** The first hour of the day (UTC) that a moment lies in, since the epoch. */
export function dayOf(ms: number): number {
  return Math.floor(hourOf(ms) / DAY_HOURS) * DAY_HOURS;
}

/** The hour that a moment lies in, since the epoch. */
export function hourOf(ms: number): number {
  return Math.floor(ms / HOUR_MS);
}

/** Adds one line; `text` is the line as in the log. */
export function addLine(tally: Tally, read: ReadLine, text: string, bounds: TallyBounds): void {
  if (read.kind !== 'note' && read.facts.tunnel !== undefined) addBelow(tally, read, text, bounds);
  else if (read.kind === 'decided') addDecided(tally, read, text, bounds);
  else if (read.kind === 'ended') addEnded(tally, read, bounds);
  else {
    const { line, ms } = read;
    widen(tally, line.node, ms);
    // While an old process drains, what is open may be its own; it ends each by itself.
    if (line.event !== 'start' || line.detail['draining'] !== undefined) return;
    tally.started.add(line.node);
    for (const [id, request] of tally.opened) if (request.node === line.node) tally.opened.delete(id);
  }
}

function widen(tally: Tally, node: string, ms: number): void {
  const window = tally.windows.get(node);
  if (window === undefined) tally.windows.set(node, { first: ms, last: ms });
  else {
    window.first = Math.min(window.first, ms);
    window.last = Math.max(window.last, ms);
  }
}

function addDecided(tally: Tally, { facts, id, ms }: DecidedRead, line: string, bounds: TallyBounds): void {
  widen(tally, facts.node, ms);
  const opened = facts.verdict !== 'deny' && facts.outcome === undefined;
  if (opened) tally.opened.set(id, { node: facts.node, line });
  else add(rowFor(tally, facts, ms, bounds, facts.outcome ?? ''), ms, 0, 0);
  if (facts.verdict === 'allow') {
    if (opened) bounds.recent.add(facts, ms);
    return;
  }
  const target = deny(tally, facts, ms, bounds, facts.nearest === undefined ? '' : JSON.stringify(facts.nearest));
  const from = bounds.recent.before(facts, ms);
  if (from !== null) vote(tally.redirects, target, { ...from, votes: 1, last_seen: ms });
}

function addEnded(tally: Tally, ended: EndedRead, bounds: TallyBounds): void {
  const { facts, ms, outcome } = ended;
  widen(tally, facts.node, ms);
  if (!tally.opened.delete(ended.id)) tally.closed.add(ended.id);
  add(rowFor(tally, facts, ms, bounds, outcome), ms, ended.bytes_up, ended.bytes_down);
  // An observed request's nearest miss stands in its decided line; only a cut after the 200 is news.
  if (facts.verdict === 'deny') deny(tally, facts, ms, bounds, '');
}

/** A request inside a CONNECT, which is counted by itself: so it is no tunnel, and its bytes are no further ones. */
function addBelow(tally: Tally, read: DecidedRead | EndedRead, line: string, bounds: TallyBounds): void {
  const { facts, id, ms } = read;
  widen(tally, facts.node, ms);
  if (read.kind === 'ended') {
    if (!tally.opened.delete(id)) tally.closed.add(id);
    return addPath(pathRow(tally, facts, ms, bounds), ms, read.bytes_up, read.bytes_down, '');
  }
  const { nearest, outcome } = read.facts;
  if (facts.verdict !== 'deny' && outcome === undefined) tally.opened.set(id, { node: facts.node, line });
  else addPath(pathRow(tally, facts, ms, bounds), ms, 0, 0, nearest === undefined ? '' : JSON.stringify(nearest));
}

/** By the day: whoever walks through a site asks for each path once. */
function pathRow(tally: Tally, facts: Facts, ms: number, bounds: TallyBounds): PathRow {
  const hour = dayOf(ms);
  const names = bounds.names(hourOf(ms));
  const target = targetKey(tally, facts, names, bounds.namesPerHour);
  const actor = actorKey(tally, facts.verdict === 'allow' ? asPipeline(facts) : facts, names, bounds.namesPerHour);
  let method = storable(facts.method).slice(0, METHOD_MAX);
  let path = storable(shownPath(facts.path ?? ''))
    .slice(0, PATH_MAX)
    .toWellFormed();
  const days = bounds.paths(hour);
  const known = days.get(target) ?? new Set();
  days.set(target, known);
  if (!admit(known, keyOfPath({ method, path }), bounds.pathsPerDay)) [method, path] = ['', OVERFLOW];
  const { node, verdict, reason } = facts;
  const key = join([String(hour), node, target, actor, method, path, verdict, reason]);
  const row = tally.paths.get(key);
  if (row !== undefined) return row;
  const sums = { requests: 0, bytes_up: 0, bytes_down: 0, first_seen: ms, last_seen: ms, nearest: '' };
  const made: PathRow = { hour, node, target, actor, method, path, verdict, reason, ...sums };
  tally.paths.set(key, made);
  return made;
}

function addPath(row: PathRow, ms: number, up: number, down: number, nearest: string): void {
  if (nearest !== '' && ms >= row.last_seen) row.nearest = nearest;
  add(row, ms, up, down);
}

/** Of what is let through every day, who of a pipeline asked is not kept: that would be a row for each job and path. */
function asPipeline(facts: Facts): Facts {
  const { kind, attributes, claimed } = facts.identity;
  const of = ({ organization, pipeline }: Attributes): Attributes => ({
    ...(organization === undefined ? {} : { organization }),
    ...(pipeline === undefined ? {} : { pipeline }),
  });
  return { ...facts, client: '', identity: { kind, attributes: of(attributes), claimed: of(claimed) } };
}

/** The row where requests with these facts were counted last, where that is the row for this one too. */
function rowFor(tally: Tally, facts: Facts, ms: number, bounds: TallyBounds, outcome: string): TallyRow {
  const latest = tally.latest.get(facts);
  if (latest !== undefined && latest.outcome === outcome && latest.hour === hourOf(ms)) return latest;
  const row = rowOf(tally, facts, ms, bounds, outcome);
  tally.latest.set(facts, row);
  return row;
}

function rowOf(tally: Tally, facts: Facts, ms: number, bounds: TallyBounds, outcome: string): TallyRow {
  const hour = hourOf(ms);
  const names = bounds.names(hour);
  const target = targetKey(tally, facts, names, bounds.namesPerHour);
  const actor = actorKey(tally, facts, names, bounds.namesPerHour);
  const rule = ruleKey(tally, facts);
  const { node, verdict, reason } = facts;
  const kind = facts.method === 'CONNECT' ? 'connect' : 'forward';
  const key = join([String(hour), node, target, actor, rule, kind, verdict, reason, outcome]);
  const known = tally.rows.get(key);
  if (known !== undefined) return known;
  const dimensions = { hour, node, target, actor, rule, kind, verdict, reason, outcome } as const;
  const row: TallyRow = { ...dimensions, requests: 0, bytes_up: 0, bytes_down: 0, first_seen: ms, last_seen: ms };
  tally.rows.set(key, row);
  return row;
}

function add(
  row: Pick<TallyRow, 'requests' | 'bytes_up' | 'bytes_down' | 'first_seen' | 'last_seen'>,
  ms: number,
  up: number,
  down: number,
): void {
  row.requests++;
  row.bytes_up += up;
  row.bytes_down += down;
  row.first_seen = Math.min(row.first_seen, ms);
  row.last_seen = Math.max(row.last_seen, ms);
}

function deny(tally: Tally, line: Facts, ms: number, bounds: TallyBounds, nearest: string): string {
  const target = targetKey(tally, line, bounds.names(hourOf(ms)), bounds.namesPerHour);
  const known = tally.denials.get(target);
  if (known === undefined || known.last_seen <= ms)
    tally.denials.set(target, { reason: line.reason, nearest, rule: storable(line.rule), last_seen: ms });
  return target;
}

/** Boyer and Moore's majority vote: one candidate stays, and the store goes on with it (write.ts). */
function vote(redirects: Map<string, Redirect>, target: string, given: Redirect): void {
  const known = redirects.get(target);
  if (known === undefined || known.votes === 0) redirects.set(target, given);
  else if (known.host !== given.host || known.port !== given.port) known.votes -= 1;
  else {
    known.votes += 1;
    known.last_seen = given.last_seen;
  }
}

function targetKey(tally: Tally, line: Facts, names: HourNames, max: number): string {
  let target: Target = { host: storable(line.host), port: line.host === null ? 0 : (line.port ?? 0) };
  let key = keyOfTarget(target);
  if (target.host !== '' && !admit(names.targets, key, max)) {
    target = { host: OVERFLOW, port: 0 };
    key = keyOfTarget(target);
  }
  if (!tally.targets.has(key)) tally.targets.set(key, target);
  return key;
}

/** Askers beyond limits.usage_names_per_hour. */
const NAMELESS: ActorColumns = {
  kind: OVERFLOW,
  organization: '',
  pipeline: '',
  branch: '',
  step: '',
  queue: '',
  job: '',
  agent: '',
  user: '',
  client: '',
};

function actorKey(tally: Tally, line: Facts, names: HourNames, max: number): string {
  const of = statedAttributes(line.identity);
  let actor: ActorColumns = {
    kind: line.identity.kind,
    organization: storable(of.organization),
    pipeline: storable(of.pipeline),
    branch: storable(of.branch),
    step: storable(of.step),
    queue: storable(of.queue),
    job: storable(of.job),
    agent: storable(of.agent),
    user: storable(of.user),
    client: storable(line.client),
  };
  let key = keyOfActor(actor);
  if (!admit(actor.kind === 'claimed' ? names.claimed : names.actors, key, max)) {
    actor = NAMELESS;
    key = keyOfActor(actor);
  }
  if (!tally.actors.has(key)) tally.actors.set(key, actor);
  return key;
}

function ruleKey(tally: Tally, line: Facts): string {
  const rule: Rule = { rule: storable(line.rule), grp: storable(line.group) };
  const key = keyOfRule(rule);
  if (!tally.rules.has(key)) tally.rules.set(key, rule);
  return key;
}

/**
 * '' for none; half a surrogate pair becomes U+FFFD, as it does on its way into the store, and so does NUL, which PostgreSQL
 * refuses. Otherwise the key made here would never be found among the rows that come back, and one such claim of a client
 * would stop the counting for good.
 */
export function storable(text: string | null | undefined): string {
  return (text ?? '').toWellFormed().replaceAll('\0', '\uFFFD');
}

function admit(names: Set<string>, key: string, max: number): boolean {
  if (names.has(key)) return true;
  if (names.size >= max) return false;
  names.add(key);
  return true;
}

export function keyOfTarget(target: Target): string {
  return `${target.port} ${target.host}`;
}

export function keyOfPath({ method, path }: Pick<PathColumns, 'method' | 'path'>): string {
  return `${method} ${path}`;
}

export function keyOfRule(rule: Rule): string {
  return join([rule.rule, rule.grp]);
}

export function keyOfActor(a: ActorColumns): string {
  return join([a.kind, a.organization, a.pipeline, a.branch, a.step, a.queue, a.job, a.agent, a.user, a.client]);
}

/** Each part with its length: no two different lists give the same text, whatever a client puts into a name. */
function join(parts: readonly string[]): string {
  let text = '';
  for (const part of parts) text += `${part.length}:${part}`;
  return text;
}
