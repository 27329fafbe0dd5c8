// Whatever stands in the file: a policy or a SallyportError with a place, never another error and never a hang.

import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SHIPPED_POLICY } from '../../src/config/template.ts';
import { loadText } from './support.ts';

const SHIPPED = readFileSync(SHIPPED_POLICY, 'utf8').replaceAll(/^\s*#.*\n/gm, '');

/** loadText throws what is no SallyportError; a refusal must say where. */
function answers(text: string): void {
  const { error, problems } = loadText(text);
  if (error === null) return;
  expect(problems.length).toBeGreaterThan(0);
  for (const { at, message, hint } of problems) {
    expect(at?.line).toBeGreaterThanOrEqual(1);
    expect(at?.column).toBeGreaterThanOrEqual(1);
    expect(message).not.toBe('');
    expect(hint).not.toBe('');
  }
}

const key = fc.constantFrom(
  'version',
  'allow',
  'deny',
  'clients',
  'from',
  'host',
  'group',
  'limits',
  'tests',
  'for',
  '__proto__',
  'x',
);
const scalar = fc.oneof(
  fc.constantFrom(
    null,
    true,
    0,
    443,
    -1,
    1.5,
    '',
    '*',
    '*.com',
    'a.example',
    '10.0.0.0/8',
    'buildkite-agent',
    '2026-02-30',
  ),
  fc.string({ maxLength: 12 }),
);
const { tree } = fc.letrec((tie) => ({
  tree: fc.oneof(
    { maxDepth: 4 },
    scalar,
    fc.array(tie('tree'), { maxLength: 4 }),
    fc.dictionary(key, tie('tree'), { maxKeys: 4 }),
  ),
}));

describe('any file is answered', () => {
  it('any text', () =>
    fc.assert(fc.property(fc.string({ maxLength: 200, unit: 'binary' }), answers), { numRuns: 300 }));

  it('any tree of known keys and odd values', () => {
    const property = fc.property(tree, (value) =>
      answers(JSON.stringify({ version: 1, allow: value, clients: value, tests: value, modes: value })),
    );
    fc.assert(property, { numRuns: 200 });
  });

  it('the shipped policy, cut, doubled or changed somewhere', () => {
    const place = fc.nat({ max: SHIPPED.length });
    const property = fc.property(place, place, fc.string({ maxLength: 3, unit: 'binary-ascii' }), (from, to, text) => {
      answers(SHIPPED.slice(0, from) + text + SHIPPED.slice(to));
    });
    fc.assert(property, { numRuns: 200 });
  });
});
