// A world whose hosts are inspected: the CA is made by the command, and clients trust its bundle.
import { join } from 'node:path';
import { sallyport } from './proxy-process.ts';
import { type PolicyFile, tempDir } from './temp.ts';
import { testCa } from './tls.ts';
import { LOOPBACK, startWorld, type World } from './world.ts';

export interface InspectedWorld extends World {
  /** The bundle that clients trust. */
  readonly bundle: string;
}

/** @param rules of inspected hosts on loopback, without what all of them have */
export async function startInspectedWorld(
  rules: readonly (PolicyFile & { readonly host: string; readonly ports: readonly number[] })[],
  more: PolicyFile = {},
): Promise<InspectedWorld> {
  const dir = tempDir('inspection');
  const bundle = join(dir, 'ca.pem');
  const key = join(dir, 'ca.key');
  const names = rules.map(({ host }) => host);
  const made = await sallyport(['ca', 'init', ...names, '--cert', bundle, '--key', key]);
  if (made.code !== 0) throw new Error(made.stderr);
  const policy = {
    inspection: { ca: { cert: bundle, key } },
    allow: rules.map((rule) => ({ addresses: LOOPBACK, inspect: true, upstream_ca: testCa().caFile, ...rule })),
    ...more,
  };
  const world = await startWorld(
    policy,
    Object.fromEntries(names.map((name) => [name.replace('*.', 'a.'), ['127.0.0.1']])),
  );
  return Object.assign(Object.create(world, Object.getOwnPropertyDescriptors(world)) as World, { bundle });
}
