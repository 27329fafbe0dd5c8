// Holds a log, where it is written or as a copy, to what its node has signed: the line that a checkpoint names must be in it.
import path from 'node:path';
import type { Found, Seen } from './checkpoint-folder.ts';
import { listHistory, type Window } from './history.ts';
import type { NodeStatement } from './nodes.ts';
import { lineHash } from './parse.ts';
import { queryAudit } from './query.ts';
import { nodeFolder } from './second-place.ts';

/** The statement, with what its checkpoint contradicts, and what others say of that one. */
export async function heldToCheckpoint(
  statement: NodeStatement,
  found: readonly Found[],
  seen: Seen,
): Promise<NodeStatement> {
  const { node, log } = statement;
  if (node === null) return statement;
  const of = found.find((one) => one.folder === nodeFolder(node) && one.log === path.basename(log));
  const why = of === undefined ? 'there is no checkpoint of it' : await contradiction(log, of.checkpoint);
  const old = of === undefined || typeof of.checkpoint === 'string' ? null : seen.newer(of.folder, of.checkpoint);
  return [why, old].reduce((one, text) => (text === null ? one : withProblem(one, text)), statement);
}

/** The statements, with the logs of their nodes that others have seen in this time and that are not among them. */
export function heldToSeen(statements: readonly NodeStatement[], seen: Seen, window: Window): NodeStatement[] {
  const had = new Set(statements.map((one) => `${folderOf(one)}/${path.basename(one.log)}`));
  const gone = seen.logs(window).filter(({ folder, log }) => !had.has(`${folder}/${log}`));
  return statements.map((statement, at) => {
    const folder = folderOf(statement);
    const isFirst = statements.findIndex((one) => folderOf(one) === folder) === at;
    const missing = isFirst ? gone.filter((one) => one.folder === folder) : [];
    const why = (log: string): string => `other nodes have seen its log ${log}, and it is not here`;
    return missing.reduce((one, { log }) => withProblem(one, why(log)), statement);
  });
}

function folderOf({ node }: NodeStatement): string {
  return nodeFolder(node ?? '');
}

function withProblem(statement: NodeStatement, why: string): NodeStatement {
  return {
    ...statement,
    problems: [...statement.problems, { file: statement.log, line: 0, why }],
    problem_count: statement.problem_count + 1,
    complete: false,
  };
}

async function contradiction(log: string, checkpoint: Found['checkpoint']): Promise<string | null> {
  if (typeof checkpoint === 'string') return checkpoint;
  const { last, time } = checkpoint;
  if (last === null || (await hasLine(log, last))) return null;
  return `its checkpoint of ${time} has line ${last.seq}, which is not in it: it was cut off at its end, or is another log`;
}

/** Looks through the one segment in which the line must be. */
async function hasLine(log: string, { seq, hash }: { readonly seq: number; readonly hash: string }): Promise<boolean> {
  const { segments } = await listHistory(log);
  const at = segments.findLastIndex(({ firstSeq }) => firstSeq <= seq);
  const segment = segments[at];
  if (segment === undefined) return false;
  let there = false;
  await queryAudit({
    file: log,
    window: { from: segment.firstMs, to: Number.POSITIVE_INFINITY },
    matches: (line) => line.seq === seq,
    take: async (matches) => {
      there ||= matches.some(({ text }) => lineHash(text) === hash);
      return !there;
    },
  });
  return there;
}
