// `sallyport audit query`: records that match, as they are found, and at the end whether the log is complete for that time. The
// reading is in audit/query.ts; this file knows what was typed and in which form the answer goes out.
import { existsSync } from 'node:fs';
import { workersThatServed } from '../../audit/family.ts';
import { filterMatches, type RequestFilter } from '../../audit/filter.ts';
import type { Window } from '../../audit/history.ts';
import { asNode, stateAll } from '../../audit/nodes.ts';
import { type Completeness, type Match, queryAudit } from '../../audit/query.ts';
import { parseCidr } from '../../policy/address.ts';
import { parseRuleText } from '../../policy/pattern.ts';
import type { Line, Verdict } from '../../policy/record.ts';
import { inert } from '../../report/inert.ts';
import { LINES_CSV_HEAD, renderLinesCsv, renderLinesTable } from '../../report/render-lines.ts';
import { EXIT } from '../args.ts';
import { auditLogs, noAuditLog } from '../audit-file.ts';
import { coverageLines, problemLines, statementLines } from '../audit-statement.ts';
import { type Input, moment, usage } from '../input.ts';
import type { Ui, World } from '../ui.ts';

/** Rows that are aligned together; a longer table has several heads. */
const TABLE_ROWS = 1_000;

export async function auditQuery(input: Input, ui: Ui, world: World): Promise<number> {
  const filter = filterOf(input);
  const window = windowOf(input, world);
  const logs = auditLogs(input, ui, world);
  const format = ui.json ? 'json' : (input.text('format') ?? 'table');
  const printer = printerFor(format, ui);
  // Who names no end asks for what there is.
  const until = Number.isFinite(window.to) ? { until: window.to } : {};
  const all: Completeness[] = [];
  for (const file of logs) {
    ui.progress(`reading ${file}`);
    const take = (matches: readonly Match[]): Promise<boolean> => {
      printer.print(matches);
      return ui.taken();
    };
    const one = await queryAudit({ file, window, ...until, matches: (line) => filterMatches(filter, line), take });
    if (one === null) return EXIT.failed;
    all.push(one);
  }
  const [main = ''] = logs;
  const [only] = all;
  if (only && all.length === 1) return sayOne(only, main, { format, printer, window, ui });
  printer.end();
  const nodes = await Promise.all(logs.map(async (log, at) => asNode(log, all[at] as Completeness)));
  const found = stateAll(nodes, window, workersThatServed(main));
  const matched = all.reduce((sum, one) => sum + one.matched, 0);
  if (format === 'json') ui.raw(`${JSON.stringify({ matched, ...found })}\n`);
  else
    for (const line of [`${matched} found`, ...statementLines(found, ui)]) (format === 'csv' ? ui.note : ui.line)(line);
  return found.complete ? EXIT.ok : EXIT.failed;
}

interface Said {
  readonly format: string;
  readonly printer: Printer;
  readonly window: Window;
  readonly ui: Ui;
}

function sayOne(found: Completeness, file: string, { format, printer, window, ui }: Said): number {
  if (found.files.length === 0 && found.complete && !existsSync(file)) throw noAuditLog(file);
  printer.end();
  const time = { from: timeText(window.from), to: timeText(window.to) };
  if (format === 'json') ui.raw(`${JSON.stringify({ ...time, ...found })}\n`);
  else for (const line of statement(found, time, ui)) (format === 'csv' ? ui.note : ui.line)(line);
  return found.complete ? EXIT.ok : EXIT.failed;
}

interface Printer {
  print(matches: readonly Match[]): void;
  end(): void;
}

function printerFor(format: string, ui: Ui): Printer {
  if (format === 'json') {
    // The log's own bytes: one object a line, and its hash can be checked.
    return { print: (matches) => ui.raw(matches.map(({ text }) => `${text}\n`).join('')), end: () => undefined };
  }
  if (format === 'csv') {
    ui.raw(LINES_CSV_HEAD);
    return { print: (matches) => ui.raw(renderLinesCsv(matches.map(({ line }) => line))), end: () => undefined };
  }
  let rows: Line[] = [];
  const end = (): void => {
    if (rows.length > 0) ui.raw(`${renderLinesTable(rows, ui.width)}\n`);
    rows = [];
  };
  const print = (matches: readonly Match[]): void => {
    for (const { line } of matches) {
      rows.push(line);
      if (rows.length >= TABLE_ROWS) end();
    }
  };
  return { print, end };
}

function filterOf(input: Input): RequestFilter {
  const host = input.text('host');
  const client = input.text('client');
  const pattern = host === null ? null : parseRuleText(host);
  if (pattern !== null && !pattern.ok) {
    const hint = pattern.suggestion === null ? undefined : `Did you mean ${pattern.suggestion}?`;
    throw usage(`--host ${JSON.stringify(host)}: ${pattern.problem}`, hint);
  }
  const range = client === null ? null : parseCidr(client);
  if (client !== null && range === null)
    throw usage(`--client ${JSON.stringify(client)} is no address and no range`, 'For example: --client 10.0.0.0/8');
  return {
    host: pattern,
    job: input.text('job'),
    pipeline: input.text('pipeline'),
    client: range,
    verdict: input.text('verdict') as Verdict | null,
    id: input.text('id'),
  };
}

/** Of a time that is not over, what has been is asked for: nobody can say yet that the rest will be complete. */
function windowOf(input: Input, world: World): Window {
  const now = world.now();
  const from = input.text('from');
  const to = input.text('to');
  const window = {
    from: from === null ? Number.NEGATIVE_INFINITY : moment(from, 'from', now),
    to: to === null ? Number.POSITIVE_INFINITY : Math.min(moment(to, 'to', now), now),
  };
  if (window.from >= now) throw usage('--from does not lie in the past');
  if (window.from >= window.to) throw usage('--from does not lie before --to', 'Exchange the two.');
  return window;
}

function timeText(ms: number): string | null {
  return Number.isFinite(ms) ? new Date(ms).toISOString() : null;
}

function statement(found: Completeness, time: { from: string | null; to: string | null }, ui: Ui): string[] {
  const window = `${time.from ?? 'its beginning'} to ${time.to ?? 'its end'}`;
  const { first, last, unopened } = found;
  const range =
    first === null || last === null
      ? 'no line of that time'
      : `lines ${first.seq} to ${last.seq}, ${first.time} to ${last.time}`;
  const counts = `${found.matched} found; ${range}; ${found.lines} lines checked in ${found.files.length} files`;
  if (found.complete) {
    const lines = [`${ui.paint('green', 'complete')} from ${window}: ${counts}`];
    if (unopened.length > 0)
      lines.push(`  not read, and nothing of that time is in them: ${inert(unopened.join(', '))}`);
    return [...lines, ...coverageLines(found)];
  }
  const lines = [
    `${ui.paint('red', 'not complete')} from ${window}: ${counts}`,
    ...problemLines(found),
    ...coverageLines(found),
  ];
  for (const path of unopened)
    lines.push(`  ${inert(path)}: an archive that could not be read; unpack it, or pack it with gzip`);
  return lines;
}
