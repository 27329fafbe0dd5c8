// Holds a log, where it is written or as a copy, to what its node has signed: the line that a checkpoint names must be in it.
import path from 'node:path';
import type { Found } from './checkpoint-folder.ts';
import { listHistory } from './history.ts';
import type { NodeStatement } from './nodes.ts';
import { lineHash } from './parse.ts';
import { queryAudit } from './query.ts';
import { nodeFolder } from './second-place.ts';

/** The statement, with what its checkpoint contradicts. */
export async function heldToCheckpoint(statement: NodeStatement, found: readonly Found[]): Promise<NodeStatement> {
  const { node, log } = statement;
  if (node === null) return statement;
  const of = found.find((one) => one.folder === nodeFolder(node) && one.log === path.basename(log));
  const why = of === undefined ? 'there is no checkpoint of it' : await contradiction(log, of.checkpoint);
  if (why === null) return statement;
  return {
    ...statement,
    problems: [...statement.problems, { file: log, line: 0, why }],
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
