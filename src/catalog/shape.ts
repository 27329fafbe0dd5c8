// The zod shape of one catalog file, and its findings in words: the value, what is allowed, the nearest key.
// PURE. Unknown keys are errors: a misspelt `multi_tenant` must not become a silent default.
import { z } from 'zod';
import type { OperatorErrorCode } from '../errors.ts';
import { nearestSpelling } from './nearest.ts';

const ID = z
  .string()
  .regex(/^[a-z0-9]+(?:-[a-z0-9]+)*$/, 'an id is kebab-case: lower-case letters and digits with single hyphens');
const SENTENCE = z.string().trim().min(1).max(600);
const PORTS = z.array(z.int().min(1).max(65_535)).min(1).max(16);
const NEED = z.enum(['required', 'optional']);
const SOURCE = z.enum(['published', 'companion', 'operator']);

const parameterShape = z.strictObject({
  name: z.string().regex(/^[a-z][a-z0-9_]*$/, 'a parameter name is lower-case letters, digits and _'),
  about: SENTENCE,
  example: z.string().min(1).max(253),
  kind: z.enum(['label', 'labels', 'host']),
  required: z.boolean(),
});

const fieldShape = z.strictObject({
  name: z.string().regex(/^[a-z0-9-]+$/, 'a header field is written in lower case'),
  value: z.string().min(1).max(100).optional(),
});

const pathShape = z.strictObject({
  method: z.enum(['GET', 'HEAD', 'PUT']),
  path: z
    .string()
    .regex(
      /^\/(?:(?:[A-Za-z0-9._~-]+|\*)(?:\/(?:[A-Za-z0-9._~-]+|\*))*\/?)?$/,
      'a path starts with / and holds no query, no escape, no empty segment, and * only as a whole segment',
    ),
  exact: z.boolean().default(true),
  field: fieldShape.optional(),
});

const entryShape = z.strictObject({
  id: ID,
  host: z.string().min(1).max(253),
  need: NEED.optional(),
  ports: PORTS.optional(),
  ports_stated: z.boolean().default(true),
  scheme: z.enum(['https', 'http', 'ssh']).default('https'),
  purpose: SENTENCE,
  agent_versions: z
    .string()
    .regex(/^(?:>=|<)\d+\.\d+\.\d+$/, 'agent_versions is >= or < and a version: ">=3.122.0"')
    .optional(),
  source: SOURCE.optional(),
  cite: SENTENCE.optional(),
  confidence: z.enum(['doc', 'list', 'observed-in-code', 'assumed']).optional(),
  multi_tenant: z.boolean().default(false),
  via: z.enum(['proxy', 'direct']).default('proxy'),
  caution: SENTENCE.optional(),
  paths: z.array(pathShape).min(1).max(64).optional(),
});

const groupShape = z.strictObject({
  id: ID,
  title: SENTENCE,
  need: NEED.default('optional'),
  source: SOURCE.optional(),
  provider: ID.optional(),
  section: SENTENCE.optional(),
  requires: z.literal('proxy-host-identity').optional(),
  parameters: z.array(parameterShape).max(8).default([]),
  notes: z.array(SENTENCE).max(16).default([]),
  entries: z.array(entryShape).min(1).max(500),
});

const neverProxyShape = z.strictObject({
  host: z.string().min(1).max(253),
  ports: PORTS,
  scheme: z.literal('http'),
  published: z.boolean().default(false),
  why: SENTENCE,
  cite: SENTENCE,
});

const watchShape = z.strictObject({
  host: z.string().min(1).max(253),
  kind: z.enum(['doh', 'tunnel', 'paste', 'upload', 'webhook', 'shared']),
  what: SENTENCE,
  cite: SENTENCE,
});

const fileShape = z.strictObject({
  format: z.literal(1),
  version: z.string().min(1).max(64).optional(),
  snapshot: z.array(SENTENCE).max(32).optional(),
  groups: z.array(groupShape).max(1_000).default([]),
  never_proxy: z.array(neverProxyShape).max(200).default([]),
  watch: z.array(watchShape).max(2_000).default([]),
});

export type RawFile = z.infer<typeof fileShape>;
export type RawGroup = RawFile['groups'][number];
export type RawEntry = RawGroup['entries'][number];
export type RawPath = z.infer<typeof pathShape>;
export type Path = readonly (string | number)[];

/** A finding at a path inside a file: `['groups', 0, 'id']`. `key`: the key is meant, not its value. */
export interface PathProblem {
  readonly file: string;
  readonly path: readonly (string | number)[];
  readonly key: boolean;
  readonly code: OperatorErrorCode;
  readonly message: string;
  readonly hint: string;
}

/** Checks one file's value against the shape. */
export function readShape(
  file: string,
  value: unknown,
): { ok: true; raw: RawFile } | { ok: false; problems: PathProblem[] } {
  const parsed = fileShape.safeParse(value, { reportInput: true });
  if (parsed.success) return { ok: true, raw: parsed.data };
  return { ok: false, problems: parsed.error.issues.flatMap((issue) => shapeProblems(file, issue)) };
}

/** One zod issue as problems with the value, what is allowed, and the nearest known key. */
function shapeProblems(file: string, issue: z.core.$ZodIssue): PathProblem[] {
  const path = issue.path.map((part) => (typeof part === 'symbol' ? String(part) : part));
  if (issue.code === 'unrecognized_keys') {
    const known = keysAt(path);
    return issue.keys.map((key) => {
      const near = nearestSpelling(key, known);
      const hint = near === null ? `Known here: ${known.join(', ')}.` : `Did you mean ${near}?`;
      return {
        file,
        path: [...path, key],
        key: true,
        code: 'config-unknown-key',
        message: `key ${JSON.stringify(key)} is not known here`,
        hint,
      };
    });
  }
  const last = path.at(-1);
  if (issue.input === undefined && typeof last === 'string') {
    return [
      {
        file,
        path: path.slice(0, -1),
        key: false,
        code: 'config-missing-key',
        message: `key ${JSON.stringify(last)} is missing`,
        hint: `Allowed: ${allowed(issue)}.`,
      },
    ];
  }
  const near =
    issue.code === 'invalid_value' && typeof issue.input === 'string'
      ? nearestSpelling(issue.input, issue.values.map(String))
      : null;
  const hint = near === null ? 'docs/catalog.md shows the form of a catalog file.' : `Did you mean ${near}?`;
  const name = path.length === 0 ? 'the file' : path.filter((part) => typeof part === 'string').at(-1);
  return [
    {
      file,
      path,
      key: false,
      code: 'config-value',
      message: `${name} is ${show(issue.input)}; allowed: ${allowed(issue)}`,
      hint,
    },
  ];
}

function allowed(issue: z.core.$ZodIssue): string {
  if (issue.code === 'invalid_value') return issue.values.map(String).join(', ');
  if (issue.code === 'invalid_type')
    return issue.expected === 'object' ? 'a mapping' : issue.expected === 'array' ? 'a list' : issue.expected;
  if (issue.code === 'too_small') return `at least ${issue.minimum} (${issue.origin})`;
  if (issue.code === 'too_big') return `at most ${issue.maximum} (${issue.origin})`;
  return issue.message;
}

/** The keys that the shape knows at a path, for the nearest spelling. */
function keysAt(path: Path): string[] {
  const place = path.filter((part) => typeof part === 'string').at(-1);
  if (place === 'groups') return Object.keys(groupShape.shape);
  if (place === 'entries') return Object.keys(entryShape.shape);
  if (place === 'parameters') return Object.keys(parameterShape.shape);
  if (place === 'paths') return Object.keys(pathShape.shape);
  if (place === 'field') return Object.keys(fieldShape.shape);
  if (place === 'never_proxy') return Object.keys(neverProxyShape.shape);
  if (place === 'watch') return Object.keys(watchShape.shape);
  return Object.keys(fileShape.shape);
}

function show(value: unknown): string {
  const text = value === undefined ? 'nothing' : JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}
