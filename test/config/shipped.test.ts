// What is shipped: config/sallyport.yaml, the policy of `sallyport init`, the JSON Schema, and docs/configuration.md.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadCatalog } from '../../src/catalog/load.ts';
import { initialPolicy, SHIPPED_POLICY } from '../../src/config/initial-policy.ts';
import { jsonSchemaText } from '../../src/config/json-schema.ts';
import { LIMIT_NAMES, LIMIT_SPECS } from '../../src/limits.ts';
import { connect, inFolderOfItsOwn, loadText } from './support.ts';

inFolderOfItsOwn();

const ROOT = join(import.meta.dirname, '../..');
const SHIPPED = readFileSync(SHIPPED_POLICY, 'utf8');
const catalog = loadCatalog();

describe('config/sallyport.yaml', () => {
  it('loads without a warning and enforces the required hosts, nothing else', () => {
    const outcome = loadText(SHIPPED);
    expect(outcome.error).toBeNull();
    expect(outcome.problems).toEqual([]);
    expect(outcome.loaded?.settings).toMatchObject({
      mode: 'enforce',
      listen: [{ host: '127.0.0.1', port: 3128 }],
      admin: { host: '127.0.0.1', port: 3129 },
      audit: { file: 'data/audit.jsonl' },
      usage: { store: 'data/usage.db' },
    });
    const required = [...catalog.groups.values()]
      .filter((group) => group.need === 'required')
      .flatMap((group) => group.entries);
    expect(outcome.loaded?.source.rules.map((rule) => rule.id)).toEqual(required.map((entry) => entry.id));
    for (const entry of required) expect(connect(outcome, `${entry.host}:443`).verdict).toBe('allow');
    expect(connect(outcome, 'github.com:443').verdict).toBe('deny');
  });

  const offers = SHIPPED.split('\n').filter((line) => /^ {2}# - \{ group: /.test(line));

  it('lists every optional group once, switched off, with a line of explanation', () => {
    const listed = offers.map((line) => /group: ([a-z0-9-]+)/.exec(line)?.[1]);
    const optional = [...catalog.groups.values()].filter((group) => group.need === 'optional').map((group) => group.id);
    expect([...listed].sort()).toEqual([...optional].sort());
    for (const line of offers) expect(line).toMatch(/\} +# \S/);
  });

  it('shows the parameters of each group that has some', () => {
    for (const line of offers) {
      const group = catalog.groups.get(/group: ([a-z0-9-]+)/.exec(line)?.[1] ?? '');
      for (const parameter of group?.parameters ?? []) {
        if (parameter.required) expect(line).toContain(`${parameter.name}:`);
      }
    }
  });

  it.each(offers)('switched on: %s', (line) => {
    const outcome = loadText(SHIPPED.replace(line, line.replace('# -', '-')));
    expect(outcome.error).toBeNull();
    // test/config/lint.test.ts says which groups come with a finding, and why.
    const known = ['lint-multi-tenant', 'lint-metadata'];
    expect(outcome.problems.filter((problem) => !known.includes(problem.code))).toEqual([]);
  });

  it('all switched on, with every other line that is commented out, it still loads', () => {
    const rules = SHIPPED.replaceAll(/^ {2}# - \{/gm, '  - {')
      .replaceAll(/^ {2}# (- github\.com |- "\*|- host| {2}[a-z]+:)/gm, '  $1')
      .replaceAll(/^# ((?:deny|expected_denials|help): ?| {2}(?:owner|contact|request_url):)/gm, '$1');
    const outcome = loadText(rules);
    expect(outcome.error).toBeNull();
    expect(outcome.loaded?.settings.help.owner).toBe('Platform team');
    expect(outcome.loaded?.source.rules.some((rule) => rule.pattern.text === '*.acme.dev')).toBe(true);
  });
});

describe('the policy of sallyport init', () => {
  it('is the shipped one in observe mode, and loads', () => {
    const outcome = loadText(initialPolicy());
    expect(outcome.error).toBeNull();
    expect(outcome.problems).toEqual([]);
    expect(outcome.loaded?.settings.mode).toBe('observe');
    expect(connect(outcome, 'github.com:443').verdict).toBe('observe');
    expect(initialPolicy()).toContain('OBSERVES');
  });

  it('a shipped file that changed its shape is noticed', () => {
    expect(() => initialPolicy('version: 1\n')).toThrow('exactly once');
  });
});

describe('config/sallyport.schema.json', () => {
  const file = join(ROOT, 'config/sallyport.schema.json');

  it('is what scripts/schema.ts makes', () => {
    expect(readFileSync(file, 'utf8')).toBe(jsonSchemaText());
  });

  it('--check says in one line that it differs, and exits 1', () => {
    // A copy of the tree's two sides: the script writes beside itself.
    mkdirSync('copy/config', { recursive: true });
    const script = 'copy/scripts/schema.ts';
    mkdirSync(dirname(script), { recursive: true });
    const source = readFileSync(join(ROOT, 'scripts/schema.ts'), 'utf8').replace('../src/', `${ROOT}/src/`);
    writeFileSync(script, source);
    const run = (...args: string[]) => spawnSync(process.execPath, [script, ...args], { encoding: 'utf8' });
    const missing = run('--check');
    expect(missing.status).toBe(1);
    expect(missing.stderr.trim().split('\n')).toHaveLength(1);
    execFileSync(process.execPath, [script]);
    expect(run('--check').status).toBe(0);
    expect(readFileSync('copy/config/sallyport.schema.json', 'utf8')).toBe(jsonSchemaText());
  });

  it('has a description at every key', () => {
    const bare: string[] = [];
    const walk = (node: unknown, path: string): void => {
      if (typeof node !== 'object' || node === null) return;
      for (const [name, inner] of Object.entries(node)) {
        if (name === 'properties') {
          for (const [key, value] of Object.entries(inner as Record<string, { description?: string }>)) {
            if (value.description === undefined) bare.push(`${path}.${key}`);
            walk(value, `${path}.${key}`);
          }
        } else walk(inner, path);
      }
    };
    walk(JSON.parse(jsonSchemaText()), '');
    expect(bare).toEqual([]);
  });
});

describe('docs/configuration.md', () => {
  const page = readFileSync(join(ROOT, 'docs/configuration.md'), 'utf8');

  /** Every key with the path that leads to it; `[]` stands for the items of a list. */
  function paths(node: unknown, prefix: string): string[] {
    if (typeof node !== 'object' || node === null) return [];
    return Object.entries(node).flatMap(([name, inner]) => {
      if (name === 'properties') {
        return Object.entries(inner as object).flatMap(([key, value]) => {
          const path = prefix === '' ? key : `${prefix}.${key}`;
          return [path, ...paths(value, path)];
        });
      }
      if (name === 'items') return paths(inner, prefix.endsWith('[]') ? prefix : `${prefix}[]`);
      return Array.isArray(inner) ? inner.flatMap((one) => paths(one, prefix)) : paths(inner, prefix);
    });
  }

  it('has a row for every key', () => {
    const keys = [...new Set(paths(JSON.parse(jsonSchemaText()), ''))].filter(
      (path) => !/^limits\.|\.(for|as|set|attributes)\./.test(path),
    );
    expect(keys.length).toBeGreaterThan(60);
    expect(keys.filter((key) => !page.includes(`| \`${key}\` |`))).toEqual([]);
  });

  it('has a row for every attribute of a selector', () => {
    const keys = paths(JSON.parse(jsonSchemaText()), '').filter((path) => path.startsWith('modes[].for.'));
    expect(keys.length).toBeGreaterThan(5);
    for (const key of keys) expect(page).toContain(`\`${key.slice('modes[].for.'.length)}\``);
  });

  it('has a row for every limit, with default, range and meaning', () => {
    const rows = LIMIT_NAMES.map((name) => {
      const { min, max, about } = LIMIT_SPECS[name];
      return `| \`${name}\` | ${LIMIT_SPECS[name].default} | ${min} – ${max} | ${about} |`;
    });
    expect(rows.filter((row) => !page.includes(row))).toEqual([]);
    expect(page.match(/^\| `[a-z_]+` \| \d+ \| /gm)).toHaveLength(rows.length);
  });
});
