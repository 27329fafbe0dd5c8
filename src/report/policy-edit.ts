// Additions to `allow:` of a policy file, and rules taken out of it, as edits of its text. PURE. The YAML is read for places
// only and never written anew: comments, order, quotes, anchors and line ends of the operator stay, byte for byte.
// New entries go behind the last one; a rule that is taken out becomes a comment where it stands.
import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  visit,
  type YAMLMap,
  type YAMLSeq,
} from 'yaml';
import type { Edit } from './text-edits.ts';

export interface Addition {
  /** Lines of comment above it, without #. */
  readonly comments: readonly string[];
  /** The entry in one line of YAML that is good in a list of either style. */
  readonly item: string;
  /** It comes commented out. */
  readonly review: boolean;
  /** Values for the one parameter of a group: they may be added to an entry that is there already. */
  readonly extend: { readonly group: string; readonly parameter: string; readonly values: readonly string[] } | null;
}

export interface Removal {
  /** The line on which the entry stands, from 1. */
  readonly line: number;
  readonly comments: readonly string[];
}

export interface PolicyEdits {
  readonly edits: readonly Edit[];
  /** Additions that went into an entry that was there, with its line. */
  readonly extended: ReadonlyMap<Addition, number>;
  /** Removals that are among the edits; the others cannot be made without touching something else. */
  readonly removed: ReadonlySet<Removal>;
}

/** @param source the text of a policy file that loads */
export function editPolicy(
  source: string,
  heading: readonly string[],
  additions: readonly Addition[],
  removals: readonly Removal[],
): PolicyEdits {
  return new Editor(source).run(heading, additions, removals);
}

class Editor {
  readonly #source: string;
  readonly #eol: string;
  readonly #lines = new LineCounter();
  readonly #document: Document.Parsed;
  readonly #edits: Edit[] = [];
  /** Entries that have got more values: they are extended once, and stay. */
  readonly #touched = new Set<unknown>();

  constructor(source: string) {
    this.#source = source;
    this.#eol = /\r?\n/.exec(source)?.[0] ?? '\n';
    this.#document = parseDocument(source, { lineCounter: this.#lines, uniqueKeys: false, logLevel: 'silent' });
  }

  run(heading: readonly string[], additions: readonly Addition[], removals: readonly Removal[]): PolicyEdits {
    const extended = new Map<Addition, number>();
    const removed = new Set<Removal>();
    const root = this.#document.contents;
    if (!isMap(root)) return { edits: [], extended, removed };
    const list = root.get('allow', true);
    if (isSeq(list) && !list.flow) {
      for (const addition of additions) {
        const line = addition.review ? null : this.#extend(list, addition);
        if (line !== null) extended.set(addition, line);
      }
    }
    const appended = additions.filter((addition) => !extended.has(addition));
    const ready = appended.some(({ review }) => !review);
    if (isSeq(list) && !list.flow) this.#remove(list, removals, removed, ready);
    if (appended.length > 0) this.#append(root, list, heading, appended, ready);
    return { edits: this.#edits, extended, removed };
  }

  #insert(at: number, text: string, remove = 0): void {
    this.#edits.push({ at, remove, text });
  }

  /** Adds values to an entry that has the group and this parameter and says nothing else; null where there is none. */
  #extend(list: YAMLSeq, { extend, comments }: Addition): number | null {
    if (extend === null) return null;
    for (const item of list.items) {
      if (!isMap(item) || item.anchor !== undefined || item.items.length !== 2 || this.#touched.has(item)) continue;
      const given = item.get('with', true);
      if (item.get('group') !== extend.group || !isMap(given) || given.anchor !== undefined) continue;
      const [pair] = given.items;
      if (given.items.length !== 1 || pair === undefined || !isScalar(pair.key) || pair.key.value !== extend.parameter)
        continue;
      if (!this.#addValues(pair.value, extend.values)) continue;
      this.#touched.add(item);
      this.#insert(this.#dashLine(list, item), this.#commented(this.#indentOf(list), comments));
      return this.#lines.linePos(offsetOf(item)).line;
    }
    return null;
  }

  #addValues(value: unknown, values: readonly string[]): boolean {
    if (!isNode(value) || isAlias(value) || value.anchor !== undefined || !value.range) return false;
    const [start, end] = value.range;
    if (isScalar(value)) {
      if (value.type?.startsWith('BLOCK') === true || this.#source.slice(start, end).includes('\n')) return false;
      this.#insert(start, '[');
      this.#insert(end, `, ${values.join(', ')}]`);
      return true;
    }
    const last = isSeq(value) ? value.items.at(-1) : undefined;
    if (!isSeq(value) || !isNode(last)) return false;
    // Behind the last value: a comma that ends the list stays where it is.
    if (value.flow) this.#insert(endOf(last), `, ${values.join(', ')}`);
    else
      this.#insertLines(
        endOf(last),
        values.map((each) => `${this.#indentOf(value)}- ${each}`),
      );
    return true;
  }

  #remove(list: YAMLSeq, removals: readonly Removal[], removed: Set<Removal>, more: boolean): void {
    const found = removals.flatMap((removal) => {
      const item = list.items.find((each) => this.#lines.linePos(offsetOf(each)).line === removal.line);
      return isNode(item) && !hasAnchor(item) && !this.#touched.has(item) ? [{ removal, item }] : [];
    });
    // An empty `allow:` is no list.
    if (found.length === list.items.length && !more) return;
    const indent = this.#indentOf(list);
    for (const { removal, item } of found) {
      const start = this.#dashLine(list, item);
      this.#insert(start, this.#commented(indent, removal.comments));
      const end = endOf(item);
      for (let at = start; at < end; at = this.#nextLine(at)) {
        const text = this.#source.slice(at, this.#nextLine(at));
        if (text.trim() === '') continue;
        this.#insert(at + Math.min(indent.length, text.length - text.trimStart().length), '# ');
      }
      removed.add(removal);
    }
  }

  #append(root: YAMLMap, list: unknown, heading: readonly string[], items: readonly Addition[], ready: boolean): void {
    if (isSeq(list) && !list.flow) {
      this.#insertLines(endOf(list), this.#blockLines(this.#indentOf(list), heading, items));
      return;
    }
    const outer = this.#indentOf(root);
    if (isSeq(list) && list.range) {
      const [start, end] = list.range;
      const bare = list.anchor === undefined && /^\[ *\]$/.test(this.#source.slice(start, end));
      if (bare && !root.flow && ready) {
        const before = this.#source.slice(0, start).trimEnd().length;
        this.#insert(before, '', end - before);
        this.#insertLines(end, this.#blockLines(`${outer}  `, heading, items));
      } else this.#appendFlow(list, heading, items, outer);
    } else if (isAlias(list) && list.range) {
      // The list it names serves something else as well: what is added here must not be added there.
      const value = JSON.stringify(list.resolve(this.#document)?.toJS(this.#document) ?? []);
      const flow = this.#flowLines(`${outer}  `, heading, items).join(this.#eol);
      const comma = value === '[]' ? '' : ',';
      const text = `${value.slice(0, -1)}${comma}${this.#eol}${flow}${this.#eol}${outer}  ]`;
      this.#insert(list.range[0], text, list.range[1] - list.range[0]);
    } else if (root.flow && root.range) {
      const last = root.items.at(-1);
      const lines = ['allow: [', ...this.#flowLines(`${outer}  `, heading, items), `${outer}  ]`];
      this.#insert(endOf(last?.value ?? last?.key), `, ${lines.join(this.#eol)}`);
    } else {
      // All for review: the list must be one without them.
      const lines = ready
        ? [`${outer}allow:`, ...this.#blockLines(`${outer}  `, heading, items)]
        : [`${outer}allow: [`, ...this.#flowLines(`${outer}  `, heading, items), `${outer}  ]`];
      this.#insertLines(endOf(root), lines);
    }
  }

  #appendFlow(list: YAMLSeq, heading: readonly string[], items: readonly Addition[], outer: string): void {
    const close = (list.range?.[1] ?? 0) - 1;
    const last = list.items.at(-1);
    if (last !== undefined) {
      const end = endOf(last);
      const rest = this.#source.slice(end, close).replaceAll(/(?:^|\s)#.*$/gm, '');
      if (!rest.includes(',')) this.#insert(end, ',');
    }
    const lines = this.#flowLines(`${outer}  `, heading, items)
      .map((line) => `${line}${this.#eol}`)
      .join('');
    const start = this.#lineStart(close);
    if (this.#source.slice(start, close).trim() === '') this.#insert(start, lines);
    else this.#insert(close, `${this.#eol}${lines}${outer}  `);
  }

  #blockLines(indent: string, heading: readonly string[], items: readonly Addition[]): string[] {
    return this.#listed(indent, heading, items, ({ item }) => `- ${item}`);
  }

  #flowLines(indent: string, heading: readonly string[], items: readonly Addition[]): string[] {
    return this.#listed(indent, heading, items, ({ item }) => `${item},`);
  }

  #listed(
    indent: string,
    heading: readonly string[],
    items: readonly Addition[],
    write: (addition: Addition) => string,
  ): string[] {
    const text = heading.map((line) => `${indent}# ${line}`);
    for (const addition of items) {
      text.push(...addition.comments.map((line) => `${indent}# ${line}`));
      text.push(`${indent}${addition.review ? '# ' : ''}${write(addition)}`);
    }
    return text;
  }

  #commented(indent: string, comments: readonly string[]): string {
    return comments.map((line) => `${indent}# ${line}${this.#eol}`).join('');
  }

  /** Whole lines behind the line in which `end` stands. */
  #insertLines(end: number, lines: readonly string[]): void {
    const at = end > 0 && this.#source[end - 1] === '\n' ? end : this.#nextLine(end);
    const text = lines.join(this.#eol);
    const open = at > 0 && this.#source[at - 1] !== '\n';
    this.#insert(at, open ? `${this.#eol}${text}` : `${text}${this.#eol}`);
  }

  #lineStart(at: number): number {
    const start = this.#source.lastIndexOf('\n', at - 1) + 1;
    // A byte-order mark has no width.
    return start === 0 && this.#source.startsWith('\uFEFF') ? 1 : start;
  }

  #nextLine(at: number): number {
    const newline = this.#source.indexOf('\n', at);
    return newline < 0 ? this.#source.length : newline + 1;
  }

  #indentOf(node: YAMLMap | YAMLSeq): string {
    const start = offsetOf(node);
    return ' '.repeat(start - this.#lineStart(start));
  }

  /** Start of the line of an entry's dash; its content may begin on a later one. */
  #dashLine(list: YAMLSeq, item: unknown): number {
    const dash = `${this.#indentOf(list)}-`;
    let start = this.#lineStart(offsetOf(item));
    while (start > 0 && !this.#source.startsWith(dash, start)) start = this.#lineStart(start - 1);
    return start;
  }
}

function offsetOf(node: unknown): number {
  return isNode(node) ? (node.range?.[0] ?? 0) : 0;
}

/** Where the last character of a value stands; the range of a block collection takes the comments behind it along. */
function endOf(node: unknown): number {
  if (isSeq(node) && !node.flow && node.items.length > 0) return endOf(node.items.at(-1));
  if (isMap(node) && !node.flow && node.items.length > 0) {
    const pair = node.items.at(-1);
    return Math.max(endOf(pair?.key), endOf(pair?.value));
  }
  return isNode(node) ? (node.range?.[1] ?? 0) : 0;
}

/** An alias elsewhere may need it. */
function hasAnchor(node: unknown): boolean {
  let found = false;
  visit(node as YAMLMap, {
    Node: (_, each) => {
      if (!isAlias(each) && each.anchor !== undefined) found = true;
    },
  });
  return found;
}
