// decide() against the oracle of the design's sentences, and observe against enforce.

import { expect, test } from 'vitest';
import fc from '../support/property.ts';
import { oracle, requestArbitrary, ruleArbitrary } from './oracle.ts';
import { answer, policy } from './support.ts';

test('decide() says what the sentences say', () => {
  const seen = new Set<string>();
  fc.assert(
    fc.property(
      fc.array(ruleArbitrary, { maxLength: 12 }),
      fc.array(requestArbitrary, { minLength: 1, maxLength: 12 }),
      (rules, requests) => {
        const subject = policy(rules);
        for (const request of requests) {
          const decision = subject.decide(request);
          const id = decision.verdict === 'allow' || decision.verdict === 'observe' ? ` ${decision.rule?.id}` : '';
          seen.add(answer(decision));
          expect(`${answer(decision)}${id}`).toBe(oracle(rules, request));
        }
      },
    ),
    { numRuns: 1_000 },
  );
  // A property that never met a verdict proves nothing about it.
  expect([...seen].sort()).toEqual([
    'allow allowed',
    'challenge credentials-required',
    'deny host-denied',
    'deny host-not-allowed',
    'deny identity-not-allowed',
    'deny ip-literal-not-allowed',
    'deny port-not-allowed',
    'deny protocol-not-allowed',
    'deny rule-expired',
    'observe host-not-allowed',
  ]);
});

test('in observe mode nothing is refused but what a deny names', () => {
  fc.assert(
    fc.property(fc.array(ruleArbitrary, { maxLength: 12 }), requestArbitrary, (rules, request) => {
      const enforced = policy(rules).decide(request);
      const observed = policy(rules, { mode: 'observe' }).decide(request);
      if (enforced.verdict === 'allow' || enforced.verdict === 'observe' || enforced.reason === 'host-denied') {
        expect(answer(observed)).toBe(answer(enforced));
      } else {
        expect(answer(observed)).toBe(`observe ${enforced.reason}`);
      }
    }),
    { numRuns: 500 },
  );
});
