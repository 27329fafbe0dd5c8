// The certificate of the TLS listener: read from its files at the start, and again when they change or at SIGHUP. One that is no good
// leaves the one before in use and is said: a renewal that went wrong must not take the listener down.
import type { Logger } from 'pino';
import { signaturesOf } from '../catalog/load-signature.ts';
import type { TlsSettings } from '../config/identity.ts';
import type { ProxyContext } from '../proxy/context.ts';
import { TlsEntrance } from '../proxy/tls-entrance.ts';
import { describeCertificate, readMaterial } from './certificate-files.ts';

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
    this.entrance = new TlsEntrance(parts.ctx, material, parts.settings);
    parts.log.info({ certificate: describeCertificate(material) }, 'the certificate of the TLS listener was loaded');
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
      this.entrance.renew(material);
      log.info({ certificate: describeCertificate(material) }, 'the certificate of the TLS listener was renewed');
      note('certificate-loaded', describeCertificate(material));
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      log.error({ why }, 'the new certificate of the TLS listener cannot be used; the one before stays');
      note('certificate-refused', why);
    }
  }
}

function signatures({ cert, key, clientCa }: TlsSettings): string {
  return signaturesOf([cert, key, clientCa]);
}
