// Folds lines of the audit log into usage rows. PURE: no clock, no I/O; the same lines give the same rows.
// A request is counted once, by the line that finishes it: its decided line where that has an outcome or refuses, else its
// ended line, whose verdict counts (a tunnel that was cut for its server name is a denial).
// What clients can invent without end (hosts, ports, claimed names) is bounded for each hour: beyond it the requests are
// still counted, under OVERFLOW, so that a flood of names cannot fill the disk or hide the sum.
import type { DecidedLine, EndedLine, Line } from '../policy/record.ts';
import type { ActorColumns, UsageColumns } from './schema.ts';

export const OVERFLOW = '(overflow)';
const HOUR_MS = 3_600_000;

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

export interface Denial {
  reason: string;
  nearest: string;
  rule: string;
  last_seen: number;
}

/** Names already counted in an hour; the store's rows are the truth, this is their copy for the hours at hand. */
export interface HourNames {
  readonly targets: Set<string>;
  readonly actors: Set<string>;
}

export interface Tally {
  readonly rows: Map<string, TallyRow>;
  readonly targets: Map<string, Target>;
  readonly actors: Map<string, ActorColumns>;
  readonly rules: Map<string, Rule>;
  readonly denials: Map<string, Denial>;
  /** Let through and not ended in this tally: id → node and line as in the log. */
  readonly opened: Map<string, { readonly node: string; readonly line: string }>;
  /** Ended here, opened before this tally. */
  readonly closed: Set<string>;
  /** Nodes that started: whatever they had open before is over. */
  readonly started: Set<string>;
  readonly windows: Map<string, { first: number; last: number }>;
}

export interface TallyBounds {
  /** Names of an hour; must give the same object for the same hour. */
  readonly names: (hour: number) => HourNames;
  readonly namesPerHour: number;
}

export function createTally(): Tally {
  return {
    rows: new Map(),
    targets: new Map(),
    actors: new Map(),
    rules: new Map(),
    denials: new Map(),
    opened: new Map(),
    closed: new Set(),
    started: new Set(),
    windows: new Map(),
  };
}

export function hourOf(ms: number): number {
  return Math.floor(ms / HOUR_MS);
}

/** Adds one line. `ms` is its time, `text` the line as in the log. */
export function addLine(tally: Tally, line: Line, ms: number, text: string, bounds: TallyBounds): void {
  const window = tally.windows.get(line.node);
  if (window === undefined) tally.windows.set(line.node, { first: ms, last: ms });
  else {
    window.first = Math.min(window.first, ms);
    window.last = Math.max(window.last, ms);
  }
  if (line.event === 'decided') addDecided(tally, line, ms, text, bounds);
  else if (line.event === 'ended') addEnded(tally, line, ms, bounds);
  // While an old process drains, what is open may be its own; it ends each by itself.
  else if (line.event === 'start' && line.detail['draining'] === undefined) {
    tally.started.add(line.node);
    for (const [id, request] of tally.opened) if (request.node === line.node) tally.opened.delete(id);
  }
}

function addDecided(tally: Tally, line: DecidedLine, ms: number, text: string, bounds: TallyBounds): void {
  const finished = line.verdict === 'deny' || line.outcome !== undefined;
  if (finished) count(tally, line, ms, bounds, line.outcome ?? '', 0, 0);
  else tally.opened.set(line.id, { node: line.node, line: text });
  if (line.verdict === 'allow') return;
  const nearest = line.nearest === undefined ? '' : JSON.stringify(line.nearest);
  deny(tally, line, ms, bounds, nearest);
}

function addEnded(tally: Tally, line: EndedLine, ms: number, bounds: TallyBounds): void {
  if (!tally.opened.delete(line.id)) tally.closed.add(line.id);
  count(tally, line, ms, bounds, line.outcome, line.bytes_up, line.bytes_down);
  // An observed request's nearest miss stands in its decided line; only a cut after the 200 is news.
  if (line.verdict === 'deny') deny(tally, line, ms, bounds, '');
}

function count(
  tally: Tally,
  line: DecidedLine | EndedLine,
  ms: number,
  bounds: TallyBounds,
  outcome: string,
  up: number,
  down: number,
): void {
  const hour = hourOf(ms);
  const names = bounds.names(hour);
  const target = targetKey(tally, line, names, bounds.namesPerHour);
  const actor = actorKey(tally, line, names, bounds.namesPerHour);
  const rule = ruleKey(tally, line);
  const kind = line.method === 'CONNECT' ? 'connect' : 'forward';
  const key = join([String(hour), line.node, target, actor, rule, kind, line.verdict, line.reason, outcome]);
  const row = tally.rows.get(key);
  if (row === undefined) {
    const { node, verdict, reason } = line;
    const dimensions = { hour, node, target, actor, rule, kind, verdict, reason, outcome } as const;
    tally.rows.set(key, { ...dimensions, requests: 1, bytes_up: up, bytes_down: down, first_seen: ms, last_seen: ms });
    return;
  }
  row.requests++;
  row.bytes_up += up;
  row.bytes_down += down;
  row.first_seen = Math.min(row.first_seen, ms);
  row.last_seen = Math.max(row.last_seen, ms);
}

function deny(tally: Tally, line: DecidedLine | EndedLine, ms: number, bounds: TallyBounds, nearest: string): void {
  const target = targetKey(tally, line, bounds.names(hourOf(ms)), bounds.namesPerHour);
  const known = tally.denials.get(target);
  if (known !== undefined && known.last_seen > ms) return;
  tally.denials.set(target, { reason: line.reason, nearest, rule: line.rule ?? '', last_seen: ms });
}

function targetKey(tally: Tally, line: DecidedLine | EndedLine, names: HourNames, max: number): string {
  let target: Target = { host: storable(line.host), port: line.host === null ? 0 : (line.port ?? 0) };
  let key = keyOfTarget(target);
  if (target.host !== '' && !admit(names.targets, key, max)) {
    target = { host: OVERFLOW, port: 0 };
    key = keyOfTarget(target);
  }
  if (!tally.targets.has(key)) tally.targets.set(key, target);
  return key;
}

function actorKey(tally: Tally, line: DecidedLine | EndedLine, names: HourNames, max: number): string {
  const { kind, attributes, claimed } = line.identity;
  const of = kind === 'claimed' ? claimed : attributes;
  let actor: ActorColumns = {
    kind,
    organization: storable(of.organization),
    pipeline: storable(of.pipeline),
    branch: storable(of.branch),
    step: storable(of.step),
    queue: storable(of.queue),
    job: storable(of.job),
    user: storable(of.user),
    client: storable(line.client),
  };
  let key = keyOfActor(actor);
  if (!admit(names.actors, key, max)) {
    actor = {
      kind: OVERFLOW,
      organization: '',
      pipeline: '',
      branch: '',
      step: '',
      queue: '',
      job: '',
      user: '',
      client: '',
    };
    key = keyOfActor(actor);
  }
  if (!tally.actors.has(key)) tally.actors.set(key, actor);
  return key;
}

function ruleKey(tally: Tally, line: DecidedLine | EndedLine): string {
  const rule: Rule = { rule: storable(line.rule), grp: storable(line.group) };
  const key = keyOfRule(rule);
  if (!tally.rules.has(key)) tally.rules.set(key, rule);
  return key;
}

/**
 * '' for none; half a surrogate pair becomes U+FFFD, as it does on its way into the store. Otherwise the key made here would
 * never be found among the rows that come back, and one such claim of a client would stop the counting for good.
 */
function storable(text: string | null | undefined): string {
  return (text ?? '').toWellFormed();
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

export function keyOfRule(rule: Rule): string {
  return join([rule.rule, rule.grp]);
}

export function keyOfActor(a: ActorColumns): string {
  return join([a.kind, a.organization, a.pipeline, a.branch, a.step, a.queue, a.job, a.user, a.client]);
}

/** Each part with its length: no two different lists give the same text, whatever a client puts into a name. */
function join(parts: readonly string[]): string {
  let text = '';
  for (const part of parts) text += `${part.length}:${part}`;
  return text;
}
