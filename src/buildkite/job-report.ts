// What was refused to one job, and what to do about it, from the usage store: for the build page, so by host and in words of a build
// engineer. Only what the job has proven to be its own counts: anybody may claim to be another job. It reads and renders; it waits
// for nothing.
import { sql } from 'kysely';
import { authorityText } from '../policy/authority.ts';
import { type Pattern, patternMatches } from '../policy/pattern.ts';
import type { Nearest } from '../policy/record.ts';
import { INNER_HOST } from '../proxy/inner-name.ts';
import type { Help } from '../proxy/respond.ts';
import { markdownCell } from '../report/inert.ts';
import { readDenials, readRedirects, readTargets, type TargetRow } from '../report/query.ts';
import { hintFor } from '../report/refusals.ts';
import { endOf } from '../report/sums.ts';
import type { Store } from '../usage/store.ts';

export interface RefusedHost {
  readonly host: string;
  readonly port: number;
  /** observe: it was let through, and would be refused where the policy is enforced. */
  readonly verdict: 'deny' | 'observe';
  readonly count: number;
  readonly reason: string;
  readonly hint: string;
  readonly nearest: Nearest | null;
  /** Whence the job was likely redirected there. */
  readonly redirect_from: { readonly host: string; readonly port: number } | null;
  readonly first_seen: string;
  readonly last_seen: string;
  /** Source addresses that asked for it, at most CLIENTS_MAX. */
  readonly clients: readonly string[];
  /** Where to ask for the host; null where the policy names no place. */
  readonly request_url: string | null;
}

export interface JobReport {
  readonly job: string;
  readonly tunnels: number;
  readonly denied: number;
  readonly would_deny: number;
  readonly failed: number;
  /** Nodes whose records may not be counted yet. */
  readonly missing_nodes: readonly string[];
  /** Other jobs with a lease on the same address now: what came from there without credentials is in nobody's report. */
  readonly shared_with: readonly string[];
  readonly refused: readonly RefusedHost[];
  readonly refused_total: number;
  readonly owner: string | null;
  readonly contact: string | null;
}

export interface JobReportInput {
  readonly job: string;
  readonly missingNodes: readonly string[];
  readonly sharedWith: readonly string[];
  readonly expectedDenials: readonly Pattern[];
  readonly help: Help;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** A job lives for a few days at most; its counts are looked for so far back. */
const WINDOW_MS = 35 * 86_400_000;
const REFUSED_MAX = 200;
const CLIENTS_MAX = 5;

export async function readJobReport(store: Store, input: JobReportInput): Promise<JobReport> {
  const { job, now, help } = input;
  const from = now - WINDOW_MS;
  const { rows } = await readTargets(store, { from, to: now, pipeline: null, job, proven: true });
  const sums = { tunnels: 0, denied: 0, would_deny: 0, failed: 0 };
  const found = new Map<string, { row: TargetRow; count: number; first: number; last: number }>();
  for (const row of rows) {
    const end = endOf(row.verdict, row.reason, row.outcome);
    if (end === 'tunnel') sums.tunnels += row.requests;
    if (end === 'failed') sums.failed += row.requests;
    const refused = end === 'denied' || row.verdict === 'observe';
    const isExpected = input.expectedDenials.some((pattern) => patternMatches(pattern, row.host));
    if (!refused || isExpected || row.host === INNER_HOST) continue;
    if (end === 'denied') sums.denied += row.requests;
    else sums.would_deny += row.requests;
    const key = `${row.target_id} ${row.verdict} ${row.reason}`;
    const known = found.get(key);
    if (known === undefined) found.set(key, { row, count: row.requests, first: row.first_seen, last: row.last_seen });
    else {
      known.count += row.requests;
      known.first = Math.min(known.first, row.first_seen);
      known.last = Math.max(known.last, row.last_seen);
    }
  }
  const order = [...found.values()].sort((a, b) => byVerdict(a.row, b.row) || b.count - a.count);
  const shown = order.slice(0, REFUSED_MAX);
  const targets = [...new Set(shown.map(({ row }) => row.target_id))];
  const denials = await readDenials(store, targets);
  const redirects = await readRedirects(store, targets, from);
  const clients = await readClients(store, job, targets);
  return {
    job,
    ...sums,
    missing_nodes: input.missingNodes,
    shared_with: input.sharedWith,
    refused: shown.map(({ row, count, first, last }) => {
      const { host, port, reason } = row;
      const denial = denials.get(row.target_id);
      const nearest = denial?.reason === reason ? denial.nearest : null;
      return {
        host,
        port,
        verdict: row.verdict === 'observe' ? 'observe' : 'deny',
        count,
        reason,
        hint: hintFor(reason, host, port, nearest),
        nearest,
        redirect_from: redirects.get(row.target_id) ?? null,
        first_seen: new Date(first).toISOString(),
        last_seen: new Date(last).toISOString(),
        clients: clients.get(row.target_id) ?? [],
        request_url: requestUrl(help, host, port, job),
      };
    }),
    refused_total: order.length,
    owner: help.owner,
    contact: help.contact,
  };
}

/** From which addresses the job asked for targets that were refused. */
async function readClients(store: Store, job: string, targets: readonly number[]): Promise<Map<number, string[]>> {
  const found = new Map<number, string[]>();
  if (targets.length === 0) return found;
  const { rows } = await sql<{ target_id: number; client: string }>`
    SELECT DISTINCT u.target_id, a.client FROM actor AS a JOIN usage AS u ON u.actor_id = a.id
    WHERE a.job = ${job} AND a.kind <> 'claimed' AND u.verdict <> 'allow' AND u.target_id IN (${sql.join(targets)})
    ORDER BY u.target_id, a.client LIMIT ${REFUSED_MAX * CLIENTS_MAX}`.execute(store.db);
  for (const { target_id, client } of rows) {
    const list = found.get(target_id) ?? [];
    if (list.length < CLIENTS_MAX) found.set(target_id, [...list, client]);
  }
  return found;
}

function byVerdict(a: TargetRow, b: TargetRow): number {
  return Number(a.verdict === 'observe') - Number(b.verdict === 'observe');
}

function requestUrl({ requestUrl: url }: Help, host: string, port: number, job: string): string | null {
  if (url === null) return null;
  const values: Readonly<Record<string, string>> = { host, port: String(port), job, pipeline: '' };
  return url.replace(/\{(host|port|pipeline|job)\}/g, (_, key: string) => encodeURIComponent(values[key] ?? ''));
}

/** For an annotation of the build; everything in it came from clients and is made harmless. */
export function jobMarkdown(report: JobReport): string {
  const cell = markdownCell;
  const lines = [summary(report), ''];
  if (report.missing_nodes.length > 0)
    lines.push(`Not complete: no records yet from ${report.missing_nodes.map(cell).join(', ')}.`, '');
  if (report.shared_with.length > 0)
    lines.push(
      `This address has the leases of ${report.shared_with.length + 1} jobs: what came from there without credentials is in no report of a job.`,
      '',
    );
  if (report.refused.length > 0) {
    lines.push('| Host | Times | From | Why | What to do |', '| --- | --: | --- | --- | --- |');
    lines.push(...report.refused.map(tableRow));
    lines.push('');
  }
  const more = report.refused_total - report.refused.length;
  if (more > 0) lines.push(`${more} more hosts were refused.`, '');
  const who = [report.owner, report.contact].filter((text) => text !== null).map(cell);
  if (who.length > 0 && report.refused.length > 0) lines.push(`Whom to ask: ${who.join(', ')}`, '');
  return `${lines.join('\n').trimEnd()}\n`;
}

function tableRow(row: RefusedHost): string {
  const why = row.verdict === 'observe' ? `${row.reason} (would be refused)` : row.reason;
  const from = row.redirect_from;
  const todo = [
    markdownCell(row.hint),
    ...(from === null ? [] : [markdownCell(`likely a redirect from ${authorityText(from.host, from.port)}`)]),
    ...(row.request_url === null ? [] : [linkTo(row.request_url)]),
  ];
  const cells = [authorityText(row.host, row.port), row.count, row.clients.join(', '), why].map(markdownCell);
  return `| ${[...cells, todo.join(' · ')].join(' | ')} |`;
}

/** The operator wrote the address and what is filled in is percent-encoded; one with anything else in it is shown as text. */
function linkTo(url: string): string {
  return /^https?:\/\/[\w.~:/?#@!$&+,;=%-]+$/.test(url) ? `[ask for it](${url})` : markdownCell(`ask for it: ${url}`);
}

function summary({ denied, would_deny, failed, tunnels }: JobReport): string {
  const parts = [
    `${denied} ${denied === 1 ? 'request was' : 'requests were'} refused`,
    ...(would_deny > 0 ? [`${would_deny} would be`] : []),
    ...(failed > 0 ? [`${failed} failed`] : []),
    `${tunnels} went through`,
  ];
  return `${parts.join(', ')}.`;
}
