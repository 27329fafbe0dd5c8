// The shipping of closed audit segments as the policy file says it; what it did stands in the operational log.
import { readFileSync } from 'node:fs';
import type { Logger } from 'pino';
import { type Shipping, startShipping } from '../audit/shipping.ts';
import { readKey } from '../catalog/signing-key.ts';
import type { Settings } from '../config/config.ts';
import { SallyportError } from '../errors.ts';

/** @returns null where `audit.ship` is not given @throws SallyportError `signing-key` where its key is none: before anything is served */
export function startShip({ audit, node, limits }: Settings, log: Logger): Shipping | null {
  if (audit.ship === null) return null;
  const { dir, key } = audit.ship;
  const data = {
    file: audit.file,
    node,
    dir,
    key: key === null ? null : keyOf(key),
    intervalMs: limits.ship_interval_ms,
  };
  return startShipping(data, {
    onShipped: (names) => log.info({ names, dir }, 'closed segments of the audit log were shipped'),
    onProblem: (why) =>
      why === null
        ? log.info({ dir }, 'the audit log is shipped again')
        : log.error({ why, dir }, 'closed segments of the audit log could not be shipped; they stay where they are'),
  });
}

function keyOf(file: string): { file: string; pem: string } {
  try {
    const pem = readFileSync(file, 'utf8');
    readKey(file, pem, 'private');
    return { file, pem };
  } catch (cause) {
    if (cause instanceof SallyportError) throw cause;
    throw new SallyportError('signing-key', `${file} cannot be read: ${(cause as NodeJS.ErrnoException).code}`, {
      cause,
    });
  }
}
