// What the ceiling covers: rule by rule with the line that comes nearest, and against an enumeration of all that small rules can let through.

import { describe, expect, it } from 'vitest';
import { Ceiling, isCovered } from '../../src/config/ceiling.ts';
import { cidrContains } from '../../src/policy/address.ts';
import type { Protocol, RuleSource } from '../../src/policy/compile.ts';
import { cidr, connect, deny, forward, policy, rule } from '../policy/support.ts';
import fc from '../support/property.ts';

const at = (line: number) => ({ id: `ceiling.yaml:${line}`, origin: `ceiling.yaml:${line}` });

describe('a rule and the lines of the ceiling', () => {
  const ceiling = new Ceiling([
    rule('*.corp.example', at(3)),
    rule('git.corp.example', { ...at(4), ports: [443, 22], protocol: 'any', addresses: [cidr('10.0.0.0/9')] }),
    rule('git.corp.example', { ...at(5), ports: [22], protocol: 'any', addresses: [cidr('10.128.0.0/9')] }),
    rule('plain.example', { ...at(6), ports: [80, 443] }),
    rule('192.0.2.1', at(7)),
    rule('meta.example', { ...at(8), ports: [80], metadata: true, paths: [{ method: 'GET', path: '/tags' }] as never }),
  ]);

  it.each<[string, RuleSource]>([
    ['a name under a wildcard', rule('a.corp.example')],
    ['a name far under a wildcard', rule('a.b.corp.example')],
    ['the same wildcard', rule('*.corp.example')],
    ['a wildcard under a wildcard', rule('*.b.corp.example')],
    [
      'a range that two lines cover together',
      rule('git.corp.example', { ports: [22], addresses: [cidr('10.0.0.0/8')] }),
    ],
    ['ssh where any is allowed', rule('git.corp.example', { ports: [22], protocol: 'ssh' })],
    ['http on port 80 by default', rule('plain.example', { ports: [80] })],
    ['a listed address', rule('192.0.2.1')],
    [
      'the same paths',
      rule('meta.example', { ports: [80], metadata: true, paths: [{ method: 'GET', path: '/tags' }] as never }),
    ],
    ['a deny rule, whatever it names', deny('evil.example')],
    ['no port at all', rule('git.corp.example', { ports: [] })],
  ])('covers %s', (_, one) => expect(ceiling.judge(one)).toBeNull());

  it.each<[string, RuleSource, number, string]>([
    ['another host', rule('evil.example'), 3, 'it is for other hosts'],
    ['a host of nothing alike', rule('evil.test'), 3, 'it is for other hosts'],
    ['the domain itself', rule('corp.example'), 3, 'it is for other hosts'],
    ['a wildcard over a name', rule('*.plain.example'), 6, 'it is for other hosts'],
    ['a wider wildcard', rule('*.example.example'), 3, 'it is for other hosts'],
    ['another address', rule('192.0.2.2'), 3, 'it is for other hosts'],
    ['another port', rule('a.corp.example', { ports: [8443] }), 3, 'it has port 443, not 8443'],
    ['one port of two', rule('git.corp.example', { ports: [443, 8022] }), 4, 'it has ports 443, 22, not 8022'],
    [
      'any where tls is allowed',
      rule('a.corp.example', { protocol: 'any' }),
      3,
      'it has protocol tls on port 443, not any',
    ],
    [
      'tls on the port of http',
      rule('plain.example', { ports: [80], protocol: 'tls' }),
      6,
      'it has protocol http on port 80, not tls',
    ],
    [
      'addresses where there are none',
      rule('a.corp.example', { addresses: [cidr('10.0.0.0/8')] }),
      3,
      'it has no addresses, not 10.0.0.0/8',
    ],
    [
      'a range of which half is covered',
      rule('git.corp.example', { addresses: [cidr('10.0.0.0/8')] }),
      4,
      'it has addresses 10.0.0.0/9, not 10.0.0.0/8',
    ],
    [
      'a range of the other family',
      rule('git.corp.example', { addresses: [cidr('fd00::/8')] }),
      4,
      'it has addresses 10.0.0.0/9, not fd00::/8',
    ],
    [
      'every path where some are allowed',
      rule('meta.example', { ports: [80], metadata: true }),
      8,
      'it has some paths only',
    ],
    [
      'metadata by a line without it',
      rule('a.corp.example', { metadata: true }),
      3,
      'it does not have instance metadata',
    ],
  ])('does not cover %s', (_, one, line, why) => {
    expect(ceiling.judge(one)).toMatchObject({ nearest: { origin: `ceiling.yaml:${line}` }, why });
  });

  it('an empty ceiling covers nothing', () => {
    expect(new Ceiling([]).judge(rule('a.example'))).toEqual({ nearest: null, why: 'it is for other hosts' });
  });
});

describe('by enumeration', () => {
  const name = fc.constantFrom('a.test', 'b.a.test', 'c.b.a.test', 'x.test', '*.a.test', '*.b.a.test', '*.x.test');
  const range = fc.constantFrom('10.0.0.0/30', '10.0.0.0/31', '10.0.0.2/31', '10.0.0.1', '10.0.0.2', '10.0.0.3');
  const anyRule = fc
    .record({
      name,
      ports: fc.constantFrom<RuleSource['ports']>(null, [443], [80], [443, 80], [22, 443]),
      protocol: fc.constantFrom<Protocol | null>(null, 'tls', 'http', 'ssh', 'any'),
      addresses: fc.array(range, { maxLength: 2 }).map((texts) => texts.map(cidr)),
    })
    .map(({ name: pattern, ...more }) => rule(pattern, more));
  // One name more than the rules have, at each level: a wildcard must hold for names that nobody wrote.
  const hosts = ['a.test', 'b.a.test', 'c.b.a.test', 'n.a.test', 'n.b.a.test', 'n.m.a.test', 'x.test', 'n.x.test'];
  const addresses = ['10.0.0.0', '10.0.0.1', '10.0.0.2', '10.0.0.3'];

  /** Everything that rules let through: host, port, kind, what is checked, and an internal address. */
  function granted(rules: readonly RuleSource[]): Set<string> {
    const all = new Set<string>();
    for (const one of rules) {
      const single = policy([one]);
      for (const host of hosts) {
        for (const port of [443, 80, 22]) {
          for (const request of [connect(`${host}:${port}`), forward(`${host}:${port}`)]) {
            const decision = single.decide(request);
            if (decision.verdict !== 'allow') continue;
            const checks =
              request.kind === 'forward'
                ? ['-']
                : decision.protocol === 'any'
                  ? ['tls', 'ssh', 'any']
                  : [decision.protocol];
            for (const check of checks) {
              all.add(`${host} ${port} ${request.kind} ${check}`);
              for (const address of addresses)
                if (single.checkAddress(decision, request.authority, address).ok)
                  all.add(`${host} ${port} ${request.kind} ${check} ${address}`);
            }
          }
        }
      }
    }
    return all;
  }

  it('a rule is inside where, and only where, all that it lets through is let through by a line of the ceiling', () => {
    let inside = 0;
    fc.assert(
      fc.property(fc.array(anyRule, { maxLength: 4 }), anyRule, (lines, one) => {
        const verdict = new Ceiling(lines).judge(one) === null;
        if (verdict) inside += 1;
        const may = granted(lines);
        expect(verdict).toBe([...granted([one])].every((what) => may.has(what)));
      }),
      { numRuns: 400 },
    );
    expect(inside).toBeGreaterThan(10);
  });

  it('a range is covered where, and only where, each of its addresses is', () => {
    const anyRange = fc.record({ host: fc.nat(31), bits: fc.integer({ min: 27, max: 32 }) }).map(({ host, bits }) => {
      const first = host & ~((1 << (32 - bits)) - 1);
      return cidr(`10.0.0.${first}/${bits}`);
    });
    fc.assert(
      fc.property(anyRange, fc.array(anyRange, { maxLength: 6 }), (one, by) => {
        const each = Array.from({ length: 32 }, (_, last) => `10.0.0.${last}`).filter((text) =>
          cidrContains(one, text),
        );
        expect(isCovered(one, by)).toBe(each.every((text) => by.some((outer) => cidrContains(outer, text))));
      }),
    );
  });
});
