// The compiled policy against the oracle, over policies of some size, and after it has moved from one thread to another as a
// reload moves it: the same verdict, reason and rule, and the same nearest miss.

import { expect } from 'vitest';
import { compilePolicy, policyTransfer } from '../../src/policy/compile.ts';
import { Policy } from '../../src/policy/decide.ts';
import { oracle, requestArbitrary, ruleArbitrary } from '../policy/oracle.ts';
import { answer, source } from '../policy/support.ts';
import fc from '../support/property.ts';
import { fuzz } from './budget.ts';

fuzz('decide', 300, ({ check }) =>
  check(
    fc.property(
      fc.array(ruleArbitrary, { maxLength: 40, size: 'max' }),
      fc.array(requestArbitrary, { minLength: 1, maxLength: 12 }),
      (rules, requests) => {
        const here = new Policy(compilePolicy(source(rules)));
        const sent = compilePolicy(source(rules));
        const moved = new Policy(structuredClone(sent, { transfer: policyTransfer(sent) }));
        expect(sent.flags.byteLength, 'it has moved, not been copied').toBe(0);
        for (const request of requests) {
          const decision = moved.decide(request);
          const id = decision.verdict === 'allow' || decision.verdict === 'observe' ? ` ${decision.rule?.id}` : '';
          expect(`${answer(decision)}${id}`).toBe(oracle(rules, request));
          expect(here.decide(request)).toEqual(decision);
        }
      },
    ),
  ),
);
