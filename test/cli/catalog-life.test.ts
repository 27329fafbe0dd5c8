// The life of a catalog as an operator types it: pinned, compared, updated by a signed file, and never changed by anything else.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { bundleText, filesDigest, parseBundle, signBundle } from '../../src/catalog/bundle.ts';
import { catalogFiles, loadCatalog } from '../../src/catalog/load.ts';
import { readKey } from '../../src/catalog/signing-key.ts';
import { run } from '../support/proxy-process.ts';
import { tempDir, writePolicy } from '../support/temp.ts';
import { type, typeJson } from './console.ts';

const NEW_HOST = 'agent-edge.buildkite.com';

let dir = '';
let config = '';
let lock = '';
let trusted = '';
let foreign = '';

beforeAll(async () => {
  const keys = tempDir('keys');
  [trusted, foreign] = [join(keys, 'trusted'), join(keys, 'foreign')];
  // As the help says it.
  for (const key of [trusted, foreign]) {
    expect((await run(['openssl', 'genpkey', '-algorithm', 'ed25519', '-out', `${key}.pem`])).code).toBe(0);
    expect((await run(['openssl', 'pkey', '-in', `${key}.pem`, '-pubout', '-out', `${key}.pub`])).code).toBe(0);
  }
});

beforeEach(() => {
  dir = tempDir('catalog-life');
  config = writePolicy(join(dir, 'sallyport.yaml'), {
    version: 1,
    allow: [
      { group: 'buildkite-agent' },
      { group: 'amazon-s3', with: { region: 'us-west-2' }, accept: ['multi-tenant'], reason: 'our buckets' },
    ],
    catalog: { keys: [`${trusted}.pub`] },
  });
  lock = join(dir, 'sallyport.lock');
});

/** A catalog as an older or newer program has it: the shipped files after `change`. */
function bundle(change: (text: string, name: string) => string, key: string | null = null) {
  const files = Object.fromEntries(Object.entries(catalogFiles()).map(([name, text]) => [name, change(text, name)]));
  const version = /version: "(.*)"/.exec(files['catalog.yaml'] ?? '')?.[1] ?? '';
  const plain = { format: 1, version, digest: filesDigest(files), files } as const;
  return key === null ? plain : signBundle(plain, readKey(key, readFileSync(key, 'utf8'), 'private'));
}

/** Before the new agents: their endpoint is not there yet, nor the regional names of S3. */
const older = (text: string): string =>
  text
    .replace('version: "2026.11"', 'version: "2026.08"')
    .replace(/ {6}- id: bk-agent-edge\n(?: {8}.*\n)+/, '')
    .replace(/ {6}- id: aws-s3-regional\n(?: {8}.*\n)+/, '');

const newer = (text: string): string =>
  text
    .replace('version: "2026.11"', 'version: "2027.01"')
    .replace('host: buildkiteartifacts.com', 'host: artifacts.buildkite.example');

function write(name: string, text: string): string {
  const file = join(dir, name);
  writeFileSync(file, text);
  return file;
}

function pin(): void {
  const accepted = { at: '2026-08-30T00:00:00.000Z', by: 'operator', from: 'this program' };
  writeFileSync(lock, bundleText({ ...bundle(older), accepted }));
}

const explain = async (host: string): Promise<number> => (await type(['explain', host, '--config', config])).code;

describe('a lock', () => {
  it('keeps the hosts of groups as they were accepted, and tells what a newer program wants', async () => {
    expect(await explain(NEW_HOST)).toBe(0);
    pin();
    expect(await explain(NEW_HOST)).toBe(1);
    expect(await explain('agent.buildkite.com')).toBe(0);
    const { code, json } = await typeJson<{ problems: { code: string; message: string; at: { file: string } }[] }>([
      'check',
      '--config',
      config,
    ]);
    expect(code).toBe(0);
    expect(json.problems).toEqual([
      expect.objectContaining({
        code: 'catalog-required',
        severity: 'warning',
        at: { file: lock, line: 1, column: 1 },
        message: expect.stringContaining(`catalog 2026.11 of this program requires ${NEW_HOST}:443`),
        hint: expect.stringContaining('sallyport catalog accept'),
      }),
      expect.objectContaining({ code: 'catalog-pending', message: expect.stringContaining('aws-s3-regional') }),
    ]);
    expect((await type(['check', '--config', config, '--strict'])).code).toBe(1);
  });

  it('is brought up to date by accept, which says what that changes', async () => {
    pin();
    const diff = await type(['catalog', 'diff', '--config', config]);
    expect(diff.code).toBe(3);
    expect(diff.out).toMatch(/^\+ +required +agent-edge\.buildkite\.com:443 +buildkite-agent +bk-agent-edge/m);
    const accepted = await type(['catalog', 'accept', '--config', config]);
    expect(accepted).toMatchObject({ code: 0, err: '' });
    expect(accepted.out).toContain(NEW_HOST);
    expect(await explain(NEW_HOST)).toBe(0);
    expect(parseBundle(lock, readFileSync(lock, 'utf8'))).toMatchObject({
      version: '2026.11',
      accepted: { at: '2026-11-24T12:00:00.000Z', by: 'operator', from: 'this program' },
    });
    expect((await typeJson(['check', '--config', config])).json).toMatchObject({ ok: true, problems: [] });
    expect((await type(['catalog', 'diff', '--config', config])).code).toBe(0);
  });

  it('that was edited by hand opens nothing', async () => {
    pin();
    const edited = readFileSync(lock, 'utf8').replace('host: agent.buildkite.com', 'host: "*.evil.example"');
    writeFileSync(lock, edited);
    const { code, err } = await type(['check', '--config', config]);
    expect(code).toBe(1);
    expect(err).toContain('catalog-invalid');
    expect(err).toContain('its files have the digest');
    // And is written anew by the command that the hint names.
    expect(err).toContain('sallyport catalog accept');
  });

  it('in which a group of the policy is not yet known is mended by accept', async () => {
    writeFileSync(
      lock,
      bundleText(bundle((text) => older(text).replace('- id: amazon-s3\n', '- id: amazon-s3-old\n'))),
    );
    const { code, err } = await type(['check', '--config', config]);
    expect(code).toBe(1);
    expect(err).toContain('config-group');
    expect((await type(['catalog', 'accept', '--config', config])).code).toBe(0);
    expect((await type(['check', '--config', config])).code).toBe(0);
  });
});

describe('an update in a file', () => {
  it('is written and signed by bundle, compared, and accepted by its key', async () => {
    const file = join(dir, 'catalog.yaml');
    const made = await typeJson(['catalog', 'bundle', file, '--key', `${trusted}.pem`]);
    expect(made).toMatchObject({
      code: 0,
      json: { version: loadCatalog().version, key: expect.stringMatching(/^sha256:/) },
    });
    expect((await type(['catalog', 'diff', file, '--config', config])).code).toBe(0);
    expect(await type(['catalog', 'accept', file, '--config', config])).toMatchObject({ code: 0, err: '' });
    expect((await type(['check', '--config', config])).code).toBe(0);
  });

  it('changes what a group lets through, without another program', async () => {
    const file = write('update.yaml', bundleText(bundle(newer, `${trusted}.pem`)));
    const diff = await typeJson(['catalog', 'diff', file, '--config', config]);
    expect(diff).toMatchObject({
      code: 3,
      json: {
        changes: [
          {
            kind: 'changed',
            entry: 'bk-artifacts',
            what: ['host buildkiteartifacts.com → artifacts.buildkite.example'],
          },
        ],
      },
    });
    expect((await type(['catalog', 'accept', file, '--config', config])).code).toBe(0);
    expect(await explain('artifacts.buildkite.example')).toBe(0);
    expect(await explain('buildkiteartifacts.com')).toBe(1);
  });

  it.each([
    ['no signature', () => bundle(newer), 'it is not signed'],
    ['a foreign key', () => bundle(newer, `${foreign}.pem`), 'which catalog.keys does not name'],
    [
      'a signature of something else',
      () => ({ ...bundle(older, `${trusted}.pem`), ...bundle(newer) }),
      'its signature does not fit it',
    ],
  ])('with %s is not accepted', async (_what, make, why) => {
    const file = write('update.yaml', bundleText(make()));
    const { code, err } = await type(['catalog', 'accept', file, '--config', config]);
    expect(code).toBe(1);
    expect(err).toContain('catalog-unsigned');
    expect(err).toContain(why);
    expect(await explain(NEW_HOST)).toBe(0);
  });

  it('without a signature is accepted by the digest that was reviewed, and by no other', async () => {
    const update = bundle(newer);
    const file = write('update.yaml', bundleText(update));
    const accept = (digest: string) => type(['catalog', 'accept', file, '--config', config, '--digest', digest]);
    const wrong = await accept(`sha256:${'0'.repeat(64)}`);
    expect(wrong.code).toBe(1);
    expect(wrong.err).toContain(update.digest);
    expect((await accept(update.digest)).code).toBe(0);
  });
});

it('a file that cannot be written is said, and the old lock stays', async () => {
  pin();
  const before = readFileSync(lock, 'utf8');
  // Somebody else's unfinished write stands in the way.
  writeFileSync(`${lock}.${process.pid}.tmp`, '');
  const { code, err } = await type(['catalog', 'accept', '--config', config]);
  expect(code).toBe(1);
  expect(err).toContain('file-unwritable');
  expect(readFileSync(lock, 'utf8')).toBe(before);
});
