// `sallyport audit verify --shipped DIR`: the logs of all nodes in their second place, one line each, and what is missing.
import { readFileSync, statSync } from 'node:fs';
import { type ShippedNode, verifyShipped } from '../../audit/verify-shipped.ts';
import { readKey } from '../../catalog/signing-key.ts';
import { SallyportError } from '../../errors.ts';
import { inert } from '../../report/inert.ts';
import { EXIT } from '../args.ts';
import { type Input, moment } from '../input.ts';
import type { Ui, World } from '../ui.ts';

export async function auditVerifyShipped(dir: string, input: Input, ui: Ui, world: World): Promise<number> {
  if (!statSync(dir, { throwIfNoEntry: false })?.isDirectory())
    throw new SallyportError('config-unreadable', `${dir} is no folder`, {
      hint: 'Name the folder of audit.ship.dir.',
    });
  const keys = input.list('key').map((file) => readKey(file, textOf(file), 'public'));
  const to = input.text('to');
  const toMs = to === null ? null : moment(to, 'to', world.now());
  const found = await verifyShipped(dir, keys, input.list('node'));
  const nodes = found.map((node) => (toMs === null ? node : untilThen(node, toMs)));
  // A folder in which nothing is must not be called complete.
  const complete = nodes.length > 0 && nodes.every((node) => node.complete);
  if (ui.json) ui.object({ dir, complete, nodes });
  else show(dir, nodes, complete, keys.length > 0, ui);
  return complete ? EXIT.ok : EXIT.failed;
}

/** Of the time after its checkpoint nothing is known, and what the node had written besides may be from before `to`. */
function untilThen(node: ShippedNode, toMs: number): ShippedNode {
  if (node.checkpoint === null) return node;
  const at = (why: string): ShippedNode => ({
    ...node,
    complete: false,
    problems: [...node.problems, { file: node.folder, line: 0, why }],
  });
  if (Date.parse(node.checkpoint.time) < toMs)
    return at(`its checkpoint is from ${node.checkpoint.time}: nothing is known of the time after`);
  if (node.behind > 0 && (node.until === null || Date.parse(node.until) < toMs))
    return at(
      `${node.behind} lines up to ${node.checkpoint.last?.seq} were not closed at the checkpoint: they stand in the node's own file`,
    );
  return node;
}

function show(dir: string, nodes: readonly ShippedNode[], complete: boolean, signed: boolean, ui: Ui): void {
  for (const { node, checkpoint, last, behind, problems, complete: whole } of nodes) {
    const to = last === null ? 'no lines' : `to line ${last}`;
    const more = behind > 0 ? `, ${behind} more in its own file` : '';
    ui.line(
      `${whole ? ui.paint('green', 'complete') : ui.paint('red', 'not complete')}: ${inert(node)}: ${to}${more}${checkpoint ? `, checkpoint of ${checkpoint.time}` : ''}`,
    );
    for (const { file, line, why } of problems) ui.line(`  ${inert(file)}${line > 0 ? `:${line}` : ''}: ${inert(why)}`);
  }
  if (nodes.length === 0)
    ui.line(`${ui.paint('red', 'not complete')}: ${inert(dir)}: no node has shipped anything here`);
  if (complete && !signed) ui.line('  signatures were not looked at: give --key');
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new SallyportError('config-unreadable', `${file} cannot be read: ${(cause as NodeJS.ErrnoException).code}`, {
      cause,
    });
  }
}
