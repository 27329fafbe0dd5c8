// `check` over a whole policy repository: a folder, against another folder and another commit, over records, as Markdown and JUnit.
import { execFileSync } from 'node:child_process';
import { readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { openAuditLog } from '../../src/audit/log.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { decidedRecord } from '../support/records.ts';
import { tempDir, writeFile } from '../support/temp.ts';
import { certificateFor } from '../support/tls.ts';
import { NOW, type, typeJson } from './console.ts';

const ESC = String.fromCharCode(27);
let dir = '';

beforeEach(() => {
  dir = tempDir('check');
  write({
    'sallyport.yaml': `version: 1\nallow: [github.com, old.example]\nlayers:\n  ceiling: ceiling.yaml\n  pipelines: [{ file: "pipelines/*.yaml", for: { pipeline: "{name}" } }]\n`,
    'ceiling.yaml': 'version: 1\nallow: ["*.corp.example"]\n',
    'pipelines/web.yaml': 'version: 1\nallow: [a.corp.example]\n',
  });
});

function write(files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) writeFile(join(dir, name), text);
}

function git(...args: string[]): void {
  const who = ['-c', 'user.name=t', '-c', 'user.email=t@t.test', '-c', 'init.defaultBranch=main'];
  execFileSync('git', ['-C', dir, ...who, ...args], { stdio: 'ignore' });
}

const change = (): void =>
  write({
    'sallyport.yaml': readFileSync(join(dir, 'sallyport.yaml'), 'utf8').replace(', old.example', ''),
    'pipelines/web.yaml': 'version: 1\nallow: [a.corp.example, b.corp.example]\n',
  });

const gained = expect.objectContaining({ host: 'b.corp.example', ports: [443] });
const lost = expect.objectContaining({ host: 'old.example' });

it('a folder is its sallyport.yaml with all layers', async () => {
  const { code, json } = await typeJson(['check', dir]);
  expect([code, json]).toEqual([0, expect.objectContaining({ ok: true, file: join(dir, 'sallyport.yaml') })]);
  expect(json['layers']).toMatchObject([{ role: 'ceiling' }, { role: 'pipeline', state: 'current', rules: 1 }]);
  expect((await type(['check', dir, '--config', 'x.yaml'])).code).toBe(2);
});

it('a folder that says nothing of a machine is judged as what machines share', async () => {
  const layers =
    "layers: { ceiling: ceiling.yaml, pipelines: [{ file: 'pipelines/*.yaml', for: { pipeline: '{name}' } }] }";
  const shared = `version: 1\nallow: [{ host: a.example, inspect: true, read_only: true }]\n${layers}\n`;
  write({ 'sallyport.yaml': shared });
  const { code, json } = await typeJson(['check', dir, '--strict', '--against', dir]);
  expect([code, json]).toEqual([0, expect.objectContaining({ problems: [] })]);
  // Of a machine's own file it is known what it has.
  write({
    'sallyport.yaml': `${shared.replace('inspect: true, read_only: true', 'ports: [443]')}listen: 127.0.0.1:3128\n`,
  });
  const { code: own, json: told } = await typeJson(['check', dir, '--strict']);
  expect([own, JSON.stringify(told['problems'])]).toEqual([1, expect.stringContaining('lint-dead')]);
});

describe('--against', () => {
  it.each(['in the whole repository', 'in a folder of it'])('another commit, the policy %s', async (where) => {
    const root = dir;
    if (where === 'in a folder of it') dir = join(root, 'deep', 'policy');
    write({
      'sallyport.yaml': readFileSync(join(root, 'sallyport.yaml'), 'utf8'),
      'ceiling.yaml': readFileSync(join(root, 'ceiling.yaml'), 'utf8'),
      'pipelines/web.yaml': readFileSync(join(root, 'pipelines/web.yaml'), 'utf8'),
    });
    const policy = dir;
    dir = root;
    git('init');
    git('add', '-A');
    git('commit', '-m', 'one');
    dir = policy;
    change();
    const { code, json } = await typeJson(['check', policy, '--against', 'HEAD']);
    expect(code).toBe(0);
    expect(json['against']).toMatchObject({
      name: 'HEAD',
      mode: { before: 'enforce', after: 'enforce' },
      changes: [
        { for: null, gains: [], loses: [{ origin: 'HEAD:sallyport.yaml:2' }] },
        { for: { pipeline: ['web'] }, gains: [gained], loses: [] },
      ],
    });
    // Neither the index nor the working tree is touched.
    dir = root;
    expect(execFileSync('git', ['-C', root, 'diff', '--cached', '--name-only'], { encoding: 'utf8' })).toBe('');
  });

  it('another folder', async () => {
    const other = `${dir}-before`;
    execFileSync('cp', ['-r', dir, other]);
    change();
    const { json } = await typeJson(['check', dir, '--against', other]);
    expect(json['against']).toMatchObject({ changes: [{ loses: [lost] }, { gains: [gained] }] });
    rmSync(other, { recursive: true });
  });

  it.each(['nowhere', '--output=x', 'HEAD'])('neither a folder nor a commit: %s', async (name) => {
    const { code, err } = await type(['check', dir, `--against=${name}`]);
    expect([code, err]).toEqual([2, expect.stringContaining('neither a folder nor a commit')]);
  });
});

describe('--log', () => {
  function records(): string {
    const file = join(dir, 'audit.jsonl');
    const log = openAuditLog({
      file,
      node: 'n',
      limits: DEFAULT_LIMITS,
      whenFull: 'refuse',
      now: () => new Date(NOW - 1_000),
    });
    const web = { kind: 'job', attributes: { pipeline: 'web' }, claimed: {} } as const;
    log.decided({
      ...decidedRecord({ id: 'r' }),
      id: 'r1',
      host: 'old.example',
      port: 443,
      method: 'CONNECT',
      verdict: 'allow',
      reason: 'allowed',
      identity: web,
    });
    log.decided({
      ...decidedRecord({ id: 'r' }),
      id: 'r2',
      host: 'b.corp.example',
      port: 443,
      method: 'CONNECT',
      verdict: 'deny',
      reason: 'host-not-allowed',
      outcome: 'host-not-allowed',
      identity: web,
    });
    log.close();
    return file;
  }

  it('past refusals that now pass, and what newly fails: exit 3', async () => {
    const log = records();
    change();
    const { code, json } = await typeJson(['check', dir, '--log', log]);
    expect(code).toBe(3);
    expect(json['replay']).toMatchObject({
      newly_fail: [{ host: 'old.example', pipeline: 'web' }],
      newly_pass: [{ host: 'b.corp.example', pipeline: 'web' }],
    });
    const junit = (await type(['check', dir, '--log', log, '--format', 'junit'])).out;
    expect(junit).toContain('<failure message="old.example:443 of web: 1 requests, host-not-allowed">');
    const markdown = (await type(['check', dir, '--log', log, '--format', 'markdown'])).out;
    expect(markdown).toMatch(
      /### Would newly fail[\s\S]*old\.example[\s\S]*### Would newly pass[\s\S]*b\.corp\.example/,
    );
  });
});

describe('formats', () => {
  it('Markdown: who gains and loses what', async () => {
    const other = `${dir}-before`;
    renameSync(dir, other);
    write({
      'sallyport.yaml': readFileSync(join(other, 'sallyport.yaml'), 'utf8'),
      'ceiling.yaml': readFileSync(join(other, 'ceiling.yaml'), 'utf8'),
      'pipelines/web.yaml': '',
    });
    change();
    const { out } = await type(['check', dir, '--against', other, '--format', 'markdown']);
    expect(out).toContain('## Policy: valid');
    expect(out).toContain('| everyone | loses | old.example:443 (tls) |');
    expect(out).toContain('| pipeline web | gains | b.corp.example:443 (tls) |');
    rmSync(other, { recursive: true });
  });

  it('JUnit: a case for the base and each layer; a broken one fails, and its text ends no element', async () => {
    write({
      'pipelines/x.yaml': 'version: 1\nallow: ["<b>&\\"]]>.evil\\u001b"]\n',
      'pipelines/y.yaml': 'version: 1\nallow: [evil.example]\n',
    });
    const { code, out } = await type(['check', dir, '--format', 'junit']);
    expect(code).toBe(1);
    expect(out).toContain('<testsuites tests="5" failures="2">');
    expect(out).toContain(`name="${join(dir, 'pipelines/web.yaml')}"/>`);
    expect(out).toMatch(/<failure message="[^"<>]*outside the ceiling[^"<>]*">/);
    expect(out.match(/<failure/g)).toHaveLength(2);
    for (const text of ['<b>', ESC, ']]>']) expect(out).not.toContain(text);
  });

  it('a base that is not valid', async () => {
    write({ 'sallyport.yaml': 'version: 2\n' });
    for (const format of ['table', 'markdown', 'junit', 'json']) {
      const { code, out, err } = await type(['check', dir, '--format', format]);
      expect([code, `${out}${err}`]).toEqual([1, expect.stringMatching(/version is 2|version is &#50;|version/)]);
    }
  });
});

it('certificates that a start would refuse are told for both listeners, with the file; the policy is valid all the same', async () => {
  const [one, other] = [certificateFor(['one.test']), certificateFor(['other.test'])];
  write({ 'one.pem': one.cert, 'one.key': one.key, 'other.key': other.key });
  const at = (name: string): string => join(dir, name);
  const policy = (clients: string, admin: string): string =>
    `version: 1\nallow: [github.com]\ntls: { listen: 127.0.0.1:0, cert: ${at('one.pem')}, key: ${at(clients)} }\n` +
    `admin: { listen: 127.0.0.1:0, tls: { cert: ${at('one.pem')}, key: ${at(admin)} } }\n`;
  const told = async (clients: string, admin: string): Promise<unknown> => {
    write({ 'sallyport.yaml': policy(clients, admin) });
    const { code, json } = await typeJson<{ tls: string }>(['check', at('sallyport.yaml')]);
    expect(code).toBe(0);
    return json.tls;
  };
  expect(await told('one.key', 'one.key')).toMatch(
    /^clients: CN=.*, valid until .* GMT; admin: CN=.*, valid until .* GMT$/,
  );
  expect(await told('absent.key', 'other.key')).toBe(
    `clients: a start here would be refused: ${at('absent.key')} cannot be read: ENOENT; ` +
      `admin: a start here would be refused: ${at('other.key')} is not the key of the certificate in ${at('one.pem')}`,
  );
});
