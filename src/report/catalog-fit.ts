// The catalog read backwards: which group, with which parameters, lets a host through. PURE.
// It never widens: a value must be one that the group takes, and what the group then says must cover the host and port.
import {
  type Catalog,
  type CatalogEntry,
  type CatalogGroup,
  expandGroup,
  spokenOn,
  templateParameters,
} from '../catalog/catalog.ts';
import { bindTemplate, type Template, templateOf } from '../policy/template.ts';

export interface Wanted {
  readonly host: string;
  readonly port: number;
  readonly kind: 'connect' | 'forward';
}

export interface Fit {
  readonly group: CatalogGroup;
  readonly entry: CatalogEntry;
  readonly values: ReadonlyMap<string, string>;
}

interface Listed {
  readonly group: CatalogGroup;
  readonly entry: CatalogEntry;
}

/** Exact hosts by name, templates and wildcards by their last label. */
export class CatalogFit {
  readonly #exact = new Map<string, Listed[]>();
  readonly #others = new Map<string, (Listed & { readonly template: Template })[]>();

  constructor(catalog: Catalog) {
    for (const group of catalog.groups.values()) {
      // A parameter that is a whole host fits everything and says nothing.
      const own = new Set(group.parameters.filter(({ kind }) => kind === 'host').map(({ name }) => name));
      if (group.requires !== undefined) continue;
      for (const entry of group.entries) {
        const names = templateParameters(entry.host);
        if (entry.via === 'direct' || entry.paths !== undefined || names.some((name) => own.has(name))) continue;
        if (names.length === 0 && !entry.host.startsWith('*.')) push(this.#exact, entry.host, { group, entry });
        else {
          const template = templateOf(entry.host, group.source === 'published');
          push(this.#others, template.labels.at(-1) ?? '', { group, entry, template });
        }
      }
    }
  }

  /** The entry that fits best: an exact host, then the most literal text, then what is published. */
  fit(wanted: Wanted): Fit | null {
    const exact = (this.#exact.get(wanted.host) ?? []).filter(
      ({ group, entry }) => speaks(entry, wanted) && !group.parameters.some(({ required }) => required),
    );
    const first = exact.find(({ group }) => group.source === 'published') ?? exact[0];
    if (first !== undefined) return { ...first, values: new Map() };
    const labels = wanted.host.split('.');
    let best: (Fit & { readonly score: number }) | null = null;
    for (const { group, entry, template } of this.#others.get(labels.at(-1) ?? '') ?? []) {
      if (!speaks(entry, wanted) || (best !== null && template.score <= best.score)) continue;
      const values = bindTemplate(template, labels);
      if (values === null || !expandGroup(group, Object.fromEntries(values)).ok) continue;
      best = { group, entry, values, score: template.score };
    }
    return best;
  }
}

/** An entry admits CONNECT or plain HTTP on a port, never both. */
export function speaks(entry: CatalogEntry, { port, kind }: Wanted): boolean {
  return entry.ports.includes(port) && (spokenOn(entry, port) === 'http') === (kind === 'forward');
}

function push<V>(map: Map<string, V[]>, key: string, value: V): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}
