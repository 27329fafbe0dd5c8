import { describe, expect, it } from 'vitest';
import { quote, redact, redactTarget } from '../../src/audit/text.ts';
import fc from '../support/property.ts';

describe('quote', () => {
  it('gives ASCII JSON that reads back as the same text, whatever the text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
        const quoted = quote(text, 1_000);
        expect(quoted).toMatch(/^[\x20-\x7e]*$/);
        expect(JSON.parse(quoted)).toBe(text);
      }),
      { numRuns: 500 },
    );
  });

  it.each([
    ['line feed and carriage return', 'a\r\nb', '"a\\r\\nb"'],
    ['quote and backslash', 'a"b\\c', '"a\\"b\\\\c"'],
    ['NUL and DEL', '\0\x7f', '"\\u0000\\u007f"'],
    ['C1 control (NEL)', '\x85', '"\\u0085"'],
    ['line and paragraph separators', '\u2028\u2029', '"\\u2028\\u2029"'],
    ['bidi override', '\u202e', '"\\u202e"'],
    ['a lone surrogate', '\ud800', '"\\ud800"'],
    ['an emoji as its two halves', '😀', '"\\ud83d\\ude00"'],
    ['terminal escape', '\x1b[2J', '"\\u001b[2J"'],
  ])('escapes %s', (_what, text, expected) => {
    expect(quote(text, 100)).toBe(expected);
  });

  it('cuts at the cap and says how much is gone', () => {
    expect(JSON.parse(quote('a'.repeat(6_024), 1_024))).toBe(`${'a'.repeat(1_024)}…[cut 5000]`);
    expect(JSON.parse(quote('a'.repeat(1_024), 1_024))).toBe('a'.repeat(1_024));
  });

  it('stays valid where the cut splits a surrogate pair', () => {
    expect(JSON.parse(quote('a😀b', 2))).toBe('a\ud83d…[cut 2]');
  });
});

describe('redact', () => {
  it.each([
    ['Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=', 'Proxy-Authorization: [redacted]'],
    ['curl/8 authorization=Bearer secret', 'curl/8 authorization= [redacted]'],
    ['x\r\nCookie: a=secret; b=secret\r\n folded secret', 'x\r\nCookie: [redacted]'],
    ['{"Authorization":"token secret"}', '{"Authorization": [redacted]'],
    ['authorization%3A%20token%20secret', 'authorization%3A [redacted]'],
    ['agent Bearer secret.jwt.part end', 'agent Bearer [redacted] end'],
    ['see http://user:secret@host/', 'see http://[redacted]@host/'],
    ['//user%3Asecret%40host', '//[redacted]@host'],
    ['curl/8.5.0', 'curl/8.5.0'],
    ['npm/10 (contact: dev@corp.example)', 'npm/10 (contact: dev@corp.example)'],
  ])('%j becomes %j', (text, expected) => {
    expect(redact(text)).toBe(expected);
  });

  it.each(['//', 'cookie', 'basic ', 'authorization ', '@/', ' '])(
    'is linear on 256 KiB of %j (quadratic work would not end in time)',
    (part) => {
      const text = `@${part.repeat(262_144 / part.length)}`;
      expect(redact(text).length).toBeGreaterThan(0);
    },
  );
});

describe('redactTarget', () => {
  it.each([
    ['http://user:secret@host/', 'http://[redacted]@host/'],
    ['user:secret@host:443', '[redacted]@host:443'],
    ['secret@host:443', '[redacted]@host:443'],
    ['http://user:sec/ret@host/x', 'http://[redacted]@host/x'],
    ['http://user:s@cret@host/', 'http://[redacted]@host/'],
    ['user%3Asecret%40host', '[redacted]@host'],
    ['//user:secret@host', '//[redacted]@host'],
    ['http:\\\\user:secret@host\\x', 'http:\\\\[redacted]@host\\x'],
    ['ftp://user:secret@host', 'ftp://[redacted]@host'],
    ['http://host/a?X-Amz-Signature=secret', 'http://host/a?[redacted]'],
    ['http://host/a#secret', 'http://host/a#[redacted]'],
    ['http://host:80/@scope/pkg', 'http://host:80/@scope/pkg'],
    ['http://[::1]:80/a@b', 'http://[::1]:80/a@b'],
    ['http://us\ner:secret@host/', 'http://[redacted]@host/'],
    ['a..b:443', 'a..b:443'],
  ])('%j becomes %j', (target, expected) => {
    expect(redactTarget(target)).toBe(expected);
  });

  it('never shows the password of a URL', () => {
    const word = fc.string({ minLength: 1, maxLength: 8 }).filter((text) => !/[/?#\\]/.test(text));
    fc.assert(
      fc.property(word, fc.constantFrom('http://', 'https://', '//', ''), (user, scheme) => {
        expect(redactTarget(`${scheme}${user}:SECRET@host:80/path`)).not.toContain('SECRET');
      }),
      { numRuns: 500 },
    );
  });
});
