// docs/buildkite.md and deploy/buildkite say what is: policies load, commands can be typed, settings are read.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { parseArguments } from '../../src/cli/parse.ts';
import { loadConfigHere } from '../../src/config/load-here.ts';
import { hasProgram } from '../support/programs.ts';
import { HOST_HOOKS, PLUGIN } from './hook-stage.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const FILE = join(ROOT, 'docs', 'buildkite.md');
const PAGE = readFileSync(FILE, 'utf8');
const blocks = (language: string) =>
  [...PAGE.matchAll(new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``, 'g'))].map((match) => match[1] ?? '');

describe('docs/buildkite.md', () => {
  it.each(blocks('yaml'))('the policy loads without a finding: %s', (text) => {
    const file = join(mkdtempSync(join(tmpdir(), 'sallyport-docs-')), 'sallyport.yaml');
    writeFileSync(file, text);
    expect(loadConfigHere({ file, overrides: {}, now: Date.UTC(2026, 10, 24) }).problems).toEqual([]);
  });

  const commands = [...PAGE.matchAll(/(?:^|`)sallyport ([a-z-][^`\n#]*)/gm)].map((match) =>
    (match[1] ?? '').replace('…', 'http://p.example:1').trim(),
  );
  it.each([...new Set(commands)])('sallyport %s can be typed', (line) => {
    const words = [...line.replace(/ > \S+$/, '').matchAll(/"([^"]*)"|(\S+)/g)].map(
      (match) => match[1] ?? match[2] ?? '',
    );
    expect(() => parseArguments(words)).not.toThrow();
  });

  it('has commands in it', () => expect(commands.length).toBeGreaterThan(12));

  it('every setting that it names is in the example file', () => {
    const conf = readFileSync(join(PLUGIN, 'sallyport.conf.example'), 'utf8');
    for (const [name] of PAGE.matchAll(/SALLYPORT_[A-Z_]+/g)) expect(conf, name).toContain(`${name}=`);
  });
});

describe('deploy/buildkite', () => {
  const values = parse(readFileSync(join(ROOT, 'deploy', 'buildkite', 'agent-stack-k8s', 'values.yaml'), 'utf8'));
  interface Source {
    readonly configMap: {
      readonly name: string;
      readonly items?: readonly { readonly key: string; readonly path: string }[];
    };
  }
  const sources: readonly Source[] = values.config['agent-config'].hooksVolume.projected.sources;

  it.each([
    ['sallyport-plugin-hooks', 'hooks'],
    ['sallyport-plugin-lib', 'lib'],
  ])('the volume for Kubernetes has every file of %s at its place', (name, folder) => {
    const items = sources.find(({ configMap }) => configMap.name === name)?.configMap.items ?? [];
    expect(items.map(({ key }) => key).sort()).toEqual(readdirSync(join(PLUGIN, folder)).sort());
    for (const { key, path } of items) expect(path).toBe(`sallyport/${folder}/${key}`);
  });

  it('each hook of a host has its hook of the plugin', () => {
    expect(readdirSync(HOST_HOOKS).sort()).toEqual(readdirSync(join(PLUGIN, 'hooks')).sort());
  });

  it('every ConfigMap is one that the page makes', () => {
    for (const { configMap } of sources) expect(PAGE).toContain(`create configmap ${configMap.name} `);
  });

  it('plugin.yml is what Buildkite reads: a schema with known types', () => {
    const plugin = parse(readFileSync(join(PLUGIN, 'plugin.yml'), 'utf8'));
    expect(plugin).toMatchObject({ name: 'Sallyport', configuration: { additionalProperties: false } });
    for (const option of Object.values<{ type: string }>(plugin.configuration.properties))
      expect(['string', 'integer', 'boolean']).toContain(option.type);
  });
});

it.skipIf(!hasProgram('shellcheck'))('the hooks, the boot script and the stand-in are clean to shellcheck', () => {
  const root = join(PLUGIN, '..');
  const files = ['hooks/environment', 'hooks/pre-bootstrap', 'hooks/pre-exit'];
  const lib = ['common', 'environment', 'override', 'report', 'watch'].map((name) =>
    join(PLUGIN, 'lib', `${name}.bash`),
  );
  const paths = [...files.map((file) => join(root, file)), ...files.map((file) => join(PLUGIN, file)), ...lib];
  const boot = join(root, 'elastic-ci-stack', 'bootstrap.sh');
  const stand = join(import.meta.dirname, 'buildkite-agent.bash');
  const done = spawnSync('shellcheck', [...paths, boot, stand], { encoding: 'utf8' });
  expect([done.status, done.stdout]).toEqual([0, '']);
});
