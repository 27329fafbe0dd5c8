// Section "Host" of docs/threat-model.md: one strict spelling, one canonical value, label boundaries.
import { describe, expect, it } from 'vitest';
import {
  ALLOWED,
  badTarget,
  connect,
  DENIED,
  malformed,
  notListed,
  refused,
  row,
  useStage,
  utf8,
  works,
} from './stage.ts';

const GIST = 'gist.allowed.test';
const stage = useStage({
  policy: (one) => ({
    allow: [one.rule(ALLOWED), one.rule('*.allowed.test'), one.rule('exact.other.test')],
    deny: [GIST, '*.internal.allowed.test'],
  }),
  names: {
    [GIST]: ['127.0.0.2'],
    'a.internal.allowed.test': ['127.0.0.2'],
    'exact.other.test': ['127.0.0.1'],
    'sub.exact.other.test': ['127.0.0.2'],
    localhost: ['127.0.0.2'],
    'xn--llowed-2fg.test': ['127.0.0.2'],
  },
});

const at = (host: string): string => connect(`${host}:{p}`);
const hostDenied = refused(403, 'host-denied');

row('H1 an allowed host in upper or mixed case is the same host', stage, [
  ['all capitals', at('ALLOWED.TEST'), works()],
  ['mixed', at('aLLoWed.tEsT'), works()],
  ['the exact entry in capitals', at('EXACT.OTHER.TEST'), works('exact.other.test')],
]);

row('H2 a denied host is denied in capitals, with a trailing dot, and with both', stage, [
  ['no rule, capitals', at('DENIED.TEST'), notListed],
  ['no rule, trailing dot', at('denied.test.'), notListed],
  ['no rule, both', at('Denied.TEST.'), notListed],
  ['deny rule, capitals', at('GIST.ALLOWED.TEST'), hostDenied],
  ['deny rule, trailing dot', at('gist.allowed.test.'), hostDenied],
  ['deny rule, both', at('GiSt.allowed.TEST.'), hostDenied],
  ['deny wildcard, both', at('A.INTERNAL.allowed.test.'), hostDenied],
]);

row('H3 one trailing dot on an allowed host is stripped everywhere', stage, [
  ['lower case', at('allowed.test.'), works()],
  ['capitals', at('ALLOWED.TEST.'), works()],
]);

describe('H3 one trailing dot on an allowed host is stripped everywhere: in the query too', () => {
  it('asks the name server for the name without the dot', async () => {
    await stage.run(at('Exact.Other.Test.'), works('exact.other.test'));
    expect(new Set(stage.world.dns.log.map(({ name }) => name))).not.toContain('exact.other.test.');
  });
});

row('H4 empty labels and an empty host are malformed', stage, [
  ['two trailing dots', at('allowed.test..'), malformed],
  ['a leading dot', at('.allowed.test'), malformed],
  ['an empty label', at('a..allowed.test'), malformed],
  ['only a dot', at('.'), malformed],
  ['only dots', at('...'), malformed],
  ['an empty host', at(''), malformed],
  ['a leading hyphen, which programs read as an option', at('-oProxyCommand.allowed.test'), malformed],
]);

row('H5 percent-encoding is not decoded', stage, [
  ['an encoded dot', at('allowed%2etest'), malformed],
  ['an encoded dot before an allowed suffix', at('denied%2etest.allowed.test'), malformed],
  ['an encoded NUL before an allowed suffix', at('denied.test%00.allowed.test'), malformed],
  ['an encoded at sign', at('denied.test%40allowed.test'), malformed],
  ['an encoded slash', at('denied.test%2f.allowed.test'), malformed],
  ['an encoded letter', at('%61llowed.test'), malformed],
  ['encoded twice', at('allowed%252etest'), malformed],
  ['an encoded colon', 'CONNECT allowed.test%3a{p} HTTP/1.1\r\n\r\n', malformed],
]);

row('H6 a NUL in the host is malformed in either order', stage, [
  ['denied, NUL, allowed', at('denied.test\0.allowed.test'), badTarget],
  ['allowed, NUL, denied', at('allowed.test\0.denied.test'), badTarget],
  ['a NUL first', at('\0allowed.test'), badTarget],
  ['a NUL last', at('allowed.test\0'), badTarget],
]);

row('H7 Unicode is not normalised into a name', stage, [
  ['full-width letters', at(utf8('ａllowed.test')), badTarget],
  ['a Cyrillic look-alike', at(utf8('аllowed.test')), badTarget],
  ['a zero-width space', at(utf8('allowed\u200b.test')), badTarget],
  ['a soft hyphen', at(utf8('allo\u00adwed.test')), badTarget],
  ['an ideographic full stop for a dot', at(utf8('allowed。test')), badTarget],
  ['the Kelvin sign, which lower-cases to k', at(utf8('\u212a.allowed.test')), badTarget],
  ['a long s, which upper-cases to S', at(utf8('te\u017ft.allowed.test')), badTarget],
  ['a byte-order mark', at(utf8('\ufeffallowed.test')), badTarget],
]);

row('H8 a Latin-1 byte in the host is malformed', stage, [
  ['e acute', at('allow\xe9d.test'), badTarget],
  ['a no-break space', at('allowed.test\xa0'), badTarget],
  ['byte 0xff', at('\xff.allowed.test'), badTarget],
  ['byte 0x80', at('allowed.te\x80st'), badTarget],
]);

row('H9 punycode of a look-alike is another name', stage, [
  ['of the Cyrillic a', at('xn--llowed-2fg.test'), notListed],
  ['in capitals', at('XN--LLOWED-2FG.TEST'), notListed],
]);

row('H10 user information is not part of an authority', stage, [
  ['allowed@denied', at('allowed.test@denied.test'), malformed],
  ['denied@allowed', at('denied.test@allowed.test'), malformed],
  ['with a port before it', at('allowed.test:443@denied.test'), malformed],
  ['an empty user', at('@allowed.test'), malformed],
  ['with a password', at('a:b@allowed.test'), malformed],
]);

row('H11 pattern characters and brackets are not names', stage, [
  ['a star alone', at('*'), malformed],
  ['the wildcard itself', at('*.allowed.test'), malformed],
  ['a question mark', at('allowe?.test'), malformed],
  ['a denied name in brackets', at('[denied.test]'), malformed],
  ['an allowed name in brackets', at('[allowed.test]'), malformed],
  ['a star inside a label', at('a*.allowed.test'), malformed],
  ['a backslash', at('denied.test\\.allowed.test'), badTarget],
  ['a fragment', at('denied.test#.allowed.test'), badTarget],
  ['a semicolon', at('denied.test;.allowed.test'), malformed],
  ['a comma', at('allowed.test,denied.test'), malformed],
  ['a dollar and braces', at('$' + '{x}.allowed.test'), badTarget],
  ['a backtick', at('`id`.allowed.test'), badTarget],
]);

const label = (count: number): string => 'a'.repeat(count);
const longName = `${`${label(63)}.`.repeat(3)}${label(48)}.allowed.test`;

row('H12 labels and names beyond their length are malformed at once', stage, [
  ['a label of 64 bytes', at(`${label(64)}.allowed.test`), malformed],
  ['a name of 254 bytes', at(`a${longName}`), malformed],
  ['a name of 8 KiB', at(`${'a.'.repeat(4_096)}allowed.test`), malformed],
  ['8 KiB in one label', at(label(8_192)), malformed],
  ['254 bytes and a trailing dot', at(`a${longName}.`), malformed],
]);

describe('H12 labels and names beyond their length are malformed at once: the longest that is allowed passes', () => {
  it('253 bytes, the dot not counted', async () => {
    expect(longName).toHaveLength(253);
    stage.world.dns.set(longName, ['127.0.0.1']);
    await stage.run(at(longName), works(longName));
    await stage.run(at(`${longName}.`), works(longName));
  });
});

row('H13 localhost is never meant by a wildcard or a default', stage, [
  ['lower case', at('localhost'), notListed],
  ['capitals and a dot', at('LOCALHOST.'), notListed],
  ['a name below it', at('a.localhost'), notListed],
  ['localhost.localdomain', at('localhost.localdomain'), notListed],
  ['ip6-localhost', at('ip6-localhost'), notListed],
]);

row('H14 an exact entry is exact, and a dot is a dot', stage, [
  ['a name below an exact entry', at('sub.exact.other.test'), notListed],
  ['the entry as a suffix', at('evilexact.other.test'), notListed],
  ['the entry as a prefix', at('exact.other.test.evil.test'), notListed],
  ['the entry and more letters', at('exact.other.testing'), notListed],
  ['a dot replaced by a letter', at('exactxother.test'), notListed],
  ['a dot replaced by a hyphen', at('exact-other.test'), notListed],
  ['the parent domain', at('other.test'), notListed],
  ['the first label alone', at('exact'), notListed],
  ['another name that has no rule', at(DENIED), notListed],
]);

row('H15 controls and spaces in the host are malformed', stage, [
  ['a tab', at('allowed.test\t'), badTarget],
  ['a vertical tab', at('denied.test\x0b.allowed.test'), badTarget],
  ['a DEL', at('allowed.test\x7f'), badTarget],
  ['an escape sequence', at('\x1b[31mallowed.test'), badTarget],
  ['a space inside', at('denied.test .allowed.test'), refused(400, 'request-malformed')],
]);
