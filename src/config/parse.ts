// A plain value → Raw: each key parsed by itself, each rule and test by itself, so that one mistake hides no other.
// PURE. Overrides of the command line are laid over the file first and go through the same checks.
// What did not parse is left out of Raw and stands in the problems; a caller must not use Raw where there is an error.
import type { z } from 'zod';
import { error, type PathProblem, problemsOf, unknownTopKey } from './issues.ts';
import {
  type AllowItem,
  allowItem,
  type DenyItem,
  denyItem,
  KEYS,
  type Key,
  type Raw,
  SHAPE,
  type TestItem,
  testItem,
} from './schema.ts';

/** What the command line says instead of the file. Texts as typed. */
export interface Overrides {
  readonly mode?: string;
  readonly listen?: readonly string[];
  readonly admin?: string;
  readonly from?: readonly string[];
  readonly auditFile?: string;
  readonly usageStore?: string;
  readonly logLevel?: string;
  readonly node?: string;
}

/** An item of a list and its place in it; items that did not parse are missing. */
export interface Placed<T> {
  readonly index: number;
  readonly item: T;
}

export interface Parsed {
  readonly raw: Omit<Raw, 'allow' | 'deny' | 'tests'>;
  readonly allow: readonly Placed<AllowItem>[];
  readonly deny: readonly Placed<DenyItem>[];
  readonly tests: readonly Placed<TestItem>[];
  /** Paths, joined by dots, that the command line gave. */
  readonly overridden: ReadonlySet<string>;
  readonly problems: readonly PathProblem[];
}

const OVERRIDE_PATHS = {
  mode: ['mode'],
  listen: ['listen'],
  admin: ['admin'],
  from: ['clients', 'from'],
  auditFile: ['audit', 'file'],
  usageStore: ['usage', 'store'],
  logLevel: ['log', 'level'],
  node: ['node'],
} as const satisfies Record<keyof Overrides, readonly string[]>;

function isMapping(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The file's value with the overrides laid over it. */
function overlaid(
  value: Readonly<Record<string, unknown>>,
  overrides: Overrides,
): { value: Record<string, unknown>; overridden: Set<string> } {
  const merged: Record<string, unknown> = { ...value };
  const overridden = new Set<string>();
  for (const [name, [key, inner]] of Object.entries(OVERRIDE_PATHS)) {
    const given = overrides[name as keyof Overrides];
    if (given === undefined) continue;
    const before = merged[key];
    // A section that is no mapping is a problem of the file and stays one.
    if (inner !== undefined && before !== undefined && !isMapping(before)) continue;
    merged[key] = inner === undefined ? given : { ...(isMapping(before) ? before : {}), [inner]: given };
    overridden.add(inner === undefined ? key : `${key}.${inner}`);
  }
  return { value: merged, overridden };
}

/** Parses every key of a configuration. */
export function parseRaw(value: Readonly<Record<string, unknown>>, overrides: Overrides): Parsed {
  const merged = overlaid(value, overrides);
  const problems: PathProblem[] = [];
  for (const key of Object.keys(merged.value)) {
    if (!KEYS.some((known) => known === key)) problems.push(unknownTopKey(key, KEYS));
  }
  const raw: Record<string, unknown> = {};
  for (const key of KEYS) {
    if (key === 'allow' || key === 'deny' || key === 'tests') continue;
    if (!Object.hasOwn(merged.value, key) && key !== 'version') continue;
    const parsed = parseOne<unknown>(SHAPE[key] as z.ZodType, [key], merged.value[key], problems);
    if (parsed !== null) raw[key] = parsed.value;
  }
  return {
    raw: raw as Parsed['raw'],
    allow: parseList(allowItem, 'allow', merged.value, problems),
    deny: parseList(denyItem, 'deny', merged.value, problems),
    tests: parseList(testItem, 'tests', merged.value, problems),
    overridden: merged.overridden,
    problems,
  };
}

/** One value by its schema; null with the problems told where it is wrong. */
export function parseOne<T>(
  schema: z.ZodType<T>,
  path: readonly PropertyKey[],
  value: unknown,
  problems: PathProblem[],
): { value: T } | null {
  const result = schema.safeParse(value);
  if (result.success) {
    // An optional schema takes undefined, and a YAML value is never undefined.
    return result.data === undefined ? null : { value: result.data };
  }
  problems.push(...problemsOf(result.error.issues, path, value, schema));
  return null;
}

/** The items of a list, each by itself: a hundred thousand rules with one mistake give one problem. */
export function parseList<T>(
  schema: z.ZodType<T>,
  key: Key,
  root: Readonly<Record<string, unknown>>,
  problems: PathProblem[],
): Placed<T>[] {
  if (!Object.hasOwn(root, key)) return [];
  const list = root[key];
  if (!Array.isArray(list)) {
    const found = list === null ? 'empty' : isMapping(list) ? 'a mapping' : 'a single value';
    const hint =
      list === null
        ? `Write ${key}: [] or remove the key.`
        : `Write a list: each item on a line of its own, after "- ".`;
    problems.push(error('config-value', [key], `${key} is ${found}; it must be a list`, hint));
    return [];
  }
  const items: Placed<T>[] = [];
  for (const [index, value] of list.entries()) {
    const parsed = parseOne(schema, [key, index], value, problems);
    if (parsed !== null) items.push({ index, item: parsed.value });
  }
  return items;
}
