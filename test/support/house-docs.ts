// The part of the law that compares code with documents: every code, limit and config key stands in its page.
// Pure functions over texts; test/house.test.ts feeds them the real files and planted ones.
import type { ErrorSpec } from '../../src/errors.ts';
import { codeOnly, type Tree } from './house-rules.ts';

const escapeRegExp = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

/** Rows of every table in a page whose first cell is one `code`; the cells without their back-ticks. */
export function codeRows(page: string): Map<string, string[]> {
  const rows = new Map<string, string[]>();
  for (const line of page.split('\n')) {
    const cells = line.split(/(?<!\\)\|/).map((cell) => cell.trim());
    const code = /^`([a-z][a-z0-9-]*)`$/.exec(cells[1] ?? '')?.[1];
    if (line.startsWith('|') && code !== undefined) rows.set(code, cells.slice(2, -1));
  }
  return rows;
}

/** Codes without a row, rows without a code, and rows with another status. */
export function errorRows(page: string, specs: Readonly<Record<string, ErrorSpec | string>>): string[] {
  const rows = codeRows(page);
  const found: string[] = [];
  for (const [code, spec] of Object.entries(specs)) {
    const row = rows.get(code);
    if (row === undefined) found.push(`docs/errors.md has no row for ${code}`);
    else if (typeof spec !== 'string' && spec.status !== undefined && row[0] !== String(spec.status)) {
      found.push(`docs/errors.md says ${row[0]} for ${code}; the registry says ${spec.status}`);
    }
  }
  for (const code of rows.keys())
    if (!(code in specs)) found.push(`docs/errors.md has a row for ${code}, which no registry knows`);
  return found;
}

/** Codes that no test names: nobody has shown that they are ever answered. */
export function unreachedCodes(tree: Tree, codes: readonly string[]): string[] {
  const tests = [...tree].filter(
    ([path]) => path.startsWith('test/') && !/^test\/(house\.test|support\/house-)/.test(path),
  );
  return codes
    .filter((code) => {
      const quoted = new RegExp(`['"\`](?:\\d{3} )?${escapeRegExp(code)}['"\`]`);
      const word = code.includes('-') ? new RegExp(`(?<![\\w-])${escapeRegExp(code)}(?![\\w-])`) : quoted;
      return !tests.some(([, text]) => word.test(text));
    })
    .map((code) => `no file under test/ names the code ${code}`);
}

/** Codes that src/ never uses outside the registry: they promise something that cannot happen. */
export function unusedCodes(tree: Tree, codes: readonly string[]): string[] {
  const code = [...tree].filter(([path]) => path.startsWith('src/') && path !== 'src/errors.ts');
  return codes
    .filter((name) => {
      const quoted = new RegExp(`['"\`]${escapeRegExp(name)}['"\`]|(?<![\\w.])${escapeRegExp(name)}:`);
      return !code.some(([, text]) => quoted.test(text));
    })
    .map((name) => `no file under src/ uses the code ${name}`);
}

/** Names that stand nowhere in a page as code (between back-ticks or in a fenced block). */
export function undocumented(page: string, names: readonly string[], what: string): string[] {
  const code = [...page.matchAll(/```[\s\S]*?```|`[^`\n]+`/g)].map((match) => match[0]).join('\n');
  return names
    .filter((name) => !new RegExp(`(?<![\\w-])${escapeRegExp(name)}(?![\\w-])`).test(code))
    .map((name) => `docs/configuration.md does not explain the ${what} ${name}`);
}

interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly [key: string]: unknown;
}

/** Every property name of a JSON Schema, however deep. */
export function schemaKeys(schema: unknown, into: Set<string> = new Set()): Set<string> {
  if (Array.isArray(schema)) for (const item of schema) schemaKeys(item, into);
  else if (typeof schema === 'object' && schema !== null) {
    const { properties, ...rest } = schema as Schema;
    for (const [name, value] of Object.entries(properties ?? {})) {
      into.add(name);
      schemaKeys(value, into);
    }
    for (const value of Object.values(rest)) schemaKeys(value, into);
  }
  return into;
}

/** Limits that no file of src/ reads: a bound that binds nothing. */
export function unusedLimits(tree: Tree, names: readonly string[]): string[] {
  const sources = [...tree].filter(([path]) => path.startsWith('src/') && path !== 'src/limits.ts');
  const words = new Set(sources.flatMap(([, text]) => codeOnly(text).match(/\w+/g) ?? []));
  return names
    .filter((name) => !words.has(name) && !sources.some(([, text]) => text.includes(`'${name}'`)))
    .map((name) => `no file under src/ reads the limit ${name}`);
}

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, minute: 60_000, hour: 3_600_000, day: 86_400_000 };

/** Defaults that a page gives behind the name of a limit, as in `limits.drain_timeout_ms` (30 minutes), and that are others. */
export function wrongDefaults(tree: Tree, defaults: Readonly<Record<string, number>>): string[] {
  return [...tree]
    .filter(([path]) => path.endsWith('.md'))
    .flatMap(([path, text]) =>
      [...text.matchAll(/`(?:limits\.)?([a-z_]+)` \((one|\d[\d,]*)(?: (ms|s|minute|hour|day)s?)?\)/g)].flatMap(
        ([, name = '', number = '', unit]) => {
          const said = (number === 'one' ? 1 : Number(number.replaceAll(',', ''))) * (UNITS[unit ?? 'ms'] ?? 1);
          const is = defaults[name];
          return is === undefined || is === said ? [] : [`${path} says ${said} for ${name}; its default is ${is}`];
        },
      ),
    );
}
