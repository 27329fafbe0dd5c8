// Path rules: the documented metadata paths pass, and no spelling of another path does.
import { describe, expect, test } from 'vitest';
import { type Carries, type PathRule, pathAllowed, pathRuleText } from '../../src/policy/paths.ts';

const RULES: readonly PathRule[] = [
  { method: 'PUT', path: '/latest/api/token', exact: true },
  { method: 'GET', path: '/latest/meta-data/tags' },
  { method: 'GET', path: '/computeMetadata/v1/instance/attributes/' },
  { method: 'GET', path: '/computeMetadata/v1/instance/?alt=json', exact: true },
  { method: 'GET', path: '/v4/*', exact: true },
  { method: 'GET', path: '/v4/*/task', exact: true },
  { method: 'GET', path: '/deep/*/x' },
  { method: 'GET', path: '/guarded', exact: true, field: { name: 'metadata-flavor', value: 'Google' } },
];
const all: Carries = () => true;

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
    ['GET', '/v4/0123-abc'],
    ['GET', '/v4/0123-abc/task'],
    ['GET', '/deep/a/x'],
    ['GET', '/deep/a/x/y'],
    ['GET', '/guarded'],
  ])('%s %s', (method, path) => {
    expect(pathAllowed(RULES, method, path, all)).toBe(true);
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
    ['the star itself is no path', 'GET', '/v4'],
    ['an empty segment for the star', 'GET', '/v4/'],
    ['two segments for the star', 'GET', '/v4/a/b/task'],
    ['below a path with a star', 'GET', '/v4/a/task/x'],
    ['a dot segment for the star', 'GET', '/v4/..'],
    ['an escape for the star', 'GET', '/v4/%2e%2e/task'],
    ['a slash that is escaped for the star', 'GET', '/v4/..%2fv2%2fcredentials'],
    ['a query after a path with a star', 'GET', '/v4/a?x'],
    ['above a path with a star', 'GET', '/deep/a'],
  ])('%s: %s %s', (_why, method, path) => {
    expect(pathAllowed(RULES, method, path, all)).toBe(false);
  });

  test('no rule, no path', () => {
    expect(pathAllowed([], 'GET', '/', all)).toBe(false);
  });

  test('a rule for the root is for everything below it that is plain', () => {
    expect(pathAllowed([{ method: 'GET', path: '/' }], 'GET', '/a/b', all)).toBe(true);
    expect(pathAllowed([{ method: 'GET', path: '/' }], 'GET', '/a/../b', all)).toBe(false);
  });
});

describe('a field that the path wants', () => {
  const rule: PathRule = {
    method: 'GET',
    path: '/guarded',
    exact: true,
    field: { name: 'metadata-flavor', value: 'Google' },
  };

  test('is asked for by name and value, and only where the path is right', () => {
    const asked: unknown[] = [];
    const no: Carries = (field) => {
      asked.push(field);
      return false;
    };
    expect(pathAllowed([rule], 'GET', '/guarded', no)).toBe(false);
    expect(asked).toEqual([{ name: 'metadata-flavor', value: 'Google' }]);
    expect(pathAllowed([rule], 'GET', '/other', no)).toBe(false);
    expect(asked).toHaveLength(1);
  });

  test('another rule that wants none lets the request through', () => {
    expect(pathAllowed([rule, { method: 'GET', path: '/guarded' }], 'GET', '/guarded', () => false)).toBe(true);
  });

  test.each([
    [rule, 'GET /guarded (with metadata-flavor: Google)'],
    [{ method: 'GET', path: '/a', field: { name: 'x-token' } }, 'GET /a/… (with x-token)'],
    [{ method: 'GET', path: '/a/', exact: false }, 'GET /a/…'],
  ])('%j is shown as %s', (one, text) => expect(pathRuleText(one)).toBe(text));
});
