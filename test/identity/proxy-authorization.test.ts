import { describe, expect, it } from 'vitest';
import { parseBasic } from '../../src/identity/proxy-authorization.ts';

const base64 = (text: string | Buffer): string => Buffer.from(text as string).toString('base64');

describe('parseBasic', () => {
  it.each<[string, string, string, string]>([
    ['user and password', `Basic ${base64('user:password')}`, 'user', 'password'],
    ['an empty password', `Basic ${base64('pipeline/job:')}`, 'pipeline/job', ''],
    ['an empty user', `Basic ${base64(':x')}`, '', 'x'],
    ['colons in the password', `Basic ${base64('u:a:b:c')}`, 'u', 'a:b:c'],
    ['the scheme in any case', `bASIC ${base64('u:p')}`, 'u', 'p'],
    ['several spaces', `Basic    ${base64('u:p')}`, 'u', 'p'],
    ['spaces around it', `  Basic ${base64('u:p')} `, 'u', 'p'],
    ['no padding', `Basic ${base64('us:p').replace(/=+$/, '')}`, 'us', 'p'],
    ['UTF-8', `Basic ${base64('jürgen:ß')}`, 'jürgen', 'ß'],
  ])('reads %s', (_, header, username, password) => {
    expect(parseBasic(header)).toEqual({ username, password });
  });

  it.each([
    ['nothing', ''],
    ['the scheme alone', 'Basic'],
    ['the scheme and a space', 'Basic '],
    ['another scheme', `Bearer ${base64('u:p')}`],
    ['a scheme that starts alike', `Basics ${base64('u:p')}`],
    ['no space', `Basic${base64('u:p')}`],
    ['a tab for the space', `Basic\t${base64('u:p')}`],
    ['no colon inside', `Basic ${base64('user')}`],
    ['characters outside base64', 'Basic dTp-cA=='],
    [
      'base64url',
      `Basic ${base64(Buffer.from([0xfb, 0xff, 0x3a]))
        .replaceAll('+', '-')
        .replaceAll('/', '_')}`,
    ],
    ['three padding characters', 'Basic dTpw==='],
    ['bits that the padding drops', 'Basic dTo9PR=='],
    ['one character too many', 'Basic dTpwa'],
    ['two values', `Basic ${base64('u:p')}, Basic ${base64('v:q')}`],
    ['bytes that are no UTF-8', `Basic ${base64(Buffer.from([0x75, 0xff, 0x3a]))}`],
    ['a line end inside', `Basic ${base64('u\r\nX: y:p')}`],
    ['a NUL inside', `Basic ${base64('u\0:p')}`],
    ['a DEL inside', `Basic ${base64('u\x7f:p')}`],
    ['more than 8 KiB', `Basic ${base64(`u:${'p'.repeat(9_000)}`)}`],
  ])('refuses %s', (_, header) => {
    expect(parseBasic(header)).toBeNull();
  });
});
