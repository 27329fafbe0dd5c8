// What a request of the past is to the policy in force: let through by a rule, refused on purpose, or wanted. PURE.
// It asks the same `decide` as the proxy. Only what is not on the allowlist is wanted; a deny rule, metadata and the like stay.
import { recordedAuthority } from '../policy/authority.ts';
import type { Policy } from '../policy/decide.ts';
import { registrableDomain } from '../policy/pattern.ts';
import { ANONYMOUS, type Identity, type Nearest } from '../policy/record.ts';
import { isUnproven } from '../policy/selector.ts';

/**
 * `expired`: a rule for it has ended. `reserved`: a rule lets others through. Both were somebody's decision. `look-alike`: one letter
 * off a host that is allowed, in a domain that need not be the same owner's.
 */
export type Doubt = 'expired' | 'reserved' | 'look-alike';

export type Standing =
  | {
      readonly as: 'in-force';
      /** `file:line` of the rule. */
      readonly origin: string;
      readonly group: string | null;
      /** It names the host, and not a domain above it. */
      readonly exact: boolean;
    }
  | { readonly as: 'refused' }
  | { readonly as: 'wanted'; readonly doubt: Doubt | null };

export interface Asked {
  readonly host: string;
  readonly port: number;
  readonly kind: 'connect' | 'forward';
  readonly identity: Identity;
  /** A rule let it through when it was asked for: that rule's id and group. */
  readonly allowed: { readonly rule: string; readonly group: string | null } | null;
}

const REFUSED: Standing = { as: 'refused' };
const WANTED: ReadonlySet<string> = new Set([
  'host-not-allowed',
  'port-not-allowed',
  'protocol-not-allowed',
  'ip-literal-not-allowed',
]);

/** Addresses are not judged: names are not resolved here. */
export function standingOf(policy: Policy, asked: Asked, now: number): Standing {
  const { host, port, kind } = asked;
  const authority = recordedAuthority(host, port);
  if (authority === null) return REFUSED;
  const request = kind === 'connect' ? { method: 'CONNECT', path: null } : { method: 'GET', path: '/' };
  const identity = isUnproven(asked.identity) ? ANONYMOUS : asked.identity;
  const decision = policy.decide({ authority, kind, ...request, identity, now });
  const { reason, rule } = decision;
  const nearest = 'nearest' in decision ? decision.nearest : null;
  if (decision.verdict === 'allow' || (decision.verdict === 'observe' && rule !== null)) {
    return { as: 'in-force', origin: rule?.origin ?? '', group: rule?.group ?? null, exact: rule?.kind !== 'wildcard' };
  }
  if (WANTED.has(reason)) return { as: 'wanted', doubt: isLookAlike(host, nearest) ? 'look-alike' : null };
  if (reason === 'rule-expired') return { as: 'wanted', doubt: 'expired' };
  if (reason !== 'identity-not-allowed' && reason !== 'credentials-required') return REFUSED;
  // The store does not keep every attribute (agent, cluster): who was let through then is so now.
  if (asked.allowed !== null && !isUnproven(asked.identity))
    return { as: 'in-force', origin: asked.allowed.rule, group: asked.allowed.group, exact: true };
  return { as: 'wanted', doubt: 'reserved' };
}

/** The policy names a host that is one letter off, and no line to allow this one (nearest-text.ts). */
function isLookAlike(host: string, nearest: Nearest | null): boolean {
  if (nearest === null || nearest.fix !== '') return false;
  const meant = nearest.pattern.replace(/^\*\./, '');
  return meant !== host && registrableDomain(meant) !== registrableDomain(host);
}
