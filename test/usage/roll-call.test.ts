// Who has counted up to when, on a PostgreSQL that nodes share: real servers, logs and projectors.
import { describe, expect, it } from 'vitest';
import type { StorePlace } from '../../src/config/store-place.ts';
import { Projector } from '../../src/usage/projector.ts';
import { answerCall, missingAt, RollCall, storeNow } from '../../src/usage/roll-call.ts';
import { openStore } from '../../src/usage/store.ts';
import { Postgres, postgresBin } from '../support/postgres.ts';
import { ScratchUsage } from '../support/usage.ts';

const DAY_MS = 86_400_000;

describe.skipIf(postgresBin === null)('nodes that share a store', () => {
  it('are missing until they have counted what was there, and no more when they have left', async () => {
    const server = await Postgres.start();
    const store = await openStore(server.place(), 'write');
    const worlds = ['a', 'b'].map((node) => new ScratchUsage<StorePlace>({ store: server.place(), node }));
    const projectors = worlds.map((world) => new Projector(world.options()));
    const count = async (at: number): Promise<void> => {
      const projector = projectors[at] as Projector;
      const call = new RollCall(true);
      // The first step finds the place.
      await projector.step();
      await call.begin(projector.standing);
      while ((await projector.step()).more);
      await call.answer(projector.standing);
    };
    for (const world of worlds) world.write(5);
    await count(0);
    const early = await storeNow(store);
    expect(await missingAt(store, 'a', early)).toEqual([]);
    await count(1);
    const at = await storeNow(store);
    // b has said up to when it counted, and that was before this.
    expect(await missingAt(store, 'a', at)).toEqual(['b']);
    expect(await missingAt(store, 'b', at)).toEqual(['a']);
    expect(await missingAt(store, 'a', early)).toEqual([]);
    await new RollCall(true).leave(projectors[1]?.standing ?? null);
    expect(await missingAt(store, 'a', at)).toEqual([]);
    // Silent for a day: it was taken away without a word.
    await answerCall({ store, node: 'gone', log: 'log/1' }, at - DAY_MS - 1);
    expect(await missingAt(store, 'a', at)).toEqual([]);
    expect(await missingAt(store, 'a', at + DAY_MS)).toEqual([]);
    for (const projector of projectors) await projector.close();
    for (const world of worlds) world.log.close();
    await store.close();
  });
});
