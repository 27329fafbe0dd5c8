// A grant: one rule for some clients and for a while, given by a command and kept in the usage store instead of in a file. PURE.
// The rule that it means is grant-rule.ts.
import type { Protocol } from './compile.ts';
import type { Selector } from './selector.ts';

/** As the store has it; plain data that structured clone copies. Times are ms since the epoch. */
export interface Grant {
  readonly id: string;
  /** A host pattern as it is written. */
  readonly host: string;
  readonly port: number;
  /** Null: by the port. */
  readonly protocol: Protocol | null;
  readonly addresses: readonly string[];
  readonly for: Selector;
  readonly created: number;
  readonly expires: number;
  /** Null where it was not. */
  readonly revoked: number | null;
  readonly reason: string;
  readonly owner: string;
  /** Who gave it: user and node. */
  readonly by: string;
  readonly revokedBy: string | null;
}

/** The layer of its rule: others see it no more than another pipeline's file. */
export const GRANTS_LAYER = 'grants';

/** How records and reports call it. */
export function grantName(id: string): string {
  return `grant ${id}`;
}

/** An ended grant is still there for so long, so that a refusal can say that it ended. */
export const ENDED_MS = 86_400_000;
