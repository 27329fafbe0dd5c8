// The law of the house as pure functions: each takes a tree of files and names what breaks the law in it.
// test/house.test.ts applies them to this repository, and to small trees with a planted violation each.
// They read text, not a syntax tree: no compiler API, no plugin, and the same answer in every editor.

/** Repository-relative path with forward slashes, to its text. */
export type Tree = ReadonlyMap<string, string>;
export type Rule = (tree: Tree) => string[];

/** The layers from left to right; a folder imports itself and what stands to its left. */
// biome-ignore format: the order reads as one line
export const LAYERS = [
  'errors.ts', 'limits.ts', 'places.ts', 'give-way.ts', 'churn-map.ts', 'bounded-cache.ts', 'policy', 'catalog', 'config', 'net', 'identity', 'inspect',
  'proxy', 'audit', 'usage', 'report', 'buildkite', 'admin', 'cli', 'main.ts',
] as const;

/** Files that must give the same answer for the same input: no clock, no chance, no I/O, no promise. */
// biome-ignore format: one group a line
export const PURE = [
  /^src\/errors\.ts$/, /^src\/limits\.ts$/, /^src\/policy\//, /^src\/catalog\/(?!load|bundle|signing-key)/, /^src\/config\/(?!load|initial-policy)/,
  /^src\/net\/(?:client-hello|proxy-header)\.ts$/, /^src\/usage\/(?:tally|flow|flow-vpc)\.ts$/, /^src\/report\/(?:catalog-fit|direct-fix|inert|policy-edit|replay|replay-inside|standing|suggest|suggest-paths|text-edits|unused)\.ts$/,
] as const;

// Tables of cases are long by nature; code is not.
const LINES_MAX = { code: 400, tests: 500 };
const HEAD_LINES = { min: 1, max: 7 };

const isSource = (path: string): boolean => path.startsWith('src/') && path.endsWith('.ts');
const isScript = (path: string): boolean => /\.(ts|mjs|js)$/.test(path);

function sources(tree: Tree): [string, string][] {
  return [...tree].filter(([path]) => isSource(path));
}

export function lineOf(text: string, index: number): number {
  return text.slice(0, index).split('\n').length;
}

/** One pass over TypeScript text; `keepStrings` false blanks the contents of strings too. Lengths and lines stay. */
function blank(text: string, keepStrings: boolean): string {
  const out = text.split('');
  const wipe = (from: number, to: number): void => {
    for (let i = from; i < to; i++) if (out[i] !== '\n') out[i] = ' ';
  };
  let at = 0;
  let before = '';
  const depths: number[] = []; // brace depth inside each open ${ } of a template
  const template = (from: number): number => {
    let i = from;
    while (i < text.length) {
      if (text[i] === '\\') i += 2;
      else if (text[i] === '`') return i + 1;
      else if (text[i] === '$' && text[i + 1] === '{') {
        depths.push(0);
        return i + 2;
      } else i++;
    }
    return i;
  };
  const string = (from: number, end: (i: number) => number): number => {
    const to = end(from);
    if (!keepStrings) wipe(from, Math.max(from, to - 1));
    return to;
  };
  while (at < text.length) {
    const c = text[at] as string;
    const two = text.slice(at, at + 2);
    if (two === '//' || (at === 0 && two === '#!')) {
      const end = text.indexOf('\n', at);
      const to = end < 0 ? text.length : end;
      wipe(at, to);
      at = to;
    } else if (two === '/*') {
      const end = text.indexOf('*/', at + 2);
      const to = end < 0 ? text.length : end + 2;
      wipe(at, to);
      at = to;
    } else if (c === "'" || c === '"') {
      at = string(at + 1, (from) => {
        let i = from;
        while (i < text.length && text[i] !== c && text[i] !== '\n') i += text[i] === '\\' ? 2 : 1;
        return i + 1;
      });
      before = c;
    } else if (c === '`') {
      at = string(at + 1, template);
      before = c;
    } else if (c === '{' && depths.length > 0) {
      depths[depths.length - 1] = (depths.at(-1) as number) + 1;
      before = c;
      at++;
    } else if (c === '}' && depths.length > 0) {
      if (depths.at(-1) === 0) {
        depths.pop();
        at = string(at + 1, template);
        before = '`';
      } else {
        depths[depths.length - 1] = (depths.at(-1) as number) - 1;
        before = c;
        at++;
      }
    } else if (c === '/' && !/[\w$)\]`'"]/.test(before)) {
      at = string(at + 1, (from) => {
        let i = from;
        for (let inClass = false; i < text.length && text[i] !== '\n' && (inClass || text[i] !== '/'); i++) {
          if (text[i] === '\\') i++;
          else if (text[i] === '[') inClass = true;
          else if (text[i] === ']') inClass = false;
        }
        return i + 1;
      });
      before = ')';
    } else {
      // `return /x/` and its like: a keyword is not a value, so a regular expression may follow.
      if (/\w/.test(c)) {
        const word = /^[\w$]+/.exec(text.slice(at, at + 200))?.[0] ?? c;
        before = /^(return|typeof|case|in|of|throw|void|yield|await|else|do)$/.test(word) ? '' : 'w';
        at += word.length;
        continue;
      }
      if (!/\s/.test(c)) before = c;
      at++;
    }
  }
  return out.join('');
}

/** The code alone: comments and the contents of strings are spaces. */
export const codeOnly = (text: string): string => blank(text, false);
const withoutComments = (text: string): string => blank(text, true);

interface Import {
  readonly target: string;
  readonly typeOnly: boolean;
  /** Loaded when the code comes by: import(), a thread. */
  readonly lazy: boolean;
  readonly line: number;
}

/** Every module a file names: static, re-exported, dynamic, and what threads start with, which gives it no values. */
export function importsOf(text: string): Import[] {
  const code = withoutComments(text);
  const found: Import[] = [];
  const add = (match: RegExpMatchArray, target: string | undefined, typeOnly: boolean, lazy = false): void => {
    if (target !== undefined) found.push({ target, typeOnly, lazy, line: lineOf(code, match.index ?? 0) });
  };
  for (const m of code.matchAll(/\b(?:import|export)\s+(type\s+)?[^'"`;()]*?\bfrom\s*(['"])([^'"]+)\2/g))
    add(m, m[3], m[1] !== undefined);
  for (const m of code.matchAll(/\bimport\s*(['"])([^'"]+)\1/g)) add(m, m[2], false);
  for (const m of code.matchAll(/\bimport\s*\(\s*(['"`])([^'"`]+)\1/g)) add(m, m[2], false, true);
  for (const m of code.matchAll(/\bthreadEntry\s*\(\s*(['"`])([^'"`]+)\1/g)) add(m, `src/${m[2]}`, true, true);
  return found;
}

/** The file that a relative import names; null for a package. */
export function resolve(from: string, target: string): string | null {
  if (target.startsWith('src/')) return target;
  if (!target.startsWith('.')) return null;
  const parts = from.split('/').slice(0, -1);
  for (const step of target.split('/')) {
    if (step === '..') parts.pop();
    else if (step !== '.') parts.push(step);
  }
  return parts.join('/').replace(/\.js$/, '.ts');
}

const layerOf = (path: string): string => path.split('/')[1] ?? '';

export const layerOrder: Rule = (tree) => {
  const order = new Map<string, number>(LAYERS.map((name, index) => [name, index]));
  const found: string[] = [];
  for (const [path, text] of sources(tree)) {
    const own = order.get(layerOf(path));
    if (own === undefined) continue;
    for (const { target, line } of importsOf(text)) {
      const to = resolve(path, target);
      if (to === null) continue;
      if (!to.startsWith('src/')) {
        found.push(`${path}:${line} imports ${to}, which is outside src/`);
        continue;
      }
      const other = order.get(layerOf(to));
      if (other !== undefined && other > own)
        found.push(`${path}:${line} imports ${layerOf(to)}, which is to its right`);
    }
  }
  return found;
};

/** Files that import each other's values: whichever of them a program enters first sees the other's constants before they are there. */
export const noCycles: Rule = (tree) => {
  const found: string[] = [];
  const state = new Map<string, 'open' | 'done'>();
  const visit = (path: string, road: readonly string[]): void => {
    if (state.get(path) === 'done') return;
    if (state.get(path) === 'open') {
      found.push(`${[...road.slice(road.indexOf(path)), path].join(' -> ')} is a circle`);
      return;
    }
    state.set(path, 'open');
    for (const { target, typeOnly } of importsOf(tree.get(path) ?? '')) {
      const to = resolve(path, target);
      if (to !== null && !typeOnly && tree.has(to)) visit(to, [...road, path]);
    }
    state.set(path, 'done');
  };
  for (const [path] of sources(tree)) visit(path, []);
  return found;
};

/** Entries of threads: none of them may take the processor from the data plane. */
export const threadsGiveWay: Rule = (tree) =>
  sources(tree)
    .filter(([path, text]) => path.endsWith('-worker.ts') && !/^giveWay\(/m.test(codeOnly(text)))
    .map(([path]) => `${path} is the entry of a thread and does not call giveWay()`);

export const knownFolders: Rule = (tree) => {
  const known = new Set<string>(LAYERS);
  const strangers = new Set(
    sources(tree)
      .map(([path]) => layerOf(path))
      .filter((layer) => !known.has(layer)),
  );
  return [...strangers].map(
    (layer) => `src/${layer} is not in the layer order: add it to LAYERS and to docs/architecture.md`,
  );
};

const IMPURE: readonly [RegExp, string][] = [
  [/\bDate\b(?!\.UTC\()/g, 'Date'],
  [/\bMath\s*\.\s*random\b/g, 'Math.random'],
  [/\bperformance\b/g, 'performance'],
  [/\bprocess\s*[.[]/g, 'process'],
  [/\bglobalThis\b/g, 'globalThis'],
  [/\bPromise\b/g, 'Promise'],
  [/\basync\b/g, 'async'],
  [/\bawait\b/g, 'await'],
  [/\b(?:setTimeout|setInterval|setImmediate|queueMicrotask)\b/g, 'a timer'],
  [/\bcrypto\s*\./g, 'crypto'],
  [/\bfetch\s*\(/g, 'fetch'],
];

export const purity: Rule = (tree) => {
  const pure = (path: string): boolean => PURE.some((pattern) => pattern.test(path));
  const found: string[] = [];
  for (const [path, text] of sources(tree)) {
    if (!pure(path)) continue;
    const code = codeOnly(text);
    for (const [pattern, name] of IMPURE) {
      for (const match of code.matchAll(pattern))
        found.push(`${path}:${lineOf(code, match.index)} is pure and uses ${name}`);
    }
    for (const { target, typeOnly, line } of importsOf(text)) {
      if (target.startsWith('node:')) found.push(`${path}:${line} is pure and imports ${target}`);
      const to = resolve(path, target);
      if (to !== null && !typeOnly && !pure(to)) found.push(`${path}:${line} is pure and imports ${to}, which is not`);
    }
  }
  return found;
};

export const fileLength: Rule = (tree) =>
  [...tree]
    .filter(([path]) => isScript(path))
    .map(([path, text]) => ({
      path,
      lines: text.replace(/\n$/, '').split('\n').length,
      max: LINES_MAX[path.startsWith('test/') ? 'tests' : 'code'],
    }))
    .filter(({ lines, max }) => lines > max)
    .map(({ path, lines, max }) => `${path} has ${lines} lines; ${max} at most`);

export const headComment: Rule = (tree) => {
  const found: string[] = [];
  for (const [path, text] of sources(tree)) {
    const lines = text.replace(/^#!.*\n/, '').split('\n');
    const end = lines.findIndex((line) => !line.startsWith('//'));
    const count = end < 0 ? lines.length : end;
    if (count < HEAD_LINES.min || count > HEAD_LINES.max) {
      found.push(
        `${path} opens with ${count} comment lines; ${HEAD_LINES.min} to ${HEAD_LINES.max} say its job and what it must not do`,
      );
    }
  }
  return found;
};

/** Finds a pattern in the code of src files, except in those named. */
function banned(tree: Tree, pattern: RegExp, except: readonly string[], say: string): string[] {
  const found: string[] = [];
  for (const [path, text] of sources(tree)) {
    if (except.includes(path)) continue;
    const code = codeOnly(text);
    for (const match of code.matchAll(pattern)) found.push(`${path}:${lineOf(code, match.index)} ${say}`);
  }
  return found;
}

export const oneExit: Rule = (tree) =>
  banned(tree, /\bprocess\s*\.\s*(?:exit|reallyExit|abort)\b/g, ['src/main.ts'], 'ends the process; only main.ts may');

/** What is built is a bundle: of all places in src/ that ask for their own, one comes out right. */
export const onePlace: Rule = (tree) =>
  banned(tree, /\bimport\s*\.\s*meta\b/g, ['src/places.ts'], 'asks for its own place; only places.ts may');

export const noConsole: Rule = (tree) => banned(tree, /\bconsole\s*[.[]/g, [], 'uses console');

/** The arguments of the call whose opening parenthesis is at `open`, split at top level; null when unbalanced. */
function argumentsAt(code: string, open: number): string[] | null {
  const parts: string[] = [];
  let depth = 0;
  let from = open + 1;
  for (let i = open; i < code.length; i++) {
    const c = code[i] as string;
    if ('([{'.includes(c)) depth++;
    else if (')]}'.includes(c)) {
      depth--;
      if (depth === 0) {
        parts.push(code.slice(from, i).trim());
        return parts;
      }
    } else if (c === ',' && depth === 1) {
      parts.push(code.slice(from, i).trim());
      from = i + 1;
    }
  }
  return null;
}

export const namedDelays: Rule = (tree) => {
  const found: string[] = [];
  for (const [path, text] of sources(tree)) {
    const code = codeOnly(text);
    for (const match of code.matchAll(/(\.\s*)?\b(setTimeout|setInterval)\s*\(/g)) {
      const args = argumentsAt(code, match.index + match[0].length - 1);
      // socket.setTimeout(ms, listener) takes the delay first, the timers take it second.
      const method = match[1] !== undefined && !/\b(?:timers|globalThis)\s*$/.test(code.slice(0, match.index));
      const delay = args?.[method ? 0 : 1] ?? '';
      if (method && delay === '0') continue; // switches the timeout off
      if (!/[A-Za-z_$]/.test(delay.replace(/\b\d[\d_]*(?:\.\d+)?(?:e\d+)?\b/gi, ''))) {
        found.push(
          `${path}:${lineOf(code, match.index)} gives ${match[2]} a bare delay (${delay === '' ? 'none' : delay}); name it in limits.ts or in a constant`,
        );
      }
    }
  }
  return found;
};

/** Hosts of package registries stand in the catalog alone; the names come from the caller, so that this file holds none. */
export function noRegistryHosts(hosts: readonly string[]): Rule {
  return (tree) => {
    const found: string[] = [];
    for (const [path, text] of tree) {
      if (path.startsWith('config/catalog/')) continue;
      for (const host of hosts) {
        const at = text.indexOf(host);
        if (at >= 0)
          found.push(`${path}:${lineOf(text, at)} names the registry host ${host}; read it from the catalog`);
      }
    }
    return found;
  };
}

/** A property that draws from a seed of its own is another test each time. */
export const oneSeed: Rule = (tree) => {
  const found: string[] = [];
  for (const [path, text] of tree) {
    if (!path.endsWith('.ts') || path === 'test/support/property.ts') continue;
    const match = /^import .* from 'fast-check'/m.exec(text);
    if (match) found.push(`${path}:${lineOf(text, match.index)} imports fast-check, not test/support/property.ts`);
  }
  return found;
};

/** Folders of somebody's machine; a path under them works nowhere else. */
const MACHINE_PATH = /(?<![\w.:/$}~-])\/(?:work|root|Users)\/[\w.]|(?<![\w.:/$}~-])\/home\/[a-z_][\w-]*\//;

export const noMachinePaths: Rule = (tree) => {
  const found: string[] = [];
  for (const [path, text] of tree) {
    const match = MACHINE_PATH.exec(text);
    if (match) found.push(`${path}:${lineOf(text, match.index)} has a path of one machine`);
  }
  return found;
};
