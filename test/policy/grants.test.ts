// Grants beside the files: they add what the files do not let through, and change nothing else.

import { describe, expect, it } from 'vitest';
import { compilePolicy, type RuleSource } from '../../src/policy/compile.ts';
import { Policy } from '../../src/policy/decide.ts';
import { GRANTS_LAYER } from '../../src/policy/grant.ts';
import { compileGrants } from '../../src/policy/grant-rule.ts';
import fc from '../support/property.ts';
import { requestArbitrary, ruleArbitrary } from './oracle.ts';
import { answer, cidr, connect, DAY, deny, NOW, proven, rule, source } from './support.ts';

const granted = (host: string, more: Partial<RuleSource> = {}): RuleSource =>
  rule(host, { for: { pipeline: ['web'] }, layer: GRANTS_LAYER, id: 'grant g1', origin: 'grant g1', ...more });

const both = (files: readonly RuleSource[], grants: readonly RuleSource[], more = {}): Policy =>
  new Policy(compilePolicy(source(files, more)), { grants: compileGrants(grants) });

const web = proven({ pipeline: 'web' });
const ask = (target: string, identity = web) => connect(target, { identity });

describe('a grant', () => {
  it.each<[string, Policy, string, string]>([
    ['lets its own through', both([], [granted('a.test')]), 'a.test:443', 'allow allowed grant g1'],
    ['not on another port', both([], [granted('a.test')]), 'a.test:22', 'deny port-not-allowed undefined'],
    [
      'not when it has ended',
      both([], [granted('a.test', { expires: NOW - 1 })]),
      'a.test:443',
      'deny rule-expired undefined',
    ],
    [
      'on its last millisecond',
      both([], [granted('a.test', { expires: NOW })]),
      'a.test:443',
      'allow allowed grant g1',
    ],
    [
      'not past a deny',
      both([deny('a.test', { id: 'f:1' })], [granted('a.test')]),
      'a.test:443',
      'deny host-denied f:1',
    ],
    [
      'not to instance metadata',
      both([], [granted('metadata.google.internal')]),
      'metadata.google.internal:443',
      'deny metadata-prohibited undefined',
    ],
    [
      'not where the files let through',
      both([rule('a.test', { id: 'f:1' })], [granted('a.test')]),
      'a.test:443',
      'allow allowed f:1',
    ],
  ])('%s', (_, policy, target, wanted) => {
    const decision = policy.decide(ask(target));
    expect(`${answer(decision)} ${decision.rule?.id}`).toBe(wanted);
  });

  it('asks who sent no credentials, and is nothing to others', () => {
    const policy = both([], [granted('a.test')]);
    expect(answer(policy.decide(connect('a.test:443')))).toBe('challenge credentials-required');
    expect(policy.decide(ask('a.test:443', proven({ pipeline: 'api' })))).toEqual(
      both([], []).decide(ask('a.test:443', proven({ pipeline: 'api' }))),
    );
  });

  it('opens the addresses that it names', () => {
    const policy = both([], [granted('a.test', { addresses: [cidr('10.0.0.0/8')] })]);
    const decision = policy.decide(ask('a.test:443'));
    expect(policy.checkAddress(decision, connect('a.test:443').authority, '10.1.2.3')).toEqual({
      ok: true,
      observed: false,
    });
    expect(policy.checkAddress(decision, connect('a.test:443').authority, '192.168.0.1')).toMatchObject({ ok: false });
  });

  it('is the nearest miss of its own, with its name', () => {
    const policy = both([], [granted('a.test', { expires: NOW - DAY / 2 })]);
    expect(policy.decide(ask('a.test:443'))).toMatchObject({ nearest: { rule: 'grant g1', pattern: 'a.test' } });
  });
});

it('with grants, what passes is what the files or the grants let through', () => {
  fc.assert(
    fc.property(
      fc.array(ruleArbitrary, { maxLength: 6 }),
      fc.array(ruleArbitrary, { maxLength: 4 }),
      requestArbitrary,
      (files, more, request) => {
        const grants = more.map((one) => ({ ...one, effect: 'allow' as const, mode: null, layer: GRANTS_LAYER }));
        const got = both(files, grants).decide(request);
        const byFiles = both(files, []).decide(request);
        const byGrants = both([], grants).decide(request);
        if (byFiles.reason === 'host-denied' || byFiles.verdict === 'allow' || byFiles.rule?.mode === 'observe')
          expect(got).toEqual(byFiles);
        else if (byGrants.verdict === 'allow') expect(got).toEqual(byGrants);
        else
          expect(got.verdict).toBe(
            [byFiles, byGrants].some(({ verdict }) => verdict === 'challenge') ? 'challenge' : 'deny',
          );
      },
    ),
    { numRuns: 1_500 },
  );
});
