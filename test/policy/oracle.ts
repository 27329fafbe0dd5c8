// A naive oracle of decide(): a linear scan over the rules with string logic of its own, and random policies whose names are
// chosen to collide. It knows no trie, no tables and no order but the sentences of the design.

import type { Protocol, RuleSource } from '../../src/policy/compile.ts';
import type { PolicyRequest } from '../../src/policy/decide.ts';
import { ANONYMOUS, type Identity } from '../../src/policy/record.ts';
import fc from '../support/property.ts';
import { claimed, connect, NOW, proven, rule } from './support.ts';

const label = fc.constantFrom('a', 'b', 'aa', 'x-1', 's3');
const name = fc.array(label, { minLength: 1, maxLength: 3 }).map((labels) => [...labels, 'test'].join('.'));
/** Public addresses: decided on, never dialled. */
const literal = fc.constantFrom('8.8.8.8', '8.8.4.4', '[2606:4700::1111]');
const target = fc.oneof({ weight: 7, arbitrary: name }, { weight: 1, arbitrary: literal });

export const ruleArbitrary: fc.Arbitrary<RuleSource> = fc
  .record({
    wildcard: fc.boolean(),
    name: target,
    effect: fc.constantFrom<RuleSource['effect']>('allow', 'allow', 'allow', 'deny'),
    ports: fc.constantFrom<RuleSource['ports']>(null, null, [443], [22, 80], [443, 80], []),
    protocol: fc.constantFrom<RuleSource['protocol']>(null, null, 'tls', 'http', 'ssh', 'any'),
    for: fc.constantFrom<RuleSource['for']>(null, null, { pipeline: ['w*'] }, { pipeline: ['x'], queue: ['q'] }),
    expires: fc.constantFrom<RuleSource['expires']>(null, null, NOW - 1, NOW, NOW + 1),
    mode: fc.constantFrom<RuleSource['mode']>(null, null, null, 'observe', 'enforce'),
  })
  .map(({ wildcard, name: host, ...more }) => rule(wildcard && host.endsWith('.test') ? `*.${host}` : host, more));

const identities: Identity[] = [
  ANONYMOUS,
  claimed({ pipeline: 'web' }),
  proven({ pipeline: 'web' }),
  proven({ pipeline: 'x', queue: 'q' }),
  proven({ user: 'u' }),
];

export const requestArbitrary: fc.Arbitrary<PolicyRequest> = fc
  .record({
    name: target,
    port: fc.constantFrom(443, 80, 22),
    kind: fc.constantFrom<PolicyRequest['kind']>('connect', 'forward'),
    identity: fc.constantFrom(...identities),
  })
  .map(({ name: host, port, kind, identity }) => ({
    ...connect(`${host}:${port}`, { identity }),
    kind,
    path: kind === 'forward' ? '/' : null,
  }));

function nameMatches(one: RuleSource, host: string): boolean {
  if (one.pattern.kind === 'wildcard') return host.endsWith(`.${one.pattern.host}`);
  return host === one.pattern.host;
}

function selected(one: RuleSource, identity: Identity): boolean {
  if (one.for === null) return true;
  if (identity.kind === 'anonymous' || identity.kind === 'claimed') return false;
  if (one.for.queue !== undefined) return identity.attributes.pipeline === 'x' && identity.attributes.queue === 'q';
  return identity.attributes.pipeline?.startsWith('w') ?? false;
}

function protocolFits(one: RuleSource, request: PolicyRequest): boolean {
  const byPort: Record<number, Protocol> = { 80: 'http', 22: 'ssh', 443: 'tls' };
  const protocol = one.protocol ?? byPort[request.authority.port];
  return request.kind === 'connect' ? protocol !== 'http' : protocol === 'http' || protocol === 'any';
}

/** Verdict, reason and the id of the rule, by the sentences of the design. */
export function oracle(rules: readonly RuleSource[], request: PolicyRequest): string {
  const { host, port } = request.authority;
  const named = rules.filter((one) => nameMatches(one, host));
  const valid = (one: RuleSource): boolean => one.expires === null || one.expires >= request.now;
  const denies = named.filter((one) => one.effect === 'deny' && valid(one) && selected(one, request.identity));
  if (denies.some((one) => one.ports === null || one.ports.includes(port))) return 'deny host-denied';
  const allows = named.filter((one) => one.effect === 'allow');
  const facts = allows.map((one) => ({
    one,
    port: (one.ports ?? [443]).includes(port),
    protocol: protocolFits(one, request),
    valid: valid(one),
    selected: selected(one, request.identity),
  }));
  const rank = (one: RuleSource): number => (one.pattern.kind === 'wildcard' ? one.pattern.host.length : 1_000);
  const [winner] = facts
    .filter((fact) => fact.port && fact.protocol && fact.valid && fact.selected)
    .map((fact) => fact.one)
    .sort((left, right) => rank(right) - rank(left));
  if (winner !== undefined) {
    return winner.mode === 'observe' ? `observe host-not-allowed ${winner.id}` : `allow allowed ${winner.id}`;
  }
  const forOthers = facts.some((fact) => fact.port && fact.protocol && fact.valid && !fact.selected);
  if (forOthers && request.identity.kind === 'anonymous') return 'challenge credentials-required';
  if (facts.some((fact) => !fact.port && fact.valid && fact.selected)) return 'deny port-not-allowed';
  if (facts.some((fact) => fact.port && !fact.protocol && fact.valid && fact.selected))
    return 'deny protocol-not-allowed';
  if (facts.some((fact) => fact.port && fact.protocol && !fact.valid && fact.selected)) return 'deny rule-expired';
  if (forOthers) return 'deny identity-not-allowed';
  return request.authority.kind === 'name' ? 'deny host-not-allowed' : 'deny ip-literal-not-allowed';
}
