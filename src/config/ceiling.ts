// The ceiling: what may be granted to pipelines at all. Decides for one rule whether everything that it could ever let through, some line of
// the ceiling would let through too; and if not, names the line that comes nearest and what it lacks.
// PURE and exact: what is covered is decided for each port, kind of request, name and address; when in doubt a rule is outside.
// A look-up goes by the labels of the host, never by the lines of the ceiling.
import { type Cidr, prefixEqual } from '../policy/address.ts';
import type { RuleSource } from '../policy/compile.ts';
import { inspectionCovers } from '../policy/inspect-cover.ts';
import { parents, portsOf, protocolOn } from './lint-cover.ts';

/** Why a rule is outside: the nearest line of the ceiling (null where the ceiling has none), and what it does not cover. */
export interface Outside {
  readonly nearest: RuleSource | null;
  readonly why: string;
}

/** The same for a message, behind "it is outside the ceiling". */
export function outsideText({ nearest, why }: Outside): string {
  if (nearest === null) return 'the ceiling is empty';
  return `the nearest line of the ceiling is ${nearest.pattern.text} at ${nearest.origin}, and ${why}`;
}

export class Ceiling {
  /** By the pattern as it is written. */
  readonly #lines = new Map<string, RuleSource[]>();
  /** The first line whose host ends in these labels: for the nearest one alone. */
  readonly #bySuffix = new Map<string, RuleSource>();
  readonly #first: RuleSource | null;

  constructor(lines: readonly RuleSource[]) {
    this.#first = lines[0] ?? null;
    for (const line of lines) {
      const { text, host } = line.pattern;
      const same = this.#lines.get(text);
      if (same === undefined) this.#lines.set(text, [line]);
      else same.push(line);
      for (const suffix of [host, ...parents(host)]) {
        if (!this.#bySuffix.has(suffix)) this.#bySuffix.set(suffix, line);
      }
    }
  }

  /** Null where the rule is inside. A deny rule grants nothing and is always inside. */
  judge(rule: RuleSource): Outside | null {
    if (rule.effect === 'deny') return null;
    const named = this.#naming(rule);
    if (named.length === 0) return { nearest: this.#nearest(rule), why: 'it is for other hosts' };
    for (const port of portsOf(rule)) {
      const lacking = lackingOn(rule, port, named);
      if (lacking !== null) return lacking;
    }
    return null;
  }

  /** The lines that name every host of the rule. A wildcard is never covered by names below it, however many. */
  #naming({ pattern }: RuleSource): RuleSource[] {
    const found = [...(this.#lines.get(pattern.text) ?? [])];
    if (pattern.kind === 'address') return found;
    for (const domain of parents(pattern.host)) found.push(...(this.#lines.get(`*.${domain}`) ?? []));
    return found;
  }

  #nearest({ pattern }: RuleSource): RuleSource | null {
    if (pattern.kind !== 'address') {
      for (const suffix of [pattern.host, ...parents(pattern.host)]) {
        const line = this.#bySuffix.get(suffix);
        if (line !== undefined) return line;
      }
    }
    return this.#first;
  }
}

/** Null where the lines together cover what the rule lets through on the port; else the one that comes nearest. */
function lackingOn(rule: RuleSource, port: number, named: readonly RuleSource[]): Outside | null {
  const [first] = named;
  if (first === undefined) throw new Error('no line to judge by');
  const onPort = named.filter((line) => portsOf(line).includes(port));
  const [samePort] = onPort;
  if (samePort === undefined)
    return { nearest: first, why: `it has ${listed('port', portsOf(first).map(String))}, not ${port}` };
  const fitting = onPort.filter((line) => admits(line, rule, port));
  const [fits] = fitting;
  if (fits === undefined) return { nearest: samePort, why: unlike(samePort, rule, port) };
  const ranges = fitting.flatMap((line) => line.addresses);
  const open = rule.addresses.find((range) => !isCovered(range, ranges));
  if (open === undefined) return null;
  const has = ranges.length === 0 ? 'no addresses' : `addresses ${ranges.map(({ text }) => text).join(', ')}`;
  return { nearest: fits, why: `it has ${has}, not ${open.text}` };
}

/** True where the line lets through on the port whatever kind of request, content and path the rule lets through. */
function admits(line: RuleSource, rule: RuleSource, port: number): boolean {
  const allowed = protocolOn(line, port);
  if (allowed !== 'any' && allowed !== protocolOn(rule, port)) return false;
  if (rule.metadata && !line.metadata) return false;
  if (!inspectionCovers(line.inspect, rule.inspect)) return false;
  return line.paths === null || JSON.stringify(line.paths) === JSON.stringify(rule.paths);
}

function unlike(line: RuleSource, rule: RuleSource, port: number): string {
  const [allowed, wanted] = [protocolOn(line, port), protocolOn(rule, port)];
  if (allowed !== 'any' && allowed !== wanted) return `it has protocol ${allowed} on port ${port}, not ${wanted}`;
  if (rule.metadata && !line.metadata) return 'it does not have instance metadata';
  if (!inspectionCovers(line.inspect, rule.inspect)) {
    return rule.inspect === null ? 'it is inspected' : 'it lets other requests through';
  }
  return 'it has some paths only';
}

type Range = Pick<Cidr, 'family' | 'groups' | 'bits'>;

/** True where each address of the range lies in one of the others: halved until one holds a part whole, or none touches it. */
export function isCovered(range: Range, by: readonly Range[]): boolean {
  const same = by.filter(({ family }) => family === range.family);
  if (same.some((outer) => outer.bits <= range.bits && holds(outer, range))) return true;
  const inner = same.filter((one) => one.bits > range.bits && holds(range, one));
  if (inner.length === 0) return false;
  return halves(range).every((half) => isCovered(half, inner));
}

function holds(outer: Range, inner: Range): boolean {
  return prefixEqual(outer.groups, inner.groups, outer.bits);
}

function halves({ family, groups, bits }: Range): [Range, Range] {
  const upper = groups.map((group, at) => (at === bits >> 4 ? group | (1 << (15 - (bits & 15))) : group));
  return [
    { family, groups, bits: bits + 1 },
    { family, groups: upper, bits: bits + 1 },
  ];
}

function listed(word: string, values: readonly string[]): string {
  return values.length === 1 ? `${word} ${values[0]}` : `${word}s ${values.join(', ')}`;
}
