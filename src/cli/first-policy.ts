// Before the first start there is no policy to start with where it comes from an URL: it is fetched once, and without it nothing starts.
import { reachOf } from '../config/config.ts';
import type { Overrides } from '../config/load.ts';
import { policyPlaceOf } from '../config/load-source.ts';
import { parseText, readTextFile } from '../config/load-text.ts';
import { parseRaw } from '../config/parse.ts';
import { SOURCE_DIR } from '../config/source-schema.ts';
import { createMeter } from '../limits.ts';
import { createResolver } from '../net/resolve.ts';
import { compilePolicy } from '../policy/compile.ts';
import { Policy } from '../policy/decide.ts';
import { PolicyBundles } from './policy-bundles.ts';
import { PolicyFollower } from './policy-follower.ts';

/**
 * Fetches the first bundle where the file names an URL and none is there.
 * @throws SallyportError where it cannot be had, or is not good
 */
export async function firstPolicy(file: string | null, overrides: Overrides): Promise<void> {
  if (file === null) return;
  const { text } = readTextFile(file);
  // Parsed here, ten thousand rules would leave their garbage on the data plane's heap for good; nearly no file has a source.
  if (!SOURCE_KEY.test(text)) return;
  const { value } = parseText(file, text);
  const policy = policyPlaceOf(value);
  if (policy === null || policy.source.url === null || new PolicyBundles(policy.dir ?? SOURCE_DIR).has) return;
  // What is wrong with the rest of the file is said by the load that follows.
  const { dns, limits } = reachOf(parseRaw(value, {}).raw);
  const meter = createMeter();
  const resolver = createResolver({ dns, limits, meter });
  const guard = new Policy(compilePolicy(NOTHING));
  const road = { resolver, limits, meter, admits: guard.admits.bind(guard) };
  const changed = (): Promise<void> => Promise.resolve();
  try {
    await new PolicyFollower({ policy, road, file, overrides, changed, onProblem: () => undefined }).once();
  } finally {
    resolver.close();
  }
}

/** No spelling of `policy.source` is without it; one with escapes is a load without a policy, which starts nothing. */
const SOURCE_KEY = /\bsource\b/;

const NOTHING = {
  rules: [],
  hints: [],
  mode: 'enforce',
  modes: [],
  observeAddresses: [],
  privateUpstreams: [],
  self: [],
  metadataAddresses: [],
  digest: '',
} as const;
