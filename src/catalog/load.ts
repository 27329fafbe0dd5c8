// Reads the catalog: the shipped folder config/catalog (or the one file that a lock pins in its place), then any catalog.d of the
// operator, into one frozen Catalog.
// It answers every problem at once with file:line:column; a catalog with one problem is no catalog (fail closed).
// Aliases and tags of YAML are refused: a catalog needs neither, and an alias bomb is an old way to eat the memory.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { type Document, isAlias, isMap, isNode, isScalar, isSeq, LineCounter, parseDocument, visit } from 'yaml';
import { OPERATOR_ERRORS, type OperatorErrorCode, type Problem, SallyportError } from '../errors.ts';
import { DEFAULT_LIMITS } from '../limits.ts';
import { packaged } from '../places.ts';
import { type CatalogFiles, parseBundle } from './bundle.ts';
import type { Catalog } from './catalog.ts';
import { deepFreeze } from './deep-freeze.ts';
import { readBefore, textDigest } from './load-before.ts';
import { CATALOG_FILE, type FileRead, fileRead } from './load-signature.ts';
import { assembleCatalog, type CatalogContent, type CatalogFile } from './parse.ts';
import type { PathProblem } from './shape.ts';

/** The catalog that comes with the product. */
export const SHIPPED_CATALOG = packaged('config/catalog');

/** Files in one folder; more is a mistaken path, not a catalog. */
const FILES_MAX = 200;

interface Source {
  readonly document: Document.Parsed;
  readonly lines: LineCounter;
}

/** What is being gathered while files are read. */
interface Reading {
  readonly files: CatalogFile[];
  /** Parsed on demand: of a file that the build has read only where a problem wants its line. */
  readonly sources: Map<string, () => Source>;
  readonly problems: Problem[];
  readonly before: ReadonlyMap<string, unknown>;
}

/**
 * Loads the shipped catalog and the folders given (each optional: a folder that does not exist adds nothing).
 * The shipped folder is always read, and first, whether or not it is among them.
 * @param shipped a folder, or a catalog in one file (bundle.ts) that stands for it
 * @param read takes the operator's files as they were read
 * @throws SallyportError `catalog-invalid` whose `problems` hold every finding with its place
 */
export function loadCatalog(
  folders: readonly string[] = [],
  shipped: string = SHIPPED_CATALOG,
  read: FileRead[] = [],
): Catalog {
  const reading: Reading = { files: [], sources: new Map(), problems: [], before: readBefore() };
  const { files, sources, problems } = reading;
  for (const [file, text] of shippedTexts(shipped, problems, read)) readInto(reading, file, text, true);
  const own = resolved(shipped);
  for (const folder of folders) {
    if (resolved(folder) === own) continue;
    for (const file of listFiles(folder, false, problems))
      readInto(reading, file, readText(file, problems, read), false);
  }
  const assembled = assembleCatalog(files);
  problems.push(...assembled.problems.map((problem) => placed(problem, sources.get(problem.file)?.())));
  const first = problems[0];
  if (first !== undefined) {
    const at = first.at === null ? '' : `${first.at.file}:${first.at.line}:${first.at.column}: `;
    const count = problems.length === 1 ? 'a problem' : `${problems.length} problems`;
    throw new SallyportError('catalog-invalid', `The catalog has ${count}. ${at}${first.message}`, {
      hint: first.hint,
      problems,
    });
  }
  return withDigest(assembled.content);
}

/** The catalog files of a folder, as a bundle holds them. @throws SallyportError `catalog-invalid` where one cannot be read */
export function catalogFiles(folder: string = SHIPPED_CATALOG): CatalogFiles {
  const problems: Problem[] = [];
  const texts = shippedTexts(folder, problems, []);
  const first = problems[0];
  if (first !== undefined) throw new SallyportError('catalog-invalid', first.message, { hint: first.hint, problems });
  return Object.fromEntries(texts.map(([file, text]) => [basename(file), text ?? '']));
}

/** What the files of the shipped folder hold, by the digest of their text, for `load-before.ts`. @throws Error where one is no YAML */
export function shippedValues(): Record<string, unknown> {
  const values = Object.values(catalogFiles()).map((text) => {
    const { document } = sourceOf(text);
    const [problem] = [...document.errors, ...document.warnings];
    if (problem !== undefined) throw problem;
    return [textDigest(text), document.toJS({ maxAliasCount: 0 })];
  });
  return Object.fromEntries(values);
}

/** Name and text of each file of the shipped catalog; a problem is told for what cannot be read. */
function shippedTexts(shipped: string, problems: Problem[], read: FileRead[]): [string, string | null][] {
  if (!statSync(shipped, { throwIfNoEntry: false })?.isFile())
    return listFiles(shipped, true, problems).map((file) => [file, readText(file, problems, [])]);
  const text = readText(shipped, problems, read);
  if (text === null) return [];
  try {
    return Object.entries(parseBundle(shipped, text).files).map(([name, inner]) => [`${shipped}#${name}`, inner]);
  } catch (cause) {
    if (!(cause instanceof SallyportError)) throw cause;
    problems.push(found(cause.code, shipped, cause.message, undefined, undefined, cause.hint));
    return [];
  }
}

function withDigest(content: CatalogContent): Catalog {
  const canonical = canonicalText({ ...content, groups: [...content.groups.values()] });
  const digest = `sha256:${createHash('sha256').update(canonical).digest('hex')}`;
  return deepFreeze({ ...content, digest });
}

/** JSON with sorted keys: the same content gives the same text whatever the order of keys in the files. */
function canonicalText(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) => {
    if (typeof inner !== 'object' || inner === null || Array.isArray(inner)) return inner;
    return Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}

function resolved(folder: string): string {
  try {
    return realpathSync(folder);
  } catch {
    return folder; // It does not exist: listFiles says so where that matters.
  }
}

function listFiles(folder: string, shipped: boolean, problems: Problem[]): string[] {
  let names: string[];
  try {
    names = readdirSync(folder)
      .filter((name) => CATALOG_FILE.test(name))
      .sort();
  } catch (cause) {
    if (!shipped && isMissing(cause)) return [];
    problems.push(found('config-unreadable', folder, `the folder ${folder} cannot be read: ${reasonOf(cause)}`));
    return [];
  }
  if (shipped && names.length === 0) {
    problems.push(found('config-empty', folder, `the shipped catalog ${folder} holds no .yaml file`));
  }
  if (names.length > FILES_MAX) {
    problems.push(found('config-too-large', folder, `${folder} holds ${names.length} files; allowed are ${FILES_MAX}`));
    return [];
  }
  return names.map((name) => join(folder, name));
}

/** The text of one file, or null with a problem told. */
function readText(file: string, problems: Problem[], read: FileRead[]): string | null {
  try {
    const stat = statSync(file, { bigint: true });
    // A named pipe would hold the start for ever.
    if (!stat.isFile()) problems.push(found('config-unreadable', file, `${file} is not a file`));
    else if (stat.size > DEFAULT_LIMITS.config_bytes) {
      const message = `${file} has ${stat.size} bytes; allowed are ${DEFAULT_LIMITS.config_bytes}`;
      problems.push(found('config-too-large', file, message));
    } else {
      const bytes = readFileSync(file);
      read.push(fileRead(file, stat, bytes));
      return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    }
  } catch (cause) {
    const why = cause instanceof TypeError ? 'it is not UTF-8 text' : reasonOf(cause);
    problems.push(found('config-unreadable', file, `${file} cannot be read: ${why}`));
  }
  return null;
}

function sourceOf(text: string): Source {
  const lines = new LineCounter();
  const options = { lineCounter: lines, prettyErrors: false, uniqueKeys: true, version: '1.2', merge: false } as const;
  return { document: parseDocument(text, options), lines };
}

function readInto(
  { files, sources, problems, before: known }: Reading,
  file: string,
  text: string | null,
  shipped: boolean,
): void {
  if (text === null) return;
  const value = shipped ? known.get(textDigest(text)) : undefined;
  if (value !== undefined) {
    sources.set(file, () => sourceOf(text));
    files.push({ file, shipped, value });
    return;
  }
  const source = sourceOf(text);
  const { document, lines } = source;
  sources.set(file, () => source);
  const before = problems.length;
  for (const error of [...document.errors, ...document.warnings]) {
    const code = error.code === 'DUPLICATE_KEY' ? 'config-duplicate-key' : 'config-syntax';
    problems.push(found(code, file, error.message, lines, error.pos[0]));
  }
  if (problems.length > before) return;
  if (document.contents === null) {
    const hint = 'Remove the file, or write format: 1 and groups:.';
    problems.push(found('config-empty', file, `${file} is empty`, lines, 0, hint));
    return;
  }
  try {
    files.push({ file, shipped, value: document.toJS({ maxAliasCount: 0 }) });
  } catch {
    // Only an alias makes toJS throw here; the walk over all nodes is paid for only then.
    visit(document, {
      Alias: (_key, node) => {
        const message = `alias *${node.source} is not allowed in a catalog`;
        problems.push(found('config-syntax', file, message, lines, node.range?.[0], 'Write the value itself.'));
      },
    });
  }
}

/** Gives a path problem its line and column: the key, the value, or the nearest mapping around what is missing. */
function placed(problem: PathProblem, source: Source | undefined): Problem {
  if (source === undefined)
    return found(problem.code, problem.file, problem.message, undefined, undefined, problem.hint);
  let node: unknown = source.document.contents;
  let offset = isNode(node) ? (node.range?.[0] ?? 0) : 0;
  for (const [depth, part] of problem.path.entries()) {
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && item.key.value === part);
      if (pair === undefined) break;
      const wanted = problem.key && depth === problem.path.length - 1 ? pair.key : pair.value;
      node = pair.value;
      offset = startOf(wanted) ?? startOf(pair.key) ?? offset;
    } else if (isSeq(node) && typeof part === 'number') {
      node = node.items[part];
      offset = startOf(node) ?? offset;
    } else break;
  }
  return found(problem.code, problem.file, problem.message, source.lines, offset, problem.hint);
}

function startOf(node: unknown): number | undefined {
  return isNode(node) && !isAlias(node) ? node.range?.[0] : undefined;
}

function found(
  code: OperatorErrorCode,
  file: string,
  message: string,
  lines?: LineCounter,
  offset?: number,
  hint?: string,
): Problem {
  const place = lines === undefined || offset === undefined ? { line: 1, col: 1 } : lines.linePos(offset);
  return {
    code,
    severity: 'error',
    at: { file, line: Math.max(1, place.line), column: Math.max(1, place.col) },
    message,
    hint: hint ?? OPERATOR_ERRORS[code].hint,
  };
}

function isMissing(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && cause.code === 'ENOENT';
}

function reasonOf(cause: unknown): string {
  return cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
}
