// What the audit logs of several proxies say, and what their common store says, in the same words: for tests that hold one against the other.
import { listSegments } from '../../src/audit/read.ts';
import type { Line } from '../../src/policy/record.ts';
import { openStore } from '../../src/usage/store.ts';
import type { Postgres } from './postgres.ts';
import { readAudit } from './proxy-process.ts';

/** Every line of a log, in all its files. */
export function wholeLog(auditFile: string): Line[] {
  return listSegments(auditFile).segments.flatMap(({ path }) => readAudit(path));
}

/** `node host verdict requests up down` of each, as the logs have it. */
export function logged(lines: readonly Line[]): string[] {
  const sums = new Map<string, [number, number, number]>();
  for (const line of lines) {
    if (line.event !== 'ended' && !(line.event === 'decided' && line.verdict === 'deny')) continue;
    const key = `${line.node} ${line.host} ${line.verdict}`;
    const [requests, up, down] = sums.get(key) ?? [0, 0, 0];
    const bytes = line.event === 'ended' ? line : { bytes_up: 0, bytes_down: 0 };
    sums.set(key, [requests + 1, up + bytes.bytes_up, down + bytes.bytes_down]);
  }
  return [...sums].map(([key, values]) => `${key} ${values.join(' ')}`).sort();
}

/** The same, as the store has it. */
export async function counted(server: Postgres): Promise<string[]> {
  const { db, close } = await openStore(server.place(), 'read');
  const rows = await db
    .selectFrom('usage')
    .innerJoin('node', 'node.id', 'usage.node_id')
    .innerJoin('target', 'target.id', 'usage.target_id')
    .select(({ fn }) => [
      'node.name',
      'host',
      'verdict',
      fn.sum<number>('requests').as('requests'),
      fn.sum<number>('bytes_up').as('up'),
      fn.sum<number>('bytes_down').as('down'),
    ])
    .groupBy(['node.name', 'host', 'verdict'])
    .execute();
  await close();
  return rows.map((row) => Object.values(row).join(' ')).sort();
}
