// One statement about the logs of all nodes for one time: complete, gaps (who, when, why), or nodes of which nothing is there. Each log is
// read as query.ts reads it; what a node is called stands in its lines.
import type { AuditProblem } from './check.ts';
import { listHistory, type Window } from './history.ts';
import { type Completeness, completeness } from './query.ts';

export interface NodeStatement extends Omit<Completeness, 'matched'> {
  /** As its first line says; null where it has none. */
  readonly node: string | null;
  readonly log: string;
}

/** `not-over`: nothing is missing so far, and of the time to come nobody can say. */
export type Verdict = 'complete' | 'not-over' | 'gaps' | 'missing-nodes';

export interface Statement {
  /** Null: as far as the logs go. */
  readonly from: string | null;
  readonly to: string | null;
  readonly verdict: Verdict;
  readonly complete: boolean;
  readonly nodes: readonly NodeStatement[];
  /** Expected, and nothing of them is here. */
  readonly missing: readonly string[];
}

interface Asked {
  readonly window: Window;
  /** Up to when each node should have spoken; absent: a log may end where it likes. */
  readonly until?: number;
}

/** What one log says of a time. */
export async function stateLog(log: string, { window, until }: Asked): Promise<NodeStatement> {
  return asNode(log, await completeness(log, window, until));
}

/** What a reading of a log found, as the statement of its node. */
export async function asNode(log: string, { matched: _, ...rest }: Completeness): Promise<NodeStatement> {
  const { segments, branches } = await listHistory(log);
  const name = (segments[0] ?? branches[0])?.first.node ?? null;
  const nothing: AuditProblem[] =
    name === null && rest.complete ? [{ file: log, line: 0, why: 'there is no log here, or no line in it' }] : [];
  return {
    node: name,
    log,
    ...rest,
    problems: [...nothing, ...rest.problems],
    problem_count: nothing.length + rest.problem_count,
    complete: rest.complete && nothing.length === 0,
  };
}

/**
 * @param expected nodes that must be among them
 * @param isOver false where the window ends in the future
 */
export function stateAll(
  nodes: readonly NodeStatement[],
  { from, to }: Window,
  expected: readonly string[],
  isOver = true,
): Statement {
  const there = new Set(nodes.map(({ node }) => node));
  const missing = [...new Set(expected)].filter((name) => !there.has(name)).sort();
  const verdict = verdictOf(missing, nodes, isOver);
  return { from: timeOf(from), to: timeOf(to), verdict, complete: verdict === 'complete', nodes, missing };
}

/** Of logs, or of nodes: where there is none, nothing is complete. */
export function verdictOf(
  missing: readonly string[],
  found: readonly { readonly complete: boolean }[],
  isOver: boolean,
): Verdict {
  if (missing.length > 0) return 'missing-nodes';
  if (found.length === 0 || !found.every(({ complete }) => complete)) return 'gaps';
  return isOver ? 'complete' : 'not-over';
}

function timeOf(ms: number): string | null {
  return Number.isFinite(ms) ? new Date(ms).toISOString() : null;
}
