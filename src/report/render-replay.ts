// A replay as text: a table for a terminal, Markdown for a pull request. All names came from clients: each goes through
// inert.ts. Long lists are cut with their rest counted; the JSON format has them whole.
import { authorityText } from '../policy/authority.ts';
import { inert, markdownCell } from './inert.ts';
import { markdownTable } from './markdown-table.ts';
import type { RenderOptions } from './render-table.ts';
import type { Readiness, Replay, ReplayRow } from './replay.ts';
import { textTable } from './text-table.ts';

export interface ShownReplay extends Replay {
  readonly policy: string;
  /** RFC 3339; null where it begins with the log. */
  readonly from: string | null;
  readonly to: string;
  readonly ready: boolean;
  readonly damaged_lines: number;
  readonly missing_lines: number;
  readonly unread_files: readonly string[];
}

const ROWS_MAX = 100;
const HOSTS_MAX = 5;
const HEAD = ['host', 'kind', 'pipeline', 'step', 'requests', 'jobs', 'answer', 'rule'];
const READY_HEAD = ['pipeline', 'state', 'requests', 'jobs', 'would fail'];

export function renderReplay(replay: ShownReplay, { width, paint }: RenderOptions): string {
  const parts = [
    `${paint('bold', 'Replay')}  ${inert(window(replay))}`,
    ...words(replay).map((line) => `  ${inert(line)}`),
    '',
  ];
  const table = (
    title: string,
    head: readonly string[],
    rows: readonly (readonly string[])[],
    right: readonly number[],
  ) => {
    if (rows.length === 0) return;
    parts.push(
      paint('bold', title),
      textTable(head, rows.slice(0, ROWS_MAX), { width, right, indent: 2 }).trimEnd(),
      ...rest(rows.length),
      '',
    );
  };
  if (replay.ready) table('PIPELINES', READY_HEAD, replay.pipelines.map(readyCells), [2, 3]);
  table('WOULD NEWLY FAIL', HEAD, replay.newly_fail.map(cells), [4, 5]);
  table('WOULD NEWLY PASS', HEAD, replay.newly_pass.map(cells), [4, 5]);
  return `${parts.join('\n').trimEnd()}\n`;
}

export function renderReplayMarkdown(replay: ShownReplay): string {
  const table = (title: string, head: readonly string[], rows: readonly (readonly string[])[]): string[] =>
    markdownTable(title, head, rows, ROWS_MAX);
  const parts = [
    '## Replay',
    '',
    markdownCell(window(replay)),
    '',
    ...words(replay).map((line) => `- ${markdownCell(line)}`),
    '',
    ...(replay.ready ? table('Pipelines', READY_HEAD, replay.pipelines.map(readyCells)) : []),
    ...table('Would newly fail', HEAD, replay.newly_fail.map(cells)),
    ...table('Would newly pass', HEAD, replay.newly_pass.map(cells)),
  ];
  return `${parts.join('\n').trimEnd()}\n`;
}

function window({ policy, from, to, requests }: ShownReplay): string {
  return `${requests} requests ${from === null ? '' : `from ${from} `}to ${to} against ${policy}`;
}

function words(replay: ShownReplay): string[] {
  const lines = [
    `would newly fail: ${replay.newly_fail_requests} requests, would newly pass: ${replay.newly_pass_requests}`,
  ];
  if (replay.ready) lines.push('judged as if everything were enforced');
  if (replay.not_judged > 0)
    lines.push(
      `not judged: ${replay.not_judged} (refused for another reason than a rule, or by what is not recorded: paths of plain HTTP, values of queries, header fields)`,
    );
  if (replay.overflow > 0) lines.push(`${replay.overflow} requests are counted above and in no row: too many names`);
  if (replay.ready && replay.pipelines_overflow > 0)
    lines.push(`${replay.pipelines_overflow} requests are of pipelines that are not listed: too many names`);
  if (replay.damaged_lines > 0) lines.push(`the log is damaged: ${replay.damaged_lines} lines could not be replayed`);
  if (replay.missing_lines > 0) lines.push(`the log has gaps: ${replay.missing_lines} lines are missing`);
  if (replay.unread_files.length > 0) lines.push(`not read: ${replay.unread_files.join(', ')}`);
  return lines;
}

function cells(row: ReplayRow): string[] {
  const { host, port, kind, request, pipeline, step, claimed, requests, jobs, reason, rule } = row;
  const what = request === '' ? authorityText(host, port) : `${authorityText(host, port)} ${request}`;
  return [what, kind, said(pipeline, claimed), step, String(requests), String(jobs), reason, rule ?? ''];
}

function readyCells({ pipeline, claimed, state, requests, jobs, hosts }: Readiness): string[] {
  const more = hosts.length > HOSTS_MAX ? ` +${hosts.length - HOSTS_MAX}` : '';
  return [said(pipeline, claimed), state, String(requests), String(jobs), hosts.slice(0, HOSTS_MAX).join(' ') + more];
}

function said(pipeline: string, claimed: boolean): string {
  if (pipeline === '') return '(none)';
  return claimed ? `${pipeline} (claimed)` : pipeline;
}

function rest(total: number): string[] {
  return total > ROWS_MAX ? ['', `  … and ${total - ROWS_MAX} more: --format json`] : [];
}
