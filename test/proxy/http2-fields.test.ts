// Header fields of HTTP/2 on their way through, whatever their names are.
import type http2 from 'node:http2';
import { expect, it } from 'vitest';
import { parseAuthority } from '../../src/policy/authority.ts';
import { hostOf } from '../../src/proxy/fields.ts';
import { requestHeaders, responseHeaders } from '../../src/proxy/inspected/http2-fields.ts';

const HOSTILE = ['__proto__', 'constructor', 'tostring', 'hasownproperty', 'valueof'];
const PSEUDO = { method: 'GET', path: '/', authority: 'a.test' };

it.each(HOSTILE)('%s is the name of a field like others', (name) => {
  const once = requestHeaders(PSEUDO, [name, 'one']);
  expect(Object.entries(once)).toContainEqual([name, 'one']);
  const twice = requestHeaders(PSEUDO, [name, 'one', name, 'two']);
  expect(Object.entries(twice)).toContainEqual([name, ['one', 'two']]);
  const answer = Object.fromEntries([
    [':status', 200],
    [name, 'one'],
  ]) as http2.IncomingHttpHeaders;
  expect(Object.entries(responseHeaders(answer))).toContainEqual([name, 'one']);
});

it('an authority is written without the default port', () => {
  const written = (text: string): string => {
    const parsed = parseAuthority(text);
    return parsed.ok ? hostOf(parsed.authority, 443) : parsed.problem;
  };
  expect(['A.test:443', 'a.test:8443', '[::1]:443'].map(written)).toEqual(['a.test', 'a.test:8443', '[::1]']);
});
