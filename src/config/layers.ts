// One layer: a file of rules beside the base. The ceiling says what may be granted at all; a pipeline's file grants inside it, to those
// alone whom the mapping of the base names.
// PURE: load-layers.ts reads the files and decides what becomes of one that is broken.
// A layer can narrow whom a rule is for and never widen it, and none of its rules lets through what the ceiling would not.
import type { Catalog } from '../catalog/catalog.ts';
import type { Attribute, Attributes } from '../policy/record.ts';
import { globCovered, type Selector, selectorMatches, selectorText } from '../policy/selector.ts';
import { type Ceiling, outsideText } from './ceiling.ts';
import { error, type PathProblem, unknownTopKey, warning } from './issues.ts';
import type { Placed } from './parse.ts';
import { parseList, parseOne } from './parse.ts';
import { buildRules, type PlacedRule } from './rules.ts';
import { type AllowItem, allowItem, type DenyItem, denyItem, KEYS, SHAPE, type TestItem, testItem } from './schema.ts';

/** A layer's file, and whom it is for; null for the ceiling, which is for all. */
export interface LayerPlace {
  readonly role: 'ceiling' | 'pipeline';
  /** As it is named in messages and records. */
  readonly file: string;
  readonly scope: Selector | null;
  readonly owner: string | null;
}

export interface LayerInput {
  readonly place: LayerPlace;
  readonly value: Readonly<Record<string, unknown>>;
  readonly catalog: Catalog;
  /** `file:line` of the value at a path. */
  readonly origin: (path: readonly PropertyKey[]) => string;
  /** Null for the ceiling itself. */
  readonly ceiling: Ceiling | null;
  /** Leaves out what is outside the ceiling, instead of refusing the file: for one that was good under another ceiling. */
  readonly cut: boolean;
  /** Whether there is a CA that signs for inspected hosts. */
  readonly inspects: boolean;
}

export interface BuiltLayer {
  /** Their path begins with the name of the file. */
  readonly rules: readonly PlacedRule[];
  /** With whom they ask as. */
  readonly tests: readonly Placed<TestItem>[];
  /** Paths in the file. */
  readonly problems: readonly PathProblem[];
}

const LAYER_KEYS = { ceiling: ['version', 'allow'], pipeline: ['version', 'allow', 'deny', 'tests'] } as const;

/** The rules of a layer; where there are errors they are not to be used. */
export function buildLayer(input: LayerInput): BuiltLayer {
  const { place, value, catalog, origin } = input;
  const problems: PathProblem[] = [];
  for (const key of Object.keys(value)) {
    const known: readonly string[] = LAYER_KEYS[place.role];
    if (known.includes(key)) continue;
    const problem = unknownTopKey(key, known);
    const elsewhere = KEYS.some((other) => other === key);
    problems.push(elsewhere ? { ...problem, hint: `${key} stands in the base file or nowhere.` } : problem);
  }
  parseOne<unknown>(SHAPE.version, ['version'], value['version'], problems);
  const allow = parseList<AllowItem>(allowItem, 'allow', value, problems);
  const deny = place.role === 'ceiling' ? [] : parseList<DenyItem>(denyItem, 'deny', value, problems);
  const tests = place.role === 'ceiling' ? [] : parseList<TestItem>(testItem, 'tests', value, problems);
  const built = buildRules({ allow, deny, catalog, origin, inspects: place.role === 'ceiling' || input.inspects });
  problems.push(...built.problems, ...foreignFiles(allow));
  const paths = new Map<readonly PropertyKey[], readonly PropertyKey[]>();
  const rules: PlacedRule[] = [];
  for (const placed of built.rules) {
    const path = paths.get(placed.path) ?? [place.file, ...placed.path];
    paths.set(placed.path, path);
    if (place.role === 'ceiling') problems.push(...unfit(placed));
    const own = scoped(placed, place, problems);
    if (own !== null) rules.push({ ...own, path });
  }
  if (place.role === 'ceiling') return { rules, tests: [], problems: distinct(problems) };
  const inside = withinCeiling(rules, input, problems);
  return { rules: inside, tests: asked(tests, place.scope ?? {}, problems), problems: distinct(problems) };
}

/** Files of the proxy's machine are the base's to name. */
function foreignFiles(allow: readonly Placed<AllowItem>[]): PathProblem[] {
  return allow.flatMap(({ index, item }) => {
    if ('pattern' in item || item.upstream_ca === undefined) return [];
    const message = 'upstream_ca names a file of the proxy, and stands in the base file or nowhere';
    const hint = 'Remove it, or ask for a rule in the base.';
    return [error('config-conflict', ['allow', index, 'upstream_ca'], message, hint)];
  });
}

/** The ceiling is the same for everyone and at all times: what depends on either belongs to what it bounds. */
function unfit({ rule, path }: PlacedRule): PathProblem[] {
  return (['for', 'expires', 'mode'] as const)
    .filter((key) => rule[key] !== null)
    .map((key) =>
      error(
        'config-conflict',
        [...path, key],
        `${key} has no meaning in a ceiling`,
        'Write it in the file that grants.',
      ),
    );
}

/** The rule for whom the file is for, or for fewer of them; null with a problem told where it names others. */
function scoped(placed: PlacedRule, { scope, file, owner }: LayerPlace, problems: PathProblem[]): PlacedRule | null {
  if (scope === null) return placed;
  const { rule } = placed;
  for (const [name, globs] of Object.entries(rule.for ?? {})) {
    const outer = scope[name as Attribute];
    const foreign = outer === undefined ? undefined : globs.find((glob) => !globCovered(glob, outer));
    if (foreign === undefined) continue;
    const message = `the rule is for ${name} ${foreign}, and ${file} is for ${name} ${outer?.join(', ')}`;
    const hint = 'A file can narrow whom it is for; the base alone says who that is, under layers.';
    problems.push(error('config-conflict', [...placed.path, 'for', name], message, hint));
    return null;
  }
  const selector: Selector = { ...scope, ...rule.for };
  return { ...placed, rule: { ...rule, for: selector, layer: file, owner: rule.owner ?? owner } };
}

/** The rules inside the ceiling; of each entry that has others, the first of them is told. */
function withinCeiling(rules: readonly PlacedRule[], input: LayerInput, problems: PathProblem[]): PlacedRule[] {
  const { ceiling, cut } = input;
  if (ceiling === null) return [];
  return rules.filter((placed) => {
    const outside = ceiling.judge(placed.rule);
    if (outside === null) return true;
    const { rule, path } = placed;
    const what = rule.group === null ? rule.pattern.text : `${rule.pattern.text} of group ${rule.group}`;
    const message = `${rule.origin} allows ${what}, which is outside the ceiling: ${outsideText(outside)}`;
    problems.push((cut ? warning : error)('config-ceiling', path.slice(1), message));
    return false;
  });
}

/** Each test as somebody whom the file is for: the values of the mapping, and what the test says besides. */
function asked(tests: readonly Placed<TestItem>[], scope: Selector, problems: PathProblem[]): Placed<TestItem>[] {
  const given: Partial<Record<Attribute, string>> = {};
  for (const [name, globs] of Object.entries(scope)) {
    const [only] = globs;
    if (globs.length === 1 && only !== undefined && !only.includes('*')) given[name as Attribute] = only;
  }
  return tests.flatMap(({ index, item }) => {
    const as: Attributes = { ...given, ...(item.as as Attributes | undefined) };
    if (selectorMatches(scope, as)) return [{ index, item: { ...item, as } }];
    const message = `the test asks as somebody whom the file is not for: it is for ${selectorText(scope)}`;
    problems.push(error('config-value', ['tests', index, 'as'], message, 'Name one of them: as: { pipeline: web }.'));
    return [];
  });
}

/** A group says the same of many hosts. */
function distinct(problems: readonly PathProblem[]): PathProblem[] {
  const seen = new Set<string>();
  return problems.filter(({ code, path }) => {
    const key = `${code} ${path.join('.')}`;
    return code !== 'config-ceiling' || (!seen.has(key) && seen.add(key));
  });
}
