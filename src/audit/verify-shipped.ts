// Says whether the second place has the whole logs of all nodes: each folder is a node, whose files must be those of its checkpoint and whose
// chain must be complete up to what the checkpoint says was closed by then. A node that is expected and has no folder is missing.

import type { KeyObject } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import type { AuditProblem } from './check.ts';
import { CHECKPOINT_FILE, type Checkpoint, isSigned, parseCheckpoint } from './checkpoint.ts';
import { contentHash, nodeFolder } from './ship.ts';
import { type Verification, verifyAudit } from './verify.ts';

export interface ShippedNode {
  readonly node: string;
  readonly folder: string;
  /** Null where there is no checkpoint that can be believed. */
  readonly checkpoint: Pick<Checkpoint, 'time' | 'last'> | null;
  /** Last line that is here, and how many lines the node had written besides at the checkpoint. */
  readonly last: number | null;
  readonly behind: number;
  /** Time of its last line here. */
  readonly until: string | null;
  readonly problems: readonly AuditProblem[];
  readonly complete: boolean;
}

/**
 * @param dir the second place
 * @param keys public keys of checkpoints; with none given signatures are not looked at
 * @param expected nodes that must be there
 */
export async function verifyShipped(
  dir: string,
  keys: readonly KeyObject[],
  expected: readonly string[],
): Promise<ShippedNode[]> {
  const folders = fs
    .readdirSync(dir, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => path.join(dir, entry.name))
    .sort();
  const nodes: ShippedNode[] = [];
  for (const folder of folders) nodes.push(await verifyNode(folder, keys));
  for (const node of expected) {
    const folder = nodeFolder(dir, node);
    if (!folders.includes(folder)) nodes.push(missing(node, folder, 'the node has no folder here'));
  }
  return nodes;
}

async function verifyNode(folder: string, keys: readonly KeyObject[]): Promise<ShippedNode> {
  const file = path.join(folder, CHECKPOINT_FILE);
  const checkpoint = fs.existsSync(file) ? parseCheckpoint(fs.readFileSync(file, 'utf8')) : null;
  const named = path.basename(folder);
  if (checkpoint === null) return missing(named, folder, 'there is no checkpoint, or it cannot be read');
  if (keys.length > 0 && !isSigned(checkpoint, keys))
    return missing(named, folder, 'the checkpoint is not signed by a key that was given');
  if (path.basename(nodeFolder('', checkpoint.node)) !== named)
    return missing(named, folder, `the checkpoint is of node ${checkpoint.node}`);
  const chain = await verifyAudit(path.join(folder, checkpoint.log));
  const problems = [
    ...chain.problems,
    ...(await fileProblems(folder, checkpoint)),
    ...endProblems(folder, checkpoint, chain),
  ];
  const last = chain.to?.seq ?? null;
  return {
    node: checkpoint.node,
    folder,
    checkpoint: { time: checkpoint.time, last: checkpoint.last },
    last,
    until: chain.to?.time ?? null,
    behind: Math.max(0, (checkpoint.last?.seq ?? 0) - (last ?? 0)),
    problems,
    complete: problems.length === 0,
  };
}

async function fileProblems(folder: string, { files }: Checkpoint): Promise<AuditProblem[]> {
  const problems: AuditProblem[] = [];
  for (const [name, { sha256 }] of Object.entries(files)) {
    const place = path.join(folder, `${name}.gz`);
    const found = await contentHash(place).catch((error: NodeJS.ErrnoException) => error);
    if (typeof found !== 'string') {
      const why =
        found.code === 'ENOENT' ? 'it was shipped and is not here' : `it cannot be unpacked: ${found.message}`;
      problems.push({ file: place, line: 0, why });
    } else if (found !== sha256) problems.push({ file: place, line: 0, why: 'it is not what was shipped' });
  }
  return problems;
}

/** The chain cannot go further than the checkpoint, which is written after each round, unless that was put back. */
function endProblems(folder: string, { last }: Checkpoint, { to }: Verification): AuditProblem[] {
  if (to === null || to.seq <= (last?.seq ?? 0)) return [];
  return [{ file: path.join(folder, CHECKPOINT_FILE), line: 0, why: `it is older than line ${to.seq}, which is here` }];
}

function missing(node: string, folder: string, why: string): ShippedNode {
  const problems = [{ file: folder, line: 0, why }];
  return { node, folder, checkpoint: null, last: null, until: null, behind: 0, problems, complete: false };
}
