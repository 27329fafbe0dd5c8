// Rules that nothing used for so long that they may go. PURE. It names a rule only on evidence: the records go back far
// enough and miss nothing, the group is not required, no test of the file needs the rule, and whoever it is for was seen.

import { selectorMatches } from '../policy/selector.ts';
import type { RuleView } from '../policy/view.ts';
import type { Asked, Standing } from './standing.ts';

/** One host, port and kind of request by one identity: when it was last asked for, ms. */
export interface UseRow extends Asked {
  readonly last_seen: number;
}

export interface UnusedInput {
  /** Every allow rule of the policy in force. */
  readonly rules: Iterable<RuleView>;
  /** Everything in the records, not only the window. */
  readonly uses: Iterable<UseRow>;
  readonly standing: (row: UseRow) => Standing;
  /** What was last used before is unused, ms. */
  readonly before: number;
  readonly days: number;
  /** `file:line` of rules that tests of the file need. */
  readonly tested: ReadonlySet<string>;
}

/** An entry of `allow:` that nothing used. */
export interface UnusedRule {
  /** `file:line`. */
  readonly origin: string;
  readonly group: string | null;
  /** Not used for so many days. */
  readonly days: number;
  /** ms; null where the records know of no use at all. */
  readonly last: number | null;
}

/** In file order. */
export function unusedRules(input: UnusedInput): UnusedRule[] {
  const last = new Map<string, number>();
  const recent: UseRow[] = [];
  for (const row of input.uses) {
    if (row.last_seen >= input.before) recent.push(row);
    const standing = input.standing(row);
    if (standing.as === 'in-force') last.set(standing.origin, Math.max(last.get(standing.origin) ?? 0, row.last_seen));
  }
  const found = new Map<string, UnusedRule>();
  const kept = new Set(input.tested);
  for (const rule of input.rules) {
    // Layers are other files, with other owners: suggest edits the base.
    if (rule.effect !== 'allow' || rule.layer !== null) continue;
    const { origin, group } = rule;
    const used = last.get(origin) ?? null;
    const { for: selector } = rule;
    // Nobody whom it is for was there to use it.
    const unseen = selector !== null && !recent.some(({ identity }) => selectorMatches(selector, identity.attributes));
    if (rule.need === 'required' || unseen || (used !== null && used >= input.before)) kept.add(origin);
    else found.set(origin, { origin, group, days: input.days, last: used });
  }
  return [...found.values()].filter(({ origin }) => !kept.has(origin));
}
