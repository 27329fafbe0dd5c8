// The CA of inspection of a running proxy: read at the start, and again when its files change, are named anew or at SIGHUP. One that is
// no good leaves the one before in use and is said. Code for certificates is loaded only where something is inspected.
import type { Logger } from 'pino';
import { signaturesOf } from '../catalog/load-signature.ts';
import type { InspectionSettings } from '../config/config.ts';
import { SallyportError } from '../errors.ts';
import type { Names } from '../inspect/certificate.ts';
import type { Leaves } from '../inspect/leaves.ts';
import type { CompiledPolicy } from '../policy/compile.ts';
import { inspectedNames } from '../policy/inspect.ts';
import type { ProxyContext } from '../proxy/context.ts';

interface Parts {
  readonly ctx: Pick<ProxyContext, 'inspector' | 'limits' | 'meter'>;
  readonly log: Logger;
  /** Puts it into the audit log; never throws. */
  readonly note: (result: 'inspection-ca-loaded' | 'inspection-ca-refused', detail: string) => void;
}

export class InspectionCa {
  readonly #parts: Parts;
  #settings: InspectionSettings | null = null;
  #policy: CompiledPolicy | null = null;
  #leaves: Leaves | null = null;
  /** What the CA in use may stand for; null: everything. */
  #names: Names | null = null;
  /** Inspected hosts that it does not cover, as they were said. */
  #told: ReadonlySet<string> = new Set();
  #seen = '';
  #timer: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** @throws SallyportError `inspection-ca` */
  async start(settings: InspectionSettings | null, policy: CompiledPolicy): Promise<void> {
    this.#settings = settings;
    this.#policy = policy;
    if (settings === null) return;
    // Before they are read: what is written meanwhile shows as a change.
    this.#seen = signatures(settings);
    await this.#read(settings);
  }

  /** Settings of a reload. A CA that is not read yet lets nothing pass. */
  use(settings: InspectionSettings | null, policy: CompiledPolicy): void {
    this.#settings = settings;
    this.#policy = policy;
    void this.#look().then(() => this.#warn());
  }

  /** Looks at the files every limits.watch_interval_ms from now on. */
  watch(): void {
    if (this.#closed) return;
    this.#timer = setTimeout(() => {
      void this.#look().then(() => this.watch());
    }, this.#parts.ctx.limits.watch_interval_ms);
    this.#timer.unref();
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  async #look(): Promise<void> {
    const { ctx, log, note } = this.#parts;
    const settings = this.#settings;
    if (settings === null) {
      this.#seen = '';
      this.#leaves = null;
      return ctx.inspector.use(null);
    }
    const looked = signatures(settings);
    if (looked === this.#seen) return;
    this.#seen = looked;
    try {
      note('inspection-ca-loaded', await this.#read(settings));
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      log.error({ why }, 'the new CA of inspection cannot be used; the one before stays');
      note('inspection-ca-refused', why);
    }
  }

  /** @returns what it is, for the log */
  async #read(settings: InspectionSettings): Promise<string> {
    const { ctx, log } = this.#parts;
    const { loadCa } = await import('../inspect/ca.ts');
    const { Leaves } = await import('../inspect/leaves.ts');
    const ca = loadCa(settings.ca, Date.now());
    if (this.#leaves) this.#leaves.use(ca);
    else this.#leaves = new Leaves(ca, ctx.limits, ctx.meter);
    ctx.inspector.use(this.#leaves);
    const own = ca.bundle.find(({ signs }) => signs)?.certificate;
    const text = `${own?.subject.replaceAll('\n', ', ')}, valid until ${own?.validTo}`;
    log.info({ ca: text, trusted: ca.bundle.length }, 'the CA of inspection was loaded');
    if (ca.names === null)
      log.warn('the CA of inspection is not constrained to names: who has its key can stand for every host');
    this.#names = ca.names;
    this.#told = new Set();
    await this.#warn();
    return text;
  }

  /** Says which inspected hosts are refused for want of a certificate, each once for a CA. */
  async #warn(): Promise<void> {
    if (this.#leaves === null || this.#policy === null) return;
    const found = await uncovered(this.#names, this.#policy);
    for (const pattern of found) {
      if (this.#told.has(pattern)) continue;
      this.#parts.log.warn(
        { pattern },
        'the CA of inspection may not stand for a host that a rule inspects: it is refused until `sallyport ca rotate` names it',
      );
    }
    this.#told = new Set(found);
  }
}

/** The inspected hosts that a CA of these names may not stand for. */
async function uncovered(names: Names | null, policy: CompiledPolicy): Promise<string[]> {
  const { covers } = await import('../inspect/ca.ts');
  const { parsePattern } = await import('../policy/pattern.ts');
  return inspectedNames(policy).filter((pattern) => {
    const parsed = parsePattern(pattern);
    return parsed.ok && !covers(names, { host: parsed.pattern.host, kind: kindOf(parsed.pattern.kind) });
  });
}

/** What `sallyport check` says of it: how many hosts are inspected, and whether this machine has a CA that can be used for them. */
export async function inspectionText(
  settings: InspectionSettings | null,
  policy: CompiledPolicy,
  nowMs: number,
): Promise<string | null> {
  const names = inspectedNames(policy);
  if (settings === null || names.length === 0) return null;
  const hosts = `${names.length} ${names.length === 1 ? 'host' : 'hosts'}`;
  const { loadCa } = await import('../inspect/ca.ts');
  try {
    const ca = loadCa(settings.ca, nowMs);
    const own = ca.bundle.find(({ signs }) => signs);
    const { length } = await uncovered(ca.names, policy);
    const missing = length === 0 ? '' : `; ${length} that it does not cover will be refused`;
    return `${hosts}, CA valid until ${own?.certificate.validTo}${missing}`;
  } catch (error) {
    if (!(error instanceof SallyportError)) throw error;
    return `${hosts}; a start here would be refused: ${error.message}`;
  }
}

function kindOf(kind: 'exact' | 'wildcard' | 'address'): 'name' | 'ipv4' {
  return kind === 'address' ? 'ipv4' : 'name';
}

function signatures({ ca }: InspectionSettings): string {
  return signaturesOf([ca.cert, ca.key, ca.passphraseFile]);
}
