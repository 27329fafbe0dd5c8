// What each process that shares the usage store says of itself: which policy it has in force, since when, and that it lives. For the
// question whether all nodes follow one policy; nothing decides by it.
import type { InstanceColumns } from './schema.ts';
import type { Store } from './store.ts';

/** How often a process says that it lives, and after how long one that is silent is forgotten. */
export const SEEN_MS = 30_000;
const FORGOTTEN_MS = 30 * 86_400_000;

export type Instance = InstanceColumns;

/** @throws SallyportError `store-unreadable` */
export async function sayInstance(store: Store, instance: Instance): Promise<void> {
  const { name, host, ...said } = instance;
  await store.db
    .insertInto('instance')
    .values(instance)
    .onConflict((on) => on.columns(['name', 'host']).doUpdateSet(said))
    .execute();
  await store.db
    .deleteFrom('instance')
    .where('seen', '<', instance.seen - FORGOTTEN_MS)
    .execute();
}

/** By name. */
export async function listInstances(store: Store): Promise<Instance[]> {
  return store.db.selectFrom('instance').selectAll().orderBy('name').orderBy('host').execute();
}
