// The names that the hours at hand have counted, so that the bound on distinct names in an hour holds: read from the store once,
// also after a restart, and added to by the tally.
import { ACTOR_COLUMNS } from './schema.ts';
import type { Store } from './store.ts';
import { type DayPaths, type HourNames, keyOfActor, keyOfPath, keyOfTarget, OVERFLOW } from './tally.ts';

/** Hours whose names are held in memory; lines come nearly in order, so the current and the last are enough. */
const HOURS_MAX = 3;
const DAYS_MAX = 2;

export class KnownNames {
  readonly #hours = new Map<number, HourNames>();
  /** By the first hour of the day. */
  readonly #days = new Map<number, DayPaths>();

  /** @throws where the hour was not loaded */
  of(hour: number): HourNames {
    const names = this.#hours.get(hour);
    if (names === undefined) throw new Error('names of an hour were not loaded');
    return names;
  }

  /** @throws where the day was not loaded */
  paths(day: number): DayPaths {
    const paths = this.#days.get(day);
    if (paths === undefined) throw new Error('paths of a day were not loaded');
    return paths;
  }

  /** Reads which paths a log has counted by name on a day, unless they are at hand. */
  async loadPaths(store: Store, log: string, day: number): Promise<void> {
    if (this.#days.has(day)) return;
    const nodes = store.db.selectFrom('node').select('id').where('log', '=', log);
    const rows = await store.db
      .selectFrom('path')
      .innerJoin('target', 'target.id', 'path.target_id')
      .select(['target.host', 'target.port', 'method', 'path.path'])
      .distinct()
      .where('hour', '=', day)
      .where('node_id', 'in', nodes)
      .where('path.path', '<>', OVERFLOW)
      .execute();
    const paths: DayPaths = new Map();
    for (const row of rows) {
      const target = keyOfTarget(row);
      const known = paths.get(target) ?? new Set();
      paths.set(target, known.add(keyOfPath(row)));
    }
    this.#days.set(day, paths);
  }

  /** Reads what a log has counted by name in an hour, unless it is at hand. */
  async load(store: Store, log: string, hour: number): Promise<void> {
    if (this.#hours.has(hour)) return;
    const nodes = store.db.selectFrom('node').select('id').where('log', '=', log);
    const targets = await store.db
      .selectFrom('usage')
      .innerJoin('target', 'target.id', 'usage.target_id')
      .select(['target.host', 'target.port'])
      .distinct()
      .where('hour', '=', hour)
      .where('node_id', 'in', nodes)
      .execute();
    const actors = await store.db
      .selectFrom('usage')
      .innerJoin('actor', 'actor.id', 'usage.actor_id')
      .select(ACTOR_COLUMNS.map((name) => `actor.${name}` as const))
      .distinct()
      .where('hour', '=', hour)
      .where('node_id', 'in', nodes)
      .execute();
    const named = targets.filter(({ host }) => host !== '' && host !== OVERFLOW);
    this.#hours.set(hour, {
      targets: new Set(named.map(keyOfTarget)),
      actors: new Set(actors.filter(({ kind }) => kind !== OVERFLOW && kind !== 'claimed').map(keyOfActor)),
      claimed: new Set(actors.filter(({ kind }) => kind === 'claimed').map(keyOfActor)),
    });
  }

  /** Forgets all but the latest hours. */
  trim(): void {
    for (const hour of [...this.#hours.keys()].sort((a, b) => b - a).slice(HOURS_MAX)) this.#hours.delete(hour);
    for (const day of [...this.#days.keys()].sort((a, b) => b - a).slice(DAYS_MAX)) this.#days.delete(day);
  }

  clear(): void {
    this.#hours.clear();
    this.#days.clear();
  }
}
