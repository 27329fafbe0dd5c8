// The policy of a file with the grants of its store, for commands that say what is in force. A store that is not there, or cannot be read,
// has no grants, and that is said: what a file says can always be asked.
import { existsSync } from 'node:fs';
import { judgeGrants } from '../config/grants.ts';
import type { LoadedConfig } from '../config/load.ts';
import { SallyportError } from '../errors.ts';
import { Policy, type PolicyOptions } from '../policy/decide.ts';
import { ENDED_MS } from '../policy/grant.ts';
import { compileGrants } from '../policy/grant-rule.ts';
import { inert } from '../report/inert.ts';
import { readGrants } from '../usage/grants.ts';
import { openStore } from '../usage/store.ts';
import type { Ui } from './ui.ts';

export async function policyInForce(
  loaded: Pick<LoadedConfig, 'policy' | 'settings' | 'ceiling'>,
  ui: Ui,
  now: number,
  options: Pick<PolicyOptions, 'explains'> = {},
): Promise<Policy> {
  const { settings, policy, ceiling } = loaded;
  const place = settings.usage.store;
  // Without a ceiling none counts; and a command that only asks makes no store.
  if (ceiling === null || (typeof place === 'string' && !existsSync(place))) return new Policy(policy, options);
  try {
    const store = await openStore(place, 'read', settings.limits.usage_store_timeout_ms);
    try {
      const grants = await readGrants(store, now - ENDED_MS);
      const { counting } = judgeGrants({ grants, ceiling, limits: settings.limits, now });
      return new Policy(policy, { ...options, grants: compileGrants(counting.map(({ rule }) => rule)) });
    } finally {
      await store.close();
    }
  } catch (error) {
    if (!(error instanceof SallyportError)) throw error;
    ui.note(`sallyport: the grants are not known: ${inert(error.message)}`);
    return new Policy(policy, options);
  }
}
