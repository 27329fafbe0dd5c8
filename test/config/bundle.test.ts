// Policy bundles: what is signed, by whom, what may stand in one, and a policy in a folder elsewhere.
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { beforeEach, describe, expect, it } from 'vitest';
import { makeBundle, readBundle } from '../../src/config/load-bundle.ts';
import { loadConfigHere } from '../../src/config/load-here.ts';
import { SallyportError } from '../../src/errors.ts';
import { FILE, inFolderOfItsOwn, NOW } from './support.ts';

inFolderOfItsOwn();

const [ours, theirs] = [generateKeyPairSync('ed25519'), generateKeyPairSync('ed25519')];
const FILES = { 'sallyport.yaml': 'version: 1\nallow: [a.test]\n', 'pipelines/web.yaml': 'version: 1\n' };
const made = makeBundle(FILES, 7, '2026-11-24T12:00:00.000Z', ours.privateKey);

const problem = (text: string, keys = [ours.publicKey]): string => {
  try {
    readBundle('b', text, keys);
  } catch (error) {
    if (error instanceof SallyportError && error.code === 'bundle-invalid') return error.message;
    throw error;
  }
  return 'taken';
};

const changed = (change: (value: Record<string, unknown>) => void): string => {
  const value = JSON.parse(made) as Record<string, unknown>;
  change(value);
  return JSON.stringify(value);
};

describe('a bundle', () => {
  it('is read with one of the keys', () => {
    expect(readBundle('b', made, [theirs.publicKey, ours.publicKey])).toMatchObject({ serial: 7, files: FILES });
  });

  it.each<[string, string, RegExp]>([
    ['signed by somebody else', makeBundle(FILES, 7, '', theirs.privateKey), /none of policy.public_keys/],
    [
      'another file',
      changed((value) => Object.assign(value, { files: { ...FILES, 'x.yaml': '' } })),
      /signature is not that of its files/,
    ],
    [
      'another text',
      changed((value) => Object.assign(value, { files: { ...FILES, 'sallyport.yaml': 'version: 1\n' } })),
      /signature/,
    ],
    ['another number', changed((value) => Object.assign(value, { serial: 8 })), /signature/],
    ['another time', changed((value) => Object.assign(value, { made: 'x' })), /signature/],
    ['no signature', changed((value) => delete value['signature']), /signature/],
    ['a key more', changed((value) => Object.assign(value, { more: 1 })), /more/],
    ['no base', changed((value) => Object.assign(value, { files: { 'x.yaml': '' } })), /it has no sallyport.yaml/],
    ['no JSON', made.slice(1), /no JSON/],
    ['cut short', made.slice(0, -10), /no JSON/],
    ['nothing', '', /no JSON/],
  ])('is not taken: %s', (_, text, words) => expect(problem(text)).toMatch(words));

  it.each([
    '../x.yaml',
    '/etc/x.yaml',
    'a/../x.yaml',
    '.hidden.yaml',
    'a/.x.yaml',
    'a//x.yaml',
    'x.sh',
    'a\\x.yaml',
    '',
  ])('holds no file of the name %s', (name) => {
    expect(() => makeBundle({ ...FILES, [name]: '' } as Record<string, string>, 1, '', ours.privateKey)).toThrow(
      /bundle/,
    );
  });

  it('holds no file that is a folder too', () => {
    expect(() => makeBundle({ ...FILES, 'a.yaml': '', 'a.yaml/b.yaml': '' }, 1, '', ours.privateKey)).toThrow(
      'is a file and a folder',
    );
  });
});

describe('policy.source: a folder', () => {
  beforeEach(() => {
    rmSync('shared', { recursive: true, force: true });
    mkdirSync('shared');
    writeFileSync(
      'shared/sallyport.yaml',
      'version: 1\nallow: [a.test]\nmode: observe\nlayers: { ceiling: ceiling.yaml }\n',
    );
    writeFileSync('shared/ceiling.yaml', 'version: 1\nallow: ["*.corp.test"]\n');
  });

  const load = (text: string) => {
    writeFileSync(FILE, text);
    return loadConfigHere({ file: FILE, now: NOW });
  };
  const MACHINE = 'version: 1\npolicy: { source: shared }\nlisten: 127.0.0.1:4000\n';

  it('rules and modes come from there, the rest from the file of the machine; each keeps its place', () => {
    const { settings, source, layers } = load(MACHINE);
    expect(source.rules.map(({ id }) => id)).toEqual(['shared/sallyport.yaml:2']);
    expect([settings.mode, settings.listen[0]?.port, settings.policyFile]).toEqual([
      'observe',
      4000,
      'shared/sallyport.yaml',
    ]);
    expect(settings.origins).toMatchObject({ mode: 'shared/sallyport.yaml:3', listen: 'policy.yaml:3' });
    expect(layers.map(({ file }) => file)).toEqual(['shared/ceiling.yaml']);
  });

  it.each<[string, string, string | null, string]>([
    [
      'a rule in the file of the machine',
      `${MACHINE}allow: [b.test]\n`,
      null,
      'policy.yaml:4:1: allow stands in the policy that policy.source names',
    ],
    [
      'a listener in the policy',
      MACHINE,
      'version: 1\nallow: []\nlisten: 0.0.0.0:1\n',
      'shared/sallyport.yaml:3:1: listen belongs to each machine',
    ],
    [
      'a source in the source',
      MACHINE,
      'version: 1\npolicy: { source: x }\n',
      'shared/sallyport.yaml:2:1: policy belongs to each machine',
    ],
    ['a mistake in the policy', MACHINE, 'version: 1\nallow: ["*"]\n', 'shared/sallyport.yaml:2:9: '],
    ['no folder', MACHINE.replace('shared', 'nowhere'), null, 'nowhere/sallyport.yaml does not exist'],
    [
      'a URL without keys',
      MACHINE.replace('shared', 'https://policy.test/b'),
      null,
      'data/policy/current/sallyport.yaml does not exist',
    ],
    ['a URL without TLS', MACHINE.replace('shared', 'http://policy.test/b'), null, 'is not an https:// URL'],
    [
      'keys for a folder',
      MACHINE.replace('source: shared', 'source: shared, public_keys: [k.pem]'),
      null,
      'public_keys is for the URL of a bundle',
    ],
  ])('refuses %s', (_, machine, shared, words) => {
    if (shared !== null) writeFileSync('shared/sallyport.yaml', shared);
    expect(() => load(machine)).toThrow(words);
  });

  it('a URL needs keys: an unsigned policy is nobody’s', () => {
    mkdirSync('data/policy/current', { recursive: true });
    writeFileSync('data/policy/current/sallyport.yaml', 'version: 1\nallow: []\n');
    expect(() => load(MACHINE.replace('shared', 'https://policy.test/b'))).toThrow('no public_keys');
  });
});
