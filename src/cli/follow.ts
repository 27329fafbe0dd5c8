// Makes the follower of a policy bundle out of the running proxy's own road: its resolver, its address guard, its limits.
import type { Logger } from 'pino';
import type { Settings } from '../config/config.ts';
import type { Overrides } from '../config/load.ts';
import type { GuardedRoad } from '../net/guarded-get.ts';
import type { ProxyContext } from '../proxy/context.ts';
import type { Fleet } from './fleet.ts';
import type { PolicyFollower } from './policy-follower.ts';

interface Following {
  readonly file: string | null;
  readonly overrides: Overrides;
  readonly settings: Settings;
  readonly ctx: ProxyContext;
  readonly log: Logger;
  readonly fleet: Fleet;
  readonly reload: () => Promise<void>;
}

/** Null where the policy comes from no URL: nothing of bundles is loaded then. */
export async function followerOf(following: Following): Promise<PolicyFollower | null> {
  const { file, overrides, settings, ctx, log, fleet, reload } = following;
  const { policy, limits } = settings;
  if (policy === null || policy.source.url === null || file === null) return null;
  const admits: GuardedRoad['admits'] = (authority, address, ranges) => ctx.policy.admits(authority, address, ranges);
  const { PolicyFollower } = await import('./policy-follower.ts');
  const follower = new PolicyFollower({
    ...{ policy, file, overrides },
    road: { resolver: ctx.resolver, limits, meter: ctx.meter, admits },
    changed: async (serial) => {
      log.info({ serial }, 'a newer policy bundle is here');
      fleet.follow(serial);
      await reload();
    },
    onProblem: (error) => log.error({ err: error }, 'the policy bundle cannot be taken; the one in force stays'),
  });
  fleet.follow(follower.serial);
  return follower;
}
