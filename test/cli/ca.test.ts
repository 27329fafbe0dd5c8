// `sallyport ca`: makes, shows and replaces the CA of inspection.
import { X509Certificate } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { newKey, readBundle } from '../../src/inspect/ca.ts';
import { tempDir, writeFile } from '../support/temp.ts';
import { NOW, type, typeJson } from './console.ts';

interface Shown {
  readonly certificates: readonly { state: string; names: string[] | null; until: string; sha256: string }[];
}

const fresh = () => {
  const dir = tempDir('ca');
  const files = { cert: join(dir, 'ca.pem'), key: join(dir, 'ca.key') };
  return { dir, ...files, args: ['--cert', files.cert, '--key', files.key] };
};
const states = (json: Shown): string[] => json.certificates.map(({ state }) => state);

describe('ca init', () => {
  it('makes a CA for the hosts that are named, with a key that only its owner reads', async () => {
    const at = fresh();
    const { code, json } = await typeJson<Shown>([
      'ca',
      'init',
      'Github.com',
      '*.corp.example',
      '10.0.0.1',
      ...at.args,
    ]);
    expect(code).toBe(0);
    expect(json.certificates).toMatchObject([
      { state: 'signs', names: ['github.com', 'corp.example', '10.0.0.1'], until: '2027-11-24T12:00:00.000Z' },
    ]);
    expect(statSync(at.key).mode & 0o777).toBe(0o600);
    expect(new X509Certificate(readFileSync(at.cert)).fingerprint256).toBe(json.certificates[0]?.sha256);
  });

  it('overwrites nothing, and wants at least one host that a rule could name', async () => {
    const at = fresh();
    expect((await type(['ca', 'init', ...at.args])).err).toContain('no name is given');
    expect((await type(['ca', 'init', '*.com', ...at.args])).err).toContain('public suffix');
    expect((await type(['ca', 'init', 'github.com', '--days', '0', ...at.args])).code).toBe(2);
    expect(existsSync(at.key)).toBe(false);
    writeFile(at.key, 'something');
    const done = await type(['ca', 'init', 'github.com', ...at.args]);
    expect(done).toMatchObject({ code: 1 });
    expect(done.err).toContain('inspection-ca');
    expect(readFileSync(at.key, 'utf8')).toBe('something');
  });

  it('takes a key that is there, and seals a new one with a passphrase', async () => {
    const at = fresh();
    const { key, pem } = newKey(null);
    writeFile(at.key, pem, 0o600);
    expect((await type(['ca', 'init', 'github.com', '--existing-key', ...at.args])).code).toBe(0);
    expect(readFileSync(at.key, 'utf8')).toBe(pem);
    expect(readBundle(at.cert, key)[0]?.signs).toBe(true);

    const sealed = fresh();
    const passphrase = writeFile(join(sealed.dir, 'pass'), 'correct horse battery\n', 0o600);
    const args = [...sealed.args, '--passphrase-file', passphrase];
    expect((await type(['ca', 'init', 'github.com', ...args])).code).toBe(0);
    expect(readFileSync(sealed.key, 'utf8')).toContain('ENCRYPTED PRIVATE KEY');
    expect((await type(['ca', 'show', ...args])).code).toBe(0);
    expect((await type(['ca', 'show', ...sealed.args])).code).toBe(1);
  });
});

describe('ca rotate', () => {
  it('adds the new CA to the bundle, signs with the old until it is activated, and keeps the old until it ends', async () => {
    const at = fresh();
    await type(['ca', 'init', 'github.com', ...at.args]);
    const [first] = readFileSync(at.cert, 'utf8').split('-----END');
    const rotated = await typeJson<Shown>(['ca', 'rotate', ...at.args], { now: NOW + 86_400_000 });
    expect(states(rotated.json)).toEqual(['signs', 'trusted']);
    expect(rotated.json.certificates[1]).toMatchObject({ names: ['github.com'] });
    expect(readFileSync(at.cert, 'utf8')).toContain(first);
    expect((await type(['ca', 'rotate', ...at.args])).err).toContain('already');
    const active = await typeJson<Shown>(['ca', 'rotate', '--activate', ...at.args]);
    expect(states(active.json)).toEqual(['trusted', 'signs']);
    expect((await type(['ca', 'rotate', '--activate', ...at.args])).err).toContain('no new CA waits');
    const year = { now: NOW + 365.5 * 86_400_000 };
    expect(states((await typeJson<Shown>(['ca', 'show', ...at.args], year)).json)).toEqual(['ended', 'signs']);
    const again = await typeJson<Shown>(['ca', 'rotate', 'git.corp.example', ...at.args], year);
    expect(states(again.json)).toEqual(['signs', 'trusted']);
    expect(again.json.certificates[1]?.names).toEqual(['git.corp.example']);
  });

  it('goes on where it was interrupted between key and bundle', async () => {
    const at = fresh();
    await type(['ca', 'init', 'github.com', ...at.args]);
    const { pem } = newKey(null);
    writeFile(`${at.key}.next`, pem, 0o600);
    expect((await type(['ca', 'rotate', '--activate', ...at.args])).err).toContain('no new CA waits');
    expect(states((await typeJson<Shown>(['ca', 'rotate', ...at.args])).json)).toEqual(['signs', 'trusted']);
    expect(readFileSync(`${at.key}.next`, 'utf8')).toBe(pem);
  });
});

it('ca show prints the bundle for clients, without the key being there, and fails where the CA has ended', async () => {
  const at = fresh();
  await type(['ca', 'init', 'github.com', ...at.args]);
  const shown = await type(['ca', 'show', '--pem', '--cert', at.cert, '--key', join(at.dir, 'absent')]);
  expect(shown).toMatchObject({ code: 0, out: readFileSync(at.cert, 'utf8') });
  expect((await type(['ca', 'show', ...at.args], { now: NOW + 366 * 86_400_000 })).code).toBe(1);
  expect((await type(['ca', 'show'])).code).toBe(2);
});

it('check says how many hosts are inspected, and whether a start on this machine would have a CA for them', async () => {
  const at = fresh();
  const file = writeFile(
    join(at.dir, 'sallyport.yaml'),
    `version: 1\ninspection: { ca: { cert: ${at.cert}, key: ${at.key} } }\nallow:\n  - { host: git.example, inspect: true, allow: [{ path: /acme/** }] }\n`,
  );
  const checked = () => typeJson<{ ok: boolean; inspect: string }>(['check', file]);
  expect((await checked()).json).toMatchObject({
    ok: true,
    inspect: expect.stringContaining('1 host; a start here would be refused'),
  });
  await type(['ca', 'init', '--config', file]);
  expect((await checked()).json.inspect).toMatch(/^1 host, CA valid until Nov 24 .* 2027 GMT$/);
  const more = '  - { host: "*.other.example", inspect: true, read_only: true }\n';
  writeFile(file, readFileSync(file, 'utf8') + more);
  expect((await checked()).json.inspect).toMatch(
    /^2 hosts, CA valid .* GMT; 1 that it does not cover will be refused$/,
  );
});
