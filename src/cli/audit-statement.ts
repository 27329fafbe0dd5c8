// What a statement about audit logs says in words: where each was silent or stopped, and of several nodes who is complete and who is
// missing. Words only; what is true is found in audit/.
import type { AuditProblem } from '../audit/check.ts';
import { type Covered, silenceText } from '../audit/coverage.ts';
import type { NodeStatement, Statement } from '../audit/nodes.ts';
import { inert } from '../report/inert.ts';
import type { Ui } from './ui.ts';

/** Silences, and when it was stopped in good order. */
export function coverageLines({ silences, silence_count, stopped }: Omit<Covered, 'heartbeat_ms'>): string[] {
  const lines = silences.map((span) => `  ${silenceText(span)}`);
  if (silence_count > silences.length) lines.push(`  … and ${silence_count - silences.length} more silences`);
  for (const { from, to } of stopped)
    lines.push(`  stopped in good order from ${from}${to === null ? ' on' : ` to ${to}`}`);
  return lines;
}

/** What is wrong with a log: a line for each problem that is named, and how many more there are. */
export function problemLines(of: {
  readonly problems: readonly AuditProblem[];
  readonly problem_count?: number;
}): string[] {
  const { problems, problem_count = problems.length } = of;
  const lines = problems.map(
    ({ file, line, why }) => `  ${inert(line === 0 ? file : `${file}:${line}`)}: ${inert(why)}`,
  );
  if (problem_count > problems.length) lines.push(`  … and ${problem_count - problems.length} more`);
  return lines;
}

/** A statement about several nodes: one line each, what is wrong below it, the verdict at the end. */
export function statementLines({ from, to, verdict, nodes, missing }: Statement, ui: Ui): string[] {
  const lines = nodes.flatMap((node) => nodeLines(node, ui));
  for (const name of missing)
    lines.push(`${ui.paint('red', 'missing')}: ${inert(name)}: it is expected, and nothing of it is here`);
  const window = from === null && to === null ? '' : ` from ${from ?? 'the beginning'} to ${to ?? 'the end'}`;
  lines.push(
    `${ui.paint(verdict === 'complete' ? 'green' : 'red', VERDICTS[verdict])}${window}: ${counted(nodes, missing)}`,
  );
  return lines;
}

export const VERDICTS: Readonly<Record<Statement['verdict'], string>> = {
  complete: 'complete',
  'not-over': 'not over yet',
  gaps: 'gaps',
  'missing-nodes': 'missing nodes',
};

function counted(nodes: readonly NodeStatement[], missing: readonly string[]): string {
  const bad = nodes.filter(({ complete }) => !complete).length;
  return `${nodes.length} ${nodes.length === 1 ? 'log' : 'logs'}, ${bad} with gaps, ${missing.length} missing`;
}

function nodeLines(node: NodeStatement, ui: Ui): string[] {
  const { first, last, heartbeat_ms } = node;
  const range =
    first === null || last === null
      ? 'no line of that time'
      : `lines ${first.seq} to ${last.seq}, ${first.time} to ${last.time}`;
  const name = node.node === null ? inert(node.log) : `${inert(node.node)} (${inert(node.log)})`;
  const lines = [`${node.complete ? ui.paint('green', 'complete') : ui.paint('red', 'gaps')}: ${name}: ${range}`];
  lines.push(...problemLines(node), ...coverageLines(node));
  for (const path of node.unopened) lines.push(`  ${inert(path)}: an archive that could not be read`);
  if (heartbeat_ms === null && first !== null)
    lines.push('  it has no heartbeats of that time: a silence cannot be told from a time without requests');
  return lines;
}
