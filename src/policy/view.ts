// One rule of a compiled policy as an object, made when somebody looks at it: a decision that lets through shows one,
// a policy of a million rules makes none at load. Frozen; the same rule gives the same object while it is cached.
import { hostText } from './authority.ts';
import {
  type CompiledPolicy,
  FLAG_DENY,
  FLAG_METADATA,
  KIND_SHIFT,
  KIND_VALUES,
  MODE_SHIFT,
  MODE_VALUES,
  NEED_SHIFT,
  NEED_VALUES,
  PROTOCOL_SHIFT,
  PROTOCOL_VALUES,
  type RuleSource,
  type RuleText,
} from './compile.ts';
import type { Pattern } from './pattern.ts';

/** A rule as its source gave it; the pattern is its text. */
export interface RuleView extends Omit<RuleSource, 'pattern'> {
  /** Place in the policy, from 0. */
  readonly index: number;
  /** As it is written: `*.d`, `d`, `[::1]`. */
  readonly pattern: string;
  readonly kind: Pattern['kind'];
}

type Decoder = InstanceType<typeof TextDecoder>;

/** Views kept; beyond it the cache starts anew, so that a client who names many hosts cannot fill the memory. */
const VIEWS_MAX = 16_384;

function patternText(host: string, kind: RuleView['kind']): string {
  return kind === 'wildcard' ? `*.${host}` : hostText(host);
}

function textOf(compiled: CompiledPolicy, decoder: Decoder, index: number): RuleText {
  const { textBytes, textStart } = compiled;
  return JSON.parse(decoder.decode(textBytes.subarray(textStart[index], textStart[index + 1]))) as RuleText;
}

function field<T>(values: readonly T[], flags: number, shift: number, mask: number): T {
  // The compiler wrote the number from the same array.
  return values[(flags >> shift) & mask] as T;
}

function makeView(compiled: CompiledPolicy, decoder: Decoder, index: number): RuleView {
  const flags = compiled.flags[index] ?? 0;
  const expires = compiled.expires[index] ?? Number.POSITIVE_INFINITY;
  const [id, origin, host, group, reason, owner, layer] = textOf(compiled, decoder, index);
  const kind = field(KIND_VALUES, flags, KIND_SHIFT, 3);
  return Object.freeze({
    index,
    effect: flags & FLAG_DENY ? 'deny' : 'allow',
    id,
    origin,
    group,
    need: field(NEED_VALUES, flags, NEED_SHIFT, 3),
    pattern: patternText(host, kind),
    kind,
    ports: compiled.ports[compiled.portsRow[index] ?? 0] ?? null,
    protocol: field(PROTOCOL_VALUES, flags, PROTOCOL_SHIFT, 7),
    addresses: compiled.addresses[compiled.addressesRow[index] ?? 0] ?? [],
    metadata: (flags & FLAG_METADATA) !== 0,
    paths: compiled.paths[compiled.pathsRow[index] ?? 0] ?? null,
    inspect: compiled.inspections[compiled.inspectRow[index] ?? 0] ?? null,
    mode: field(MODE_VALUES, flags, MODE_SHIFT, 3),
    for: compiled.selectors[compiled.selectorRow[index] ?? 0] ?? null,
    expires: expires === Number.POSITIVE_INFINITY ? null : expires,
    reason,
    owner,
    layer,
  });
}

/** Gives the rules of a compiled policy as objects. */
export class RuleViews {
  readonly #compiled: CompiledPolicy;
  readonly #decoder = new TextDecoder();
  readonly #known = new Map<number, RuleView>();

  constructor(compiled: CompiledPolicy) {
    this.#compiled = compiled;
  }

  get count(): number {
    return this.#compiled.ruleCount;
  }

  /** The rule at a place of the policy. */
  at(index: number): RuleView {
    const known = this.#known.get(index);
    if (known !== undefined) return known;
    const view = makeView(this.#compiled, this.#decoder, index);
    if (this.#known.size >= VIEWS_MAX) this.#known.clear();
    this.#known.set(index, view);
    return view;
  }

  /** All rules in file order; they are not kept. */
  *all(): IterableIterator<RuleView> {
    for (let index = 0; index < this.#compiled.ruleCount; index += 1) {
      yield makeView(this.#compiled, this.#decoder, index);
    }
  }
}
