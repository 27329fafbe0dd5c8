// zod's issues → problems with a code, a sentence with the value, what is allowed, and the nearest spelling.
// PURE. Where a value may have several shapes, only the shape that was meant is complained about.
import type { z } from 'zod';
import { nearestSpelling } from '../catalog/nearest.ts';
import { OPERATOR_ERRORS, type OperatorErrorCode } from '../errors.ts';
import { LIMIT_NAMES, LIMIT_SPECS } from '../limits.ts';
import type { LeafParams } from './leaf.ts';

/** A problem by its path in the file; load.ts knows the line. */
export interface PathProblem {
  readonly code: OperatorErrorCode;
  readonly severity: 'error' | 'warning';
  readonly path: readonly PropertyKey[];
  /** The key is at fault, not its value. */
  readonly key: boolean;
  readonly message: string;
  readonly hint: string;
}

type Issue = z.core.$ZodIssue;

/** One problem for each issue. `root` is the value that was parsed, `schema` what it was parsed with. */
export function problemsOf(
  issues: readonly Issue[],
  prefix: readonly PropertyKey[],
  root: unknown,
  schema: z.ZodType,
): PathProblem[] {
  return issues.flatMap((issue) => problemsOfIssue(issue, prefix, root, schema));
}

function problemsOfIssue(
  issue: Issue,
  prefix: readonly PropertyKey[],
  root: unknown,
  schema: z.ZodType,
): PathProblem[] {
  const path = [...prefix, ...issue.path];
  const value = valueAt(root, issue.path);
  const name = pathText(path);
  if (issue.code === 'invalid_union') return unionProblems(issue, prefix, root, schema, value);
  if (issue.code === 'unrecognized_keys') {
    const known = knownKeys(schema, issue.path, root);
    return issue.keys.map((key) => unknownKey(key, path, known));
  }
  const limit = path[0] === 'limits' ? LIMIT_NAMES.find((known) => known === path[1]) : undefined;
  if (limit !== undefined) {
    const { min, max } = LIMIT_SPECS[limit];
    return [
      error('config-limit', path, `${limit} is ${shown(value)}; allowed are whole numbers from ${min} to ${max}`),
    ];
  }
  switch (issue.code) {
    case 'custom': {
      const params = issue.params as LeafParams | undefined;
      return [error(params?.code ?? 'config-value', path, `${name}: ${issue.message}`, params?.hint)];
    }
    case 'invalid_type':
      return [typeProblem(issue.expected, path, value)];
    case 'invalid_value':
      return [wordProblem(issue.values, path, value)];
    case 'too_small':
    case 'too_big':
      return [sizeProblem(issue, path, value)];
    default:
      return [error('config-value', path, `${name} is ${shown(value)}: ${issue.message}`)];
  }
}

/** The complaints of the shape that was meant: the one whose kind of value was given. */
function unionProblems(
  issue: Issue & { code: 'invalid_union' },
  prefix: readonly PropertyKey[],
  root: unknown,
  schema: z.ZodType,
  value: unknown,
): PathProblem[] {
  const path = [...prefix, ...issue.path];
  const meant = issue.errors.filter((option) => !option.some(isWrongKind)).at(0);
  if (meant !== undefined) {
    const placed = meant.map((inner) => ({ ...inner, path: [...issue.path, ...inner.path] }));
    return problemsOf(placed, prefix, root, schema);
  }
  const wanted = issue.errors.flat().filter(isWrongKind);
  const words = wanted.flatMap((inner) => (inner.code === 'invalid_value' ? inner.values : []));
  const kinds = wanted.flatMap((inner) => (inner.code === 'invalid_type' ? [kindName(inner.expected)] : []));
  const allowed = choice([...new Set([...words.map(String), ...kinds])]);
  const near = typeof value === 'string' ? nearestSpelling(value, words.map(String)) : null;
  const hint = near === null ? kindHint(value, words.length > 0 ? [] : kinds) : `Did you mean ${near}?`;
  return [error('config-value', path, `${pathText(path)} is ${shown(value)}; allowed is ${allowed}`, hint)];
}

function isWrongKind(issue: Issue): boolean {
  return issue.path.length === 0 && (issue.code === 'invalid_type' || issue.code === 'invalid_value');
}

function unknownKey(key: string, path: readonly PropertyKey[], known: readonly string[]): PathProblem {
  const near = nearestSpelling(key, known);
  const where = path.length === 0 ? '' : ` in ${pathText(path)}`;
  const list = known.length > 12 ? '' : `; known are ${known.join(', ')}`;
  const hint = near === null ? OPERATOR_ERRORS['config-unknown-key'].hint : `Did you mean ${near}?`;
  return {
    code: 'config-unknown-key',
    severity: 'error',
    path: [...path, key],
    key: true,
    message: `unknown key ${JSON.stringify(key)}${where}${list}`,
    hint,
  };
}

/** The problem of a key at the top of the file that no schema names. */
export function unknownTopKey(key: string, known: readonly string[]): PathProblem {
  return unknownKey(key, [], known);
}

function typeProblem(expected: string, path: readonly PropertyKey[], value: unknown): PathProblem {
  const name = pathText(path);
  if (value === undefined)
    return error('config-missing-key', path, `${name} is missing; it must be ${kindName(expected)}`);
  const kind = kindName(expected);
  if (value === null)
    return error('config-value', path, `${name} is empty; it must be ${kind}`, 'Write a value, or remove the key.');
  return error('config-value', path, `${name} is ${shown(value)}; it must be ${kind}`, kindHint(value, [kind]));
}

const YES_NO: ReadonlyMap<string, string> = new Map([
  ['yes', 'true'],
  ['on', 'true'],
  ['no', 'false'],
  ['off', 'false'],
]);

/** What is meant where the value is of another kind: YAML reads 1.10 as a number and yes as a text. */
function kindHint(value: unknown, kinds: readonly string[]): string | undefined {
  const wants = (expected: string): boolean => kinds.includes(kindName(expected));
  const isScalar = typeof value === 'number' || typeof value === 'boolean';
  if (wants('string') && isScalar) return 'If a text is meant, write it in quotes.';
  if (wants('array') && (isScalar || typeof value === 'string')) return `Write a list: [${value}].`;
  if (typeof value !== 'string') return undefined;
  if (wants('int') && /^\d+$/.test(value)) return `Write ${value} without quotes.`;
  const meant = wants('boolean') ? YES_NO.get(value.toLowerCase()) : undefined;
  return meant === undefined ? undefined : `Did you mean ${meant}?`;
}

/** a, b or c */
function choice(words: readonly string[]): string {
  const last = words.at(-1) ?? '';
  return words.length < 2 ? last : `${words.slice(0, -1).join(', ')} or ${last}`;
}

function wordProblem(values: readonly unknown[], path: readonly PropertyKey[], value: unknown): PathProblem {
  const words = values.map(String);
  const near = typeof value === 'string' ? nearestSpelling(value, words) : null;
  const hint = near === null ? undefined : `Did you mean ${near}?`;
  if (value === undefined)
    return error('config-missing-key', path, `${pathText(path)} is missing; allowed is ${choice(words)}`);
  return error('config-value', path, `${pathText(path)} is ${shown(value)}; allowed is ${choice(words)}`, hint);
}

function sizeProblem(
  issue: Issue & { code: 'too_small' | 'too_big' },
  path: readonly PropertyKey[],
  value: unknown,
): PathProblem {
  const name = pathText(path);
  if (issue.origin === 'array') {
    const message =
      issue.code === 'too_small'
        ? `${name} is an empty list`
        : `${name} has too many values; allowed are ${issue.maximum}`;
    return error(
      'config-value',
      path,
      message,
      issue.code === 'too_small' ? 'Write at least one value, or remove the key.' : undefined,
    );
  }
  const isPort = path.includes('ports');
  const bound = issue.code === 'too_small' ? `at least ${issue.minimum}` : `at most ${issue.maximum}`;
  const allowed = isPort ? 'allowed are whole numbers from 1 to 65535' : `allowed is ${bound}`;
  return error('config-value', path, `${name} is ${shown(value)}; ${allowed}`);
}

/** An error about the value at a path. */
export function error(
  code: OperatorErrorCode,
  path: readonly PropertyKey[],
  message: string,
  hint?: string,
): PathProblem {
  return { code, severity: 'error', path, key: false, message, hint: hint ?? OPERATOR_ERRORS[code].hint };
}

/** A warning about the value at a path. */
export function warning(
  code: OperatorErrorCode,
  path: readonly PropertyKey[],
  message: string,
  hint?: string,
): PathProblem {
  return { ...error(code, path, message, hint), severity: 'warning' };
}

/** `allow[3].ports[0]`, as it is written in messages. */
export function pathText(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    return text === '' ? String(part) : `${text}.${String(part)}`;
  }, '');
}

/** A value for a sentence: short, on one line. */
export function shown(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object' && value !== null) return 'a mapping';
  const text = value === undefined ? 'missing' : typeof value === 'number' ? String(value) : JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 79)}…` : text;
}

function kindName(expected: string): string {
  switch (expected) {
    case 'array':
      return 'a list';
    case 'object':
    case 'record':
      return 'a mapping';
    case 'boolean':
      return 'true or false';
    case 'number':
    case 'int':
      return 'a whole number';
    case 'string':
      return 'a text';
    default:
      return expected;
  }
}

/** What stands at a path of a plain value; undefined where nothing does. */
export function valueAt(root: unknown, path: readonly PropertyKey[]): unknown {
  let value = root;
  for (const part of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part)) return undefined;
    value = Reflect.get(value, part);
  }
  return value;
}

/** The keys that the schema knows at a path; of several shapes, those of the mapping. */
function knownKeys(schema: z.ZodType, path: readonly PropertyKey[], root: unknown): string[] {
  let current = mappingOf(schema, valueAt(root, []));
  for (const [depth, part] of path.entries()) {
    const inner = current.shape?.[String(part)] ?? current.element;
    if (inner === undefined) return [];
    current = mappingOf(inner, valueAt(root, path.slice(0, depth + 1)));
  }
  return Object.keys(current.shape ?? {});
}

interface Container {
  readonly shape?: Readonly<Record<string, z.ZodType>>;
  readonly element?: z.ZodType;
}

/** Peels optional and pipes, and picks of a union the shape that can hold the value. */
function mappingOf(schema: z.ZodType, value: unknown): Container {
  const { def } = schema as unknown as {
    def: {
      type: string;
      innerType?: z.ZodType;
      in?: z.ZodType;
      options?: z.ZodType[];
      shape?: Record<string, z.ZodType>;
      element?: z.ZodType;
    };
  };
  if (def.innerType !== undefined) return mappingOf(def.innerType, value);
  if (def.in !== undefined) return mappingOf(def.in, value);
  if (def.options !== undefined) {
    const wanted = Array.isArray(value) ? 'array' : 'object';
    const option = def.options
      .map((one) => mappingOf(one, value))
      .find((one) => (wanted === 'array' ? one.element : one.shape));
    return option ?? {};
  }
  if (def.shape !== undefined) return { shape: def.shape };
  return def.element === undefined ? {} : { element: def.element };
}
