// A catalog in one file: it comes back word for word, and nothing passes whose text is not what its digest says.
import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { type Bundle, bundleText, filesDigest, isSignedBy, parseBundle, signBundle } from '../../src/catalog/bundle.ts';
import { catalogFiles, loadCatalog } from '../../src/catalog/load.ts';
import { readKey } from '../../src/catalog/signing-key.ts';
import fc from '../support/property.ts';
import { freshFolders, home, write } from './folders.ts';

freshFolders();

function bundle(files: Record<string, string>): Bundle {
  return { format: 1, version: '2026.12', digest: filesDigest(files), files };
}

describe('a catalog in one file', () => {
  it('holds the shipped files word for word, and loads as they do', () => {
    const files = catalogFiles();
    const text = bundleText(bundle(files));
    expect(parseBundle('x.yaml', text).files).toEqual(files);
    write(home, 'x.yaml', text);
    expect(loadCatalog([], `${home}/x.yaml`).digest).toBe(loadCatalog().digest);
  });

  it('is readable: each line of a file is a line of it', () => {
    const text = bundleText(bundle({ 'one.yaml': 'format: 1\ngroups: []\n' }));
    expect(text).toContain('\n  one.yaml: |\n    format: 1\n    groups: []\n');
  });

  it('comes back whatever text it holds', () => {
    const line = fc.string({
      unit: fc.constantFrom('a', ' ', '\t', '#', ':', '-', '|', '>', '"', "'", '\n', 'é', '\u2028', '%'),
    });
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom('a.yaml', 'b-c.yaml'), line, { minKeys: 1 }), (files) => {
        expect(parseBundle('x', bundleText(bundle(files))).files).toEqual(files);
      }),
    );
  });

  it.each([
    ['a changed line', (text: string) => text.replace('groups: []', 'groups: [ ]')],
    ['another digest', (text: string) => text.replace(/sha256:.{64}/, `sha256:${'0'.repeat(64)}`)],
    ['a file of another name', (text: string) => text.replace('one.yaml', 'two.yaml')],
    ['a name that leads elsewhere', (text: string) => text.replace('one.yaml', '../one.yaml')],
    ['an unknown key', (text: string) => `${text}more: 1\n`],
    ['a key that stands twice', (text: string) => `${text}format: 1\n`],
    ['a cut end', (text: string) => text.slice(0, -8)],
    ['no YAML', () => '\0{'],
    ['nothing', () => ''],
    ['no file', () => bundleText(bundle({}))],
    [
      'an alias',
      (text: string) => text.replace('version: ', 'version: &v ').concat('accepted: { at: *v, by: x, from: x }\n'),
    ],
  ])('is refused with %s', (_what, damage) => {
    const good = bundleText(bundle({ 'one.yaml': 'format: 1\ngroups: []\n' }));
    expect(() => parseBundle('lock', damage(good))).toThrowError(
      expect.objectContaining({
        code: 'catalog-invalid',
        message: expect.stringContaining('lock is no catalog in one file'),
      }),
    );
  });
});

describe('a signature', () => {
  const mine = generateKeyPairSync('ed25519');
  const other = generateKeyPairSync('ed25519');
  const signed = signBundle(bundle({ 'one.yaml': 'format: 1\n' }), mine.privateKey);

  it('holds over writing and reading, for the key that made it', () => {
    const read = parseBundle('x', bundleText(signed));
    expect(isSignedBy(read, [other.publicKey, mine.publicKey])).toBe(true);
    expect(isSignedBy(read, [other.publicKey])).toBe(false);
    expect(isSignedBy(read, [])).toBe(false);
  });

  it('is about the version and the files', () => {
    const files = { 'one.yaml': 'format: 1\n# more\n' };
    expect(isSignedBy({ ...signed, version: '2026.13' }, [mine.publicKey])).toBe(false);
    expect(isSignedBy({ ...signed, files, digest: filesDigest(files) }, [mine.publicKey])).toBe(false);
    expect(isSignedBy(bundle({ 'one.yaml': 'format: 1\n' }), [mine.publicKey])).toBe(false);
    const { signature } = signed;
    const cut = { key: signature?.key ?? '', ed25519: signature?.ed25519.slice(0, 20) ?? '' };
    expect(isSignedBy({ ...signed, signature: cut }, [mine.publicKey])).toBe(false);
  });

  it('is by Ed25519 keys alone, and a private key is no trust anchor', () => {
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const pem = (key: typeof mine.privateKey, type: 'spki' | 'pkcs8'): string =>
      key.export({ type, format: 'pem' }).toString();
    expect(readKey('k', pem(mine.publicKey, 'spki'), 'public').asymmetricKeyType).toBe('ed25519');
    for (const text of [pem(mine.privateKey, 'pkcs8'), pem(rsa.publicKey, 'spki'), 'no key', ''])
      expect(() => readKey('k', text, 'public')).toThrowError(expect.objectContaining({ code: 'signing-key' }));
    expect(() => readKey('k', pem(mine.publicKey, 'spki'), 'private')).toThrowError(
      expect.objectContaining({ code: 'signing-key' }),
    );
  });
});
