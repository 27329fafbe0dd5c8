// Path rules: the documented metadata paths pass, and no spelling of another path does.
import { describe, expect, test } from 'vitest';
import { type PathRule, pathAllowed } from '../../src/policy/paths.ts';

const RULES: readonly PathRule[] = [
  { method: 'PUT', path: '/latest/api/token', exact: true },
  { method: 'GET', path: '/latest/meta-data/tags' },
  { method: 'GET', path: '/computeMetadata/v1/instance/attributes/' },
  { method: 'GET', path: '/computeMetadata/v1/instance/?alt=json', exact: true },
];

describe('a path that passes', () => {
  test.each([
    ['PUT', '/latest/api/token'],
    ['GET', '/latest/meta-data/tags'],
    ['GET', '/latest/meta-data/tags/'],
    ['GET', '/latest/meta-data/tags/instance/Name'],
    ['GET', '/computeMetadata/v1/instance/attributes/'],
    ['GET', '/computeMetadata/v1/instance/attributes/queue'],
    ['GET', '/computeMetadata/v1/instance/?alt=json'],
    ['GET', '/latest/meta-data/tags/..name'],
  ])('%s %s', (method, path) => {
    expect(pathAllowed(RULES, method, path)).toBe(true);
  });
});

describe('a path that does not', () => {
  test.each([
    ['another method', 'GET', '/latest/api/token'],
    ['a method in lower case', 'put', '/latest/api/token'],
    ['below an exact path', 'PUT', '/latest/api/token/x'],
    ['a query on an exact path', 'PUT', '/latest/api/token?x'],
    ['credentials', 'GET', '/latest/meta-data/iam/security-credentials/'],
    ['a longer name', 'GET', '/latest/meta-data/tags-of-others'],
    ['dot segments', 'GET', '/latest/meta-data/tags/../iam/'],
    ['a dot segment at the end', 'GET', '/latest/meta-data/tags/..'],
    ['a single dot', 'GET', '/latest/meta-data/tags/./x'],
    ['encoded dots', 'GET', '/latest/meta-data/tags/%2e%2e/iam/'],
    ['an encoded slash', 'GET', '/latest/meta-data/tags/..%2fiam/'],
    ['parameters', 'GET', '/latest/meta-data/tags/..;/iam/'],
    ['a backslash', 'GET', '/latest/meta-data/tags/..\\iam'],
    ['an empty segment', 'GET', '/latest/meta-data/tags//x'],
    ['a doubled slash in front', 'GET', '//latest/meta-data/tags'],
    ['a query', 'GET', '/computeMetadata/v1/instance/attributes/?recursive=true'],
    ['another query', 'GET', '/computeMetadata/v1/instance/?recursive=true&alt=json'],
    ['the root', 'GET', '/'],
    ['nothing', 'GET', ''],
    ['another case', 'GET', '/Latest/meta-data/tags'],
  ])('%s: %s %s', (_why, method, path) => {
    expect(pathAllowed(RULES, method, path)).toBe(false);
  });

  test('no rule, no path', () => {
    expect(pathAllowed([], 'GET', '/')).toBe(false);
  });

  test('a rule for the root is for everything below it that is plain', () => {
    expect(pathAllowed([{ method: 'GET', path: '/' }], 'GET', '/a/b')).toBe(true);
    expect(pathAllowed([{ method: 'GET', path: '/' }], 'GET', '/a/../b')).toBe(false);
  });
});
