// The certificate of the TLS listener: read from its files at the start, and again when they change or at SIGHUP. One that is no good
// leaves the one before in use and is said: a renewal that went wrong must not take the listener down.
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import type { Logger } from 'pino';
import { fileSignature } from '../catalog/load-signature.ts';
import type { TlsSettings } from '../config/identity.ts';
import { SallyportError } from '../errors.ts';
import type { ProxyContext } from '../proxy/context.ts';
import { TlsEntrance, type TlsMaterial } from '../proxy/tls-entrance.ts';

interface Parts {
  readonly ctx: ProxyContext;
  readonly settings: TlsSettings;
  readonly log: Logger;
  /** Puts it into the audit log; never throws. */
  readonly note: (result: 'certificate-loaded' | 'certificate-refused', detail: string) => void;
}

export class TlsFiles {
  readonly entrance: TlsEntrance;
  readonly #parts: Parts;
  #settings: TlsSettings;
  #seen: string;
  #timer: NodeJS.Timeout | null = null;
  #closed = false;

  /** @throws SallyportError `tls-invalid` */
  constructor(parts: Parts) {
    this.#parts = parts;
    this.#settings = parts.settings;
    // Before they are read: what is written meanwhile shows as a change.
    this.#seen = signatures(parts.settings);
    const material = readMaterial(parts.settings);
    this.entrance = usable(parts.settings, () => new TlsEntrance(parts.ctx, material, parts.settings));
    parts.log.info({ certificate: describe(material) }, 'the certificate of the TLS listener was loaded');
  }

  /** Settings of a reload; the files are read at once where they are others, or have changed. */
  use(settings: TlsSettings): void {
    this.#settings = settings;
    this.entrance.use(settings);
    this.#look();
  }

  /** Looks at the files every limits.watch_interval_ms from now on. */
  watch(): void {
    if (this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#look();
      this.watch();
    }, this.#parts.ctx.limits.watch_interval_ms);
    this.#timer.unref();
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  #look(): void {
    const { log, note } = this.#parts;
    const looked = signatures(this.#settings);
    if (looked === this.#seen) return;
    this.#seen = looked;
    try {
      const material = readMaterial(this.#settings);
      usable(this.#settings, () => this.entrance.renew(material));
      log.info({ certificate: describe(material) }, 'the certificate of the TLS listener was renewed');
      note('certificate-loaded', describe(material));
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      log.error({ why }, 'the new certificate of the TLS listener cannot be used; the one before stays');
      note('certificate-refused', why);
    }
  }
}

/** OpenSSL takes some well-formed certificates not: a key too short, a chain out of order. */
function usable<T>({ cert }: TlsSettings, make: () => T): T {
  try {
    return make();
  } catch (error) {
    throw invalid(`the certificate in ${cert} cannot be used: ${(error as NodeJS.ErrnoException).code}`, error);
  }
}

/** @throws SallyportError `tls-invalid` with what is wrong and the file */
function readMaterial({ cert, key, clientCa }: TlsSettings): TlsMaterial {
  const material = { cert: read(cert), key: read(key), clientCa: clientCa === null ? null : read(clientCa) };
  const certificate = parsed(cert, () => new X509Certificate(material.cert));
  const privateKey = parsed(key, () => createPrivateKey(material.key));
  if (!certificate.checkPrivateKey(privateKey)) throw invalid(`${key} is not the key of the certificate in ${cert}`);
  if (clientCa !== null) parsed(clientCa, () => new X509Certificate(material.clientCa ?? ''));
  return material;
}

/** For the log: whose it is and until when. */
function describe({ cert }: TlsMaterial): string {
  const { subject, validTo } = new X509Certificate(cert);
  return `${subject.replaceAll('\n', ', ')}, valid until ${validTo}`;
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

function signatures({ cert, key, clientCa }: TlsSettings): string {
  const files = [cert, key, ...(clientCa === null ? [] : [clientCa])];
  return files
    .map((file) => {
      const found = statSync(file, { bigint: true, throwIfNoEntry: false });
      return `${file} ${found === undefined ? 'missing' : fileSignature(found)}`;
    })
    .join('\n');
}
