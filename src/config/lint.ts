// Warnings about rules: what has no effect, stands twice, has expired, or lets through more than it looks like.
// PURE. None of it makes a file invalid; `sallyport check --strict` fails on them. Cost is linear in the rules.

import { type Cidr, classifyAddress } from '../policy/address.ts';
import type { RuleSource } from '../policy/compile.ts';
import { METADATA_NAMES } from '../policy/decide.ts';
import { isMultiTenant, type Pattern } from '../policy/pattern.ts';
import { type PathProblem, warning } from './issues.ts';
import type { PlacedRule } from './rules.ts';

/** Every warning about the rules, in file order of what it is about. */
export function lintRules(rules: readonly PlacedRule[], now: number): PathProblem[] {
  const denies = denyIndex(rules, now);
  const seen = new Map<string, PlacedRule>();
  const told = new Set<string>();
  const problems: PathProblem[] = [];
  for (const placed of rules) {
    const { rule, path, lastDay } = placed;
    // A group gives many rules: what is said of its line is said once.
    const tell = (
      code: 'config-expired' | 'config-useless' | 'config-conflict',
      message: string,
      hint?: string,
    ): void => {
      const key = `${path.join('.')} ${code} ${rule.group === null || code !== 'config-expired' ? message : ''}`;
      if (!told.has(key)) problems.push(warning(code, path, message, hint));
      told.add(key);
    };
    const name = rule.group === null ? rule.pattern.text : `group ${rule.group}`;
    if (isExpired(rule, now)) {
      tell(
        'config-expired',
        `the rule for ${name} expired at the end of ${lastDay ?? 'its last day'} (UTC) and has no effect`,
      );
      continue;
    }
    const first = duplicateOf(placed, seen);
    if (first !== null)
      tell(
        'config-useless',
        `the rule for ${rule.pattern.text} stands twice; it stands first at ${first.rule.origin}`,
        'Remove one of the two.',
      );
    if (rule.effect === 'deny') continue;
    const deny = shadowing(rule, denies);
    if (deny !== null)
      tell(
        'config-useless',
        `${rule.pattern.text} can never pass: the deny rule ${deny.pattern.text} at ${deny.origin} covers it`,
        'Remove one of the two: deny always wins.',
      );
    if (rule.group === null) ownRuleProblems(rule, tell);
    const everywhere = rule.addresses.find(isEverywhere);
    if (everywhere !== undefined)
      tell(
        'config-conflict',
        `addresses has ${everywhere.text}: ${name} may resolve into any address, loopback and internal ones too`,
        'List the ranges that the host really resolves into.',
      );
  }
  return problems;
}

function isExpired(rule: RuleSource, now: number): boolean {
  return rule.expires !== null && rule.expires < now;
}

function isEverywhere(cidr: Cidr): boolean {
  return cidr.bits === (cidr.family === 4 ? 96 : 0);
}

function ownRuleProblems(
  rule: RuleSource,
  tell: (code: 'config-useless' | 'config-conflict', message: string, hint?: string) => void,
): void {
  const { pattern } = rule;
  if (
    (pattern.kind === 'address' && classifyAddress(pattern.host) === 'metadata') ||
    METADATA_NAMES.has(pattern.host)
  ) {
    tell(
      'config-useless',
      `${pattern.text} is instance metadata and is refused in spite of this rule`,
      'Let clients reach it directly (`sallyport env` prints NO_PROXY), or see group instance-metadata.',
    );
  } else if (pattern.kind === 'wildcard' && isMultiTenant(pattern)) {
    tell(
      'config-conflict',
      `anyone may own a name under ${pattern.text}: a build could send data to a stranger's account there`,
      'List the names that are yours.',
    );
  }
}

/** The earlier rule that says the same. Two groups may share a host: that is the catalog's business. */
function duplicateOf(placed: PlacedRule, seen: Map<string, PlacedRule>): PlacedRule | null {
  const { rule } = placed;
  const ports = rule.ports === null ? '' : [...rule.ports].sort((a, b) => a - b).join(',');
  const normal = rule.effect === 'allow' && ports === '' ? '443' : ports;
  const selector = rule.for === null ? '' : JSON.stringify(rule.for);
  // On its default port a rule without protocol is the same as one that names it.
  const protocol = rule.protocol ?? (normal === '80' ? 'http' : normal === '22' ? 'ssh' : 'tls');
  const key = [rule.effect, rule.pattern.text, normal, rule.effect === 'deny' ? '' : protocol, selector].join(' ');
  const first = seen.get(key);
  if (first === undefined) {
    seen.set(key, placed);
    return null;
  }
  return rule.group !== null && first.rule.group !== null ? null : first;
}

interface DenyIndex {
  readonly exact: ReadonlyMap<string, readonly RuleSource[]>;
  readonly below: ReadonlyMap<string, readonly RuleSource[]>;
}

/** Deny rules that bind everyone and for good, by host. */
function denyIndex(rules: readonly PlacedRule[], now: number): DenyIndex {
  const exact = new Map<string, RuleSource[]>();
  const below = new Map<string, RuleSource[]>();
  for (const { rule } of rules) {
    if (rule.effect !== 'deny' || rule.for !== null || rule.expires !== null || isExpired(rule, now)) continue;
    const index = rule.pattern.kind === 'wildcard' ? below : exact;
    index.set(rule.pattern.host, [...(index.get(rule.pattern.host) ?? []), rule]);
  }
  return { exact, below };
}

/** A deny rule that covers every host and port of the allow rule. */
function shadowing(rule: RuleSource, denies: DenyIndex): RuleSource | null {
  if (denies.exact.size === 0 && denies.below.size === 0) return null;
  const ports = rule.ports ?? [443];
  const covers = (deny: RuleSource): boolean =>
    deny.ports === null || ports.every((port) => deny.ports?.includes(port));
  for (const deny of candidates(rule.pattern, denies)) if (covers(deny)) return deny;
  return null;
}

function* candidates(pattern: Pattern, denies: DenyIndex): Generator<RuleSource> {
  const { host, kind } = pattern;
  if (kind !== 'wildcard') yield* denies.exact.get(host) ?? [];
  if (kind === 'address') return;
  if (kind === 'wildcard') yield* denies.below.get(host) ?? [];
  for (let dot = host.indexOf('.'); dot !== -1; dot = host.indexOf('.', dot + 1)) {
    yield* denies.below.get(host.slice(dot + 1)) ?? [];
  }
}
