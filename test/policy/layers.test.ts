// A policy in layers decides as the union it should be: who asks has the base and its own layer, deny wins wherever it stands, nobody else's
// layer is there in any way, and what a layer lets through the ceiling would let through.

import { describe, expect, it } from 'vitest';
import { Ceiling } from '../../src/config/ceiling.ts';
import type { RuleSource } from '../../src/policy/compile.ts';
import { globCovered, globMatches, type Selector } from '../../src/policy/selector.ts';
import fc from '../support/property.ts';
import { requestArbitrary, ruleArbitrary } from './oracle.ts';
import { answer, connect, forward, policy, proven, rule } from './support.ts';

const SCOPES: Readonly<Record<string, Selector>> = {
  'pipelines/one.yaml': { pipeline: ['one'] },
  'pipelines/two.yaml': { pipeline: ['two'] },
};
const OUTER = fc.constantFrom('*.test', '*.a.test', '*.b.test', 'a.test', 'b.a.test', '8.8.8.8');
const ceilingArbitrary = fc.array(
  fc
    .record({ host: OUTER, ports: fc.constantFrom<RuleSource['ports']>(null, [443, 80], [22, 443, 80]) })
    .map(({ host, ports }) => rule(host, { ports, protocol: 'any' })),
  { maxLength: 4 },
);
/** Without modes and dates: a rule on trial passes as a refusal would, which is another property. */
const plain = ruleArbitrary.map((one) => ({ ...one, mode: null }));
const base = fc.array(plain, { maxLength: 6 });

function layered(rules: readonly RuleSource[], file: string): RuleSource[] {
  return rules.map((one) => ({
    ...one,
    for: SCOPES[file] ?? {},
    layer: file,
    id: `${file} ${one.id}`,
    origin: `${file} ${one.id}`,
  }));
}

const bare = (rules: readonly RuleSource[]): RuleSource[] => rules.map((one) => ({ ...one, for: null, layer: null }));

describe('layers', () => {
  it('who asks has the base and its own layer, and nothing of the others', () => {
    fc.assert(
      fc.property(base, base, base, requestArbitrary, (shared, one, two, asked) => {
        const whole = policy([...shared, ...layered(one, 'pipelines/one.yaml'), ...layered(two, 'pipelines/two.yaml')]);
        const request = { ...asked, identity: proven({ pipeline: 'one' }) };
        const alone = policy([...shared, ...bare(layered(one, 'pipelines/one.yaml'))]);
        const [got, wanted] = [whole.decide(request), alone.decide(request)];
        expect([answer(got), got.rule?.id]).toEqual([answer(wanted), wanted.rule?.id]);
      }),
      { numRuns: 1_500 },
    );
  });

  it('whoever has no layer cannot tell that there are any: verdict, reason, rule and near miss are those of the base', () => {
    fc.assert(
      fc.property(base, base, base, requestArbitrary, (shared, one, two, asked) => {
        const whole = policy([...shared, ...layered(one, 'pipelines/one.yaml'), ...layered(two, 'pipelines/two.yaml')]);
        const request = { ...asked, identity: proven({ pipeline: 'three', queue: 'q' }) };
        expect(whole.decide(request)).toEqual(policy(shared).decide(request));
      }),
      { numRuns: 1_500 },
    );
  });

  it('deny wins: more layers never let through what was denied', () => {
    fc.assert(
      fc.property(base, base, requestArbitrary, (shared, one, asked) => {
        const request = { ...asked, identity: proven({ pipeline: 'one' }) };
        const before = policy(shared).decide(request);
        const after = policy([...shared, ...layered(one, 'pipelines/one.yaml')]).decide(request);
        if (before.reason === 'host-denied') expect(after.reason).toBe('host-denied');
        const denies = one.some(({ effect }) => effect === 'deny');
        if (before.verdict === 'allow' && after.verdict !== 'allow') expect(denies && after.reason).toBe('host-denied');
      }),
      { numRuns: 1_500 },
    );
  });

  it('what a layer inside the ceiling lets through, the ceiling lets through', () => {
    let passed = 0;
    const identity = proven({ pipeline: 'one' });
    fc.assert(
      fc.property(ceilingArbitrary, base, (lines, one) => {
        const ceiling = new Ceiling(lines);
        const inside = layered(one, 'pipelines/one.yaml').filter((each) => ceiling.judge(each) === null);
        const [granting, bounding] = [policy(inside), policy(lines)];
        for (const { pattern } of inside) {
          const host = pattern.kind === 'wildcard' ? `new.${pattern.host}` : pattern.text;
          for (const port of [22, 80, 443]) {
            for (const request of [
              connect(`${host}:${port}`, { identity }),
              forward(`${host}:${port}`, '/', { identity }),
            ]) {
              if (granting.decide(request).verdict !== 'allow') continue;
              passed += 1;
              expect(answer(bounding.decide(request))).toBe('allow allowed');
            }
          }
        }
      }),
      { numRuns: 1_000 },
    );
    expect(passed).toBeGreaterThan(20);
  });
});

describe('a glob inside others', () => {
  const glob = fc.array(fc.constantFrom('a', 'b', '*'), { maxLength: 5 }).map((parts) => parts.join(''));
  const texts = (length: number): string[] =>
    length === 0
      ? ['']
      : [
          ...texts(length - 1),
          ...texts(length - 1)
            .filter((text) => text.length === length - 1)
            .flatMap((text) => ['a', 'b', 'z'].map((last) => text + last)),
        ];
  const all = texts(6);

  it('is covered where, and only where, all that it matches is matched', () => {
    fc.assert(
      fc.property(glob, fc.array(glob, { maxLength: 3 }), (inner, outer) => {
        const matched = all.filter((text) => globMatches(inner, text));
        // Texts of six letters decide for globs of five: a star that takes a letter z must be a star outside.
        expect(globCovered(inner, outer)).toBe(matched.every((text) => outer.some((one) => globMatches(one, text))));
      }),
      { numRuns: 300 },
    );
  });
});
