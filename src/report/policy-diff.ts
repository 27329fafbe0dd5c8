// What a change of a policy gives and takes, by whom it concerns. PURE. Rules are compared by what they let through, not by their text: a rule
// that moves to another file, or that a wildcard covers already, is no change.
import { Ceiling } from '../config/ceiling.ts';
import { DenyIndex, denyText, portsOf, protocolOn } from '../config/lint-cover.ts';
import type { RuleSource } from '../policy/compile.ts';
import { globCovered, type Selector, selectorKey } from '../policy/selector.ts';

/** A rule, or the part of it that is new or gone. */
export interface ChangedRule {
  readonly effect: 'allow' | 'deny';
  readonly host: string;
  /** Null: every port. */
  readonly ports: readonly number[] | null;
  readonly protocol: string;
  readonly addresses: readonly string[];
  /** What may pass below the host, as lines for people; null: it is not inspected. */
  readonly inspect: readonly string[] | null;
  /** `file:line`. */
  readonly origin: string;
}

export interface PolicyChange {
  /** Null: everyone. */
  readonly for: Selector | null;
  /** What they may reach now and could not before; a deny that is gone. */
  readonly gains: readonly ChangedRule[];
  /** What they could reach and may not any more; a deny that is new. */
  readonly loses: readonly ChangedRule[];
}

/** Changes by whom they concern, everyone first. Rules that have expired at `now` are not there. */
export function policyChanges(
  before: readonly RuleSource[],
  after: readonly RuleSource[],
  now: number,
): PolicyChange[] {
  const [old, fresh] = [before, after].map((rules) =>
    rules.filter(({ expires }) => expires === null || expires >= now),
  );
  const sides = { old: old ?? [], fresh: fresh ?? [] };
  const selectors = new Map<string, Selector | null>([['', null]]);
  for (const { for: selector } of [...sides.old, ...sides.fresh]) selectors.set(selectorKey(selector), selector);
  const changes = [...selectors].map(([text, selector]) => ({
    for: selector,
    gains: [...added(sides.old, sides.fresh, text, selector), ...denied(sides.fresh, sides.old, text)],
    loses: [...added(sides.fresh, sides.old, text, selector), ...denied(sides.old, sides.fresh, text)],
  }));
  return changes.filter(({ gains, loses }) => gains.length + loses.length > 0);
}

/** What rules for exactly these let through in `to`, that nothing they had in `from` let through. */
function added(
  from: readonly RuleSource[],
  to: readonly RuleSource[],
  text: string,
  who: Selector | null,
): ChangedRule[] {
  const own = to.filter((rule) => rule.effect === 'allow' && selectorKey(rule.for) === text);
  if (own.length === 0) return [];
  const had = new Ceiling(from.filter((rule) => rule.effect === 'allow' && concerns(rule.for, who)));
  const denies = new DenyIndex();
  for (const rule of to) if (rule.effect === 'deny') denies.add(rule);
  return own.flatMap((rule) => {
    const ports = portsOf(rule).filter(
      (port) => had.judge({ ...rule, ports: [port] }) !== null && denies.covering(rule.pattern, [port]) === null,
    );
    return ports.length === 0 ? [] : [shown(rule, ports)];
  });
}

/** Deny rules for exactly these that `to` has and `from` has not. */
function denied(from: readonly RuleSource[], to: readonly RuleSource[], text: string): ChangedRule[] {
  const known = new Set(from.filter(({ effect }) => effect === 'deny').map(denyText));
  return to
    .filter((rule) => rule.effect === 'deny' && selectorKey(rule.for) === text && !known.has(denyText(rule)))
    .map((rule) => shown(rule, rule.ports));
}

function shown(rule: RuleSource, ports: readonly number[] | null): ChangedRule {
  const { effect, pattern, addresses, origin } = rule;
  const protocols = new Set((ports ?? []).map((port) => protocolOn(rule, port)));
  const protocol = effect === 'deny' ? 'any' : [...protocols].join(', ');
  const inspect = rule.inspect === null ? null : [...new Set(rule.inspect.allow.map(({ text }) => text))];
  return {
    effect,
    host: pattern.text,
    ports,
    protocol,
    addresses: addresses.map((range) => range.text),
    inspect,
    origin,
  };
}

/** True where whoever the inner selector means, the outer one means too. */
function concerns(outer: Selector | null, inner: Selector | null): boolean {
  if (outer === null) return true;
  const given: Readonly<Record<string, readonly string[] | undefined>> = inner ?? {};
  return Object.entries(outer).every(
    ([name, globs]) => given[name]?.every((glob) => globCovered(glob, globs)) ?? false,
  );
}
