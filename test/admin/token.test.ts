// The token file: made once, for one user, and refused where somebody else may have read it.
import { chmodSync, chownSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ensureToken, readToken } from '../../src/admin/token.ts';
import { tempDir, writeFile } from '../support/temp.ts';

const TEXT = 'a'.repeat(32);
const place = (): string => join(tempDir('token'), 'data', 'token');
const made = (text: string, mode = 0o600): string => {
  const file = writeFile(place(), text, mode);
  chmodSync(file, mode);
  return file;
};

describe('the token file', () => {
  it('is made with its folder, 256 bits, for the user alone, whatever the umask', () => {
    const file = place();
    const before = process.umask(0);
    try {
      ensureToken(file);
    } finally {
      process.umask(before);
    }
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(Buffer.from(readToken(file), 'base64url')).toHaveLength(32);
    const text = readFileSync(file, 'utf8');
    expect(ensureToken(file).is(text.trim())).toBe(true);
    expect(readFileSync(file, 'utf8')).toBe(text);
  });

  it('of the operator counts, with white space around it', () => {
    const token = ensureToken(made(`  ${TEXT}\n`));
    expect([token.is(TEXT), token.is(`${TEXT}a`), token.is(TEXT.toUpperCase()), token.is('')]).toEqual([
      true,
      false,
      false,
      false,
    ]);
  });

  it.skipIf(process.getuid?.() !== 0)('of somebody else, that the group may read, counts', () => {
    const given = (mode: number): string => {
      const file = made(TEXT, mode);
      chownSync(file, 65_532, 0);
      return file;
    };
    expect(readToken(given(0o440))).toBe(TEXT);
    for (const mode of [0o444, 0o460, 0o450]) expect(() => readToken(given(mode))).toThrow('others can use it');
  });

  it.each([
    ['that the group may read', () => made(TEXT, 0o640), 'its mode is 0640'],
    ['that others may write', () => made(TEXT, 0o602), 'its mode is 0602'],
    ['with a short token', () => made(TEXT.slice(1)), 'no token of at least 32'],
    ['that is empty', () => made(''), 'no token'],
    ['with two lines', () => made(`${TEXT}\n${TEXT}\n`), 'no token'],
    ['that is huge', () => made('a'.repeat(1_025)), 'too large'],
    [
      'that is a link',
      () => {
        const link = join(tempDir('token'), 'link');
        symlinkSync(made(TEXT), link);
        return link;
      },
      'ELOOP',
    ],
    [
      'that is a folder',
      () => {
        const folder = place();
        mkdirSync(folder, { recursive: true, mode: 0o700 });
        return folder;
      },
      'not a regular file',
    ],
    [
      'in what is no folder',
      () => {
        const file = made(TEXT);
        writeFileSync(file, 'x');
        return join(file, 'token');
      },
      'ENOTDIR',
    ],
  ])('%s is refused', (_, file, why) => {
    const at = file();
    const attempt = (): unknown => ensureToken(at);
    expect(attempt).toThrow(expect.objectContaining({ code: 'admin-token' }));
    expect(attempt).toThrow(why);
  });
});
