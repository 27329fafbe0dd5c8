// What was refused, or would have been: by host, port and reason, with the nearest rule and who asked. The operator's to-do
// list, so what the policy expects to refuse (expected_denials) stands apart, and a challenge that was answered is no refusal.
import { refusalHint } from '../errors.ts';
import type { Nearest } from '../policy/record.ts';
import type { Store } from '../usage/store.ts';
import { HOUR_MS, hourOf } from '../usage/tally.ts';
import { type Filter, readDenials, readRedirects, readWho, type TargetRow } from './query.ts';
import type { Alarm, DeniedRow } from './report.ts';
import type { End } from './sums.ts';
import type { ReportView } from './view.ts';

/** Hosts listed; the most asked for first. */
export const DENIED_MAX = 10_000;
/** Buildkite's own hosts that stand before all others: names below buildkite.com cost nothing, and must not hide what else was refused. */
const LOUD_MAX = 100;
/** Hosts of which pipelines and jobs are looked up: one query each. */
const WHO_MAX = 500;

interface Entry {
  readonly targetId: number;
  readonly host: string;
  readonly port: number;
  readonly reason: string;
  count: number;
  first: number;
  last: number;
}

interface Lists {
  denied: DeniedRow[];
  denied_total: number;
  would_deny: DeniedRow[];
  would_deny_total: number;
  expected_denied: DeniedRow[];
}

export class Refusals {
  readonly #view: ReportView;
  readonly #denied = new Map<string, Entry>();
  readonly #observed = new Map<string, Entry>();
  readonly #challenged = new Map<string, Entry>();
  readonly #passed = new Set<number>();

  constructor(view: ReportView) {
    this.#view = view;
  }

  add(row: TargetRow, end: End): void {
    if (end === 'denied') note(this.#denied, row);
    else if (end === 'challenge') note(this.#challenged, row);
    else if (row.verdict === 'observe') note(this.#observed, row);
    if (row.verdict === 'allow') this.#passed.add(row.target_id);
  }

  async finish(store: Store, filter: Filter): Promise<Lists> {
    for (const [key, entry] of this.#challenged) if (!this.#passed.has(entry.targetId)) this.#denied.set(key, entry);
    const denied: Entry[] = [];
    const expected: Entry[] = [];
    for (const entry of this.#denied.values()) (this.#view.isExpected(entry.host) ? expected : denied).push(entry);
    const observed = [...this.#observed.values()].filter(({ host }) => !this.#view.isExpected(host));
    return {
      denied: await rowsOf(store, filter, denied),
      denied_total: denied.length,
      would_deny: await rowsOf(store, filter, observed),
      would_deny_total: observed.length,
      expected_denied: await rowsOf(store, filter, expected),
    };
  }
}

function note(entries: Map<string, Entry>, row: TargetRow): void {
  const key = `${row.target_id} ${row.reason}`;
  const entry = entries.get(key);
  if (entry === undefined) {
    const { target_id: targetId, host, port, reason, requests: count, first_seen: first, last_seen: last } = row;
    entries.set(key, { targetId, host, port, reason, count, first, last });
    return;
  }
  entry.count += row.requests;
  entry.first = Math.min(entry.first, row.first_seen);
  entry.last = Math.max(entry.last, row.last_seen);
}

async function rowsOf(store: Store, filter: Filter, entries: Entry[]): Promise<DeniedRow[]> {
  const sorted = inOrder(entries).slice(0, DENIED_MAX);
  const denials = await readDenials(store, [...new Set(sorted.map(({ targetId }) => targetId))]);
  const redirects = await readRedirects(
    store,
    sorted.map(({ targetId }) => targetId),
    hourOf(filter.from) * HOUR_MS,
  );
  const rows: DeniedRow[] = [];
  for (const [place, entry] of sorted.entries()) {
    const denial = denials.get(entry.targetId);
    const nearest = denial?.reason === entry.reason ? denial.nearest : null;
    const { host, port, reason, count } = entry;
    rows.push({
      host,
      port,
      count,
      reason,
      nearest,
      hint: hintFor(reason, host, port, nearest),
      first_seen: new Date(entry.first).toISOString(),
      last_seen: new Date(entry.last).toISOString(),
      ...(place < WHO_MAX ? await readWho(store, filter, entry.targetId, reason) : { pipelines: [], jobs: [] }),
      buildkite: isBuildkite(host),
      redirect_from: redirects.get(entry.targetId) ?? null,
    });
  }
  return rows;
}

/** Some of Buildkite's own hosts first, for builds stop without them; then the most asked for. */
function inOrder(entries: readonly Entry[]): Entry[] {
  const sorted = entries.toSorted(
    (a, b) => b.count - a.count || (a.host < b.host ? -1 : a.host > b.host ? 1 : a.port - b.port),
  );
  const loud = new Set(sorted.filter(({ host }) => isBuildkite(host)).slice(0, LOUD_MAX));
  return [...loud, ...sorted.filter((entry) => !loud.has(entry))];
}

/** The Agent API may move an agent to any host below buildkite.com; a refusal of one is the first thing to look at. */
export function isBuildkite(host: string): boolean {
  return (
    host === 'buildkite.com' ||
    host.endsWith('.buildkite.com') ||
    host === 'buildkiteartifacts.com' ||
    host.endsWith('.buildkiteartifacts.com')
  );
}

/** One for each refused host of Buildkite itself, what is refused already first. */
export function alarmsOf(denied: readonly DeniedRow[], wouldDeny: readonly DeniedRow[]): Alarm[] {
  const alarm = (verdict: Alarm['verdict'], { host, port, count, last_seen }: DeniedRow): Alarm => {
    const [times, done] = [
      count === 1 ? 'ONCE' : `${count} TIMES`,
      verdict === 'deny' ? 'REFUSED' : 'WOULD BE REFUSED',
    ];
    const message = `BUILDKITE HOST ${done} ${times}: ${host}:${port}: the Agent API can move an agent to another endpoint, and without it jobs stop`;
    return { verdict, host, port, count, last_seen, message };
  };
  return [
    ...denied.filter(({ buildkite }) => buildkite).map((row) => alarm('deny', row)),
    ...wouldDeny.filter(({ buildkite }) => buildkite).map((row) => alarm('observe', row)),
  ];
}

/**
 * What to do about a refusal: the line of the nearest rule, else the line that would allow exactly this, else the registry's hint
 * for the reason. A nearest rule without a line is no reason to allow what was asked for: it may be a squatter's name.
 */
export function hintFor(reason: string, host: string, port: number, nearest: Nearest | null): string {
  if (nearest !== null && nearest.fix !== '') return `Add under allow: - ${nearest.fix}`;
  if (reason === 'host-not-allowed')
    return nearest === null
      ? `Add under allow: - ${port === 443 ? host : `{ host: ${host}, ports: [${port}] }`}`
      : `Mend the name where it is asked for: ${nearest.why}.`;
  return refusalHint(reason, host, port);
}
