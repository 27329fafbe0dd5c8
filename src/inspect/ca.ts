// The CA of inspection, from its files: a bundle of certificates that clients trust, and the key of the one that signs. A bundle
// holds two while the CA is being rotated; the key says which of them is in use. What cannot be used is an error, never a weaker CA.
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { SallyportError } from '../errors.ts';
import { canonicalAddress } from '../policy/address.ts';
import type { Authority } from '../policy/authority.ts';
import { buildCa, type Issuer, type Names, readCa } from './certificate.ts';

export interface CaFiles {
  /** PEM certificates. */
  readonly cert: string;
  /** PKCS#8 in PEM, of P-256; nobody but its owner may read it. */
  readonly key: string;
  readonly passphraseFile: string | null;
}

export interface CaCertificate {
  readonly certificate: X509Certificate;
  /** null: not constrained, so it could stand for every name. */
  readonly names: Names | null;
  /** Whether it is the one that signs. */
  readonly signs: boolean;
}

export interface Ca {
  readonly issuer: Issuer;
  readonly names: Names | null;
  /** All that clients shall trust, in the order of the file. */
  readonly bundle: readonly CaCertificate[];
}

const CURVE = 'prime256v1';
const OTHERS = 0o077;
const PASSPHRASE_MIN = 12;
const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;

/**
 * Reads the CA as the proxy uses it.
 * @throws SallyportError `inspection-ca`
 */
export function loadCa(files: CaFiles, nowMs: number): Ca {
  const key = readKey(files.key, files.passphraseFile);
  const bundle = readBundle(files.cert, key);
  const own = bundle.find(({ signs }) => signs);
  const read = own && readCa(own.certificate);
  if (!own || !read) throw invalid(`${files.key} is not the key of a CA certificate in ${files.cert}`);
  if (Date.parse(own.certificate.validFrom) > nowMs || read.notAfterMs <= nowMs)
    throw invalid(
      `the CA certificate in ${files.cert} is valid from ${own.certificate.validFrom} to ${own.certificate.validTo}`,
      'Make a new one: `sallyport ca rotate`, then `sallyport ca rotate --activate` once clients trust it.',
    );
  return { issuer: { ...read, key }, names: read.names, bundle };
}

/** The certificates of a bundle; `key`, where it is known, says which of them signs. @throws SallyportError `inspection-ca` */
export function readBundle(file: string, key: KeyObject | null): CaCertificate[] {
  const found = read(file).match(PEM_CERTIFICATE) ?? [];
  if (found.length === 0) throw invalid(`${file} holds no PEM certificate`);
  return found.map((pem) => {
    const certificate = parsed(file, () => new X509Certificate(pem));
    const ca = parsed(file, () => readCa(certificate));
    if (ca === null) throw invalid(`${file} holds a certificate that is no CA: ${certificate.subject}`);
    return { certificate, names: ca.names, signs: key !== null && certificate.checkPrivateKey(key) };
  });
}

/** A private key for a CA. @throws SallyportError `inspection-ca` where it is none of P-256, or others may read it */
export function readKey(file: string, passphraseFile: string | null): KeyObject {
  const text = secret(file);
  const passphrase = passphraseFile === null ? null : readPassphrase(passphraseFile);
  const key = parsed(
    file,
    () => createPrivateKey({ key: text, ...(passphrase === null ? {} : { passphrase }) }),
    'The passphrase may be missing (`passphrase_file`) or wrong; the key is PKCS#8 in PEM.',
  );
  if (key.asymmetricKeyDetails?.namedCurve === CURVE) return key;
  throw invalid(
    `${file} is not a key of P-256`,
    'Make one: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256',
  );
}

/** The first line of a file that nobody but its owner may read. @throws SallyportError `inspection-ca` */
export function readPassphrase(file: string): string {
  const [line = ''] = secret(file).split(/\r?\n/, 1);
  if (line.length >= PASSPHRASE_MIN) return line;
  throw invalid(
    `the passphrase in ${file} has fewer than ${PASSPHRASE_MIN} characters`,
    'openssl rand -hex 24 makes one.',
  );
}

/** A new key, as PKCS#8 in PEM. */
export function newKey(passphrase: string | null): { key: KeyObject; pem: string } {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: CURVE });
  const sealed = passphrase === null ? {} : { cipher: 'aes-256-cbc', passphrase };
  return { key: privateKey, pem: privateKey.export({ type: 'pkcs8', format: 'pem', ...sealed }).toString() };
}

/** A certificate for the key. @returns PEM */
export function newCa(key: KeyObject, names: Names, nowMs: number, days: number): string {
  const commonName = `Sallyport CA ${new Date(nowMs).toISOString().slice(0, 10)}`;
  return buildCa({ commonName, names, key, publicKey: createPublicKey(key), nowMs, days });
}

/** Whether the CA may stand for a host: what OpenSSL would say of the name constraints (RFC 5280 §4.2.1.10). */
export function covers(names: Names | null, { host, kind }: Pick<Authority, 'host' | 'kind'>): boolean {
  if (names === null) return true;
  if (kind !== 'name') return names.addresses.some((address) => canonicalAddress(address) === host);
  return names.domains.some((domain) => host === domain || host.endsWith(`.${domain}`));
}

/** A file that nobody but its owner may read. */
function secret(file: string): string {
  const mode = stat(file).mode & 0o777;
  if ((mode & OTHERS) !== 0)
    throw invalid(`${file} may be read by others (mode ${mode.toString(8).padStart(4, '0')})`, `chmod 600 ${file}`);
  return read(file);
}

function stat(file: string): { mode: number } {
  const found = statSync(file, { throwIfNoEntry: false });
  if (found === undefined) throw invalid(`${file} does not exist`, 'Make the CA: `sallyport ca init`.');
  return found;
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw invalid(`${file} cannot be read: ${(error as NodeJS.ErrnoException).code}`, undefined, error);
  }
}

function parsed<T>(file: string, parse: () => T, hint?: string): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof SallyportError) throw error;
    throw invalid(`${file} holds no usable PEM`, hint, error);
  }
}

function invalid(message: string, hint?: string, cause?: unknown): SallyportError {
  return new SallyportError('inspection-ca', message, { cause, ...(hint === undefined ? {} : { hint }) });
}
