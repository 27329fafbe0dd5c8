// Finds the most specific listed pattern or template for a host: exact names by a map, wildcards and templates by the
// literal labels at their end. Matching is by labels; no regular expression is made from what a catalog or a policy says.
import { canonicalAddress } from '../policy/address.ts';
import type { Slot } from './view.ts';

interface Known {
  readonly slot: Slot;
  readonly rank: number;
  /** Labels of the pattern from left to right, without a leading `*`. */
  readonly labels: readonly string[];
  readonly wildcard: boolean;
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
  readonly #tails = new Map<string, Known[]>();

  add(slot: Slot, rank: number): void {
    const wildcard = slot.host.startsWith('*.');
    const bare = wildcard ? slot.host.slice(2) : slot.host;
    const labels = bare.split('.');
    const template = bare.includes('{');
    const literals = labels.filter((label) => label.replace(PARAMETER, '') !== '').length;
    const known: Known = { slot, rank, labels, wildcard, literals };
    if (!wildcard && !template) push(this.#exact, `${slot.port} ${hostOf(bare)}`, known);
    else {
      const tail = literalTail(labels);
      // `{host}` alone would claim every name.
      if (tail !== '') push(this.#tails, `${slot.port} ${tail}`, known);
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
      const tail = labels.slice(at).join('.');
      for (const known of this.#tails.get(`${port} ${tail}`) ?? []) {
        const filled = fill(known, labels);
        if (filled !== null) consider(known, filled, known.literals);
      }
    }
    if (best === null) return null;
    const found: { known: Known; host: string } = best;
    const { slot } = found.known;
    return found.host === slot.host ? slot : { ...slot, host: found.host, several: found.known.wildcard };
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

function literalTail(labels: readonly string[]): string {
  let start = labels.length;
  while (start > 0 && !(labels[start - 1] ?? '').includes('{')) start -= 1;
  return labels.slice(start).join('.');
}

/** The pattern with its templates filled from the host, or null where it does not match. */
function fill(known: Known, host: readonly string[]): string | null {
  const extra = host.length - known.labels.length;
  if (known.wildcard ? extra < 1 : extra !== 0) return null;
  const filled: string[] = [];
  for (const [place, label] of known.labels.entries()) {
    const actual = host[extra + place] ?? '';
    if (!labelMatches(label, actual)) return null;
    filled.push(actual);
  }
  return `${known.wildcard ? '*.' : ''}${filled.join('.')}`;
}

/** `{name}` stands for any text inside one label, at least one character: `prod-{region}-starport-layer-bucket`. */
function labelMatches(template: string, label: string): boolean {
  const parts = template.split(PARAMETER);
  if (parts.length === 1) return template === label;
  const first = parts[0] ?? '';
  const last = parts[parts.length - 1] ?? '';
  if (!label.startsWith(first) || !label.endsWith(last)) return false;
  let at = first.length;
  for (const part of parts.slice(1, -1)) {
    const found = label.indexOf(part, at + 1);
    if (found < 0) return false;
    at = found + part.length;
  }
  return at < label.length - last.length;
}
