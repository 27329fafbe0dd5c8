// What earlier rules take already: the index behind "stands twice", "can never win" and "denied by".
// PURE. One look-up for each port and label of a rule, whatever the number of rules: the lint stays linear.
// It answers for certain cases only; a rule that several others cover together by selectors or dates is not seen.
import type { Protocol, RuleSource } from '../policy/compile.ts';
import { sameInspection } from '../policy/inspect-cover.ts';
import { protocolOfPort } from '../policy/match.ts';
import type { Pattern } from '../policy/pattern.ts';
import { selectorKey } from '../policy/selector.ts';

/** The protocol that a rule demands on a port. */
export function protocolOn(rule: RuleSource, port: number): Protocol {
  return rule.protocol ?? protocolOfPort(port);
}

/** The ports that a rule names; of a deny rule without any, which is for every port, none. */
export function portsOf(rule: RuleSource): readonly number[] {
  return rule.ports ?? (rule.effect === 'allow' ? [443] : []);
}

const CONNECT = ['connect'] as const;
const FORWARD = ['forward'] as const;
const BOTH = ['connect', 'forward'] as const;

function methodsOf(protocol: Protocol): readonly string[] {
  return protocol === 'any' ? BOTH : protocol === 'http' ? FORWARD : CONNECT;
}

/** The domains above a host, nearest first, the host itself left out. */
export function* parents(host: string): Generator<string> {
  for (let dot = host.indexOf('.'); dot !== -1; dot = host.indexOf('.', dot + 1)) yield host.slice(dot + 1);
}

/** Allow rules by what they match: the first one for each pattern, port, kind of request and selector. */
export class Cover {
  readonly #first = new Map<string, RuleSource>();

  add(rule: RuleSource): void {
    // A rule for some paths covers no other.
    if (rule.paths !== null) return;
    for (const key of keysOf(rule, rule.pattern.text, selectorKey(rule.for))) {
      const before = this.#first.get(key);
      if (before === undefined || lastDay(before) < lastDay(rule)) this.#first.set(key, rule);
    }
  }

  /** A rule added that matches whatever this one matches, and as long; where several do so together, one of them. */
  of(rule: RuleSource): RuleSource | null {
    return this.#at(rule, rule.pattern.text);
  }

  /** The same for a rule with a wildcard above this one's pattern: it would match if this one were not there. */
  above(rule: RuleSource): RuleSource | null {
    if (rule.pattern.kind === 'address') return null;
    for (const domain of parents(rule.pattern.host)) {
      const found = this.#at(rule, `*.${domain}`);
      if (found !== null) return found;
    }
    return null;
  }

  #at(rule: RuleSource, pattern: string): RuleSource | null {
    let found: RuleSource | null = null;
    const selectors = [...new Set(['', selectorKey(rule.for)])];
    for (const key of keysOf(rule, pattern, '')) {
      const one = selectors.map((selector) => this.#first.get(key + selector)).find((other) => outlives(other, rule));
      if (one === undefined) return null;
      found ??= one;
    }
    return found;
  }
}

function* keysOf(rule: RuleSource, pattern: string, selector: string): Generator<string> {
  for (const port of portsOf(rule)) {
    for (const method of methodsOf(protocolOn(rule, port))) yield `${pattern} ${port} ${method} ${selector}`;
  }
}

function lastDay(rule: RuleSource): number {
  return rule.expires ?? Number.POSITIVE_INFINITY;
}

function outlives(other: RuleSource | undefined, rule: RuleSource): boolean {
  return other !== undefined && lastDay(other) >= lastDay(rule);
}

/** True where the rule lets nothing through, and checks nothing, that the other would not: it can go. */
export function addsNothing(rule: RuleSource, other: RuleSource): boolean {
  const ranges = new Set(other.addresses.map((range) => range.text));
  return (
    rule.mode === other.mode &&
    rule.metadata === other.metadata &&
    sameInspection(rule.inspect, other.inspect) &&
    rule.addresses.every((range) => ranges.has(range.text)) &&
    portsOf(rule).every((port) => protocolOn(rule, port) === protocolOn(other, port))
  );
}

/** One text for deny rules that say the same. */
export function denyText(rule: RuleSource): string {
  const ports = rule.ports === null ? '*' : [...rule.ports].sort((a, b) => a - b).join(',');
  return [rule.pattern.text, ports, selectorKey(rule.for), String(rule.expires)].join(' ');
}

/** What is denied of one host, or below one domain. */
interface Denied {
  everyPort: RuleSource | null;
  readonly ports: Map<number, RuleSource>;
}

/** Deny rules that bind everyone and for good, by host. */
export class DenyIndex {
  readonly #exact = new Map<string, Denied>();
  readonly #below = new Map<string, Denied>();

  add(rule: RuleSource): void {
    if (rule.for !== null || rule.expires !== null) return;
    const index = rule.pattern.kind === 'wildcard' ? this.#below : this.#exact;
    const denied = index.get(rule.pattern.host) ?? { everyPort: null, ports: new Map() };
    index.set(rule.pattern.host, denied);
    if (rule.ports === null) denied.everyPort ??= rule;
    for (const port of rule.ports ?? []) denied.ports.set(port, denied.ports.get(port) ?? rule);
  }

  /** A deny rule, where each of the ports is denied for all that the pattern matches. */
  covering(pattern: Pattern, ports: readonly number[]): RuleSource | null {
    if (this.#exact.size === 0 && this.#below.size === 0) return null;
    const found = [...this.#covering(pattern)];
    const byPort = ports.map((port) => {
      const denied = found.find((one) => one.everyPort !== null || one.ports.has(port));
      return denied?.everyPort ?? denied?.ports.get(port);
    });
    return byPort.includes(undefined) ? null : (byPort[0] ?? null);
  }

  *#covering({ host, kind }: Pattern): Generator<Denied> {
    const own = kind === 'wildcard' ? this.#below.get(host) : this.#exact.get(host);
    if (own !== undefined) yield own;
    if (kind === 'address') return;
    for (const domain of parents(host)) {
      const denied = this.#below.get(domain);
      if (denied !== undefined) yield denied;
    }
  }
}
