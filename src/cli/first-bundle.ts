// The first bundle of a policy that comes from a URL: fetched once before the start. Loaded only where a file may name one.
import { reachOf } from '../config/config.ts';
import type { Overrides } from '../config/load.ts';
import { policyPlaceOf } from '../config/load-source.ts';
import { parseText, readTextFile } from '../config/load-text.ts';
import { parseRaw } from '../config/parse.ts';
import { SOURCE_DIR } from '../config/source-schema.ts';
import { createMeter } from '../limits.ts';
import { createResolver } from '../net/resolve.ts';
import { compilePolicy, EMPTY_SOURCE } from '../policy/compile.ts';
import { Policy } from '../policy/decide.ts';
import { PolicyBundles } from './policy-bundles.ts';
import { PolicyFollower } from './policy-follower.ts';

/**
 * Fetches it where the file names a URL and none is there.
 * @throws SallyportError where it cannot be had, or is not good
 */
export async function firstBundle(file: string, overrides: Overrides): Promise<void> {
  const { text } = readTextFile(file);
  const { value } = parseText(file, text);
  const policy = policyPlaceOf(value);
  if (policy === null || policy.source.url === null || new PolicyBundles(policy.dir ?? SOURCE_DIR).has) return;
  // What is wrong with the rest of the file is said by the load that follows.
  const { dns, limits } = reachOf(parseRaw(value, {}).raw);
  const meter = createMeter();
  const resolver = createResolver({ dns, limits, meter });
  const guard = new Policy(compilePolicy(EMPTY_SOURCE));
  const road = { resolver, limits, meter, admits: guard.admits.bind(guard) };
  const changed = (): Promise<void> => Promise.resolve();
  try {
    await new PolicyFollower({ policy, road, file, overrides, changed, onProblem: () => undefined }).once();
  } finally {
    resolver.close();
  }
}
