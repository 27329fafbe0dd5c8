// The grants of a report: those that lapse soon, those that nobody used, and no others.
import { describe, expect, it } from 'vitest';
import type { Grant } from '../../src/policy/grant.ts';
import { LAPSE_MS, readGrantRows } from '../../src/report/grants.ts';
import { addGrant, revokeGrant } from '../../src/usage/grants.ts';
import { projectOnce } from '../../src/usage/project-once.ts';
import { openStore } from '../../src/usage/store.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';
import { NOON, ScratchUsage } from '../support/usage.ts';

const NOW = NOON().getTime();
const HOUR = 3_600_000;
const FILTER = { from: NOW - 24 * HOUR, to: NOW, pipeline: null, job: null };

const grant = (id: string, more: Partial<Grant> = {}): Grant => ({
  ...{ id, host: `${id}.test`, port: 443, protocol: null, addresses: [], for: { pipeline: ['web'] } },
  ...{
    created: NOW - HOUR,
    expires: NOW + LAPSE_MS + HOUR,
    revoked: null,
    reason: 'r',
    owner: 'o',
    by: 'me',
    revokedBy: null,
  },
  ...more,
});

describe('grants', () => {
  it('about to lapse, and never used; not what is used and lasts, has ended, or was revoked', async () => {
    const world = new ScratchUsage();
    for (const id of ['used', 'lapsing']) {
      world.log.decided(decidedRecord({ id: `r-${id}`, rule: `grant ${id}`, group: null, host: `${id}.test` }));
      world.log.ended(endedRecord({ id: `r-${id}`, rule: `grant ${id}`, group: null, host: `${id}.test` }));
    }
    await projectOnce(world.options());
    const store = openStore(world.store, 'write');
    const grants = [
      grant('used'),
      grant('lapsing', { expires: NOW + LAPSE_MS }),
      grant('unused'),
      grant('both', { expires: NOW + 1 }),
      grant('ended', { expires: NOW }),
      grant('revoked'),
      grant('later', { created: NOW + 1 }),
    ];
    for (const one of grants) await addGrant(store, one);
    await revokeGrant(store, 'revoked', 'me', NOW);
    const rows = await readGrantRows(store, FILTER);
    expect(rows.map(({ id, lapses, last_used, requests }) => [id, lapses, last_used !== null, requests])).toEqual([
      ['both', true, false, 0],
      ['lapsing', true, true, 1],
      ['unused', false, false, 0],
    ]);
    expect(await readGrantRows(store, { ...FILTER, pipeline: 'web' })).toEqual([]);
    await store.close();
    world.log.close();
  });
});
