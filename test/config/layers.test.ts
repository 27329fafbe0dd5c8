// A policy in layers, from real files: who gets what, what each file may say, and what becomes of one that is broken.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { beforeEach, describe, expect, it } from 'vitest';
import { type LoadedHere, loadConfigHere } from '../../src/config/load-here.ts';
import type { LastGood } from '../../src/config/load-layers.ts';
import type { SallyportError } from '../../src/errors.ts';
import { connect, FILE, inFolderOfItsOwn, NOW } from './support.ts';

inFolderOfItsOwn();

const BASE = `version: 1
allow: [github.com]
deny: [gist.github.com]
layers:
  ceiling: ceiling.yaml
  pipelines:
    - { file: pipelines/deploy.yaml, for: { pipeline: [deploy, release], queue: deploy }, owner: platform }
    - { file: "pipelines/*.yaml", for: { pipeline: "{name}" } }
`;
const CEILING = `version: 1
allow:
  - "*.corp.example"
  - { host: git.corp.example, ports: [443, 22], addresses: [10.0.0.0/8] }
`;

beforeEach(() => {
  rmSync('pipelines', { recursive: true, force: true });
  mkdirSync('pipelines');
  write({ [FILE]: BASE, 'ceiling.yaml': CEILING, 'pipelines/deploy.yaml': 'version: 1\n' });
});

function write(files: Readonly<Record<string, string>>): void {
  for (const [file, text] of Object.entries(files)) writeFileSync(file, text);
}

const grants = (...rules: string[]): string => `version: 1\nallow:\n${rules.map((one) => `  - ${one}\n`).join('')}`;

function load(lastGood: LastGood = {}): LoadedHere {
  return loadConfigHere({ file: FILE, now: NOW, lastGood });
}

const texts = (loaded: LoadedHere): LastGood =>
  Object.fromEntries(loaded.layers.flatMap(({ file, text }) => (text === null ? [] : [[file, text]])));

const told = ({ layers }: LoadedHere): string[] =>
  layers.flatMap(({ problems }) =>
    problems.map(({ code, at, message }) => `${code} ${at?.file}:${at?.line} ${message}`),
  );

/** Of the layers that have something to say. */
const states = ({ layers }: LoadedHere): Record<string, string> =>
  Object.fromEntries(
    layers.filter(({ file }) => file !== 'pipelines/deploy.yaml').map(({ file, state }) => [file, state]),
  );

/** `verdict reason rule`. */
function ask(loaded: LoadedHere, host: string, as?: Record<string, string>): string {
  const decision = connect({ loaded, error: null, problems: [] }, host, as);
  return `${decision.verdict} ${decision.reason} ${decision.rule?.id ?? '-'}`;
}

describe('who gets what', () => {
  it('each pipeline has the base and its own file, and no more', () => {
    write({ 'pipelines/web.yaml': grants('a.corp.example'), 'pipelines/api.yaml': grants('b.corp.example') });
    const loaded = load();
    expect(told(loaded)).toEqual([]);
    const web = { pipeline: 'web' };
    expect(ask(loaded, 'github.com:443', web)).toBe('allow allowed policy.yaml:2');
    expect(ask(loaded, 'a.corp.example:443', web)).toBe('allow allowed pipelines/web.yaml:3');
    expect(ask(loaded, 'a.corp.example:443')).toBe('challenge credentials-required pipelines/web.yaml:3');
  });

  it('what another pipeline was granted is not there, not even as a reason or a near miss', () => {
    write({ 'pipelines/web.yaml': grants('a.corp.example', '{ host: c.corp.example, ports: [8443] }') });
    write({ 'ceiling.yaml': `${CEILING}  - { host: c.corp.example, ports: [8443] }\n` });
    const loaded = load();
    expect(told(loaded)).toEqual([]);
    for (const host of ['a.corp.example:443', 'x.a.corp.example:443', 'aa.corp.example:443', 'c.corp.example:443']) {
      const other = connect({ loaded, error: null, problems: [] }, host, { pipeline: 'api' });
      expect(other).toMatchObject({ verdict: 'deny', reason: 'host-not-allowed', rule: null });
      expect(JSON.stringify(other)).not.toMatch(/corp\.example:8443|pipelines\/web|"a\.corp/);
    }
  });

  it('a rule may be for fewer than its file is for', () => {
    write({ 'pipelines/deploy.yaml': grants('{ host: a.corp.example, for: { pipeline: release, branch: main } }') });
    const loaded = load();
    expect(ask(loaded, 'a.corp.example:443', { pipeline: 'release', queue: 'deploy', branch: 'main' })).toMatch(
      /^allow/,
    );
    for (const as of [
      { pipeline: 'deploy', queue: 'deploy', branch: 'main' },
      { pipeline: 'release', queue: 'default', branch: 'main' },
      { pipeline: 'release', queue: 'deploy', branch: 'x' },
    ])
      expect(ask(loaded, 'a.corp.example:443', as)).toBe('deny host-not-allowed -');
  });

  it('deny wins wherever it stands: that of the base for all, that of a layer for its own', () => {
    write({
      [FILE]: BASE.replace('[gist.github.com]', '[gist.github.com, a.corp.example]'),
      'pipelines/web.yaml': `${grants('a.corp.example')}deny: [github.com]\n`,
    });
    const loaded = load();
    expect(ask(loaded, 'a.corp.example:443', { pipeline: 'web' })).toBe('deny host-denied policy.yaml:3');
    expect(ask(loaded, 'github.com:443', { pipeline: 'web' })).toBe('deny host-denied pipelines/web.yaml:4');
    expect(ask(loaded, 'github.com:443', { pipeline: 'api' })).toMatch(/^allow/);
    expect(ask(loaded, 'github.com:443')).toMatch(/^allow/);
  });

  it('the first entry of the mapping that names a file says whom it is for; its owner answers for the rules', () => {
    write({ 'pipelines/deploy.yaml': grants('a.corp.example', '{ host: b.corp.example, owner: release-team }') });
    const { source, layers } = load();
    expect(layers.map(({ file, for: scope }) => [file, scope])).toEqual([
      ['ceiling.yaml', null],
      ['pipelines/deploy.yaml', { pipeline: ['deploy', 'release'], queue: ['deploy'] }],
    ]);
    expect(source.rules.slice(-2).map(({ owner, layer }) => [owner, layer])).toEqual([
      ['platform', 'pipelines/deploy.yaml'],
      ['release-team', 'pipelines/deploy.yaml'],
    ]);
  });

  it('the digest is another where a layer is', () => {
    const before = load().policy.digest;
    write({ 'pipelines/web.yaml': grants('a.corp.example') });
    expect(load().policy.digest).not.toBe(before);
  });
});

describe('what a file may not say', () => {
  it.each<[string, string, string]>([
    [
      'a host outside the ceiling',
      grants('ok.corp.example', 'evil.example'),
      'config-ceiling pipelines/web.yaml:4 pipelines/web.yaml:4 allows evil.example, which is outside the ceiling: the nearest line of the ceiling is *.corp.example at ceiling.yaml:3, and it is for other hosts',
    ],
    [
      'a port outside the ceiling',
      grants('a.corp.example:8443'),
      'config-ceiling pipelines/web.yaml:3 pipelines/web.yaml:3 allows a.corp.example, which is outside the ceiling: the nearest line of the ceiling is *.corp.example at ceiling.yaml:3, and it has port 443, not 8443',
    ],
    [
      'a group outside the ceiling, once',
      grants('{ group: amazon-s3, with: { region: us-west-2 } }'),
      'config-ceiling pipelines/web.yaml:3 pipelines/web.yaml:3 allows *.s3.amazonaws.com of group amazon-s3, which is outside the ceiling',
    ],
    [
      'another pipeline',
      grants('{ host: a.corp.example, for: { pipeline: api } }'),
      'config-conflict pipelines/web.yaml:3 the rule is for pipeline api, and pipelines/web.yaml is for pipeline web',
    ],
    [
      'every pipeline',
      grants('{ host: a.corp.example, for: { pipeline: "*" } }'),
      'config-conflict pipelines/web.yaml:3 the rule is for pipeline *',
    ],
    [
      'whom it is for',
      `${grants('a.corp.example')}for: { pipeline: api }\n`,
      'config-unknown-key pipelines/web.yaml:4 unknown key "for"',
    ],
    [
      'a setting of the base',
      `${grants('a.corp.example')}mode: observe\n`,
      'config-unknown-key pipelines/web.yaml:4 unknown key "mode"',
    ],
    [
      'a layer of its own',
      `${grants('a.corp.example')}layers: {}\n`,
      'config-unknown-key pipelines/web.yaml:4 unknown key "layers"',
    ],
    ['no version', 'allow: [a.corp.example]\n', 'config-missing-key pipelines/web.yaml:1'],
    ['nothing', '', 'config-empty pipelines/web.yaml:1'],
    ['what is no YAML', 'version: [\n', 'config-syntax pipelines/web.yaml:'],
    [
      'a test that fails',
      `${grants('a.corp.example')}tests: [ allow: b.corp.example:443 ]\n`,
      'policy-test-failed pipelines/web.yaml:4 the test wants allow for b.corp.example:443',
    ],
    [
      'a test of others',
      `${grants('a.corp.example')}tests: [ { allow: a.corp.example:443, as: { pipeline: api } } ]\n`,
      'config-value pipelines/web.yaml:4 the test asks as somebody whom the file is not for',
    ],
  ])('%s', (_, text, problem) => {
    write({ 'pipelines/web.yaml': text, 'pipelines/api.yaml': grants('b.corp.example') });
    const loaded = load();
    expect(told(loaded)).toHaveLength(1);
    expect(told(loaded)[0]).toContain(problem);
    expect(states(loaded)).toEqual({
      'ceiling.yaml': 'current',
      'pipelines/web.yaml': 'base-only',
      'pipelines/api.yaml': 'current',
    });
    expect(ask(loaded, 'a.corp.example:443', { pipeline: 'web' })).toBe('deny host-not-allowed -');
    expect(ask(loaded, 'b.corp.example:443', { pipeline: 'api' })).toMatch(/^allow/);
  });

  it('a name that would select others', () => {
    write({ 'pipelines/*.yaml': grants('a.corp.example'), 'pipelines/web.yaml': grants('a.corp.example') });
    const loaded = load({ 'pipelines/*.yaml': grants('a.corp.example') });
    expect(told(loaded)).toEqual([
      'config-value undefined:undefined the name of pipelines/*.yaml is to say whom it is for, and is not a plain name',
    ]);
    expect(ask(loaded, 'a.corp.example:443', { pipeline: 'api' })).toBe('deny host-not-allowed -');
    expect(ask(loaded, 'a.corp.example:443', { pipeline: 'web' })).toMatch(/^allow/);
  });

  it.each<[string, string, string]>([
    ['for', '{ host: a.example, for: { pipeline: web } }', 'for has no meaning in a ceiling'],
    ['expires', '{ host: a.example, expires: 2027-01-01 }', 'expires has no meaning in a ceiling'],
    ['mode', '{ host: a.example, mode: observe }', 'mode has no meaning in a ceiling'],
  ])('%s in a ceiling', (_, line, message) => {
    write({ 'ceiling.yaml': grants(line), 'pipelines/web.yaml': grants('a.example') });
    const loaded = load();
    expect(told(loaded)).toEqual([
      expect.stringContaining(message),
      expect.stringContaining('config-ceiling pipelines/deploy.yaml:1 there is no valid ceiling'),
      expect.stringContaining('config-ceiling pipelines/web.yaml:1 there is no valid ceiling'),
    ]);
    expect(loaded.ceiling).toBeNull();
  });
});

describe('the mapping in the base', () => {
  it.each<[string, string, string]>([
    ['pipelines without a ceiling', BASE.replace('  ceiling: ceiling.yaml\n', ''), 'config-missing-key'],
    ['an empty selector', BASE.replace('{ pipeline: "{name}" }', '{}'), 'config-value'],
    ['a path out of the folder', BASE.replace('pipelines/deploy.yaml', '../deploy.yaml'), 'config-value'],
    ['an absolute path', BASE.replace('pipelines/deploy.yaml', '/etc/deploy.yaml'), 'config-value'],
    ['a star in a folder', BASE.replace('pipelines/*.yaml', '*/a.yaml'), 'config-value'],
    ['a ceiling of several files', BASE.replace('ceiling: ceiling.yaml', 'ceiling: "*.yaml"'), 'config-value'],
    ['a file that is no YAML by its name', BASE.replace('pipelines/deploy.yaml', 'pipelines/deploy'), 'config-value'],
  ])('refuses %s', (_, base, code) => {
    write({ [FILE]: base });
    expect(() => load()).toThrow(expect.objectContaining({ code }) as SallyportError);
  });

  it('a file that is named and is not there is a broken layer; a star without files is none', () => {
    write({ [FILE]: BASE.replace('pipelines/*.yaml', 'elsewhere/*.yaml') });
    rmSync('pipelines/deploy.yaml');
    expect(told(load())).toEqual([expect.stringContaining('config-unreadable pipelines/deploy.yaml:1')]);
  });

  it('limits.layer_files_max: what is beyond is left out and told', () => {
    write({ [FILE]: `${BASE}limits: { layer_files_max: 3 }\n` });
    for (const name of ['a', 'b', 'c', 'deploy']) write({ [`pipelines/${name}.yaml`]: grants(`${name}.corp.example`) });
    const loaded = load();
    expect(states(loaded)).toEqual({
      'ceiling.yaml': 'current',
      'pipelines/a.yaml': 'current',
      'pipelines/b.yaml': 'current',
      '…': 'base-only',
    });
    expect(told(loaded)).toEqual([expect.stringContaining('1 files of layers are left out')]);
  });
});

describe('limits.layer_bytes', () => {
  const LIMITED = `${BASE}limits: { layer_bytes: 1024 }\n`;
  /** A file of a pipeline with so many bytes. */
  const sized = (host: string, bytes: number): string => `${grants(host).padEnd(bytes - 1, '#')}\n`;

  it('a file that large is in force, one byte more is a broken layer, and the other files are in force', () => {
    write({ [FILE]: LIMITED, 'pipelines/web.yaml': sized('a.corp.example', 1_024) });
    const before = load();
    expect(states(before)['pipelines/web.yaml']).toBe('current');
    write({ 'pipelines/web.yaml': sized('c.corp.example', 1_025), 'pipelines/api.yaml': grants('d.corp.example') });
    const loaded = load(texts(before));
    expect(states(loaded)).toMatchObject({ 'pipelines/web.yaml': 'last-good', 'pipelines/api.yaml': 'current' });
    expect(told(loaded)).toEqual([expect.stringContaining('config-too-large pipelines/web.yaml:1')]);
    expect(told(loaded)[0]).toContain('1025 bytes; allowed are 1024');
    expect(ask(loaded, 'a.corp.example:443', { pipeline: 'web' })).toMatch(/^allow/);
    expect(ask(loaded, 'c.corp.example:443', { pipeline: 'web' })).toMatch(/^deny/);
  });
});

describe('a layer that breaks while the proxy runs', () => {
  it('keeps the version that was last in force, and the others change', () => {
    write({ 'pipelines/web.yaml': grants('a.corp.example'), 'pipelines/api.yaml': grants('b.corp.example') });
    const before = texts(load());
    write({ 'pipelines/web.yaml': grants('c.corp.example', '"*"'), 'pipelines/api.yaml': grants('d.corp.example') });
    const loaded = load(before);
    expect(states(loaded)['pipelines/web.yaml']).toBe('last-good');
    expect(told(loaded)).toEqual([expect.stringContaining('config-pattern pipelines/web.yaml:4')]);
    expect(ask(loaded, 'a.corp.example:443', { pipeline: 'web' })).toMatch(/^allow/);
    expect(ask(loaded, 'c.corp.example:443', { pipeline: 'web' })).toMatch(/^deny/);
    expect(ask(loaded, 'd.corp.example:443', { pipeline: 'api' })).toMatch(/^allow/);
    expect(states(load(texts(loaded)))['pipelines/web.yaml']).toBe('last-good');
  });

  it('goes when its file goes', () => {
    write({ 'pipelines/web.yaml': grants('a.corp.example') });
    const before = texts(load());
    rmSync('pipelines/web.yaml');
    expect(ask(load(before), 'a.corp.example:443', { pipeline: 'web' })).toMatch(/^deny/);
  });

  it('a ceiling that comes down takes what is above it, and leaves the rest', () => {
    write({
      'pipelines/web.yaml': grants(
        'a.corp.example',
        '{ host: git.corp.example, ports: [22], addresses: [10.0.0.0/8] }',
      ),
    });
    const before = texts(load());
    write({ 'ceiling.yaml': grants('"*.corp.example"') });
    const loaded = load(before);
    expect(states(loaded)['pipelines/web.yaml']).toBe('last-good');
    expect(told(loaded)).toEqual([expect.stringContaining('config-ceiling pipelines/web.yaml:4')]);
    expect(ask(loaded, 'a.corp.example:443', { pipeline: 'web' })).toMatch(/^allow/);
    expect(ask(loaded, 'git.corp.example:22', { pipeline: 'web' })).toMatch(/^deny/);
    // At a cold start there is nothing that was good before.
    expect(states(load())['pipelines/web.yaml']).toBe('base-only');
  });

  it('a broken ceiling: the one before counts; without one nothing is granted', () => {
    write({ 'pipelines/web.yaml': grants('a.corp.example') });
    const before = texts(load());
    write({ 'ceiling.yaml': 'version: 1\nallow: [' });
    expect(ask(load(before), 'a.corp.example:443', { pipeline: 'web' })).toMatch(/^allow/);
    const cold = load();
    expect(states(cold)).toEqual({ 'ceiling.yaml': 'base-only', 'pipelines/web.yaml': 'base-only' });
    expect(ask(cold, 'a.corp.example:443', { pipeline: 'web' })).toMatch(/^deny/);
    expect(ask(cold, 'github.com:443', { pipeline: 'web' })).toMatch(/^allow/);
  });
});

describe('tests', () => {
  it('a layer that breaks a test of the base is broken, and the base is not', () => {
    write({
      [FILE]: `${BASE}tests:\n  - { deny: pastebin.corp.example:443, as: { pipeline: web } }\n  - { allow: github.com:443, as: { pipeline: api } }\n`,
      'pipelines/web.yaml': grants('a.corp.example', 'pastebin.corp.example'),
      'pipelines/api.yaml': `${grants('b.corp.example')}deny: [github.com]\n`,
    });
    const loaded = load();
    expect(states(loaded)).toEqual({
      'ceiling.yaml': 'current',
      'pipelines/api.yaml': 'base-only',
      'pipelines/web.yaml': 'base-only',
    });
    expect(told(loaded)).toEqual([
      expect.stringContaining(
        'policy-test-failed pipelines/api.yaml:4 a test of the base at policy.yaml:11 fails by this file',
      ),
      expect.stringContaining(
        'policy-test-failed pipelines/web.yaml:4 a test of the base at policy.yaml:10 fails by this file',
      ),
    ]);
  });

  it('a test of the base holds without any layer, or refuses the base', () => {
    write({
      [FILE]: `${BASE}tests: [{ allow: a.corp.example:443, as: { pipeline: web } }]\n`,
      'pipelines/web.yaml': grants('a.corp.example'),
    });
    expect(() => load()).toThrow(expect.objectContaining({ code: 'policy-test-failed' }) as SallyportError);
  });

  it('a layer asks as whom its file is for; where that is several, the test says which', () => {
    write({
      'pipelines/web.yaml': `${grants('a.corp.example')}tests: [{ allow: a.corp.example:443 }, { deny: b.corp.example:443 }]\n`,
      'pipelines/deploy.yaml': `${grants('a.corp.example')}tests: [{ allow: a.corp.example:443, as: { pipeline: release } }]\n`,
    });
    expect(told(load())).toEqual([]);
  });
});

describe('the lint', () => {
  it.each<[string, string]>([
    ['{ pipeline: "deploy-*" }', 'every pipeline whose name fits deploy-*'],
    ['{ pipeline: web, branch: main }', 'asks for branch main'],
  ])('warns where others can choose the name: %s', (selector, words) => {
    write({
      [FILE]: BASE.replace('{ pipeline: [deploy, release], queue: deploy }', selector),
      'pipelines/deploy.yaml': grants('a.corp.example'),
    });
    const loose = load().problems.filter(({ code }) => code === 'lint-loose-selector');
    expect(loose.map(({ at, message }) => `${at?.file}:${at?.line} ${message}`)).toEqual([
      expect.stringMatching(/^policy\.yaml:7 pipelines\/deploy\.yaml /),
    ]);
    expect(loose[0]?.message).toContain(words);
    expect(loose[0]?.hint).toContain('pipeline_id');
  });

  it('not where the UUID is named, nor where it is accepted', () => {
    const uuid = '0190a1b2-0000-4000-8000-000000000001';
    for (const entry of [
      `{ pipeline: "deploy-*", pipeline_id: ${uuid} }`,
      '{ pipeline: "deploy-*" }, accept: [loose-selector], reason: own names',
    ]) {
      write({
        [FILE]: BASE.replace('{ pipeline: [deploy, release], queue: deploy }', entry),
        'pipelines/deploy.yaml': grants('a.corp.example'),
      });
      expect(load().problems.filter(({ code }) => code === 'lint-loose-selector')).toEqual([]);
    }
  });
});
