// The grants that somebody should look at: those that are about to lapse while they are used, and those that nobody has used. What was counted of each
// comes from the store, over all it has and not the window alone: a grant is short, and unused means never.
import type { Grant } from '../policy/grant.ts';
import { grantUses, readGrants } from '../usage/grants.ts';
import type { Store } from '../usage/store.ts';
import type { Filter } from './query.ts';

export interface GrantRow {
  readonly id: string;
  readonly host: string;
  readonly port: number;
  readonly for: Grant['for'];
  /** RFC 3339. */
  readonly expires: string;
  readonly owner: string;
  readonly reason: string;
  readonly requests: number;
  readonly last_used: string | null;
  /** It ends within LAPSE_MS of the end of the window. */
  readonly lapses: boolean;
}

/** A working day and a weekend's warning at most: grants last a week. */
export const LAPSE_MS = 48 * 3_600_000;

/** Those that stand at the end of the window, and lapse soon or were never used; the first to end first. */
export async function readGrantRows(store: Store, filter: Filter): Promise<GrantRow[]> {
  // A report about one pipeline or job is about what it did.
  if (filter.pipeline !== null || filter.job !== null) return [];
  const now = filter.to;
  const grants = (await readGrants(store, now)).filter(({ revoked, created }) => revoked === null && created <= now);
  if (grants.length === 0) return [];
  const uses = await grantUses(store);
  const rows = grants.map((grant): GrantRow => {
    const used = uses.get(grant.id);
    return {
      id: grant.id,
      host: grant.host,
      port: grant.port,
      for: grant.for,
      expires: new Date(grant.expires).toISOString(),
      owner: grant.owner,
      reason: grant.reason,
      requests: used?.requests ?? 0,
      last_used: used === undefined ? null : new Date(used.last).toISOString(),
      lapses: grant.expires - now <= LAPSE_MS,
    };
  });
  return rows
    .filter(({ lapses, last_used }) => lapses || last_used === null)
    .sort((a, b) => (a.expires < b.expires ? -1 : 1));
}
