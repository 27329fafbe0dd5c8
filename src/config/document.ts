// One YAML text → its plain value, and the place (line, column) of every part of it.
// It must never guess: a duplicate key, a tag, a second document or a byte that is not text is a problem, not a repair.
// Answers the alias bomb (few aliases), the nesting bomb (depth) and the file that is no file (empty, binary).
import { type Document, isAlias, isMap, isNode, isScalar, isSeq, LineCounter, parseDocument } from 'yaml';
import type { Problem, SourcePlace } from '../errors.ts';
import { PROBLEMS_MAX, problemAt } from './findings.ts';

/** Aliases that may be followed; YAML anchors are a convenience for a few CIDR lists, not a macro language. */
const ALIASES_MAX = 64;
/** Mappings and lists inside one another; the deepest key of the schema stands at 6. */
const DEPTH_MAX = 32;

export type Path = readonly PropertyKey[];

export interface SourceDocument {
  /** The parsed value: plain objects, arrays and scalars. */
  readonly value: Readonly<Record<string, unknown>>;
  /** Where the value at a path stands (or its key), or the nearest part around it that exists. */
  place(path: Path, where?: 'key' | 'value'): SourcePlace;
}

export type DocumentResult =
  | { readonly ok: true; readonly document: SourceDocument }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/**
 * Parses the text of a configuration file.
 * @param file the path as the operator gave it; it stands in every place
 * @returns the value with its places, or every syntax problem found (at most PROBLEMS_MAX)
 */
export function readDocument(file: string, text: string): DocumentResult {
  const lines = new LineCounter();
  const control = controlCharacter(file, text);
  if (control !== null) return failed([control]);
  let document: Document.Parsed;
  try {
    // uniqueKeys compares each key with each other one; structureProblems does it with a set.
    document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: false, logLevel: 'error' });
  } catch (cause) {
    // The parser recurses: a file of a hundred thousand brackets ends its stack.
    const message = cause instanceof RangeError ? 'the file is nested too deep' : 'the file cannot be parsed';
    return failed([syntax({ file, line: 1, column: 1 }, message)]);
  }
  const at = (offset: number): SourcePlace => {
    const { line, col } = lines.linePos(offset);
    return { file, line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const faults = distinct([...document.errors, ...document.warnings], at);
  if (faults.length > 0) return failed(faults);
  const { contents } = document;
  if (contents === null || (isScalar(contents) && contents.value === null && contents.source === ''))
    return failed([
      problemAt('config-empty', { file, line: 1, column: 1 }, `${file} is empty: nothing would be allowed`),
    ]);
  if (!isMap(contents)) {
    const found = isSeq(contents) ? 'a list' : 'a single value';
    return failed([
      problemAt(
        'config-value',
        at(offsetOf(contents) ?? 0),
        `the file is ${found}; it must be a mapping of keys`,
        'Start with `version: 1`.',
      ),
    ]);
  }
  const structure = structureProblems(document, at);
  if (structure.length > 0) return failed(structure);
  try {
    const value = document.toJS({ maxAliasCount: ALIASES_MAX }) as Record<string, unknown>;
    return { ok: true, document: { value, place: (path, where = 'value') => at(locate(document, path, where)) } };
  } catch {
    return failed([syntax({ file, line: 1, column: 1 }, 'its aliases multiply into more than a policy can hold')]);
  }
}

function failed(problems: readonly Problem[]): DocumentResult {
  return { ok: false, problems };
}

function syntax(at: SourcePlace, message: string): Problem {
  return problemAt('config-syntax', at, message);
}

interface Fault {
  readonly code: string;
  readonly message: string;
  readonly pos: readonly [number, number];
}

/** The parser's complaints in our words, each once a line: one slip of the pen can make it complain a thousand times. */
function distinct(faults: readonly Fault[], at: (offset: number) => SourcePlace): Problem[] {
  const found = new Map<string, Problem>();
  for (const fault of faults) {
    const place = at(fault.pos[0]);
    const one = syntax(place, sentence(fault));
    const key = `${place.line} ${one.message}`;
    if (!found.has(key)) found.set(key, one);
    if (found.size >= PROBLEMS_MAX) break;
  }
  return [...found.values()];
}

/** The parser's message as one line, without advice about its own functions. */
function sentence({ code, message }: Fault): string {
  if (code === 'MULTIPLE_DOCS') return 'a second document starts here; a file holds one';
  if (code === 'TAG_RESOLVE_FAILED' || code === 'BAD_DIRECTIVE')
    return `tags and directives are not used here: ${message}`;
  if (message.includes('call stack')) return 'nested too deep';
  return message.replaceAll(/\s+/g, ' ').trim().slice(0, 200);
}

/** YAML forbids control characters (§5.1), the parser lets them through: a binary file would become one odd string. */
function controlCharacter(file: string, text: string): Problem | null {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  const offset = text.search(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f\u0080-\u0084\u0086-\u009f\ufffe\uffff]/);
  if (offset === -1) return null;
  const before = text.slice(0, offset);
  const line = before.split('\n').length;
  const column = offset - (before.lastIndexOf('\n') + 1) + 1;
  const code = text.charCodeAt(offset).toString(16).toUpperCase().padStart(4, '0');
  return syntax({ file, line, column }, `the character U+${code} does not belong into a text file; is it YAML?`);
}

/** Duplicate keys, keys that are not plain text, aliases without an anchor or too many, and nesting that is too deep. */
function structureProblems(document: Document.Parsed, at: (offset: number) => SourcePlace): Problem[] {
  const problems: Problem[] = [];
  let aliases = 0;
  const visit = (node: unknown, depth: number): void => {
    if (problems.length >= PROBLEMS_MAX) return;
    if (depth > DEPTH_MAX) {
      problems.push(syntax(at(offsetOf(node) ?? 0), `nested deeper than ${DEPTH_MAX} levels`));
    } else if (isAlias(node)) {
      aliases += 1;
      const place = at(offsetOf(node) ?? 0);
      if (aliases > ALIASES_MAX) problems.push(syntax(place, `more than ${ALIASES_MAX} aliases`));
      else if (node.resolve(document) === undefined)
        problems.push(syntax(place, `alias *${node.source} has no anchor &${node.source} before it`));
    } else if (isMap(node)) {
      const seen = new Map<string, number>();
      for (const pair of node.items) {
        keyProblem(pair.key, seen, at, problems);
        visit(pair.value, depth + 1);
      }
    } else if (isSeq(node)) {
      for (const item of node.items) visit(item, depth + 1);
    }
  };
  visit(document.contents, 0);
  return problems;
}

function keyProblem(
  key: unknown,
  seen: Map<string, number>,
  at: (offset: number) => SourcePlace,
  problems: Problem[],
): void {
  const offset = offsetOf(key) ?? 0;
  if (!isScalar(key) || (typeof key.value !== 'string' && typeof key.value !== 'number')) {
    problems.push(syntax(at(offset), 'a key must be a plain word'));
    return;
  }
  const name = String(key.value);
  const first = seen.get(name);
  if (first === undefined) {
    seen.set(name, offset);
    return;
  }
  const { line } = at(first);
  problems.push(
    problemAt(
      'config-duplicate-key',
      at(offset),
      `key ${JSON.stringify(name)} stands twice; it stands first on line ${line}`,
    ),
  );
}

/** The offset of the node at a path; where the path leaves the document, of the last part that exists. */
function locate(document: Document.Parsed, path: Path, where: 'key' | 'value'): number {
  let node: unknown = document.contents;
  let offset = offsetOf(node) ?? 0;
  for (const [depth, part] of path.entries()) {
    const inner = isAlias(node) ? node.resolve(document) : node;
    if (isMap(inner)) {
      const pair = inner.items.find((item) => isScalar(item.key) && String(item.key.value) === String(part));
      if (pair === undefined) break;
      const wantsKey = where === 'key' && depth === path.length - 1;
      offset = (wantsKey ? null : written(pair.value)) ?? offsetOf(pair.key) ?? offset;
      node = pair.value;
    } else if (isSeq(inner)) {
      node = inner.items[Number(part)];
      offset = offsetOf(node) ?? offset;
    } else break;
  }
  return offset;
}

function offsetOf(node: unknown): number | null {
  return isNode(node) ? (node.range?.[0] ?? null) : null;
}

/** An empty value (`allow:` and nothing) has no place of its own: its key is the place to look at. */
function written(node: unknown): number | null {
  return isScalar(node) && node.value === null && node.source === '' ? null : offsetOf(node);
}
