// Rules, policies and requests for the tables of this folder, from the texts a person would write.
import { type Cidr, parseCidr } from '../../src/policy/address.ts';
import { parseAuthority } from '../../src/policy/authority.ts';
import { compilePolicy, EMPTY_SOURCE, type PolicySource, type RuleSource } from '../../src/policy/compile.ts';
import { type Decision, Policy, type PolicyRequest } from '../../src/policy/decide.ts';
import { parsePattern } from '../../src/policy/pattern.ts';
import { ANONYMOUS, type Attributes, type Identity } from '../../src/policy/record.ts';

/** 2026-11-24T00:00:00Z. */
export const NOW = 1_795_478_400_000;
export const DAY = 86_400_000;

export function cidr(text: string): Cidr {
  const parsed = parseCidr(text);
  if (parsed === null) throw new Error(`not a range: ${text}`);
  return parsed;
}

let line = 0;

/** An allow rule; `more` overrides. */
export function rule(pattern: string, more: Partial<RuleSource> = {}): RuleSource {
  const parsed = parsePattern(pattern);
  if (!parsed.ok) throw new Error(`${pattern}: ${parsed.problem}`);
  line += 1;
  return {
    effect: 'allow',
    pattern: parsed.pattern,
    ports: null,
    protocol: null,
    addresses: [],
    metadata: false,
    paths: null,
    inspect: null,
    mode: null,
    for: null,
    expires: null,
    id: `policy.yaml:${line}`,
    origin: `policy.yaml:${line}`,
    group: null,
    need: null,
    reason: null,
    owner: null,
    layer: null,
    ...more,
  };
}

export function deny(pattern: string, more: Partial<RuleSource> = {}): RuleSource {
  return rule(pattern, { effect: 'deny', ...more });
}

export function source(rules: readonly RuleSource[], more: Partial<PolicySource> = {}): PolicySource {
  return { ...EMPTY_SOURCE, rules, digest: 'test', ...more };
}

export function policy(rules: readonly RuleSource[], more: Partial<PolicySource> = {}): Policy {
  return new Policy(compilePolicy(source(rules, more)));
}

export function proven(attributes: Attributes): Identity {
  return { kind: 'user', attributes, claimed: {} };
}

export function claimed(attributes: Attributes): Identity {
  return { kind: 'claimed', attributes: {}, claimed: attributes };
}

export function connect(target: string, more: Partial<PolicyRequest> = {}): PolicyRequest {
  const parsed = parseAuthority(target);
  if (!parsed.ok) throw new Error(`${target}: ${parsed.problem}`);
  return {
    authority: parsed.authority,
    kind: 'connect',
    method: 'CONNECT',
    path: null,
    identity: ANONYMOUS,
    now: NOW,
    ...more,
  };
}

export function forward(target: string, path = '/', more: Partial<PolicyRequest> = {}): PolicyRequest {
  return { ...connect(target), kind: 'forward', method: 'GET', path, ...more };
}

/** `verdict reason`, the form of the tables. */
export function answer(decision: Decision): string {
  return `${decision.verdict} ${decision.reason}`;
}
