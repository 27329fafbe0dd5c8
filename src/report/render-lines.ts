// Lines of the audit log as rows: CSV for spreadsheets, a table for a terminal. Both are made piece by piece, because a query may
// find more than fits the memory. Clients wrote most of what stands here: each cell goes through inert.ts.
import { authorityText } from '../policy/authority.ts';
import { ATTRIBUTES, type Line, statedAttributes } from '../policy/record.ts';
import { csvCell } from './inert.ts';
import { textTable } from './text-table.ts';

const CSV_HEAD = [
  'time',
  'seq',
  'node',
  'event',
  'id',
  'verdict',
  'reason',
  'outcome',
  'host',
  'port',
  'target',
  'method',
  'client',
  'identity',
  ...ATTRIBUTES,
  'group',
  'rule',
  'policy',
  'nearest',
  'addresses',
  'dropped',
  'address',
  'status',
  'bytes_up',
  'bytes_down',
  'duration_ms',
  'user_agent',
  'detail',
  'tunnel',
  'path',
  'line',
] as const;

/** The head line of renderLinesCsv's rows, RFC 4180 with CR LF. */
export const LINES_CSV_HEAD: string = `${CSV_HEAD.join(',')}\r\n`;

/** One row for each line; the names after `identity` are proven unless that is `claimed`. */
export function renderLinesCsv(lines: readonly Line[]): string {
  let text = '';
  for (const line of lines) {
    const cells = cellsOf(line);
    text += `${CSV_HEAD.map((name) => csvCell(shown(cells[name]))).join(',')}\r\n`;
  }
  return text;
}

const TABLE_HEAD = ['time', 'event', 'verdict', 'why', 'host', 'pipeline', 'job', 'client', 'id'];

/** A table with its head; `why` is the reason of a refusal, or else how it ended. */
export function renderLinesTable(lines: readonly Line[], width: number): string {
  return textTable(TABLE_HEAD, lines.map(tableRow), { width, right: [] });
}

function tableRow(line: Line): string[] {
  if (line.event !== 'decided' && line.event !== 'ended')
    return [line.time, line.event, '', '', JSON.stringify(line.detail), '', '', '', ''];
  const { time, event, verdict, reason, outcome, host, port, client, id } = line;
  const { pipeline, job } = statedAttributes(line.identity);
  const below = line.tunnel === undefined ? '' : ` ${line.method} ${shown(line.path) ?? ''}`;
  const target = line.event === 'decided' ? String(shown(line.target) ?? '') : '';
  const asked = host === null || port === null ? target : `${authorityText(host, port)}${below}`;
  const said = line.identity.kind === 'claimed' && pipeline !== undefined ? `${pipeline} (claimed)` : (pipeline ?? '');
  return [time, event, verdict, verdict === 'allow' ? (outcome ?? '') : reason, asked, said, job ?? '', client, id];
}

function cellsOf(line: Line): Readonly<Record<string, unknown>> {
  if (line.event !== 'decided' && line.event !== 'ended') return { ...line };
  const names = statedAttributes(line.identity);
  const nearest = line.event === 'decided' ? line.nearest?.pattern : undefined;
  const who = Object.fromEntries(ATTRIBUTES.map((name) => [name, names[name]]));
  return { ...line, identity: line.identity.kind, nearest, ...who };
}

/** What parse.ts does not look at may be of any type in a log that somebody edited. */
function shown(value: unknown): string | number | null {
  if (value === undefined || value === null) return null;
  if (typeof value === 'string' || typeof value === 'number') return value;
  return Array.isArray(value) ? value.map((one) => String(shown(one) ?? '')).join(' ') : JSON.stringify(value);
}
