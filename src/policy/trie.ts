// Reversed-label trie in flat typed arrays: a look-up costs by the labels of the host, not by the rules of the policy.
// Edges live in one open-addressing table keyed by (parent, label); label bytes lie in one array; each node has the
// head of a linked list per kind of item. Nothing here knows what an item means. No recursion, no allocation on look-up.
// A worker can transfer it: a cloned object trie of 100,000 rules stalls the main thread for more than half a second.

/** A look-up sees at most this many labels: 253 bytes hold 127. */
export const LABELS_MAX = 127;

export interface Trie {
  /** Lists per node. */
  readonly lists: number;
  readonly nodes: number;
  readonly parent: Int32Array<ArrayBuffer>;
  readonly firstChild: Int32Array<ArrayBuffer>;
  readonly nextSibling: Int32Array<ArrayBuffer>;
  readonly childCount: Int32Array<ArrayBuffer>;
  readonly labelStart: Uint32Array<ArrayBuffer>;
  readonly labelLength: Uint8Array<ArrayBuffer>;
  readonly labelBytes: Uint8Array<ArrayBuffer>;
  /** Open addressing with linear probing: node number or 0; the length is a power of two, at most half full. */
  readonly table: Int32Array<ArrayBuffer>;
  /** heads[node * lists + list]: first item or -1. */
  readonly heads: Int32Array<ArrayBuffer>;
  /** next[item]: the following item of the same list or -1. */
  readonly next: Int32Array<ArrayBuffer>;
}

/** FNV-1a over the parent and the label text[start..end), then mixed: the table uses only the low bits. */
function hashOf(parent: number, text: string, start: number, end: number): number {
  let hash = Math.imul(parent ^ 0x811c9dc5, 0x01000193);
  for (let at = start; at < end; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  // Without this (Murmur3's last steps) names that count up, build-1, build-2 …, crowd together in the table.
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** The child of a node along the label text[start..end); 0 where there is none. */
export function childOf(trie: Trie, parent: number, text: string, start: number, end: number): number {
  const { table, labelStart, labelLength, labelBytes } = trie;
  const mask = table.length - 1;
  const length = end - start;
  let slot = hashOf(parent, text, start, end) & mask;
  for (;;) {
    const node = table[slot] ?? 0;
    if (node === 0) return 0;
    if (trie.parent[node] === parent && labelLength[node] === length) {
      const offset = (labelStart[node] ?? 0) - start;
      let at = start;
      while (at < end && labelBytes[offset + at] === text.charCodeAt(at)) at += 1;
      if (at === end) return node;
    }
    slot = (slot + 1) & mask;
  }
}

/** The first item of a node's list, -1 where it is empty. */
export function headOf(trie: Trie, node: number, list: number): number {
  return trie.heads[node * trie.lists + list] ?? -1;
}

/**
 * True where one edit (insert, delete, replace) or one swap of neighbours makes the node's label into text[start..end).
 * Reads the label where it lies: a refusal compares hundreds of them.
 */
export function isOneLetterOff(trie: Trie, node: number, text: string, start: number, end: number): boolean {
  const { labelBytes } = trie;
  const first = trie.labelStart[node] ?? 0;
  const last = first + (trie.labelLength[node] ?? 0);
  const shorter = Math.min(last - first, end - start);
  if (Math.abs(last - first - (end - start)) > 1) return false;
  let head = 0;
  while (head < shorter && labelBytes[first + head] === text.charCodeAt(start + head)) head += 1;
  let tail = 0;
  while (tail < shorter - head && labelBytes[last - 1 - tail] === text.charCodeAt(end - 1 - tail)) tail += 1;
  const labelRest = last - first - head - tail;
  const textRest = end - start - head - tail;
  if (labelRest <= 1 && textRest <= 1) return labelRest + textRest > 0;
  if (labelRest !== 2 || textRest !== 2) return false;
  return (
    labelBytes[first + head] === text.charCodeAt(start + head + 1) &&
    labelBytes[first + head + 1] === text.charCodeAt(start + head)
  );
}

/** The label of a node as text. */
export function labelOf(trie: Trie, node: number): string {
  const start = trie.labelStart[node] ?? 0;
  const length = trie.labelLength[node] ?? 0;
  let text = '';
  for (let at = start; at < start + length; at += 1) text += String.fromCharCode(trie.labelBytes[at] ?? 0);
  return text;
}

/**
 * Walks the host from its last label and writes the node after each label into `path`; path[0] is the root.
 * @returns the number of labels when the whole host stands in the trie, else -1 - the number of labels found
 */
export function walkLabels(trie: Trie, host: string, path: Int32Array): number {
  let node = 0;
  let depth = 0;
  let end = host.length;
  path[0] = 0;
  while (end >= 0) {
    const start = end === 0 ? 0 : host.lastIndexOf('.', end - 1) + 1;
    node = depth < LABELS_MAX ? childOf(trie, node, host, start, end) : 0;
    if (node === 0) return -1 - depth;
    depth += 1;
    path[depth] = node;
    end = start - 1;
  }
  return depth;
}

function grown<T extends Int32Array<ArrayBuffer> | Uint32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>>(
  old: T,
  length: number,
): T {
  if (length <= old.length) return old;
  const make = old.constructor as new (length: number) => T;
  const larger = new make(Math.max(length, old.length * 2));
  larger.set(old);
  return larger;
}

/** Builds a trie by adding hosts; items are numbers from 0, each added once. */
export class TrieBuilder {
  readonly #lists: number;
  #nodes = 1;
  #bytes = 0;
  #parent = new Int32Array(1_024);
  #firstChild = new Int32Array(1_024);
  #nextSibling = new Int32Array(1_024);
  #childCount = new Int32Array(1_024);
  #labelStart = new Uint32Array(1_024);
  #labelLength = new Uint8Array(1_024);
  #labelBytes = new Uint8Array(16_384);
  #hash = new Uint32Array(1_024);
  #table = new Int32Array(2_048);
  #heads: Int32Array<ArrayBuffer>;
  #tails: Int32Array<ArrayBuffer>;
  #next: Int32Array<ArrayBuffer>;

  constructor(lists: number, items: number) {
    this.#lists = lists;
    this.#heads = new Int32Array(1_024 * lists).fill(-1);
    this.#tails = new Int32Array(1_024 * lists).fill(-1);
    this.#next = new Int32Array(items).fill(-1);
  }

  /** Appends the item to a list of the host's node. Lists keep the order of adding. */
  add(host: string, list: number, item: number): void {
    let node = 0;
    let end = host.length;
    while (end >= 0) {
      const start = end === 0 ? 0 : host.lastIndexOf('.', end - 1) + 1;
      node = this.#child(node, host, start, end);
      end = start - 1;
    }
    const at = node * this.#lists + list;
    const tail = this.#tails[at] ?? -1;
    if (tail < 0) this.#heads[at] = item;
    else this.#next[tail] = item;
    this.#tails[at] = item;
  }

  /** The finished trie; the builder must not be used afterwards. */
  build(): Trie {
    const nodes = this.#nodes;
    return {
      lists: this.#lists,
      nodes,
      parent: this.#parent.slice(0, nodes),
      firstChild: this.#firstChild.slice(0, nodes),
      nextSibling: this.#nextSibling.slice(0, nodes),
      childCount: this.#childCount.slice(0, nodes),
      labelStart: this.#labelStart.slice(0, nodes),
      labelLength: this.#labelLength.slice(0, nodes),
      labelBytes: this.#labelBytes.slice(0, this.#bytes),
      table: this.#table,
      heads: this.#heads.slice(0, nodes * this.#lists),
      next: this.#next,
    };
  }

  #child(parent: number, text: string, start: number, end: number): number {
    const hash = hashOf(parent, text, start, end);
    const mask = this.#table.length - 1;
    let slot = hash & mask;
    for (let node = this.#table[slot] ?? 0; node !== 0; node = this.#table[slot] ?? 0) {
      if (this.#parent[node] === parent && this.#hash[node] === hash && this.#sameLabel(node, text, start, end))
        return node;
      slot = (slot + 1) & mask;
    }
    const node = this.#append(parent, text, start, end, hash);
    this.#table[slot] = node;
    if (this.#nodes * 2 > this.#table.length) this.#rehash();
    return node;
  }

  #sameLabel(node: number, text: string, start: number, end: number): boolean {
    if (this.#labelLength[node] !== end - start) return false;
    const offset = (this.#labelStart[node] ?? 0) - start;
    for (let at = start; at < end; at += 1) if (this.#labelBytes[offset + at] !== text.charCodeAt(at)) return false;
    return true;
  }

  #append(parent: number, text: string, start: number, end: number, hash: number): number {
    const node = this.#nodes;
    this.#nodes += 1;
    this.#grow();
    this.#labelBytes = grown(this.#labelBytes, this.#bytes + end - start);
    this.#parent[node] = parent;
    this.#hash[node] = hash;
    this.#labelStart[node] = this.#bytes;
    this.#labelLength[node] = end - start;
    for (let at = start; at < end; at += 1) {
      this.#labelBytes[this.#bytes] = text.charCodeAt(at);
      this.#bytes += 1;
    }
    this.#nextSibling[node] = this.#firstChild[parent] ?? 0;
    this.#firstChild[parent] = node;
    this.#childCount[parent] = (this.#childCount[parent] ?? 0) + 1;
    return node;
  }

  #grow(): void {
    if (this.#nodes <= this.#parent.length) return;
    this.#parent = grown(this.#parent, this.#nodes);
    this.#firstChild = grown(this.#firstChild, this.#nodes);
    this.#nextSibling = grown(this.#nextSibling, this.#nodes);
    this.#childCount = grown(this.#childCount, this.#nodes);
    this.#labelStart = grown(this.#labelStart, this.#nodes);
    this.#labelLength = grown(this.#labelLength, this.#nodes);
    this.#hash = grown(this.#hash, this.#nodes);
    const old = this.#heads.length;
    this.#heads = grown(this.#heads, this.#parent.length * this.#lists).fill(-1, old);
    this.#tails = grown(this.#tails, this.#parent.length * this.#lists).fill(-1, old);
  }

  #rehash(): void {
    const table = new Int32Array(this.#table.length * 2);
    const mask = table.length - 1;
    for (let node = 1; node < this.#nodes; node += 1) {
      let slot = (this.#hash[node] ?? 0) & mask;
      while (table[slot] !== 0) slot = (slot + 1) & mask;
      table[slot] = node;
    }
    this.#table = table;
  }
}
