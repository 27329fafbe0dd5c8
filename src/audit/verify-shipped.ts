// Says whether the second place has the whole logs of all nodes: each checkpoint there is of a log, whose files must be those it names and
// whose chain must be complete up to what had been closed by then; and each log that another node's checkpoint speaks of must be there, as
// new as it was seen. A node that is expected, or was seen, and of which nothing is there is missing.
import type { KeyObject } from 'node:crypto';
import path from 'node:path';
import type { AuditProblem } from './check.ts';
import { type Checkpoint, checkpointName } from './checkpoint.ts';
import { type Found, foldersIn, readCheckpoints, type Seen } from './checkpoint-folder.ts';
import type { Covered } from './coverage.ts';
import type { Window } from './history.ts';
import { completeness } from './query.ts';
import { contentHash, nodeFolder } from './second-place.ts';
import { verifyAudit } from './verify.ts';

export interface ShippedLog extends Omit<Covered, 'heartbeat_ms'> {
  readonly node: string;
  readonly log: string;
  readonly folder: string;
  /** Null where there is no checkpoint that can be believed. */
  readonly checkpoint: Pick<Checkpoint, 'time' | 'last' | 'stopped'> | null;
  /** Last line that is here, and how many lines the node had written besides at the checkpoint. */
  readonly last: number | null;
  readonly behind: number;
  /** Time of its last line here. */
  readonly until: string | null;
  readonly problems: readonly AuditProblem[];
  readonly complete: boolean;
}

export interface Shipped {
  readonly logs: readonly ShippedLog[];
  /** Nodes that are expected, or were seen by others in that time, and of which nothing is here. */
  readonly missing: readonly string[];
}

export interface ShippedQuestion {
  /** The second place, and that of checkpoints where it is another one. */
  readonly dir: string;
  readonly checkpoints: string;
  /** Public keys of checkpoints; with none given signatures are not looked at. */
  readonly keys: readonly KeyObject[];
  /** Nodes that must be there. */
  readonly expected: readonly string[];
  /** Null: all there is. */
  readonly window: Window | null;
}

export async function verifyShipped(question: ShippedQuestion): Promise<Shipped> {
  const { dir, checkpoints, keys, expected, window } = question;
  const { found, seen } = readCheckpoints(checkpoints, keys, foldersIn(dir));
  const logs: ShippedLog[] = [];
  for (const one of found) logs.push(await verifyLog(one, question, seen));
  const here = new Set(found.map(({ folder }) => folder));
  const missing = [
    ...expected.filter((node) => !here.has(nodeFolder(node))),
    ...seen.within(window).filter((folder) => !here.has(folder)),
  ];
  // Of a node that is there, a log may still be gone as a whole.
  for (const { folder, log } of seen.logs(window))
    if (here.has(folder) && !found.some((one) => one.folder === folder && one.log === log))
      logs.push(
        unknown(folder, log, path.join(checkpoints, folder), 'other nodes have seen this log, and it is not here'),
      );
  return { logs, missing: [...new Set(missing)].sort() };
}

async function verifyLog(
  { folder, log, checkpoint }: Found,
  question: ShippedQuestion,
  seen: Seen,
): Promise<ShippedLog> {
  const { dir, checkpoints, window } = question;
  const at = path.join(dir, folder);
  if (typeof checkpoint === 'string') return unknown(folder, log, path.join(checkpoints, folder), checkpoint);
  const file = path.join(at, log);
  const chain = await verifyAudit(file);
  const asked = window === null ? chain : await completeness(file, window);
  const first = 'first' in asked ? (asked.first?.seq ?? null) : null;
  const last = chain.to?.seq ?? null;
  const old = seen.newer(folder, checkpoint);
  const place = path.join(checkpoints, folder, checkpointName(log));
  const problems = [
    ...asked.problems,
    ...(await fileProblems(at, checkpoint, first)),
    ...(last !== null && last > (checkpoint.last?.seq ?? 0)
      ? [{ file: place, line: 0, why: `it is older than line ${last}, which is here` }]
      : []),
    ...(old === null ? [] : [{ file: place, line: 0, why: old }]),
  ];
  const { silences, silence_count, stopped } = asked;
  return {
    node: checkpoint.node,
    log,
    folder: at,
    checkpoint: { time: checkpoint.time, last: checkpoint.last, stopped: checkpoint.stopped },
    last,
    until: chain.to?.time ?? null,
    behind: Math.max(0, (checkpoint.last?.seq ?? 0) - (last ?? 0)),
    ...{ silences, silence_count, stopped },
    problems,
    complete: problems.length === 0 && silence_count === 0,
  };
}

/** @param from number of the first line that is asked for: what retention has deleted before it is not missed; null: all is asked for */
async function fileProblems(folder: string, { log, files }: Checkpoint, from: number | null): Promise<AuditProblem[]> {
  const problems: AuditProblem[] = [];
  const numbers = Object.keys(files).flatMap((name) => segmentNumber(log, name) ?? []);
  // The last segment that begins before it may have its first line.
  const least = from === null ? 0 : Math.max(0, ...numbers.filter((number) => number <= from));
  for (const [name, { sha256, bytes }] of Object.entries(files)) {
    const place = path.join(folder, `${name}.gz`);
    const found = await contentHash(place, bytes).catch((error: NodeJS.ErrnoException) => error);
    if (found instanceof Error) {
      if (found.code === 'ENOENT' && (segmentNumber(log, name) ?? least) < least) continue;
      const why =
        found.code === 'ENOENT' ? 'it was shipped and is not here' : `it cannot be unpacked: ${found.message}`;
      problems.push({ file: place, line: 0, why });
    } else if (found !== sha256) problems.push({ file: place, line: 0, why: 'it is not what was shipped' });
  }
  return problems;
}

/** The number of a shipped segment's first line; null for a branch. */
function segmentNumber(log: string, name: string): number | null {
  const [, digits] = /^\.(\d{12,})-[0-9a-f]{8}$/.exec(name.slice(log.length)) ?? [];
  return digits === undefined || !name.startsWith(log) ? null : Number(digits);
}

function unknown(node: string, log: string, folder: string, why: string): ShippedLog {
  const problems = [{ file: folder, line: 0, why }];
  const nothing = { checkpoint: null, last: null, until: null, behind: 0 };
  return { node, log, folder, ...nothing, silences: [], silence_count: 0, stopped: [], problems, complete: false };
}
