// A certificate and its key from their files, for the TLS listener and for the admin listener: what cannot be used is said with the file
// that is wrong, at a start and by `check`.
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import type { Settings } from '../config/config.ts';
import { SallyportError } from '../errors.ts';
import { contextOf, type TlsMaterial } from '../proxy/tls-entrance.ts';

export interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
  /** Null where nobody is asked for a certificate. */
  readonly clientCa: string | null;
}

/** @throws SallyportError `tls-invalid` with what is wrong and the file */
export function readMaterial({ cert, key, clientCa }: CertificateFiles): TlsMaterial {
  const material = { cert: read(cert), key: read(key), clientCa: clientCa === null ? null : read(clientCa) };
  const certificate = parsed(cert, () => new X509Certificate(material.cert));
  const privateKey = parsed(key, () => createPrivateKey(material.key));
  if (!certificate.checkPrivateKey(privateKey)) throw invalid(`${key} is not the key of the certificate in ${cert}`);
  if (clientCa !== null) parsed(clientCa, () => new X509Certificate(material.clientCa ?? ''));
  try {
    // OpenSSL takes some well-formed certificates not: a key too short, a chain out of order.
    createSecureContext(contextOf(material));
  } catch (error) {
    throw invalid(`the certificate in ${cert} cannot be used: ${(error as NodeJS.ErrnoException).code}`, error);
  }
  return material;
}

/** The same for `admin.tls`. */
export function readAdminMaterial(files: Settings['admin']): TlsMaterial | null {
  const tls = files?.tls ?? null;
  return tls === null ? null : readMaterial({ ...tls, clientCa: null });
}

/** For a person: whose it is and until when. */
export function describeCertificate({ cert }: TlsMaterial): string {
  const { subject, validTo } = new X509Certificate(cert);
  return `${subject.replaceAll('\n', ', ')}, valid until ${validTo}`;
}

/** What `sallyport check` says of the certificates of both listeners; null where there are none. */
export function certificatesText({ identity: { tls }, admin }: Settings): string | null {
  const texts = [
    tls && textOf('clients', () => readMaterial(tls)),
    admin?.tls && textOf('admin', () => readAdminMaterial(admin)),
  ].filter((text) => typeof text === 'string');
  return texts.length === 0 ? null : texts.join('; ');
}

function textOf(whose: string, material: () => TlsMaterial | null): string {
  try {
    const found = material();
    return `${whose}: ${found === null ? 'none' : describeCertificate(found)}`;
  } catch (error) {
    if (!(error instanceof SallyportError)) throw error;
    return `${whose}: a start here would be refused: ${error.message}`;
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw invalid(`${file} cannot be read: ${(error as NodeJS.ErrnoException).code}`, error);
  }
}

function parsed<T>(file: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw invalid(`${file} holds no usable PEM`, error);
  }
}

function invalid(message: string, cause?: unknown): SallyportError {
  return new SallyportError('tls-invalid', message, { cause });
}
