// The law of the house: what a newcomer may rely on, held by a test because a test needs no plugin and no memory.
// The first half applies the rules to this repository; the second half plants a violation for each rule and sees it found.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { renderErrorsDoc } from '../scripts/errors-doc.ts';
import { OPERATOR_ERRORS, OUTCOMES, REQUEST_ERRORS } from '../src/errors.ts';
import { DEFAULT_LIMITS, LIMIT_NAMES } from '../src/limits.ts';
import { together } from '../vitest.config.ts';
import { TARGETS } from './fuzz/budget.ts';
import {
  errorRows,
  schemaKeys,
  undocumented,
  unreachedCodes,
  unusedCodes,
  unusedLimits,
  wrongDefaults,
} from './support/house-docs.ts';
import { anchorsOf, deadLinks, deadNames } from './support/house-links.ts';
import * as house from './support/house-rules.ts';
import { leanStarts, lightHttp, STARTS } from './support/house-start.ts';
import { fitTogether } from './support/house-together.ts';

const ROOT = join(import.meta.dirname, '..');
const CODES = { ...REQUEST_ERRORS, ...OUTCOMES, ...OPERATOR_ERRORS };
// Written in pieces: the whole names may stand in config/catalog alone.
const REGISTRY_HOSTS = [
  ['registry', 'npmjs', 'org'],
  ['deb', 'debian', 'org'],
  ['security', 'debian', 'org'],
].map((labels) => labels.join('.'));

/** Tracked and new files that are not ignored: what would be committed. */
function repository(): Map<string, string> {
  const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: ROOT,
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  const tree = new Map<string, string>();
  for (const path of listed.split('\0')) {
    if (path === '' || path === 'package-lock.json' || !existsSync(join(ROOT, path))) continue;
    const bytes = readFileSync(join(ROOT, path));
    if (!bytes.includes(0)) tree.set(path, bytes.toString('utf8'));
  }
  return tree;
}

const isThere = (path: string): boolean => existsSync(join(ROOT, path));
const page = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

describe('the house', () => {
  const tree = repository();

  it.each<[string, house.Rule]>([
    ['a folder imports itself and what stands to its left', house.layerOrder],
    ['no files import each other in a circle', house.noCycles],
    ['every thread gives way to the data plane', house.threadsGiveWay],
    ['a start loads what it needs, and no more', leanStarts(STARTS)],
    ['node:http comes without undici', lightHttp],
    ['every folder of src/ has its place in the order', house.knownFolders],
    ['pure files know no clock, no chance, no I/O and no promise', house.purity],
    ['no file is longer than 400 lines, no test longer than 500', house.fileLength],
    ['every source file opens with its job', house.headComment],
    ['only main.ts ends the process', house.oneExit],
    ['only places.ts knows where the files are', house.onePlace],
    ['nothing in src/ writes to the console', house.noConsole],
    ['every timer waits for a named time', house.namedDelays],
    ['registry hosts stand in the catalog alone', house.noRegistryHosts(REGISTRY_HOSTS)],
    ['no file has a path of one machine', house.noMachinePaths],
    ['properties draw from the one seed', house.oneSeed],
    ['tests that share a process leave it alone', fitTogether(together)],
  ])('%s', (_, rule) => expect(rule(tree)).toEqual([]));

  it('docs/errors.md has one row for each code, with its status, and no other', () => {
    expect(errorRows(page('docs/errors.md'), CODES)).toEqual([]);
  });

  it('docs/errors.md is what scripts/errors-doc.ts makes', () => {
    expect(page('docs/errors.md')).toBe(renderErrorsDoc());
  });

  it('README.md leads to every page of docs/', () => {
    const pages = [...tree.keys()].filter((path) => /^docs\/[^/]+\.md$/.test(path));
    expect(pages.filter((path) => !page('README.md').includes(`](${path})`))).toEqual([]);
  });

  it('what pages lead to is there, headings too', () => expect(deadLinks(tree, isThere)).toEqual([]));

  it('docs/architecture.md has a row for each fuzz target, and pages name no other', () => {
    const rows = [...page('docs/architecture.md').matchAll(/^\| ((?:`[a-z-]+` ?)+)\|/gm)].map(([, cell = '']) => cell);
    const named = rows.flatMap((cell) => cell.match(/[a-z-]+/g) ?? []);
    expect(TARGETS.filter((target) => !named.includes(target))).toEqual([]);
    const typed = [...tree.values()].flatMap((text) => [...text.matchAll(/FUZZ_TARGET=([a-z-]+)/g)]);
    expect(typed.map(([, target]) => target).filter((target) => !TARGETS.some((one) => one === target))).toEqual([]);
  });

  it('files that pages and sources name are there', () => expect(deadNames(tree, isThere)).toEqual([]));

  it('every code is used in src/', () => expect(unusedCodes(tree, Object.keys(CODES))).toEqual([]));

  it('every code is reached by some test', () => expect(unreachedCodes(tree, Object.keys(CODES))).toEqual([]));

  it('every limit is read in src/', () => expect(unusedLimits(tree, LIMIT_NAMES)).toEqual([]));

  it('defaults that pages give for limits are the defaults', () => {
    expect(wrongDefaults(tree, DEFAULT_LIMITS)).toEqual([]);
  });

  it('docs/configuration.md explains every limit', () => {
    expect(undocumented(page('docs/configuration.md'), LIMIT_NAMES, 'limit')).toEqual([]);
  });

  it('docs/configuration.md explains every key of the schema', () => {
    const keys = [...schemaKeys(JSON.parse(page('config/sallyport.schema.json')))];
    expect(keys.length).toBeGreaterThan(20);
    expect(undocumented(page('docs/configuration.md'), keys, 'key')).toEqual([]);
  });
});

const plant = (files: Record<string, string>): Map<string, string> => new Map(Object.entries(files));

describe('each rule finds a planted violation', () => {
  it.each<[string, house.Rule, Record<string, string>, string]>([
    [
      'an upward import',
      house.layerOrder,
      { 'src/policy/bad.ts': "import { x } from '../proxy/connect.ts';" },
      'src/policy/bad.ts:1 imports proxy, which is to its right',
    ],
    [
      'a thread that does not give way',
      house.threadsGiveWay,
      { 'src/net/look-worker.ts': '// giveWay(HAS_TIME);\nlook();' },
      'src/net/look-worker.ts is the entry of a thread and does not call giveWay()',
    ],
    [
      'a circle of imports',
      house.noCycles,
      {
        'src/net/a.ts': "import { b } from './b.ts';\nimport type { C } from './c.ts';",
        'src/net/b.ts': "import { c } from './c.ts';",
        'src/net/c.ts': "import { a } from './a.ts';",
      },
      'src/net/a.ts -> src/net/b.ts -> src/net/c.ts -> src/net/a.ts is a circle',
    ],
    [
      'a package that a start brings along',
      leanStarts([{ what: 'the data plane', files: ['src/cli/serve.ts'], packages: ['pino'] }]),
      {
        'src/cli/serve.ts':
          "import { pino } from 'pino';\nimport { a } from '../net/a.ts';\nawait import('../net/late.ts');",
        'src/net/a.ts': "import type { Z } from 'jose';\nimport { z } from 'zod/mini';",
        'src/net/late.ts': "import { parse } from 'yaml';",
      },
      'the data plane loads zod: src/cli/serve.ts -> src/net/a.ts:2',
    ],
    [
      'a start that has moved',
      leanStarts([{ what: 'the data plane', files: ['src/cli/serve.ts'], packages: [] }]),
      {},
      'the data plane begins with src/cli/serve.ts, which is not there',
    ],
    [
      'node:http with undici',
      lightHttp,
      { 'src/net/bad.ts': "import type http from 'node:http';\nimport { request } from 'node:http';" },
      'src/net/bad.ts:2 imports node:http for more than its types; net/http.ts has the values',
    ],
    [
      'an upward import of a type',
      house.layerOrder,
      { 'src/net/bad.ts': "\nimport type { X } from '../audit/log.ts';" },
      'src/net/bad.ts:2 imports audit, which is to its right',
    ],
    [
      'an upward import over several lines',
      house.layerOrder,
      { 'src/net/bad.ts': "import {\n  a,\n  b,\n} from '../cli/ui.ts';" },
      'src/net/bad.ts:1 imports cli, which is to its right',
    ],
    [
      'an upward re-export',
      house.layerOrder,
      { 'src/net/bad.ts': "export { x } from '../cli/ui.ts';" },
      'src/net/bad.ts:1 imports cli, which is to its right',
    ],
    [
      'an upward dynamic import',
      house.layerOrder,
      { 'src/errors.ts': "await import('./limits.ts');" },
      'src/errors.ts:1 imports limits.ts, which is to its right',
    ],
    [
      'an upward import for its effect',
      house.layerOrder,
      { 'src/net/bad.ts': "import '../main.ts';" },
      'src/net/bad.ts:1 imports main.ts, which is to its right',
    ],
    [
      'an upward worker',
      house.layerOrder,
      { 'src/config/bad.ts': "new Worker(threadEntry('usage/project-worker.ts'))" },
      'src/config/bad.ts:1 imports usage, which is to its right',
    ],
    [
      'an import out of src/',
      house.layerOrder,
      { 'src/cli/bad.ts': "import { x } from '../../test/support/world.ts';" },
      'src/cli/bad.ts:1 imports test/support/world.ts, which is outside src/',
    ],
    [
      'a folder without a place',
      house.knownFolders,
      { 'src/utils/strings.ts': '' },
      'src/utils is not in the layer order: add it to LAYERS and to docs/architecture.md',
    ],
    [
      'a node: import in a pure file',
      house.purity,
      { 'src/policy/bad.ts': "import { isIP } from 'node:net';" },
      'src/policy/bad.ts:1 is pure and imports node:net',
    ],
    [
      'a clock in a pure file',
      house.purity,
      { 'src/catalog/catalog.ts': 'const now = Date.now();' },
      'src/catalog/catalog.ts:1 is pure and uses Date',
    ],
    [
      'chance in a pure file',
      house.purity,
      // biome-ignore lint/suspicious/noTemplateCurlyInString: the planted text is itself a template
      { 'src/net/client-hello.ts': 'const x = `a${Math.random()}`;' },
      'src/net/client-hello.ts:1 is pure and uses Math.random',
    ],
    [
      'the environment in a pure file',
      house.purity,
      { 'src/config/config.ts': "const home = process.env['HOME'];" },
      'src/config/config.ts:1 is pure and uses process',
    ],
    [
      'a promise in a pure file',
      house.purity,
      { 'src/policy/bad.ts': 'export async function f() {}' },
      'src/policy/bad.ts:1 is pure and uses async',
    ],
    [
      'a timer in a pure file',
      house.purity,
      { 'src/usage/tally.ts': 'setTimeout(f, delayMs);' },
      'src/usage/tally.ts:1 is pure and uses a timer',
    ],
    [
      'an impure import in a pure file',
      house.purity,
      { 'src/config/config.ts': "import { read } from './load.ts';" },
      'src/config/config.ts:1 is pure and imports src/config/load.ts, which is not',
    ],
    [
      'a file of 401 lines',
      house.fileLength,
      { 'src/net/long.ts': 'x\n'.repeat(401) },
      'src/net/long.ts has 401 lines; 400 at most',
    ],
    [
      'a file without a head',
      house.headComment,
      { 'src/net/mute.ts': 'export const x = 1;\n' },
      'src/net/mute.ts opens with 0 comment lines; 1 to 7 say its job and what it must not do',
    ],
    [
      'a file with an essay as its head',
      house.headComment,
      { 'src/net/long.ts': `${'// and\n'.repeat(8)}x` },
      'src/net/long.ts opens with 8 comment lines; 1 to 7 say its job and what it must not do',
    ],
    [
      'a file that asks for its own place',
      house.onePlace,
      { 'src/cli/bad.ts': 'new URL("..", import.meta.url);' },
      'src/cli/bad.ts:1 asks for its own place; only places.ts may',
    ],
    [
      'an exit outside main.ts',
      house.oneExit,
      { 'src/cli/serve.ts': 'process.exit(1);' },
      'src/cli/serve.ts:1 ends the process; only main.ts may',
    ],
    [
      'a property with a seed of its own',
      house.oneSeed,
      { 'test/net/a.test.ts': "import fc from 'fast-check';" },
      'test/net/a.test.ts:1 imports fast-check, not test/support/property.ts',
    ],
    [
      'a console call',
      house.noConsole,
      { 'src/cli/ui.ts': 'if (x) {\n  console.log(x);\n}' },
      'src/cli/ui.ts:2 uses console',
    ],
    [
      'a bare delay',
      house.namedDelays,
      { 'src/net/dial.ts': 'setTimeout(() => { f(a, b); }, 5_000);' },
      'src/net/dial.ts:1 gives setTimeout a bare delay (5_000); name it in limits.ts or in a constant',
    ],
    [
      'a product of numbers as delay',
      house.namedDelays,
      { 'src/net/dial.ts': 'setInterval(f, 60 * 1000)' },
      'src/net/dial.ts:1 gives setInterval a bare delay (60 * 1000); name it in limits.ts or in a constant',
    ],
    [
      'a timer without a delay',
      house.namedDelays,
      { 'src/net/dial.ts': 'setTimeout(f)' },
      'src/net/dial.ts:1 gives setTimeout a bare delay (none); name it in limits.ts or in a constant',
    ],
    [
      'a bare delay on a socket',
      house.namedDelays,
      { 'src/net/dial.ts': 'socket.setTimeout(3000, f)' },
      'src/net/dial.ts:1 gives setTimeout a bare delay (3000); name it in limits.ts or in a constant',
    ],
    [
      'a registry host in a test',
      house.noRegistryHosts(['registry.example']),
      { 'test/a.test.ts': "const x = 'registry.example';", 'config/catalog/a.yaml': 'registry.example' },
      'test/a.test.ts:1 names the registry host registry.example; read it from the catalog',
    ],
    [
      'a path of one machine',
      house.noMachinePaths,
      { 'docs/a.md': `see ${'/'}Users/anna/x` },
      'docs/a.md:1 has a path of one machine',
    ],
    [
      'another path of one machine',
      house.noMachinePaths,
      { 'scripts/a.ts': `cd('${'/'}home/anna/x')` },
      'scripts/a.ts:1 has a path of one machine',
    ],
    [
      'a test that shares a process and measures it',
      fitTogether(['test/a.test.ts']),
      { 'test/a.test.ts': 'const before = openFds();', 'test/b.test.ts': 'const before = openFds();' },
      'test/a.test.ts:1 has openFds, which is of the whole process; it belongs to APART in vitest.config.ts',
    ],
    [
      'a hook that counts for one file alone',
      fitTogether([]),
      { 'test/support/a.ts': 'export function f() {\n  afterEach(g);\n}\nafterEach(g);' },
      'test/support/a.ts:4 has a hook for the first file that imports it and no other; make it a function that each of them calls',
    ],
  ])('%s', (_, rule, files, sentence) => expect(rule(plant(files))).toEqual([sentence]));

  it('a code without a row, a row without a code, and a row with another status', () => {
    const rows = '| code | status |\n|---|---|\n| `a-b` | 403 | x |\n| `old` | 400 | x |\n';
    const spec = { source: 'client', title: '', hint: '' } as const;
    expect(errorRows(rows, { 'a-b': { ...spec, status: 400 }, closed: 'ended well' })).toEqual([
      'docs/errors.md says 403 for a-b; the registry says 400',
      'docs/errors.md has no row for closed',
      'docs/errors.md has a row for old, which no registry knows',
    ]);
  });

  it('a code that no test names, and one that src/ never uses', () => {
    const tree = plant({
      'test/a.test.ts': "'host-x' host-y-z",
      'test/house.test.ts': "'host-y'",
      'src/a.ts': "return 'host-x'; // host-y",
    });
    expect(unreachedCodes(tree, ['host-x', 'host-y'])).toEqual(['no file under test/ names the code host-y']);
    expect(unusedCodes(tree, ['host-x', 'host-y'])).toEqual(['no file under src/ uses the code host-y']);
  });

  it('a limit that nothing reads', () => {
    const tree = plant({ 'src/limits.ts': 'a_ms b_ms', 'src/a.ts': 'limits.a_ms; // b_ms' });
    expect(unusedLimits(tree, ['a_ms', 'b_ms'])).toEqual(['no file under src/ reads the limit b_ms']);
  });

  it('a default of a limit that is another', () => {
    const tree = plant({
      'docs/a.md': '`limits.a_ms` (30 minutes), `a_ms` (one hour), `limits.b_max` (1,000) and `b_max` (20), `c` (5)',
    });
    expect(wrongDefaults(tree, { a_ms: 1_800_000, b_max: 1_000 })).toEqual([
      'docs/a.md says 3600000 for a_ms; its default is 1800000',
      'docs/a.md says 20 for b_max; its default is 1000',
    ]);
  });

  it('a key that stands in prose but not as code', () => {
    expect(undocumented('mode is `listen`\n```yaml\ndns: system\n```', ['mode', 'listen', 'dns'], 'key')).toEqual([
      'docs/configuration.md does not explain the key mode',
    ]);
  });

  it('a link without its page, without its heading, and without its picture', () => {
    const tree = plant({
      'docs/a.md':
        '# A `b` (c): d\n\n## Twice\n\n## Twice\n\n[x](b.md) [y](#twice-1) [y](#twice-2) ![z](img/z.png)\n\n`[code](gone.md)`',
      'b.md': '[x](docs/a.md#a-b-c-d) [x](docs/a.md#a) [x](https://a.example/gone.md#a)',
    });
    expect(deadLinks(tree, (path) => tree.has(path))).toEqual([
      'docs/a.md leads to b.md, which is not there',
      'docs/a.md leads to #twice-2, which is not there',
      'docs/a.md leads to img/z.png, which is not there',
      'b.md leads to docs/a.md#a, which is not there',
    ]);
    expect([...anchorsOf('## What is *promised*, and [why](x.md)\n\n### Node.js `>=22` & more')]).toEqual([
      'what-is-promised-and-why',
      'nodejs-22--more',
    ]);
  });

  it('a file that is named and not there', () => {
    const tree = plant({
      'README.md': 'see docs/gone.md, test/gone/, `net/dial.ts` and `gone.ts`',
      'src/net/dial.ts': '// as dial.ts, old.ts and docs/old.md say',
    });
    expect(deadNames(tree, (path) => tree.has(path))).toEqual([
      'README.md names docs/gone.md, which is not there',
      'README.md names test/gone, which is not there',
      'README.md names gone.ts, which is not there',
      'src/net/dial.ts names docs/old.md, which is not there',
      'src/net/dial.ts names old.ts, which is not there',
    ]);
  });

  it('every property of a schema, however deep', () => {
    const schema = {
      properties: { a: { anyOf: [{ properties: { b: {} } }] }, properties: {} },
      $defs: { x: { items: { properties: { c: {} } } } },
    };
    expect([...schemaKeys(schema)].sort()).toEqual(['a', 'b', 'c', 'properties']);
  });
});

describe('the rules let what is right pass', () => {
  it('words in comments, strings and regular expressions are not code', () => {
    const text = `// console.log(Date.now())\n/* process.exit() */\nconst a = 'console.log(Math.random())';\nconst b = /console.log("|Date/;\nconst c = \`async \${f({ a: 'Date' })} Date\`;\nconst d = 4 / 2 / e;\n`;
    const tree = plant({ 'src/policy/good.ts': text });
    for (const rule of [house.purity, house.noConsole, house.oneExit, house.layerOrder]) expect(rule(tree)).toEqual([]);
    expect(house.codeOnly(text)).toHaveLength(text.length);
  });

  it('imports to the left, of the own folder, of packages, and types of an impure file', () => {
    const tree = plant({
      'src/config/config.ts':
        "import { z } from 'zod';\nimport type { Read } from './load.ts';\nimport { parsePattern } from '../policy/pattern.ts';\n",
    });
    for (const rule of [house.purity, house.layerOrder]) expect(rule(tree)).toEqual([]);
  });

  it('named delays, a derived one, and a time-out switched off', () => {
    const tree = plant({
      'src/net/a.ts':
        'setTimeout(() => f(1, 2), limits.dns_timeout_ms);\nsetTimeout(f, Math.max(TICK_MS, 10));\nsocket.setTimeout(0);\nsocket.setTimeout(idleMs, f);',
    });
    expect(house.namedDelays(tree)).toEqual([]);
  });

  it('an exit code, an exit in main.ts, and addresses that only look like machine paths', () => {
    const tree = plant({
      'src/cli/a.ts': '// a\n// b\nprocess.exitCode = 1;',
      'src/main.ts': 'process.exit(1);',
      'docs/a.md': 'https://example.com/work/x and ~/work/x',
    });
    for (const rule of [house.oneExit, house.noMachinePaths]) expect(rule(tree)).toEqual([]);
  });
});
