// What is allowed must be the same in every reading that an origin may make of it: spellings by the thousand, held against readers of our own.

import { describe, expect, it } from 'vitest';
import { inspectionCovers } from '../../src/policy/inspect-cover.ts';
import { patternCovers } from '../../src/policy/path-pattern.ts';
import fc from '../support/property.ts';
import { ask, inspection } from './inspect-support.ts';

const piece = fc.constantFrom(
  'acme',
  'evil',
  'x',
  '.',
  '..',
  '',
  '%2e',
  '%2E%2e',
  '%2f',
  '%5c',
  '\\',
  ';a',
  '%25',
  '%252f',
  '%25%32%65',
  '%252',
  'e',
  '%66',
  'a%2fb',
  '%00',
  '%c0%af',
  '%61cme',
  'ACME',
  '%ef%bc%8f',
  '?',
  '#',
);
const path = fc
  .array(fc.tuple(fc.constantFrom('/', '//', '/', '%2f', '\\', ''), piece), { maxLength: 8 })
  .map((parts) => `/${parts.flat().join('')}`);

/** What origins make of a path: decoded some times, backslashes turned, parameters cut, dots resolved, NUL ends it. */
function readings(raw: string): Set<string> {
  const found = new Set<string>();
  const decodedOnce = (text: string): string =>
    text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  const resolved = (text: string): string => {
    const out: string[] = [];
    for (const part of text.split('/')) {
      if (part === '..') out.pop();
      else if (part !== '.' && part !== '') out.push(part);
    }
    return `/${out.join('/')}`;
  };
  let text = raw.split('?')[0] ?? '';
  for (let times = 0; times < 4; times += 1) {
    for (const cut of [
      text,
      text.replace(/;[^/]*/g, ''),
      text.split('\0')[0] ?? '',
      text.split('#')[0] ?? '',
      text.split('?')[0] ?? '',
    ]) {
      for (const turned of [
        cut,
        cut.replaceAll('\\', '/'),
        cut.replaceAll('\u00c0\u00af', '/').replaceAll('\u00ef\u00bc\u008f', '/'),
      ])
        found.add(resolved(turned));
    }
    text = decodedOnce(text);
  }
  return found;
}

describe('whatever the spelling', () => {
  it('what is allowed below /acme stays there in every reading', () => {
    const acme = inspection([{ path: '/acme/**' }]);
    fc.assert(
      fc.property(path, (target) => {
        if (ask(acme, `GET ${target}`) !== 'allow') return;
        for (const reading of readings(target)) expect(reading).toMatch(/^\/acme(?:\/|$)/);
      }),
      { numRuns: 4_000 },
    );
  });

  it('what is denied below /acme/evil is reached by no reading', () => {
    const some = inspection([{ path: '/**' }], [{ path: '/acme/evil/**' }]);
    fc.assert(
      fc.property(path, (target) => {
        if (ask(some, `GET ${target}`) !== 'allow') return;
        for (const reading of readings(target)) expect(reading.toLowerCase()).not.toMatch(/^\/acme\/evil(?:\/|$)/);
      }),
      { numRuns: 4_000 },
    );
  });

  it('a path of a pattern is allowed, and a pattern that another covers allows no more than it', () => {
    const segment = fc.constantFrom('a', 'b', 'ab', '*', 'a*', '**');
    const pattern = fc.array(segment, { minLength: 1, maxLength: 5 });
    const plain = fc.array(fc.constantFrom('a', 'b', 'ab', 'abc'), { minLength: 1, maxLength: 6 });
    const matches = (one: readonly string[], segments: readonly string[]): boolean =>
      ask(inspection([{ path: `/${one.join('/')}` }]), `GET /${segments.join('/')}`) === 'allow';
    /** The definition, without cleverness. */
    const defined = (one: readonly string[], segments: readonly string[]): boolean => {
      const [head, ...tail] = one;
      if (head === undefined) return segments.length === 0;
      if (head === '**') return defined(tail, segments) || (segments.length > 0 && defined(one, segments.slice(1)));
      const [first, ...rest] = segments;
      if (first === undefined) return false;
      return new RegExp(`^${head.replaceAll('*', '.*')}$`).test(first) && defined(tail, rest);
    };
    fc.assert(
      fc.property(pattern, pattern, plain, (outer, inner, segments) => {
        expect(matches(outer, segments)).toBe(defined(outer, segments));
        if (patternCovers(outer, inner) && matches(inner, segments)) expect(matches(outer, segments)).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });

  it('a ceiling lets through what it is said to cover, with slashes that are encoded too', () => {
    const segment = fc.constantFrom('a', '*', 'a*', '*%2Fb', 'a%2Fb', 'a%2F*', '**');
    const pattern = fc.array(segment, { minLength: 1, maxLength: 4 }).map((parts) => `/${parts.join('/')}`);
    const plain = fc.array(fc.constantFrom('a', 'a%2Fb', 'a%2fb', 'b'), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(pattern, pattern, plain, (outer, inner, segments) => {
        const [ceiling, line] = [inspection([{ path: outer }]), inspection([{ path: inner }])];
        const what = `GET /${segments.join('/')}`;
        if (inspectionCovers(ceiling, line) && ask(line, what) === 'allow') expect(ask(ceiling, what)).toBe('allow');
      }),
      { numRuns: 4_000 },
    );
    const slash = inspection([{ path: '/acme/a%2Fb' }]);
    expect(inspectionCovers(inspection([{ path: '/acme/*' }]), slash)).toBe(false);
    expect(inspectionCovers(inspection([{ path: '/acme/*%2Fb' }]), slash)).toBe(true);
    expect(inspectionCovers(inspection([{ path: '/acme/**' }]), slash)).toBe(true);
  });
});
