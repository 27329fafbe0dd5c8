// The CA of inspection and what it signs, judged by OpenSSL and by Node, never by ourselves.
import { execFileSync } from 'node:child_process';
import { createPublicKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { SallyportError } from '../../src/errors.ts';
import { type Ca, covers, loadCa, newCa, newKey } from '../../src/inspect/ca.ts';
import { buildLeaf, type Names, readCa, spkiOf } from '../../src/inspect/certificate.ts';
import { Leaves } from '../../src/inspect/leaves.ts';
import { createMeter, DEFAULT_LIMITS } from '../../src/limits.ts';
import { hasProgram } from '../support/programs.ts';
import fc from '../support/property.ts';
import { tempDir, writeFile } from '../support/temp.ts';

const dir = tempDir('ca');
const NAMES: Names = { domains: ['git.test', 'corp.example'], addresses: [] };
let files = 0;

function caFiles(names: Names = NAMES, { days = 365, passphrase = null as string | null, nowMs = Date.now() } = {}) {
  const id = ++files;
  const { key, pem } = newKey(passphrase);
  const made = newCa(key, names, nowMs, days);
  return {
    cert: writeFile(join(dir, `${id}.pem`), made),
    key: writeFile(join(dir, `${id}.key`), pem, 0o600),
    passphraseFile: passphrase === null ? null : writeFile(join(dir, `${id}.pass`), `${passphrase}\n`, 0o600),
  };
}

const leafKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey;
const leafOf = (ca: Ca, host: string, kind: 'name' | 'address', nowMs = Date.now()): string =>
  buildLeaf(ca.issuer, host, kind, spkiOf(leafKey), nowMs);

/** What OpenSSL says of a leaf: `OK`, or the reason. */
function verdict(files: { readonly cert: string }, host: string, kind: 'name' | 'address', leaf: string): string {
  const file = writeFile(join(dir, 'leaf.pem'), leaf);
  const name = kind === 'name' ? ['-verify_hostname', host] : ['-verify_ip', host];
  const args = ['verify', '-x509_strict', '-purpose', 'sslserver', '-no-CApath', '-CAfile', files.cert, ...name, file];
  try {
    return execFileSync('openssl', args, { encoding: 'utf8', stdio: 'pipe' }).trim().split(': ').at(-1) ?? '';
  } catch (error) {
    return /lookup: (.*)/.exec(String((error as { stderr: string }).stderr))?.[1] ?? String(error);
  }
}

const refused = (run: () => unknown): SallyportError => {
  try {
    run();
  } catch (error) {
    if (error instanceof SallyportError) return error;
    throw error;
  }
  throw new Error('nothing was refused');
};

describe.skipIf(!hasProgram('openssl'))('what OpenSSL takes, strictly', () => {
  it.each<[Names, string, 'name' | 'address', string]>([
    [NAMES, 'git.test', 'name', 'OK'],
    [NAMES, 'a.b.corp.example', 'name', 'OK'],
    [NAMES, `${'a'.repeat(63)}.corp.example`, 'name', 'OK'],
    [NAMES, 'evil.test', 'name', 'permitted subtree violation'],
    [NAMES, 'evilgit.test', 'name', 'permitted subtree violation'],
    [NAMES, '127.0.0.1', 'address', 'excluded subtree violation'],
    [NAMES, '::1', 'address', 'excluded subtree violation'],
    [{ domains: [], addresses: ['127.0.0.1'] }, '127.0.0.1', 'address', 'OK'],
    [{ domains: [], addresses: ['2001:db8::1'] }, '2001:db8::1', 'address', 'OK'],
    [{ domains: [], addresses: ['127.0.0.1'] }, '127.0.0.2', 'address', 'permitted subtree violation'],
    [{ domains: [], addresses: ['127.0.0.1'] }, '::1', 'address', 'permitted subtree violation'],
    [{ domains: [], addresses: ['127.0.0.1'] }, 'git.test', 'name', 'excluded subtree violation'],
  ])('of a CA for %j a leaf for %s (%s): %s', (names, host, kind, said) => {
    const files = caFiles(names);
    const ca = loadCa(files, Date.now());
    expect(verdict(files, host, kind, leafOf(ca, host, kind))).toBe(said);
    // What we would ever sign is what OpenSSL takes.
    const asked = { host, kind: kind === 'name' ? 'name' : host.includes(':') ? 'ipv6' : 'ipv4' } as const;
    expect(covers(ca.names, asked)).toBe(said === 'OK');
  });
});

it('a leaf lives for two days at most, never longer than its CA, and is valid for clocks that are an hour behind', () => {
  const ca = loadCa(caFiles(NAMES, { days: 1 }), Date.now());
  const leaf = new X509Certificate(leafOf(ca, 'git.test', 'name'));
  expect(Date.parse(leaf.validTo)).toBe(ca.issuer.notAfterMs);
  expect(Date.parse(leaf.validFrom)).toBeLessThan(Date.now() - 3_500_000);
  const long = new X509Certificate(leafOf(loadCa(caFiles(), Date.now()), 'git.test', 'name'));
  expect(Date.parse(long.validTo) - Date.now()).toBeLessThanOrEqual(172_800_000);
});

it('every serial number is positive, of 16 bytes and another one', () => {
  const ca = loadCa(caFiles(), Date.now());
  const serials = Array.from({ length: 50 }, () => new X509Certificate(leafOf(ca, 'git.test', 'name')).serialNumber);
  expect(new Set(serials).size).toBe(50);
  for (const serial of serials) expect(serial).toMatch(/^[4-7][\dA-F]{31}$/);
});

it('reads back the names that a CA was made for, whatever they are', () => {
  const label = fc.stringMatching(/^[a-z]([a-z0-9-]{0,20}[a-z0-9])?$/);
  const domain = fc.array(label, { minLength: 1, maxLength: 3 }).map((labels) => `${labels.join('.')}.test`);
  const names = fc.record({
    domains: fc.uniqueArray(domain, { maxLength: 3 }),
    addresses: fc.uniqueArray(fc.ipV4(), { maxLength: 2 }),
  });
  const { key } = newKey(null);
  fc.assert(
    fc.property(names, (wanted) => {
      const read = readCa(new X509Certificate(newCa(key, wanted, Date.now(), 1)));
      expect(read?.names).toEqual(wanted);
    }),
    { numRuns: 30 },
  );
});

describe('the files of a CA', () => {
  it.each([0o640, 0o604, 0o660, 0o644])('a key of mode %o is refused', (mode) => {
    const made = caFiles();
    chmodSync(made.key, mode);
    const error = refused(() => loadCa(made, Date.now()));
    expect(error.code).toBe('inspection-ca');
    expect(error.message).toContain('may be read by others');
    expect(error.hint).toContain('chmod 600');
  });

  it('a key with a passphrase opens with it, and with no other', () => {
    const made = caFiles(NAMES, { passphrase: 'correct horse battery' });
    expect(loadCa(made, Date.now()).names).toEqual(NAMES);
    expect(refused(() => loadCa({ ...made, passphraseFile: null }, Date.now())).message).toContain('no usable PEM');
    writeFileSync(made.passphraseFile as string, 'another horse battery\n');
    expect(refused(() => loadCa(made, Date.now())).hint).toContain('passphrase');
    chmodSync(made.passphraseFile as string, 0o644);
    expect(refused(() => loadCa(made, Date.now())).message).toContain('may be read by others');
  });

  it('a key of another certificate, of another curve, a leaf as CA, no PEM and no file are refused', () => {
    const made = caFiles();
    const other = caFiles();
    const rsa = generateKeyPairSync('rsa', { modulusLength: 2_048 }).privateKey;
    const rsaKey = writeFile(join(dir, 'rsa.key'), rsa.export({ type: 'pkcs8', format: 'pem' }).toString(), 0o600);
    const leaf = writeFile(join(dir, 'only-leaf.pem'), leafOf(loadCa(made, Date.now()), 'git.test', 'name'));
    const said = (files: Partial<typeof made>): string =>
      refused(() => loadCa({ ...made, ...files }, Date.now())).message;
    expect(said({ key: other.key })).toContain('is not the key of a CA certificate');
    expect(said({ key: rsaKey })).toContain('not a key of P-256');
    expect(said({ cert: leaf })).toContain('is no CA');
    expect(said({ cert: made.key })).toContain('no PEM certificate');
    expect(said({ cert: join(dir, 'absent.pem') })).toContain('ENOENT');
    expect(said({ key: join(dir, 'absent.key') })).toContain('does not exist');
  });

  it('a CA that has ended, or does not count yet, is refused', () => {
    const past = caFiles(NAMES, { days: 1, nowMs: Date.now() - 3 * 86_400_000 });
    expect(refused(() => loadCa(past, Date.now())).hint).toContain('ca rotate');
    const future = caFiles(NAMES, { nowMs: Date.now() + 86_400_000 });
    expect(refused(() => loadCa(future, Date.now())).message).toContain('is valid from');
  });
});

describe('leaves', () => {
  const leaves = (limits = {}, now = Date.now) => {
    const meter = createMeter();
    const made = caFiles();
    return { meter, made, leaves: new Leaves(loadCa(made, now()), { ...DEFAULT_LIMITS, ...limits }, meter, now) };
  };
  const named = (host: string) => ({ host, kind: 'name' as const });

  it('are made once for a host, and again when half of their life is over or the CA is another', () => {
    let nowMs = Date.now();
    const { leaves: all } = leaves({}, () => nowMs);
    const first = all.contextFor(named('git.test'));
    expect(first).not.toBeNull();
    expect(all.contextFor(named('git.test'))).toBe(first);
    expect(all.made).toBe(1);
    nowMs += 86_400_001;
    expect(all.contextFor(named('git.test'))).not.toBe(first);
    all.use(loadCa(caFiles(), nowMs));
    all.contextFor(named('git.test'));
    expect(all.made).toBe(3);
  });

  it('are none for a host that the CA does not cover, or after its end', () => {
    let nowMs = Date.now();
    const { leaves: all } = leaves({}, () => nowMs);
    expect(all.contextFor(named('evil.test'))).toBeNull();
    expect(all.contextFor({ host: '127.0.0.1', kind: 'ipv4' })).toBeNull();
    nowMs += 366 * 86_400_000;
    expect(all.contextFor(named('git.test'))).toBeNull();
    expect(all.made).toBe(0);
  });

  it('are at most inspect_leaves_max; the least used goes, and that is counted', () => {
    const { leaves: all, meter } = leaves({ inspect_leaves_max: 2 });
    for (const host of ['a.corp.example', 'b.corp.example']) all.contextFor(named(host));
    expect(meter.hits.get('inspect_leaves_max')).toBeUndefined();
    all.contextFor(named('c.corp.example'));
    expect(meter.hits.get('inspect_leaves_max')).toBe(1);
    all.contextFor(named('a.corp.example'));
    expect(all.made).toBe(4);
  });
});

it('takes a key whose point looks like DER: a point begins with 4, an octet string of that length to who guesses', () => {
  const { key } = newKey(null);
  const ca = readCa(new X509Certificate(newCa(key, NAMES, Date.now(), 1)));
  for (let tried = 0; tried < 20_000; tried += 1) {
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const spki = publicKey.export({ type: 'spki', format: 'der' });
    // 65 bytes of a point end the structure; behind tag and length there are 63.
    if (spki.at(-64) !== 63) continue;
    const leaf = new X509Certificate(buildLeaf({ ...ca!, key }, 'git.test', 'name', spkiOf(publicKey), Date.now()));
    return expect(leaf.publicKey.equals(publicKey)).toBe(true);
  }
  throw new Error('no such key among 20,000: one in 256 is one');
});

it('a public key in a certificate is the one it was made for', () => {
  const leaf = new X509Certificate(leafOf(loadCa(caFiles(), Date.now()), 'git.test', 'name'));
  expect(createPublicKey(leaf.publicKey.export({ type: 'spki', format: 'pem' })).equals(leafKey)).toBe(true);
  expect(leaf.subjectAltName).toBe('DNS:git.test');
});
