// check, policy, explain: what an operator asks about a policy file before anything runs.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { tempDir } from '../support/temp.ts';
import { policyFile, type, typeJson } from './console.ts';

const ESC = String.fromCharCode(27);

describe('check', () => {
  it('a valid file: exit 0, what it holds', async () => {
    const { file, audit } = policyFile({ mode: 'observe', allow: [{ group: 'buildkite-agent' }, 'ok.example'] });
    const { code, out, err } = await type(['check', '--config', file]);
    expect([code, err]).toEqual([0, '']);
    expect(out).toContain(`valid: ${file}`);
    expect(out).toContain('mode    observe');
    const { json } = await typeJson(['check', '--config', file]);
    expect(json).toMatchObject({
      ok: true,
      mode: 'observe',
      rules: 4,
      groups: ['buildkite-agent'],
      audit,
      problems: [],
    });
    expect(json['digest']).toMatch(/^[0-9a-f]{16,}$/);
  });

  it('all errors at once, each with file:line:column, code and hint; exit 1', async () => {
    const file = join(tempDir('cli'), 'bad.yaml');
    writeFileSync(
      file,
      'version: 1\nmod: enforce\nallow:\n  - "*.com"\n  - group: amazon-s33\nclients: { from: [10.0.0.0/33] }\n',
    );
    const { code, out, err } = await type(['check', '--config', file]);
    expect(code).toBe(1);
    for (const place of [
      `config-unknown-key ${file}:2:1`,
      `config-pattern ${file}:4:5`,
      `config-group ${file}:5:`,
      `config-cidr ${file}:6:`,
    ]) {
      expect(err).toContain(place);
    }
    expect(err).not.toContain('    at ');
    expect(out).toContain('not valid');
    const { json } = await typeJson(['check', '--config', file]);
    expect(json).toMatchObject({ ok: false, file });
    expect((json['problems'] as unknown[]).length).toBe(4);
  });

  it('a warning fails only with --strict', async () => {
    const { file } = policyFile({ allow: [{ host: 'old.example', expires: '2020-01-01' }, 'ok.example'] });
    const { code, err } = await type(['check', '--config', file]);
    expect(code).toBe(0);
    expect(err).toContain('sallyport: warning:');
    expect(err).toContain('lint-expired');
    expect((await type(['check', '--strict', '--config', file])).code).toBe(1);
    expect((await typeJson(['check', '--strict', '--config', file])).json).toMatchObject({ ok: false });
  });

  it.each(['missing.yaml', '.'])('a file that cannot be read is exit 1 with its code: %s', async (name) => {
    const { code, err } = await type(['check', '--config', join(tempDir('cli'), name)]);
    expect(code).toBe(1);
    expect(err).toContain('config-unreadable');
  });

  it('a file name cannot repaint the terminal', async () => {
    const { code, err, out } = await type(['check', '--config', `/nowhere/${ESC}[2Jx.yaml`], { tty: true });
    expect(code).toBe(1);
    expect(`${err}${out}`).not.toContain(`${ESC}[2J`);
    expect(err).toContain('\\u{1b}[2Jx.yaml');
  });
});

describe('colour', () => {
  const { file } = policyFile({ allow: ['ok.example'] });
  it.each([
    ['on a terminal', ['check', '--config', file], { tty: true }, true],
    ['not into a pipe', ['check', '--config', file], {}, false],
    ['not with NO_COLOR', ['check', '--config', file], { tty: true, env: { NO_COLOR: '1' } }, false],
    ['not with --no-color', ['check', '--no-color', '--config', file], { tty: true }, false],
    ['not on a dumb terminal', ['check', '--config', file], { tty: true, env: { TERM: 'dumb' } }, false],
    ['not in JSON', ['check', '--json', '--config', file], { tty: true }, false],
  ])('%s', async (_, args, terminal, colored) => {
    expect((await type(args, terminal)).out.includes(`${ESC}[`)).toBe(colored);
  });
});

describe('policy', () => {
  const policy = {
    allow: [
      { group: 'amazon-s3', with: { region: 'us-west-2' } },
      {
        host: 'git.corp.example',
        ports: [443, 22],
        protocol: 'any',
        for: { queue: 'deploy' },
        expires: '2027-01-31',
        addresses: ['10.0.0.0/8'],
      },
    ],
    deny: ['gist.example'],
  };

  it('prints each rule with the line it comes from', async () => {
    const { file } = policyFile(policy);
    const { code, out } = await type(['policy', '--config', file]);
    expect(code).toBe(0);
    for (const part of [
      '*.s3.us-west-2.amazonaws.com',
      'amazon-s3: aws-s3-regional',
      '443,22',
      'until 2027-01-31',
      '10.0.0.0/8',
      '{"queue":["deploy"]}',
      'gist.example',
    ]) {
      expect(out).toContain(part);
    }
    expect(out).toMatch(new RegExp(`git\\.corp\\.example .*${file}:\\d+`));
  });

  it('--as leaves out what does not count for that identity', async () => {
    const { file } = policyFile(policy);
    const hosts = async (...as: string[]) =>
      (await typeJson<{ rules: { pattern: string }[] }>(['policy', '--config', file, ...as])).json.rules.map(
        ({ pattern }) => pattern,
      );
    expect(await hosts('--as', 'queue=deploy')).toContain('git.corp.example');
    expect(await hosts('--as', 'queue=other')).not.toContain('git.corp.example');
    expect(await hosts()).toContain('git.corp.example');
  });
});

describe('explain', () => {
  const { file } = policyFile({
    mode: 'enforce',
    modes: [{ for: { queue: 'canary' }, mode: 'observe' }],
    allow: [
      'ok.example',
      { host: 'git.corp.example', ports: [22], for: { pipeline: 'deploy-*' } },
      { host: 'mirror.example', ports: [80] },
    ],
    deny: ['bad.example'],
  });
  const explain = (...args: string[]) => type(['explain', ...args, '--config', file]);

  it('an allowed host: exit 0, the rule and its line, the protocol', async () => {
    const { code, out } = await explain('OK.example');
    expect(code).toBe(0);
    expect(out).toMatch(/^allow CONNECT ok\.example:443\n/);
    expect(out).toMatch(new RegExp(`rule +ok\\.example .* at ${file}:\\d+`));
    expect(out).toContain('tls');
  });

  it('a denied host: exit 1, the nearest catalog group and the line that would allow it', async () => {
    const { code, out } = await explain('b.s3.us-west-2.amazonaws.com');
    expect(code).toBe(1);
    expect(out).toContain('host-not-allowed');
    expect(out).toContain('fix      under allow: - { group: amazon-s3, with: { region: us-west-2 } }');
  });

  it('a host that nothing comes near: the line to add', async () => {
    expect((await explain('zzz.invalid')).out).toContain('Add under allow: - zzz.invalid');
    // A look-alike of an allowed name may be a squatter's.
    const near = (await explain('http://miror.example/')).out;
    expect(near).toContain('did you mean mirror.example?');
    expect(near).not.toContain('Add under allow');
    expect((await explain('zzz.invalid:8443')).out).toContain(
      'Add under allow: - { host: zzz.invalid, ports: [8443] }',
    );
  });

  it.each(['zzz.invalid', 'zzz.invalid:22', 'zzz.invalid:80', 'http://zzz.invalid/', 'http://zzz.invalid:8080/'])(
    'the line to add for %s lets it through',
    async (target) => {
      const line = /Add under allow: - (.*)/.exec((await explain(target)).out)?.[1];
      const mended = join(tempDir('cli'), 'mended.yaml');
      writeFileSync(mended, `version: 1\nallow:\n  - ${line}\n`);
      expect((await type(['explain', target, '--config', mended])).out).toMatch(/^allow /);
    },
  );

  it('a deny rule: its line', async () => {
    const { code, json } = await typeJson(['explain', 'bad.example', '--config', file]);
    expect(code).toBe(1);
    expect(json).toMatchObject({
      verdict: 'deny',
      reason: 'host-denied',
      status: 403,
      rule: { pattern: 'bad.example' },
    });
  });

  it('a rule for others: asks for credentials, and is allowed for those it selects', async () => {
    expect((await explain('git.corp.example:22')).out).toContain('asks for credentials');
    expect((await explain('git.corp.example:22')).code).toBe(1);
    expect((await explain('git.corp.example:22', '--as', 'pipeline=deploy-web')).code).toBe(0);
    expect((await explain('git.corp.example:22', '--as', 'pipeline=web')).code).toBe(1);
  });

  it('observe lets pass and says so', async () => {
    const { code, out } = await explain('new.example', '--as', 'queue=canary');
    expect(code).toBe(0);
    expect(out).toContain('would deny CONNECT new.example:443');
    expect(out).toContain('recorded as would-deny');
  });

  it('an http:// URL asks for forwarding; a tunnel to the same rule is refused', async () => {
    const { code, json } = await typeJson(['explain', 'http://mirror.example/pool/', '--config', file]);
    expect(code).toBe(0);
    expect(json).toMatchObject({ kind: 'forward', method: 'GET', port: 80, verdict: 'allow' });
    expect((await typeJson(['explain', 'mirror.example:80', '--config', file])).json).toMatchObject({
      kind: 'connect',
      reason: 'protocol-not-allowed',
    });
    expect(
      (await typeJson(['explain', 'http://mirror.example/', '--method', 'PUT', '--config', file])).json,
    ).toMatchObject({ method: 'PUT' });
  });

  it('an https:// URL of a host that is not inspected: its path is not looked at', async () => {
    const { code, out } = await explain('https://ok.example/x');
    expect(code).toBe(0);
    expect(out).toMatch(/^allow CONNECT ok\.example:443\n/);
    expect(out).toContain('not looked at');
  });

  it.each([
    'https://ok.example/x#y',
    'https://a@ok.example/',
    'ok.example:99999',
    'ok.example:',
    'ok..example',
    'http://a@b/',
    '*.example',
    'ok.example/path',
    `ok${ESC}.example`,
  ])('%j is a usage error', async (text) => {
    const { code, err } = await explain(text);
    expect(code).toBe(2);
    expect(err).toContain('sallyport: error:');
    expect(err).not.toContain(ESC);
  });

  it('an IPv6 address needs no brackets where no port is given', async () => {
    expect((await typeJson(['explain', '2001:db8::1', '--config', file])).json).toMatchObject({
      host: '2001:db8::1',
      port: 443,
      reason: 'ip-literal-not-allowed',
    });
    expect((await typeJson(['explain', '[2001:db8::1]:8443', '--config', file])).json).toMatchObject({ port: 8443 });
  });

  it('a broken file is exit 1 with its problems', async () => {
    const bad = join(tempDir('cli'), 'bad.yaml');
    writeFileSync(bad, 'version: 1\nallow: ["*"]\n');
    const { code, json } = await typeJson<{ error: { code: string; problems: { at: unknown }[] } }>([
      'explain',
      'x.example',
      '--config',
      bad,
    ]);
    expect(code).toBe(1);
    expect(json.error.code).toBe('config-pattern');
    expect(json.error.problems[0]?.at).toEqual({ file: bad, line: 2, column: 9 });
  });
});
