// What the catalog knows about hosts that a rule covers: watched services, names that anyone may own, domains of others.
// PURE. Built once for a catalog; each question costs as many look-ups as the pattern has labels.
import { type Catalog, templateParameters, type WatchedHost, type WatchKind } from '../catalog/catalog.ts';
import { isMultiTenant, type Pattern, parsePattern, registrableDomain } from '../policy/pattern.ts';
import { parents } from './lint-cover.ts';

export interface Watched {
  readonly pattern: Pattern;
  readonly host: WatchedHost;
}

/** What is wrong with each kind, behind "lets builds reach HOST (WHAT), ". */
const CARRIES: Readonly<Record<Exclude<WatchKind, 'doh' | 'shared'>, string>> = {
  tunnel: 'which makes a machine of anybody reachable',
  paste: 'where anyone may store and read texts',
  upload: 'where anyone may store and fetch files',
  webhook: 'which shows what it is sent to whoever asked for the address',
};

/** Watched hosts by the ways in which a pattern can meet them. */
class WatchIndex {
  readonly #exact = new Map<string, Watched>();
  readonly #below = new Map<string, Watched>();
  /** By every domain above a watched host: what a wildcard there lets through. */
  readonly #under = new Map<string, Watched[]>();

  add(watched: Watched): void {
    const { host, kind } = watched.pattern;
    const index = kind === 'wildcard' ? this.#below : this.#exact;
    if (!index.has(host)) index.set(host, watched);
    if (kind === 'address') return;
    for (const domain of parents(host)) {
      const list = this.#under.get(domain);
      if (list === undefined) this.#under.set(domain, [watched]);
      else list.push(watched);
    }
  }

  /** Every watched host that the pattern lets through, or that it lies in. */
  meets(pattern: Pattern): readonly Watched[] {
    if (pattern.kind === 'address') return this.covers(pattern);
    const around = [...parents(pattern.host)].map((domain) => this.#below.get(domain));
    return [...this.covers(pattern), ...around.filter((one) => one !== undefined)];
  }

  /** Watched hosts that the pattern lets through whole. */
  covers({ host, kind }: Pattern): readonly Watched[] {
    const own = (kind === 'wildcard' ? this.#below : this.#exact).get(host);
    const inside = kind === 'wildcard' ? (this.#under.get(host) ?? []) : [];
    return own === undefined ? inside : [own, ...inside];
  }
}

export class KnownHosts {
  readonly #doh = new WatchIndex();
  readonly #carriers = new WatchIndex();
  readonly #shared = new WatchIndex();
  readonly #domains = new Map<string, string>();
  readonly #multiTenant = new Set<string>();

  constructor(catalog: Catalog) {
    for (const host of catalog.watch) {
      const parsed = parsePattern(host.host);
      if (!parsed.ok) continue;
      const index = host.kind === 'doh' ? this.#doh : host.kind === 'shared' ? this.#shared : this.#carriers;
      index.add({ pattern: parsed.pattern, host });
    }
    for (const group of catalog.groups.values()) {
      for (const entry of group.entries) {
        if (entry.multi_tenant) this.#multiTenant.add(entry.id);
        // What stands behind the last parameter; a whole host of the operator's leaves nothing.
        const fixed = entry.host.slice(entry.host.lastIndexOf('}') + 1).replace(/^\*?\./, '');
        const domain = entry.source === 'operator' || fixed === '' ? null : registrableDomain(fixed);
        if (domain !== null && !this.#domains.has(domain)) this.#domains.set(domain, group.id);
        if (entry.multi_tenant && templateParameters(entry.host).length === 0) this.#share(entry.host, group.title);
      }
    }
  }

  #share(host: string, what: string): void {
    const parsed = parsePattern(host);
    if (parsed.ok) this.#shared.add({ pattern: parsed.pattern, host: { host, kind: 'shared', what, cite: '' } });
  }

  /** Resolvers over HTTPS that the pattern lets through. */
  resolvers(pattern: Pattern): readonly Watched[] {
    return this.#doh.meets(pattern);
  }

  /** Services that hand data to anyone, and in which way. */
  carriers(pattern: Pattern): readonly { readonly watched: Watched; readonly how: string }[] {
    return this.#carriers.meets(pattern).flatMap((watched) => {
      const { kind } = watched.host;
      return kind === 'doh' || kind === 'shared' ? [] : [{ watched, how: CARRIES[kind] }];
    });
  }

  /** True for a catalog entry that is marked multi-tenant. */
  isMarked(entry: string): boolean {
    return this.#multiTenant.has(entry);
  }

  /** Why anyone may own a name under a wildcard; null where nothing says so. */
  strangers(pattern: Pattern): string | null {
    if (pattern.kind !== 'wildcard') return null;
    const [shared] = this.#shared.covers(pattern);
    if (shared !== undefined) return shared.host.what;
    return isMultiTenant(pattern) ? 'private section of the Public Suffix List' : null;
  }

  /** The catalog group that names hosts in the domain which the wildcard covers whole; null elsewhere. */
  wholeDomainOf(pattern: Pattern): string | null {
    if (pattern.kind !== 'wildcard' || registrableDomain(pattern.host) !== pattern.host) return null;
    return this.#domains.get(pattern.host) ?? null;
  }
}
