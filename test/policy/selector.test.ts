// Globs and selectors: what `for:` matches, and that a claim never does.

import { describe, expect, test } from 'vitest';
import type { Identity } from '../../src/policy/record.ts';
import { globMatches, isUnproven, mayBeAsked, selectorMatches } from '../../src/policy/selector.ts';
import fc from '../support/property.ts';
import { claimed, proven } from './support.ts';

describe('a glob', () => {
  test.each([
    ['deploy-*', 'deploy-web', true],
    ['deploy-*', 'deploy-', true],
    ['deploy-*', 'my-deploy-web', false],
    ['*', '', true],
    ['*', 'anything', true],
    ['', '', true],
    ['', 'x', false],
    ['a*b*c', 'aXbYbZc', true],
    ['a*b*c', 'aXbY', false],
    ['*-prod', 'web-prod-eu', false],
    ['web', 'Web', false],
    ['w.b', 'web', false],
    ['w?b', 'web', false],
    ['[w]eb', 'web', false],
    ['**', 'x', true],
  ])('%j on %j: %s', (glob, text, expected) => {
    expect(globMatches(glob, text)).toBe(expected);
  });

  test('agrees with the regular expression of the same meaning', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', '*'), maxLength: 8 });
    const text = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 10 });
    fc.assert(
      fc.property(letters, text, (glob, value) => {
        const same = new RegExp(`^${glob.replaceAll('*', '.*')}$`);
        expect(globMatches(glob, value)).toBe(same.test(value));
      }),
      { numRuns: 1_000 },
    );
  });

  test('many stars against a long text end at once', () => {
    expect(globMatches(`${'a*'.repeat(50)}b`, 'a'.repeat(2_000))).toBe(false);
  });
});

describe('a selector', () => {
  const attributes = { pipeline: 'deploy-web', queue: 'linux' };
  test.each([
    ['an empty selector selects everyone', {}, true],
    ['one attribute, one of its globs', { pipeline: ['x', 'deploy-*'] }, true],
    ['every attribute must match', { pipeline: ['deploy-*'], queue: ['mac'] }, false],
    ['both match', { pipeline: ['deploy-*'], queue: ['linux'] }, true],
    ['an attribute that is not proven', { pipeline: ['*'], branch: ['*'] }, false],
    ['a list without globs matches nothing', { pipeline: [] }, false],
  ])('%s', (_why, selector, expected) => {
    expect(selectorMatches(selector, attributes)).toBe(expected);
  });
});

test('anonymous and claimed identities prove nothing', () => {
  expect(isUnproven(claimed({ pipeline: 'web' }))).toBe(true);
  expect(isUnproven({ kind: 'anonymous', attributes: {}, claimed: {} })).toBe(true);
  expect(isUnproven(proven({ pipeline: 'web' }))).toBe(false);
  expect(isUnproven({ kind: 'address', attributes: { queue: 'x' }, claimed: {} })).toBe(false);
});

test.each<[string, Identity, boolean, boolean]>([
  ['nobody', { kind: 'anonymous', attributes: {}, claimed: {} }, true, true],
  ['who claims something', claimed({ pipeline: 'web' }), false, false],
  ['who is known by address', { kind: 'address', attributes: { queue: 'x' }, claimed: {} }, false, true],
  ['who is known by address and claims more', { kind: 'address', attributes: {}, claimed: { job: 'j' } }, false, false],
  ['who is known by certificate', { kind: 'certificate', attributes: {}, claimed: {} }, false, true],
  ['a user', { kind: 'user', attributes: {}, claimed: {} }, false, false],
  ['a job', { kind: 'job', attributes: {}, claimed: {}, via: 'lease' }, false, false],
])('%s may be asked for credentials', (_, identity, without, withCredentials) => {
  expect(mayBeAsked(identity, false)).toBe(without);
  expect(mayBeAsked(identity, true)).toBe(withCredentials);
});
