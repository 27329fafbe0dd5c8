// What records show of a path: never a value of the query, nor what is known to be a token.
import { describe, expect, it } from 'vitest';
import { shownPath, shownTarget } from '../../src/policy/shown-target.ts';
import fc from '../support/property.ts';

describe('a target in a record', () => {
  it.each([
    ['/acme/widget', '/acme/widget'],
    ['/acme/x?token=s3cret&page=2', '/acme/x?token=…&page=…'],
    ['/acme/x/info/refs?service=git-receive-pack', '/acme/x/info/refs?service=git-receive-pack'],
    ['/acme/x/info/refs?service=git-receive-pack1', '/acme/x/info/refs?service=…'],
    ['/acme/x?', '/acme/x?'],
    ['/acme/x?acl', '/acme/x?acl'],
    ['/acme/x?a=', '/acme/x?a='],
    ['/acme/x?s3cretthatstandsalone1234', '/acme/x?…'],
    ['/acme/x?%73=1&a[]=2', '/acme/x?…=…&a[]=…'],
    ['/acme/x;jsessionid=1/y', '/acme/x;…/y'],
    ['/acme/x#fragment', '/acme/x#…'],
    ['/bot/ghp_0123456789abcdefABCDEF/send', '/bot/…/send'],
    ['/x/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-DEF_1/y', '/x/…/y'],
    ['/x/AKIAIOSFODNN7EXAMPLE', '/x/…'],
    ['/search?X-Amz-Signature=abc&X-Amz-Credential=d%2Fe', '/search?X-Amz-Signature=…&X-Amz-Credential=…'],
    ['/x/eyJeyJhbGciOiJI.eyJzdWIiOiIxIn0', '/x/…'],
    ['/x/eyJhbGciOiJeyJI.eyJzdWIiOiIxIn0.', '/x/…'],
    ['/x/eyJhbGciOiJI/eyJzdWI.abcd', '/x/eyJhbGciOiJI/eyJzdWI.abcd'],
    ['/x/eyJhbGciOiJI_ghp_0123456789abcdef', '/x/eyJhbGciOiJI_…'],
    ['/x/eyJhbGciAKIA0123456789abcdef.eyJzdWIiOiIxIn0.sig', '/x/…'],
  ])('%s: %s', (target, shown) => expect(shownTarget(target)).toBe(shown));

  it('of heads of tokens without an end stays as it is, however long', () => {
    const path = `/${'eyJ'.repeat(1_048_576)}`;
    expect(shownTarget(path)).toBe(path);
    expect(shownTarget(`${path}.abcd`)).toBe('/…');
  });

  it('has no query where the path alone is wanted', () => {
    expect(shownPath('/acme/x;v=1?token=s3cret')).toBe('/acme/x;…');
  });

  it('is the same when it is shown again, and never has a value', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'Z', '/', '?', '&', '=', ';', '#', '%', '…', '_', 'ghp_') });
    fc.assert(
      fc.property(text, (given) => {
        const shown = shownTarget(`/${given}`);
        expect(shownTarget(shown)).toBe(shown);
        for (const pair of (/\?([^#]*)$/.exec(shown)?.[1] ?? '').split('&')) expect(pair).toMatch(/^[^=]*(?:=…?)?$/);
      }),
    );
  });
});
