// What must hold after every run: the log against what the clients and origins saw, the chain against itself, and the report
// against sums that are worked out here from the bare lines.
import fs from 'node:fs';
import path from 'node:path';
import { openAuditLog } from '../../src/audit/log.ts';
import { listSegments } from '../../src/audit/read.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import { OUTCOMES, REQUEST_ERRORS } from '../../src/errors.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import type { DecidedLine, EndedLine, Line } from '../../src/policy/record.ts';
import { buildReport } from '../../src/report/report.ts';
import { projectOnce } from '../../src/usage/project-once.ts';
import { openStore } from '../../src/usage/store.ts';
import type { World } from './world.ts';

const FOREVER = { from: Date.parse('2020-01-01'), to: Date.parse('2100-01-01'), pipeline: null, job: null };

/** Checks the log and the report; `crashed` is the log that the next process finds, where the run ended in a crash. */
export async function checkLog(world: World, crashed: string | null): Promise<Logged[]> {
  const file = crashed ?? world.file;
  if (crashed !== null) reopen(world, crashed);
  const lines = readAll(file);
  const dropped = lines.reduce(
    (sum, line) => sum + (line.event === 'gap' ? Number(line.detail['dropped'] ?? 0) : 0),
    0,
  );
  if (dropped > 0 && world.whenFull === 'refuse') world.wrong(`${dropped} lines were dropped although the log refuses`);
  await checkChain(world, file);
  checkRequests(world, lines, dropped, crashed !== null);
  await checkReport(world, file, lines);
  return crashed !== null || dropped > 0 ? [] : lines.flatMap(resultOf);
}

function reopen(world: World, file: string): void {
  const before = openIds(readAll(file));
  const base = { file, node: 'n1', limits: DEFAULT_LIMITS, whenFull: world.whenFull } as const;
  const log = openAuditLog({ ...base, sync: 'none', now: () => new Date() });
  log.close();
  if (log.interrupted !== before.size)
    world.wrong(`${log.interrupted} requests are interrupted, ${before.size} were open`);
}

function readAll(file: string): Line[] {
  const texts = listSegments(file).segments.flatMap((segment) =>
    fs.readFileSync(segment.path, 'latin1').split('\n').slice(0, -1),
  );
  return texts.map((text) => JSON.parse(text) as Line);
}

function letThrough(line: Line): line is DecidedLine {
  return line.event === 'decided' && line.verdict !== 'deny' && line.outcome === undefined;
}

function openIds(lines: readonly Line[]): Set<string> {
  const open = new Set<string>();
  for (const line of lines) {
    if (letThrough(line)) open.add(line.id);
    else if (line.event === 'ended') open.delete(line.id);
  }
  return open;
}

/** Complete; or else nothing is wrong but the gaps that the log itself marks. */
async function checkChain(world: World, file: string): Promise<void> {
  const found = await verifyAudit(file);
  for (const { why, line } of found.problems)
    if (!(why.startsWith('gap: ') && world.whenFull === 'drop-and-mark'))
      world.wrong(`audit verify: line ${line}: ${why}`);
  if (found.open > 0) world.wrong(`audit verify: ${found.open} requests have no end`);
}

function checkRequests(world: World, lines: readonly Line[], dropped: number, crashed: boolean): void {
  const decided = new Map<string, DecidedLine>();
  const ended = new Map<string, EndedLine>();
  for (const line of lines) {
    if (line.event !== 'decided' && line.event !== 'ended') continue;
    const of: Map<string, Line> = line.event === 'decided' ? decided : ended;
    if (of.has(line.id)) world.wrong(`${line.id} is ${line.event} twice`);
    of.set(line.id, line);
    for (const code of [line.reason, line.outcome])
      if (code && code !== 'allowed' && !(code in REQUEST_ERRORS) && !(code in OUTCOMES))
        world.wrong(`${line.id}: unknown code ${code}`);
  }
  for (const line of decided.values())
    if (letThrough(line) && !ended.has(line.id))
      world.wrong(`${line.id} (${line.host}) was let through and has no end`);
  for (const line of ended.values()) {
    const start = decided.get(line.id);
    if (start ? !letThrough(start) : dropped === 0)
      world.wrong(`${line.id} (${line.host}) ended and was not let through`);
  }
  let missing = 0;
  for (const { host, answers, sent } of world.subjects.values()) {
    const count = [...decided.values()].filter((line) => line.host === host).length;
    if (count > sent) world.wrong(`${host}: ${count} records for ${sent} requests`);
    // After the crash the clients still heard the old process, whose records are not in the copy.
    if (count < answers && !crashed) missing += answers - count;
  }
  if (missing > dropped)
    world.wrong(`${missing} requests were answered without a record; ${dropped} lines were dropped`);
}

/** How a line counts in a report, worked out anew from what docs/audit-log.md says. */
function sumsOf(lines: readonly Line[]) {
  const open = openIds(lines).size;
  const sums = {
    requests: open,
    tunnels: 0,
    open,
    denied: 0,
    would_deny: 0,
    failed: 0,
    malformed: 0,
    bytes_up: 0,
    bytes_down: 0,
  };
  for (const line of lines) {
    if (line.event !== 'ended' && (line.event !== 'decided' || letThrough(line))) continue;
    sums.requests++;
    if (line.event === 'ended') {
      sums.bytes_up += line.bytes_up;
      sums.bytes_down += line.bytes_down;
    }
    if (line.verdict === 'observe') sums.would_deny++;
    if (line.verdict === 'deny') {
      const code = REQUEST_ERRORS[line.reason as keyof typeof REQUEST_ERRORS];
      if (code.source === 'proxy') sums.failed++;
      else if (line.host === null) sums.malformed++;
      else sums.denied++;
    } else if (line.outcome !== undefined && line.outcome in REQUEST_ERRORS) sums.failed++;
    else sums.tunnels++;
  }
  return sums;
}

async function checkReport(world: World, auditFile: string, lines: readonly Line[]): Promise<void> {
  const storeFile = path.join(world.dir, 'usage.db');
  const problems: string[] = [];
  // In small batches, as the worker counts beside a running proxy.
  const options = {
    auditFile,
    store: storeFile,
    limits: DEFAULT_LIMITS,
    batchLines: 7,
    onProblem: (problem: { message: string }) => void problems.push(problem.message),
  };
  await projectOnce(options);
  const store = openStore(storeFile, 'read');
  try {
    const report = await buildReport(store, world.stage.view, FOREVER);
    for (const [key, value] of Object.entries(sumsOf(lines))) {
      const told = report.totals[key as keyof typeof report.totals];
      if (told !== value) world.wrong(`the report says ${key} ${told}, the log ${value}`);
    }
    if (report.damaged_lines + report.missing_lines > 0) world.wrong('the report misses lines');
  } finally {
    await store.close();
  }
  for (const problem of problems) world.wrong(`the projection says: ${problem}`);
}

/** A line without anything that differs from run to run. */
export interface Logged {
  readonly event: 'decided' | 'ended';
  readonly host: string | null;
  readonly text: string;
}

function resultOf(line: Line): Logged[] {
  if (line.event !== 'decided' && line.event !== 'ended') return [];
  const { event, host, method, verdict, reason, outcome } = line;
  return [{ event, host, text: `${event} ${host} ${method} ${verdict} ${reason} ${outcome ?? ''}` }];
}
