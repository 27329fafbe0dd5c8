// The grants in the usage store: given and revoked by commands, read by every node that shares it. A row that is no grant any more (an
// edit by hand) is left out, so that one of them does not hide the others.
import type { Selectable } from 'kysely';
import type { Protocol } from '../policy/compile.ts';
import { type Grant, grantName } from '../policy/grant.ts';
import type { Selector } from '../policy/selector.ts';
import type { GrantedColumns } from './schema.ts';
import type { Store } from './store.ts';

/** Ended and revoked grants are kept for reports for so long. */
export const GRANTS_KEPT_MS = 400 * 86_400_000;

/** @throws SallyportError `store-unreadable` */
export async function addGrant(store: Store, grant: Grant): Promise<void> {
  await store.db
    .insertInto('granted')
    .values({
      id: grant.id,
      host: grant.host,
      port: grant.port,
      protocol: grant.protocol ?? '',
      addresses: JSON.stringify(grant.addresses),
      selector: JSON.stringify(grant.for),
      created: grant.created,
      expires: grant.expires,
      revoked: 0,
      reason: grant.reason,
      owner: grant.owner,
      granted_by: grant.by,
      revoked_by: '',
    })
    .execute();
}

/** Revokes one that is not; the rows stay for reports. @returns false where there is none of that id that still stands */
export async function revokeGrant(store: Store, id: string, by: string, now: number): Promise<boolean> {
  const { numUpdatedRows } = await store.db
    .updateTable('granted')
    .set({ revoked: now, revoked_by: by })
    .where('id', '=', id)
    .where('revoked', '=', 0)
    .where('expires', '>=', now)
    .executeTakeFirst();
  return Number(numUpdatedRows) > 0;
}

/** Those that ended after a moment, the oldest first. */
export async function readGrants(store: Store, endedAfter: number): Promise<Grant[]> {
  const rows = await store.db
    .selectFrom('granted')
    .selectAll()
    .where('expires', '>', endedAfter)
    .orderBy('created')
    .orderBy('id')
    .execute();
  return rows.map(grantOf).filter((grant) => grant !== null);
}

export async function grantById(store: Store, id: string): Promise<Grant | null> {
  const row = await store.db.selectFrom('granted').selectAll().where('id', '=', id).executeTakeFirst();
  return row === undefined ? null : grantOf(row);
}

/** What was counted of each, by its id; last: ms. */
export async function grantUses(store: Store): Promise<Map<string, { requests: number; last: number }>> {
  const rows = await store.db
    .selectFrom('usage')
    .innerJoin('rule', 'rule.id', 'usage.rule_id')
    .select(({ fn }) => [
      'rule.rule',
      fn.sum<number>('usage.requests').as('requests'),
      fn.max<number>('usage.last_seen').as('last'),
    ])
    .where('rule.rule', 'like', `${grantName('')}%`)
    .groupBy('rule.rule')
    .execute();
  return new Map(rows.map(({ rule, requests, last }) => [rule.slice(grantName('').length), { requests, last }]));
}

/** Forgets what ended long ago. */
export async function dropGrants(store: Store, now: number): Promise<void> {
  await store.db
    .deleteFrom('granted')
    .where('expires', '<', now - GRANTS_KEPT_MS)
    .execute();
}

function grantOf(row: Selectable<GrantedColumns>): Grant | null {
  const addresses = parsed(row.addresses);
  const selector = parsed(row.selector);
  if (!Array.isArray(addresses) || !addresses.every((one) => typeof one === 'string')) return null;
  if (typeof selector !== 'object' || selector === null || Array.isArray(selector)) return null;
  return {
    id: row.id,
    host: row.host,
    port: row.port,
    protocol: row.protocol === '' ? null : (row.protocol as Protocol),
    addresses,
    for: selector as Selector,
    created: row.created,
    expires: row.expires,
    revoked: row.revoked === 0 ? null : row.revoked,
    reason: row.reason,
    owner: row.owner,
    by: row.granted_by,
    revokedBy: row.revoked_by === '' ? null : row.revoked_by,
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
