// The strict reader of host:port and of http:// targets: docs/threat-model.md, "Host", "IP literals", "Port", "Plain HTTP".

import { describe, expect, test } from 'vitest';
import { parseAuthority, parseHost, parseHttpTarget } from '../../src/policy/authority.ts';
import fc from '../support/property.ts';

const LABEL_63 = 'a'.repeat(63);
/** 253 characters, the most that a name has. */
const NAME_253 = `${LABEL_63}.${LABEL_63}.${LABEL_63}.${'a'.repeat(61)}`;

function authorityText(raw: string): string | null {
  const result = parseAuthority(raw);
  return result.ok ? result.authority.text : null;
}

describe('an authority that is accepted has one canonical value', () => {
  const cases: [why: string, raw: string, text: string, kind: string][] = [
    ['a plain name', 'api.test:443', 'api.test:443', 'name'],
    ['upper and mixed case', 'API.Test:443', 'api.test:443', 'name'],
    ['one trailing dot', 'api.test.:443', 'api.test:443', 'name'],
    ['upper case and a trailing dot', 'API.TEST.:443', 'api.test:443', 'name'],
    ['a single label', 'localhost:80', 'localhost:80', 'name'],
    ['an underscore label', '_dmarc.api_v1.test:443', '_dmarc.api_v1.test:443', 'name'],
    ['hyphens at the ends of inner labels, which DNS carries', 'a-.-b.test:443', 'a-.-b.test:443', 'name'],
    ['punycode', 'xn--bcher-kva.test:443', 'xn--bcher-kva.test:443', 'name'],
    ['numeric labels that are not last', '127.0.0.1.api.test:443', '127.0.0.1.api.test:443', 'name'],
    ['a last label that only begins like hex', '0xyz:443', '0xyz:443', 'name'],
    ['the longest label', `${LABEL_63}.test:1`, `${LABEL_63}.test:1`, 'name'],
    ['the longest name', `${NAME_253}:65535`, `${NAME_253}:65535`, 'name'],
    ['the longest name with its dot', `${NAME_253}.:65535`, `${NAME_253}:65535`, 'name'],
    ['the lowest port', 'api.test:1', 'api.test:1', 'name'],
    ['a dotted quad', '192.0.2.1:443', '192.0.2.1:443', 'ipv4'],
    ['an IPv6 address', '[2001:DB8:0:0::1]:443', '[2001:db8::1]:443', 'ipv6'],
    ['the loopback', '[::1]:443', '[::1]:443', 'ipv6'],
    ['a mapped address stays IPv6', '[::ffff:7f00:1]:443', '[::ffff:127.0.0.1]:443', 'ipv6'],
  ];
  test.each(cases)('%s: %j', (_why, raw, text, kind) => {
    const result = parseAuthority(raw);
    expect(result).toMatchObject({ ok: true, authority: { text, kind } });
  });
});

describe('an authority that is refused', () => {
  const cases: [why: string, raw: string, problem: RegExp][] = [
    ['two trailing dots', 'api.test..:443', /empty label at position 10/],
    ['a leading dot', '.api.test:443', /empty label at position 1/],
    ['an empty label', 'api..test:443', /empty label at position 5/],
    ['only a dot', '.:443', /empty label/],
    ['only dots', '..:443', /empty label/],
    ['an empty host', ':443', /host is empty at position 1/],
    ['nothing', '', /host is empty/],
    ['percent-encoded dot', 'api%2etest:443', /"%" at position 4: percent-encoding is not decoded/],
    ['percent-encoded NUL', 'api.test%00:443', /percent-encoding/],
    ['NUL, denied first', 'denied.test\0.api.test:443', /control character 0x00 at position 12/],
    ['NUL, allowed first', 'api.test\0.denied.test:443', /control character 0x00 at position 9/],
    ['a Latin-1 byte', 'caf\u00e9.test:443', /non-ASCII character U\+00E9 at position 4/],
    ['full-width letters', '\uff41pi.test:443', /U\+FF41 at position 1/],
    ['a Cyrillic look-alike', '\u0430pi.test:443', /U\+0430/],
    ['a zero-width character', 'api\u200b.test:443', /U\+200B/],
    ['a full-width dot', 'api\uff0etest:443', /U\+FF0E/],
    ['full-width digits', '\uff11\uff12\uff17.0.0.1:443', /U\+FF11/],
    ['user information, allowed first', 'api.test@denied.test:443', /"@" at position 9: user information/],
    ['user information with a port', 'api.test:443@denied.test:443', /position/],
    ['a star', '*:443', /a pattern is not a host/],
    ['a pattern', '*.api.test:443', /a pattern is not a host/],
    ['a name in brackets', '[denied.test]:443', /not an IPv6 address/],
    ['a space', 'denied.test .api.test:443', /space at position 12/],
    ['a tab', 'api.test\t:443', /control character 0x09 at position 9/],
    ['DEL', 'api.test\x7f:443', /control character 0x7F/],
    ['a label of 64', `${'a'.repeat(64)}.test:443`, /64 characters; 63 are allowed/],
    ['a name of 254', `${NAME_253}a:443`, /254 characters; 253/],
    ['8 KiB', `${'a.'.repeat(4096)}test:443`, /8196|8200/],
    ['a leading hyphen', '-oProxyCommand.test:443', /does not begin with a hyphen/],
    ['a URL', 'http://api.test:443/', /position 6/],
    ['a path', 'api.test:443/', /"\/" at position 13: a port has only digits/],
    ['a fragment', 'denied.test#api.test:443', /no fragment/],
    ['a query', 'denied.test?api.test:443', /no query/],
    ['a backslash', 'denied.test\\api.test:443', /position 12/],
    ['inet_aton: two parts', '127.1:443', /ends in a number/],
    ['inet_aton: one number', '2130706433:443', /ends in a number/],
    ['inet_aton: hex', '0x7f000001:443', /ends in a number/],
    ['inet_aton: hex in upper case', '0X7F000001:443', /ends in a number/],
    ['inet_aton: hex parts', '127.0.0.0x1:443', /ends in a number/],
    ['inet_aton: bare 0x', '0x:443', /ends in a number/],
    ['inet_aton: octal', '0177.0.0.01:443', /ends in a number/],
    ['inet_aton: octal number', '017700000001:443', /ends in a number/],
    ['inet_aton: zero', '0:443', /ends in a number/],
    ['a leading zero in a quad', '127.0.0.01:443', /ends in a number/],
    ['an octet above 255', '383.0.0.1:443', /ends in a number/],
    ['five octets', '1.2.3.4.5:443', /ends in a number/],
    ['a quad with a trailing dot', '127.0.0.1.:443', /ends in a number/],
    ['a quad in brackets', '[127.0.0.1]:443', /not an IPv6 address/],
    ['IPv6 without brackets', '::1:443', /host is empty/],
    ['IPv6 without brackets, digits first', '2001:db8::1:443', /position/],
    ['an unclosed bracket', '[::1:443', /not closed/],
    ['an empty bracket', '[]:443', /not an IPv6 address/],
    ['a zone id', '[::1%lo]:443', /zone id at position 5/],
    ['an encoded zone id', '[::1%25lo]:443', /zone id/],
    ['a zone that ends in an allowed suffix', '[::ffff:127.0.0.1%x.api.test]:443', /zone id/],
    ['the same without brackets', '::ffff:127.0.0.1%x.api.test:443', /position/],
    ['two gaps', '[1::2::3]:443', /not an IPv6 address/],
    ['nine groups', '[1:2:3:4:5:6:7:8:9]:443', /not an IPv6 address/],
    ['text after the bracket', '[::1]x:443', /"x" at position 6/],
    ['port 0', 'api.test:0', /begins with 0/],
    ['port 65536', 'api.test:65536', /above 65535/],
    ['a port that wraps to 443 by 16 bits', 'api.test:65979', /above 65535/],
    ['20 digits', 'api.test:44300000000000000000', /above 65535/],
    ['a negative port', 'api.test:-1', /"-" at position 10: a port has only digits/],
    ['no port', 'api.test', /port is missing at position 9/],
    ['no port after brackets', '[::1]', /port is missing/],
    ['an empty port', 'api.test:', /port is empty at position 10/],
    ['a sign', 'api.test:+443', /only digits/],
    ['letters after the port', 'api.test:443x', /only digits/],
    ['a fraction', 'api.test:443.0', /only digits/],
    ['a service name', 'api.test:https', /only digits/],
    ['two ports', 'api.test:443:443', /second ":"/],
    ['leading zeros', 'api.test:0443', /begins with 0/],
    ['a full-width digit', 'api.test:\uff1443', /only digits/],
    ['a trailing newline', 'api.test:443\n', /control character 0x0A/],
  ];
  test.each(cases)('%s: %j', (_why, raw, problem) => {
    const result = parseAuthority(raw);
    expect(result).toMatchObject({ ok: false, problem: expect.stringMatching(problem) });
  });

  test('no sentence echoes a control or non-ASCII character', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 40 }), (raw) => {
        for (const result of [parseAuthority(raw), parseHttpTarget(`http://${raw}`), parseHost(raw)]) {
          if (!result.ok) expect(result.problem).toMatch(/^[\x20-\x7e]+$/);
        }
      }),
      { numRuns: 500 },
    );
  });
});

/** Texts near the grammar: random bytes alone would never reach its inside. */
const piece = fc.oneof(
  { weight: 9, arbitrary: fc.constantFrom('api', 'TEST', 'a_b', 'x-', '1', '.', '.', 'test') },
  {
    weight: 1,
    arbitrary: fc.constantFrom('..', ':', '[', ']', '::1', '127.0.0.1', '0x7f', '%', '@', '*', '-', '\0', '\u00e9'),
  },
);
const nearHost = fc.oneof(
  { weight: 4, arbitrary: fc.array(piece, { maxLength: 6 }).map((parts) => parts.join('')) },
  { weight: 1, arbitrary: fc.ipV6().map((address) => `[${address}]`) },
  { weight: 1, arbitrary: fc.ipV4() },
);
const nearPort = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 0, max: 70_000 }).map(String) },
  { weight: 1, arbitrary: fc.constantFrom('', '0443', '+1', '443x', '99999999999') },
);
const nearAuthority = fc.tuple(nearHost, nearPort).map(([host, port]) => `${host}:${port}`);

describe('properties', () => {
  test('the canonical text is a fixed point, and has only the allowed alphabet', () => {
    let accepted = 0;
    fc.assert(
      fc.property(nearAuthority, (raw) => {
        const result = parseAuthority(raw);
        if (!result.ok) return;
        accepted += 1;
        const { authority } = result;
        expect(parseAuthority(authority.text)).toEqual(result);
        expect(authority.text).toMatch(/^(?:[a-z0-9._-]+|\[[0-9a-f:.]+\]):[1-9][0-9]{0,4}$/);
        expect(authority.host.length).toBeLessThanOrEqual(253);
      }),
      { numRuns: 2_000 },
    );
    expect(accepted).toBeGreaterThan(100);
  });

  test('case never counts', () => {
    fc.assert(
      fc.property(nearAuthority, (raw) => {
        // A few letters beyond ASCII have an ASCII letter as their other case (the Kelvin sign).
        fc.pre([...raw].every((character) => character.charCodeAt(0) < 0x80));
        expect(authorityText(raw.toUpperCase())).toBe(authorityText(raw.toLowerCase()));
      }),
      { numRuns: 1_000 },
    );
  });

  test('what the WHATWG parser would turn into an address is never taken for a name', () => {
    const numberish = fc
      .array(fc.constantFrom('0', '1', '127', '0x7f', '0177', '255', '256', '2130706433', '0x', 'a', '00'), {
        minLength: 1,
        maxLength: 5,
      })
      .map((parts) => parts.join('.'));
    fc.assert(
      fc.property(numberish, (host) => {
        const result = parseHost(host);
        if (!result.ok || result.kind !== 'name') return;
        expect(new URL(`http://${host}/`).hostname).toBe(host);
      }),
      { numRuns: 1_000 },
    );
  });
});

describe('a host alone', () => {
  test.each([
    ['::1', '::1', 'ipv6'],
    ['[::1]', '::1', 'ipv6'],
    ['10.0.0.1', '10.0.0.1', 'ipv4'],
    ['API.test.', 'api.test', 'name'],
  ])('%j is accepted', (raw, host, kind) => {
    expect(parseHost(raw)).toEqual({ ok: true, host, kind });
  });

  test.each(['', 'api.test:443', '[::1]:443', '[::1', '[::1]x', '1:2', 'fe80::1%eth0', '*.api.test'])(
    '%j is refused',
    (raw) => {
      expect(parseHost(raw).ok).toBe(false);
    },
  );
});

describe('an http:// target', () => {
  const accepted: [raw: string, text: string, path: string][] = [
    ['http://api.test', 'api.test:80', '/'],
    ['http://api.test/', 'api.test:80', '/'],
    ['HTTP://API.test./a?b=c', 'api.test:80', '/a?b=c'],
    ['http://api.test?q=1', 'api.test:80', '/?q=1'],
    ['http://api.test:8080//a/../b', 'api.test:8080', '//a/../b'],
    ['http://api.test/%2e%2E/', 'api.test:80', '/%2e%2E/'],
    ['http://api.test/a@b:c', 'api.test:80', '/a@b:c'],
    ['http://api.test/?u=http://x@y', 'api.test:80', '/?u=http://x@y'],
    ['http://[::1]:8080/x', '[::1]:8080', '/x'],
    ['http://169.254.169.254/latest/', '169.254.169.254:80', '/latest/'],
  ];
  test.each(accepted)('%j is accepted with its raw path', (raw, text, path) => {
    expect(parseHttpTarget(raw)).toMatchObject({ ok: true, authority: { text }, path });
  });

  const refused: [why: string, raw: string, problem: RegExp][] = [
    ['origin-form', '/index.html', /set this address as the proxy/],
    ['a network path', '//denied.test/', /set this address as the proxy/],
    ['asterisk-form', '*', /asterisk/],
    ['nothing', '', /empty/],
    ['https', 'https://api.test/', /send CONNECT host:443/],
    ['file', 'file:///etc/passwd', /only the scheme http/],
    ['ftp', 'ftp://api.test/', /only the scheme http/],
    ['gopher', 'gopher://api.test/', /only the scheme http/],
    ['unix', 'unix:/run/docker.sock', /no scheme|only the scheme/],
    ['authority-form', 'api.test:80', /no scheme/],
    ['one slash', 'http:/denied.test/', /not followed by "\/\/"/],
    ['no slash', 'http:denied.test/', /not followed by "\/\/"/],
    ['three slashes', 'http:///denied.test/', /host is empty/],
    ['user information', 'http://api.test@denied.test/', /"@" at position 16: user information/],
    ['user and password', 'http://u:p@denied.test/', /user information/],
    ['a fragment', 'http://api.test/#x', /"#" at position 17/],
    ['a fragment in the authority', 'http://denied.test#.api.test/', /"#"/],
    ['a backslash in the path', 'http://api.test/a\\b', /position 18/],
    ['a backslash in the authority', 'http://denied.test\\.api.test/', /position 19/],
    ['a space', 'http://api.test/a b', /space at position 18/],
    ['a control byte', 'http://api.test/\x01', /control character 0x01/],
    ['a line end', 'http://api.test/\r\nHost: x', /0x0D/],
    ['non-ASCII in the path', 'http://api.test/\u00e9', /U\+00E9/],
    ['an empty port', 'http://api.test:/', /port is empty/],
    ['a bad port', 'http://api.test:+80/', /only digits/],
    ['a decimal address', 'http://2130706433/', /ends in a number/],
    ['percent-encoding in the host', 'http://api%2etest/', /percent-encoding/],
  ];
  test.each(refused)('%s is refused', (_why, raw, problem) => {
    expect(parseHttpTarget(raw)).toMatchObject({ ok: false, problem: expect.stringMatching(problem) });
  });

  test('host and raw path are those that a correct URL has', () => {
    const path = fc.string({ unit: fc.constantFrom(...'ab/?.%2=&~'), maxLength: 12 });
    fc.assert(
      fc.property(path, (rest) => {
        const result = parseHttpTarget(`http://api.test:81/${rest}`);
        expect(result).toMatchObject({ ok: true, authority: { text: 'api.test:81' }, path: `/${rest}` });
      }),
      { numRuns: 300 },
    );
  });
});
