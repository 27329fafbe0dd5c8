// What a process or a thread loads at its start, held by the graph of imports: a proxy that waits for its first tunnel has no parser of
// policy files in memory, and its start does not pay for one. What is needed later, or seldom, is imported where it is used.
import { importsOf, type Rule, resolve, type Tree } from './house-rules.ts';

interface Start {
  readonly what: string;
  /** The files that it always comes through; those behind an import() of another one are files of their own. */
  readonly files: readonly string[];
  /** What these may bring along, besides Node. */
  readonly packages: readonly string[];
}

const COMMAND = ['src/main.ts', 'src/cli/run.ts'];
export const STARTS: readonly Start[] = [
  { what: 'every command', files: COMMAND, packages: ['commander'] },
  {
    what: 'the data plane',
    files: [...COMMAND, 'src/cli/commands/serve.ts', 'src/cli/serve.ts'],
    packages: ['commander', 'lru-cache', 'pino'],
  },
  { what: 'the loading thread', files: ['src/config/load-worker.ts'], packages: ['tldts', 'yaml', 'zod'] },
  { what: 'the projection', files: ['src/usage/project-worker.ts'], packages: ['kysely'] },
];

const PACKAGE = /^(?:@[\w.-]+\/)?[\w.-]+/;

/** Holds the starts to their packages; a file that is no more would hold nothing. */
export function leanStarts(starts: readonly Start[]): Rule {
  return (tree) => starts.flatMap((start) => faults(tree, start));
}

function faults(tree: Tree, { what, files, packages }: Start): string[] {
  const found = files
    .filter((file) => !tree.has(file))
    .map((file) => `${what} begins with ${file}, which is not there`);
  const roads = new Map(files.map((file) => [file, file]));
  for (const [path, road] of roads) {
    for (const { target, line, typeOnly, lazy } of importsOf(tree.get(path) ?? '')) {
      if (typeOnly || lazy) continue;
      const to = resolve(path, target);
      if (to !== null) {
        if (tree.has(to) && !roads.has(to)) roads.set(to, `${road} -> ${to}`);
      } else if (!target.startsWith('node:')) {
        const [name = ''] = PACKAGE.exec(target) ?? [];
        if (name !== '' && !packages.includes(name)) found.push(`${what} loads ${name}: ${road}:${line}`);
      }
    }
  }
  return found;
}

/** An import of node:http makes Node load undici too; net/http.ts says why. */
export const lightHttp: Rule = (tree) =>
  [...tree]
    .filter(([path]) => path.startsWith('src/') && path.endsWith('.ts'))
    .flatMap(([path, text]) =>
      importsOf(text)
        .filter(({ target, typeOnly }) => target === 'node:http' && !typeOnly)
        .map(({ line }) => `${path}:${line} imports node:http for more than its types; net/http.ts has the values`),
    );
