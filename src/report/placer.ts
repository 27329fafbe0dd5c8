// Finds the most specific listed pattern or template for a host: exact names by a map, wildcards and templates by the
// literal labels at their end. Matching is by labels; no regular expression is made from what a catalog or a policy says.
import { canonicalAddress } from '../policy/address.ts';
import { literalSuffix } from '../policy/compile.ts';
import { bindTemplate, type Template, templateOf } from '../policy/template.ts';
import type { Slot } from './view.ts';

interface Known {
  readonly slot: Slot;
  readonly rank: number;
  readonly template: Template;
  /** Labels with literal text in them: how specific it is. `{bucket}` says no more than `*`. */
  readonly literals: number;
}

const PARAMETER = /\{[a-z0-9_]+\}/g;
/** A name without wildcard or template is more specific than any with one. */
const EXACT = 1_000;

export class Placer {
  /** Port and host, for names without wildcard or template. */
  readonly #exact = new Map<string, Known[]>();
  /** Port and the literal labels at the end. */
  readonly #suffixes = new Map<string, Known[]>();

  add(slot: Slot, rank: number): void {
    const { host, port } = slot;
    const template = templateOf(host, false);
    const literals = template.labels.filter((label) => label.replace(PARAMETER, '') !== '').length;
    const known: Known = { slot, rank, template, literals };
    if (!template.wildcard && !host.includes('{')) push(this.#exact, `${port} ${hostOf(host)}`, known);
    else {
      const suffix = literalSuffix(host);
      // `{host}` alone would claim every name.
      if (suffix !== '') push(this.#suffixes, `${port} ${suffix}`, known);
    }
  }

  /**
   * The slot for a host; `hint` says what the record named, and wins among equally specific ones.
   * A template's slot comes back with its parameters filled in from the host.
   */
  find(host: string, port: number, hint: { readonly rule: string; readonly group: string }): Slot | null {
    let best: { known: Known; host: string; score: number } | null = null;
    const consider = (known: Known, filled: string, specific: number): void => {
      const named = (known.slot.rule === hint.rule ? 2 : 0) + (known.slot.group === hint.group ? 1 : 0);
      // What the record named comes first, then the most specific, then the rank.
      const score = named * 1_000_000 + specific * 100 - known.rank;
      if (best === null || score > best.score) best = { known, host: filled, score };
    };
    for (const known of this.#exact.get(`${port} ${host}`) ?? []) consider(known, known.slot.host, EXACT);
    const labels = host.split('.');
    for (let at = 0; at < labels.length; at += 1) {
      const suffix = labels.slice(at).join('.');
      for (const known of this.#suffixes.get(`${port} ${suffix}`) ?? []) {
        const filled = fill(known.template, labels);
        if (filled !== null) consider(known, filled, known.literals);
      }
    }
    if (best === null) return null;
    const found: { known: Known; host: string } = best;
    const { slot } = found.known;
    return found.host === slot.host ? slot : { ...slot, host: found.host, several: found.known.template.wildcard };
  }
}

function push(map: Map<string, Known[]>, key: string, known: Known): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [known]);
  else list.push(known);
}

/** Patterns show an IPv6 address in brackets, records without. */
function hostOf(text: string): string {
  const inner = text.startsWith('[') ? text.slice(1, -1) : text;
  return canonicalAddress(inner) ?? inner;
}

/** The template with its parameters filled from the host, or null where it does not match. */
function fill(template: Template, host: readonly string[]): string | null {
  if (bindTemplate(template, host) === null) return null;
  return `${template.wildcard ? '*.' : ''}${host.slice(host.length - template.labels.length).join('.')}`;
}
