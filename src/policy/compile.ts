// PolicySource (objects, as config and catalog make them) → CompiledPolicy: columns of numbers, a trie, and the texts of
// all rules as UTF-8 in one array, which a worker hands over without copying. It judges nothing; decide.ts does.
// What few rules share (ports, selectors, ranges, paths) stands once in a small table; a rule holds its row number.
import { type Cidr, canonicalAddress } from './address.ts';
import type { Inspection } from './inspect.ts';
import type { PathRule } from './paths.ts';
import type { Pattern } from './pattern.ts';
import type { Selector } from './selector.ts';
import { type Trie, TrieBuilder } from './trie.ts';

export const PROTOCOLS = ['tls', 'http', 'ssh', 'any'] as const;
export type Protocol = (typeof PROTOCOLS)[number];
export const MODES = ['enforce', 'observe'] as const;
export type Mode = (typeof MODES)[number];

export interface RuleSource {
  readonly effect: 'allow' | 'deny';
  readonly pattern: Pattern;
  /** null: an allow means 443, a deny every port. */
  readonly ports: readonly number[] | null;
  /** null: by the request's port: 80 is http, 22 ssh, else tls. A deny rule covers every protocol. */
  readonly protocol: Protocol | null;
  /** Ranges that count beside the public addresses. */
  readonly addresses: readonly Cidr[];
  /** May reach the metadata class: group instance-metadata, opted in. */
  readonly metadata: boolean;
  /** Only for plain http; null is every path. A rule with paths never admits CONNECT. */
  readonly paths: readonly PathRule[] | null;
  /** What may pass below the host; null: it is never decrypted. */
  readonly inspect: Inspection | null;
  /** observe: what the rule matches passes and is recorded as `observe`. Without effect on deny rules. */
  readonly mode: Mode | null;
  readonly for: Selector | null;
  /** The last instant at which the rule is valid, in ms since the epoch; null is for ever. */
  readonly expires: number | null;
  /** Catalog entry id or `file:line`: the `rule` of records. */
  readonly id: string;
  /** `file:line`. */
  readonly origin: string;
  readonly group: string | null;
  readonly need: 'required' | 'optional' | null;
  readonly reason: string | null;
  readonly owner: string | null;
  /** The layer that granted it (`config/pipelines/web.yaml`, `grants`); null is the base. Its rules are shown to nobody else. */
  readonly layer: string | null;
}

/** A catalog entry that the policy does not use (or not with the value a client asks for); only nearest.ts reads it. */
export interface HintSource {
  /** A pattern or a template: `*.s3.{region}.amazonaws.com`. A `{name}` stands for one label or for a part of one. */
  readonly pattern: string;
  readonly group: string;
  /** Names of the parameters in the template. */
  readonly parameters: readonly string[];
  readonly ports: readonly number[];
  /** True: the group is switched on, but its parameter is missing or has other values. */
  readonly enabled: boolean;
}

export interface PolicySource {
  readonly rules: readonly RuleSource[];
  readonly hints: readonly HintSource[];
  readonly mode: Mode;
  /** The first whose selector matches the proven attributes counts. */
  readonly modes: readonly { readonly for: Selector; readonly mode: Mode }[];
  readonly observeAddresses: readonly Cidr[];
  readonly privateUpstreams: readonly { readonly suffix: string; readonly addresses: readonly Cidr[] }[];
  /** Every endpoint of this proxy; a listener on all interfaces must be given as each of its addresses. */
  readonly self: readonly { readonly address: string; readonly port: number }[];
  /** Extends the built-in metadata class. */
  readonly metadataAddresses: readonly Cidr[];
  /** Whether credentials of any kind are known: who sent none may be asked for some, also where his address proves something. Default false. */
  readonly credentials?: boolean;
  readonly digest: string;
}

/** A policy of which nothing has been said; whoever compiles a part of one lays it over this. */
export const EMPTY_SOURCE: PolicySource = {
  rules: [],
  hints: [],
  mode: 'enforce',
  modes: [],
  observeAddresses: [],
  privateUpstreams: [],
  self: [],
  metadataAddresses: [],
  digest: '',
};

/** Lists of a trie node. */
export const ALLOW_EXACT = 0;
export const ALLOW_WILDCARD = 1;
export const DENY_EXACT = 2;
export const DENY_WILDCARD = 3;

/** Bits of `flags`, and the values of its fields; a field's number is the place in its array. */
export const FLAG_DENY = 1;
export const FLAG_METADATA = 2;
export const MODE_VALUES: readonly (Mode | null)[] = [null, ...MODES];
export const MODE_SHIFT = 2;
export const PROTOCOL_VALUES: readonly (Protocol | null)[] = [null, ...PROTOCOLS];
export const PROTOCOL_SHIFT = 4;
export const NEED_VALUES: readonly RuleSource['need'][] = [null, 'required', 'optional'];
export const NEED_SHIFT = 7;
export const KIND_VALUES: readonly Pattern['kind'][] = ['exact', 'wildcard', 'address'];
export const KIND_SHIFT = 9;
export const FLAG_LAYER = 2_048;

export interface CompiledPolicy {
  readonly digest: string;
  readonly mode: Mode;
  readonly modes: PolicySource['modes'];
  readonly observeAddresses: readonly Cidr[];
  readonly privateUpstreams: PolicySource['privateUpstreams'];
  readonly self: PolicySource['self'];
  readonly metadataAddresses: readonly Cidr[];
  readonly credentials: boolean;
  readonly ruleCount: number;
  readonly trie: Trie;
  readonly flags: Uint16Array<ArrayBuffer>;
  /** Infinity: for ever. */
  readonly expires: Float64Array<ArrayBuffer>;
  /** Rows in the tables below; row 0 is "none given". */
  readonly portsRow: Uint32Array<ArrayBuffer>;
  readonly selectorRow: Uint32Array<ArrayBuffer>;
  readonly addressesRow: Uint32Array<ArrayBuffer>;
  readonly pathsRow: Uint32Array<ArrayBuffer>;
  readonly inspectRow: Uint32Array<ArrayBuffer>;
  readonly ports: readonly (readonly number[] | null)[];
  readonly selectors: readonly (Selector | null)[];
  readonly addresses: readonly (readonly Cidr[])[];
  readonly paths: readonly (readonly PathRule[] | null)[];
  readonly inspections: readonly (Inspection | null)[];
  /** Rule i's text is the JSON array in textBytes[textStart[i]..textStart[i + 1]): see RuleText. */
  readonly textBytes: Uint8Array<ArrayBuffer>;
  readonly textStart: Float64Array<ArrayBuffer>;
  readonly hints: readonly HintSource[];
  /** By the literal last labels of each hint; one list. */
  readonly hintTrie: Trie;
}

/** id, origin, host of the pattern, group, reason, owner, layer. */
export type RuleText = readonly [string, string, string, string | null, string | null, string | null, string | null];

/** A table without duplicates: equal content has one row. */
class Rows<T> {
  readonly rows: T[];
  readonly #known = new Map<string, number>();
  readonly #byObject = new Map<T, number>();

  constructor(none: T) {
    this.rows = [none];
    this.#known.set(JSON.stringify(none), 0);
  }

  row(value: T): number {
    // Most rules give none, and a million of them should not write that out a million times. An empty list is not "none":
    // `paths: []` is no path, null is every path.
    if (value === null) return 0;
    const seen = this.#byObject.get(value);
    if (seen !== undefined) return seen;
    const key = JSON.stringify(value);
    let row = this.#known.get(key);
    if (row === undefined) {
      row = this.rows.length;
      this.rows.push(value);
      this.#known.set(key, row);
      // Rules of one group share the same object: this saves writing it out again for each.
      this.#byObject.set(value, row);
    }
    return row;
  }
}

/** UTF-8 texts one after the other. */
class Texts {
  bytes = new Uint8Array(65_536);
  readonly start: Float64Array<ArrayBuffer>;
  #used = 0;
  #count = 0;
  readonly #encoder = new TextEncoder();

  constructor(count: number) {
    this.start = new Float64Array(count + 1);
  }

  add(text: string): void {
    const worst = this.#used + text.length * 3;
    if (worst > this.bytes.length) {
      const larger = new Uint8Array(Math.max(worst, this.bytes.length * 2));
      larger.set(this.bytes.subarray(0, this.#used));
      this.bytes = larger;
    }
    this.#used += this.#encoder.encodeInto(text, this.bytes.subarray(this.#used)).written;
    this.#count += 1;
    this.start[this.#count] = this.#used;
  }

  finish(): Uint8Array<ArrayBuffer> {
    return this.bytes.slice(0, this.#used);
  }
}

function flagsOf(rule: RuleSource): number {
  return (
    (rule.effect === 'deny' ? FLAG_DENY : 0) |
    (rule.metadata ? FLAG_METADATA : 0) |
    (rule.layer === null ? 0 : FLAG_LAYER) |
    (MODE_VALUES.indexOf(rule.mode) << MODE_SHIFT) |
    (PROTOCOL_VALUES.indexOf(rule.protocol) << PROTOCOL_SHIFT) |
    (NEED_VALUES.indexOf(rule.need) << NEED_SHIFT) |
    (KIND_VALUES.indexOf(rule.pattern.kind) << KIND_SHIFT)
  );
}

function listOf(rule: RuleSource): number {
  const wildcard = rule.pattern.kind === 'wildcard';
  if (rule.effect === 'deny') return wildcard ? DENY_WILDCARD : DENY_EXACT;
  return wildcard ? ALLOW_WILDCARD : ALLOW_EXACT;
}

/** The last labels of a template that hold neither a parameter nor a star; '' where there is none. */
export function literalSuffix(template: string): string {
  let start = template.length;
  while (start > 0) {
    const dot = template.lastIndexOf('.', start - 2);
    const label = template.slice(dot + 1, start === template.length ? start : start - 1);
    if (label.includes('{') || label.includes('*')) break;
    start = dot + 1;
  }
  return template.slice(start);
}

function buildHints(hints: readonly HintSource[]): Trie {
  const builder = new TrieBuilder(1, hints.length);
  hints.forEach((hint, item) => {
    const suffix = literalSuffix(hint.pattern);
    // `{host}` alone would match every name; it is nobody's nearest miss.
    if (suffix !== '') builder.add(suffix, 0, item);
  });
  return builder.build();
}

/** What is compiled of the rules: columns by rule, and the tables that they name rows of. */
function compileRules(rules: readonly RuleSource[]) {
  const count = rules.length;
  const builder = new TrieBuilder(4, count);
  const columns = {
    flags: new Uint16Array(count),
    expires: new Float64Array(count),
    portsRow: new Uint32Array(count),
    selectorRow: new Uint32Array(count),
    addressesRow: new Uint32Array(count),
    pathsRow: new Uint32Array(count),
    inspectRow: new Uint32Array(count),
  };
  const ports = new Rows<readonly number[] | null>(null);
  const selectors = new Rows<Selector | null>(null);
  const addresses = new Rows<readonly Cidr[]>([]);
  const paths = new Rows<readonly PathRule[] | null>(null);
  const inspections = new Rows<Inspection | null>(null);
  const texts = new Texts(count);
  rules.forEach((rule, index) => {
    columns.flags[index] = flagsOf(rule);
    columns.expires[index] = rule.expires ?? Number.POSITIVE_INFINITY;
    columns.portsRow[index] = ports.row(rule.ports);
    columns.selectorRow[index] = selectors.row(rule.for);
    if (rule.addresses.length > 0) columns.addressesRow[index] = addresses.row(rule.addresses);
    columns.pathsRow[index] = paths.row(rule.paths);
    columns.inspectRow[index] = inspections.row(rule.inspect);
    const { id, origin, pattern, group, reason, owner, layer } = rule;
    const text: RuleText = [id, origin, pattern.host, group, reason, owner, layer];
    texts.add(JSON.stringify(text));
    builder.add(rule.pattern.host, listOf(rule), index);
  });
  return {
    ...columns,
    ruleCount: count,
    trie: builder.build(),
    ports: ports.rows,
    selectors: selectors.rows,
    addresses: addresses.rows,
    paths: paths.rows,
    inspections: inspections.rows,
    textBytes: texts.finish(),
    textStart: texts.start,
  };
}

/**
 * Compiles a policy. Rules keep the order of the source: it decides between equally specific ones.
 * @returns plain data: structured clone copies it, and `policyTransfer` names the buffers that can move instead
 */
export function compilePolicy(source: PolicySource): CompiledPolicy {
  return {
    digest: source.digest,
    mode: source.mode,
    modes: source.modes,
    observeAddresses: source.observeAddresses,
    privateUpstreams: source.privateUpstreams,
    self: source.self.map(({ address, port }) => ({ address: canonicalAddress(address) ?? address, port })),
    metadataAddresses: source.metadataAddresses,
    credentials: source.credentials === true,
    ...compileRules(source.rules),
    hints: source.hints,
    hintTrie: buildHints(source.hints),
  };
}

function trieBuffers(trie: Trie): ArrayBuffer[] {
  const { parent, firstChild, nextSibling, childCount, labelStart, labelLength, labelBytes, table, heads, next } = trie;
  const arrays = [parent, firstChild, nextSibling, childCount, labelStart, labelLength, labelBytes, table, heads, next];
  return arrays.map((array) => array.buffer);
}

/** The buffers of a compiled policy, each once, for the transfer list of postMessage; the sender's copy is empty afterwards. */
export function policyTransfer(compiled: CompiledPolicy): ArrayBuffer[] {
  const { flags, expires, portsRow, selectorRow, addressesRow, pathsRow, inspectRow, textBytes, textStart } = compiled;
  const columns = [flags, expires, portsRow, selectorRow, addressesRow, pathsRow, inspectRow, textBytes, textStart];
  return [
    ...new Set([
      ...columns.map((array) => array.buffer),
      ...trieBuffers(compiled.trie),
      ...trieBuffers(compiled.hintTrie),
    ]),
  ];
}
