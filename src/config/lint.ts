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
  const denies = denyIndex(rules);
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

/** What is denied of one host, or below one domain. */
interface Denied {
  everyPort: RuleSource | null;
  readonly ports: Map<number, RuleSource>;
}

interface DenyIndex {
  readonly exact: ReadonlyMap<string, Denied>;
  readonly below: ReadonlyMap<string, Denied>;
}

/** Deny rules that bind everyone and for good, by host. */
function denyIndex(rules: readonly PlacedRule[]): DenyIndex {
  const exact = new Map<string, Denied>();
  const below = new Map<string, Denied>();
  for (const { rule } of rules) {
    if (rule.effect !== 'deny' || rule.for !== null || rule.expires !== null) continue;
    const index = rule.pattern.kind === 'wildcard' ? below : exact;
    const denied = index.get(rule.pattern.host) ?? { everyPort: null, ports: new Map() };
    index.set(rule.pattern.host, denied);
    if (rule.ports === null) denied.everyPort ??= rule;
    for (const port of rule.ports ?? []) denied.ports.set(port, denied.ports.get(port) ?? rule);
  }
  return { exact, below };
}

/** A deny rule, where every port of the allow rule is denied for all that its pattern matches. */
function shadowing(rule: RuleSource, denies: DenyIndex): RuleSource | null {
  if (denies.exact.size === 0 && denies.below.size === 0) return null;
  const found = [...covering(rule.pattern, denies)];
  const denyOf = (port: number): RuleSource | undefined => {
    const denied = found.find((one) => one.everyPort !== null || one.ports.has(port));
    return denied?.everyPort ?? denied?.ports.get(port);
  };
  const byPort = (rule.ports ?? [443]).map(denyOf);
  return byPort.includes(undefined) ? null : (byPort[0] ?? null);
}

/** What is denied of every host that the pattern matches. */
function* covering(pattern: Pattern, denies: DenyIndex): Generator<Denied> {
  const { host, kind } = pattern;
  const exact = kind === 'wildcard' ? denies.below.get(host) : denies.exact.get(host);
  if (exact !== undefined) yield exact;
  if (kind === 'address') return;
  for (let dot = host.indexOf('.'); dot !== -1; dot = host.indexOf('.', dot + 1)) {
    const denied = denies.below.get(host.slice(dot + 1));
    if (denied !== undefined) yield denied;
  }
}
