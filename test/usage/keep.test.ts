// usage.keep: hours become days and old days go, in bounded steps, on both stores; the sums of whole days stay what they were,
// before, in the middle and after, and what comes late is summed up by the next pass.
import { describe, expect, it } from 'vitest';
import type { StorePlace } from '../../src/config/store-place.ts';
import { readFacts, readTargets, readTotals } from '../../src/report/query.ts';
import { Keeper } from '../../src/usage/keep.ts';
import { projectOnce } from '../../src/usage/project-once.ts';
import { openStore, type Store } from '../../src/usage/store.ts';
import { Postgres, postgresBin } from '../support/postgres.ts';
import { decidedRecord, endedRecord } from '../support/records.ts';
import { ScratchUsage } from '../support/usage.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
/** The first of January 2026, UTC. */
const BEGIN = Date.UTC(2026, 0, 1);
const DAYS = 10;
const LAST = BEGIN + DAYS * DAY - HOUR;

/** A log of ten days: three hours a day, two hosts, one of them in the job of its day only. */
class History extends ScratchUsage<StorePlace> {
  clock = BEGIN;
  #id = 0;

  constructor(store?: StorePlace) {
    super({ ...(store === undefined ? {} : { store }), now: () => new Date(this.clock) });
  }

  request(at: number, host: string, job: string): void {
    this.clock = at;
    const id = `k${this.#id++}`;
    const identity = { kind: 'claimed', attributes: {}, claimed: { job } } as const;
    this.log.decided(decidedRecord({ id, host, identity }));
    this.log.ended(endedRecord({ id, host, identity }));
  }

  tenDays(): void {
    for (let day = 0; day < DAYS; day++) {
      for (const hour of [0, 5, 23]) {
        const at = BEGIN + day * DAY + hour * HOUR;
        for (let n = 0; n < 4; n++) this.request(at, 'always.example', `day-${day}`);
        this.request(at, `day-${day}.example`, `day-${day}`);
      }
    }
    void this.log.stats;
  }
}

const sqlite = async () => undefined;
const postgres = async () => (await Postgres.start()).place();

const window = (from: number, to: number) => ({ from, to, pipeline: null, job: null });
const requests = async (store: Store, from: number, to: number) => (await readTotals(store, window(from, to))).requests;
const rowsOf = async (store: Store) =>
  (await store.db.selectFrom('usage').selectAll().orderBy('hour').execute()).length;

async function finish(keeper: Keeper, store: Store, now: number, each = async () => {}): Promise<number> {
  let steps = 0;
  while (await keeper.step(store, now)) {
    steps++;
    await each();
    if (steps > 1_000) throw new Error('it does not end');
  }
  return steps;
}

const STORES = [
  ['SQLite', sqlite, false],
  ['PostgreSQL (skipped where it is not installed)', postgres, postgresBin === null],
] as const;

for (const [name, place, skipped] of STORES) {
  describe.skipIf(skipped)(`usage.keep on ${name}`, { timeout: 120_000 }, () => {
    const filled = async (): Promise<[History, Store]> => {
      const history = new History(await place());
      history.tenDays();
      await projectOnce(history.options());
      return [history, await openStore(history.store, 'write')];
    };

    it('sums hours up by the day, and any window of days has the same sums all the while', async () => {
      const [, store] = await filled();
      const sums = async () => {
        const of: number[] = [];
        for (let day = 0; day < DAYS; day++)
          of.push(await requests(store, BEGIN + day * DAY, BEGIN + (day + 1) * DAY - 1));
        const { rows } = await readTargets(store, window(BEGIN, LAST));
        return { of, rows: rows.sort((a, b) => (a.host < b.host ? -1 : 1)) };
      };
      const before = await sums();
      expect(before.of).toEqual(new Array(DAYS).fill(15));
      const steps = await finish(new Keeper({ hourly: 3, daily: 100 }, 4), store, LAST, async () => {
        expect(await sums()).toEqual(before);
      });
      expect(steps).toBeGreaterThan(6);
      expect(await sums()).toEqual(before);
      // Six of the ten days are a row a host; the rest three rows a host.
      expect(await rowsOf(store)).toBe(6 * 2 + 4 * 6);
      await store.close();
    });

    it('a window that cuts a summed day takes the whole day, and says so', async () => {
      const [, store] = await filled();
      await finish(new Keeper({ hourly: 3, daily: 100 }), store, LAST);
      expect(await requests(store, BEGIN + 2 * HOUR, BEGIN + 3 * HOUR)).toBe(15);
      expect((await readFacts(store)).dailyBefore).toBe((BEGIN + 6 * DAY) / HOUR);
      // The hours of the last days are still hours.
      expect(await requests(store, BEGIN + 6 * DAY, BEGIN + 6 * DAY + HOUR)).toBe(5);
      await store.close();
    });

    it('deletes old days with the names that only they had', async () => {
      const [, store] = await filled();
      await finish(new Keeper({ hourly: 2, daily: 4 }, 3), store, LAST);
      expect(await requests(store, BEGIN, LAST)).toBe(5 * 15);
      const hosts = await store.db.selectFrom('target').select('host').orderBy('host').execute();
      expect(hosts.map(({ host }) => host)).toEqual([
        'always.example',
        ...[5, 6, 7, 8, 9].map((day) => `day-${day}.example`),
      ]);
      const actors = await store.db.selectFrom('actor').select('job').execute();
      expect(actors.map(({ job }) => job).sort()).toEqual([5, 6, 7, 8, 9].map((day) => `day-${day}`));
      expect((await readFacts(store)).first).toBe(BEGIN + 5 * DAY);
      await store.close();
    });

    it('what comes late is counted with its day, and summed up by the next pass', async () => {
      const [history, store] = await filled();
      const keeper = new Keeper({ hourly: 3, daily: 100 });
      await finish(keeper, store, LAST);
      history.request(BEGIN + 7 * HOUR, 'always.example', 'day-0');
      await projectOnce(history.options());
      expect(await requests(store, BEGIN + 20 * HOUR, BEGIN + 21 * HOUR)).toBe(16);
      expect(await finish(keeper, store, LAST + HOUR / 2)).toBe(0);
      const rows = await rowsOf(store);
      await finish(keeper, store, LAST + 2 * HOUR);
      expect(await rowsOf(store)).toBe(rows - 1);
      expect(await requests(store, BEGIN, BEGIN + DAY - 1)).toBe(16);
      await store.close();
    });

    it('a clock that is far ahead deletes nothing of what is new', async () => {
      const [, store] = await filled();
      await finish(new Keeper({ hourly: 3, daily: 10 }), store, LAST + 5_000 * DAY);
      expect(await requests(store, BEGIN, LAST)).toBe(DAYS * 15);
      await store.close();
    });
  });
}
