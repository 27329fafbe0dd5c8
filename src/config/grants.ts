// Which grants count: well-formed, inside the ceiling of today, no longer than they may be, and not too many. PURE.
// Each node judges by itself: whoever can write into the store can grant no more than the ceiling, and not for ever.
import type { LimitName, Limits } from '../limits.ts';
import type { RuleSource } from '../policy/compile.ts';
import { ENDED_MS, type Grant } from '../policy/grant.ts';
import { grantRule } from '../policy/grant-rule.ts';
import { Ceiling, outsideText } from './ceiling.ts';

const HOUR_MS = 3_600_000;
/** Clocks of two machines differ; and a grant is made on one and taken on another. */
const SKEW_MS = 300_000;

export interface GrantsInput {
  readonly grants: readonly Grant[];
  /** Null: nothing may be granted. */
  readonly ceiling: readonly RuleSource[] | null;
  readonly limits: Limits;
  readonly now: number;
}

export interface RefusedGrant {
  readonly grant: Grant;
  readonly why: string;
  /** The limit that it breaks, where it is one. */
  readonly limit: LimitName | null;
}

export interface JudgedGrants {
  readonly counting: readonly { readonly grant: Grant; readonly rule: RuleSource }[];
  readonly refused: readonly RefusedGrant[];
}

/** Judges them; revoked ones are left out. The oldest come first. */
export function judgeGrants({ grants, ceiling, limits, now }: GrantsInput): JudgedGrants {
  const bound = ceiling === null ? null : new Ceiling(ceiling);
  const counting: { grant: Grant; rule: RuleSource }[] = [];
  const refused: RefusedGrant[] = [];
  const standing = grants.filter(({ revoked, expires }) => revoked === null && expires > now - ENDED_MS);
  for (const grant of [...standing].sort((a, b) => a.created - b.created || (a.id < b.id ? -1 : 1))) {
    const rule = grantRule(grant);
    if (rule === null) {
      refused.push({ grant, ...fault('it is not well-formed') });
      continue;
    }
    const found = lasting(grant, limits, now) ?? outside(rule, bound) ?? crowded(counting.length, limits);
    if (found === null) counting.push({ grant, rule });
    else refused.push({ grant, ...found });
  }
  return { counting, refused };
}

type Fault = Omit<RefusedGrant, 'grant'>;

function fault(why: string, limit: LimitName | null = null): Fault {
  return { why, limit };
}

function lasting({ created, expires }: Grant, { grant_duration_max_h }: Limits, now: number): Fault | null {
  if (created > now + SKEW_MS) return fault('it was made in the future');
  if (expires - created <= grant_duration_max_h * HOUR_MS) return null;
  const why = `it lasts longer than limits.grant_duration_max_h allows, ${grant_duration_max_h} hours`;
  return fault(why, 'grant_duration_max_h');
}

function outside(rule: RuleSource, ceiling: Ceiling | null): Fault | null {
  if (ceiling === null) return fault('there is no valid ceiling, so nothing is granted');
  const found = ceiling.judge(rule);
  return found === null ? null : fault(`it is outside the ceiling: ${outsideText(found)}`);
}

function crowded(counting: number, { grants_max }: Limits): Fault | null {
  return counting < grants_max ? null : fault(`limits.grants_max allows ${grants_max}`, 'grants_max');
}
