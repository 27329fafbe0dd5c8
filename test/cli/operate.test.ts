// init, catalog, env, report, audit and usage: files written and read, in this process.
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse as parseYaml } from 'yaml';
import { loadCatalog } from '../../src/catalog/load.ts';
import { TOOLS } from '../../src/cli/env-tools.ts';
import type { Report } from '../../src/report/report.ts';
import { catalogHost, claimed, writeHistory } from '../report/history.ts';
import { run as runProgram } from '../support/proxy-process.ts';
import { tempDir } from '../support/temp.ts';
import { policyFile, type, typeJson } from './console.ts';

const ESC = String.fromCharCode(27);

describe('init', () => {
  it('writes a valid policy in observe mode, and never over a file', async () => {
    const file = join(tempDir('cli'), 'sallyport.yaml');
    expect((await type(['init', file])).code).toBe(0);
    expect((await typeJson(['check', '--config', file])).json).toMatchObject({ ok: true, mode: 'observe' });
    const text = readFileSync(file, 'utf8');
    const again = await type(['init', file]);
    expect(again.code).toBe(1);
    expect(again.err).toContain('exists and is not overwritten');
    expect(readFileSync(file, 'utf8')).toBe(text);
  });

  it('says which folder is missing', async () => {
    const { code, err } = await type(['init', join(tempDir('cli'), 'no', 'such', 'x.yaml')]);
    expect(code).toBe(1);
    expect(err).toContain('ENOENT');
  });
});

describe('catalog', () => {
  it('list has every group', async () => {
    const { out } = await type(['catalog', 'list']);
    for (const id of loadCatalog().groups.keys()) expect(out).toMatch(new RegExp(`^${id} `, 'm'));
    expect(out.split('\n')[1]).toMatch(/^buildkite-agent +required +published/);
  });

  it('show has every host of a group, and the line that switches it on', async () => {
    const { code, out } = await type(['catalog', 'show', 'amazon-s3']);
    expect(code).toBe(0);
    expect(out).toContain('- { group: amazon-s3, with: { region: us-west-2 } }');
    for (const { host, id } of loadCatalog().groups.get('amazon-s3')?.entries ?? []) {
      expect(out).toContain(host);
      expect(out).toContain(id);
    }
    expect((await typeJson(['catalog', 'show', 'amazon-s3'])).json).toMatchObject({ id: 'amazon-s3' });
  });

  it.each([...loadCatalog().groups.keys()])('the line that show prints for %s is accepted', async (id) => {
    const { out } = await type(['catalog', 'show', id]);
    const line = /switch on under allow: - (\{.*\})$/m.exec(out)?.[1] ?? '';
    const file = join(tempDir('cli'), 'x.yaml');
    writeFileSync(file, `version: 1\nallow:\n  - ${line}\n`);
    expect((await type(['check', '--config', file])).err).not.toContain('error:');
  });

  it('an unknown group names the nearest', async () => {
    const { code, err } = await type(['catalog', 'show', 'amazon-s4']);
    expect(code).toBe(1);
    expect(err).toContain('config-group');
    expect(err).toContain('Did you mean amazon-s3?');
  });
});

describe('env', () => {
  const never = loadCatalog().neverProxy.map(({ host }) => host);
  const { file } = policyFile({ listen: '127.0.0.1:3128', allow: ['ok.example'] });

  it('exports both cases, with the metadata addresses, loopback and the proxy itself in NO_PROXY', async () => {
    const { code, out } = await type(['env', '--config', file, '--proxy', 'http://proxy.corp.example:8080']);
    expect(code).toBe(0);
    const values = await runProgram([
      '/bin/sh',
      '-c',
      `${out}\nfor n in HTTP_PROXY http_proxy HTTPS_PROXY https_proxy NO_PROXY no_proxy; do eval echo "$n=\\$$n"; done`,
    ]);
    const lines = values.stdout.trim().split('\n');
    for (const name of ['HTTP_PROXY', 'http_proxy', 'HTTPS_PROXY', 'https_proxy'])
      expect(lines).toContain(`${name}=http://proxy.corp.example:8080`);
    for (const name of ['NO_PROXY', 'no_proxy']) {
      const entries =
        lines
          .find((line) => line.startsWith(`${name}=`))
          ?.slice(name.length + 1)
          .split(',') ?? [];
      expect(entries).toEqual(
        expect.arrayContaining(['localhost', '127.0.0.1', '::1', 'proxy.corp.example', ...never]),
      );
    }
    expect(never).toContain('169.254.169.254');
  });

  it('takes the first listener where no proxy is named', async () => {
    expect((await typeJson(['env', '--config', file])).json).toMatchObject({ proxy: 'http://127.0.0.1:3128' });
  });

  it.each(TOOLS)('%s: names the proxy', async (tool) => {
    const { code, out } = await type([
      'env',
      '--config',
      file,
      '--for',
      tool,
      '--proxy',
      'http://PIPE%2FJOB:@proxy.corp.example:8080',
    ]);
    expect(code).toBe(0);
    expect(out).toContain('proxy.corp.example');
    expect(out).toContain('8080');
    if (!['git', 'pip', 'ssh'].includes(tool)) for (const host of never) expect(out).toContain(host);
  });

  it('systemd gets its percent signs doubled', async () => {
    expect(
      (await type(['env', '--config', file, '--for', 'systemd', '--proxy', 'http://P%2FJ:@p.example:1'])).out,
    ).toContain('Environment="HTTP_PROXY=http://P%%2FJ:@p.example:1"');
  });

  it.each(['dockerd', 'containerd'])('%s: a drop-in in which nothing but the section stands bare', async (tool) => {
    const { out } = await type(['env', '--config', file, '--for', tool, '--proxy', 'http://P%2FJ:@p.example:1']);
    const bare = out.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    expect(bare[0]).toBe('[Service]');
    expect(bare.slice(1).every((line) => /^Environment="\w+=[^"]*"$/.test(line))).toBe(true);
    expect(out).toContain('"HTTPS_PROXY=http://P%%2FJ:@p.example:1"');
  });

  it('buildkitd: a command whose driver options reach the program whole', async () => {
    const { out } = await type(['env', '--config', file, '--for', 'buildkitd', '--proxy', 'http://p.example:1']);
    const shown = await runProgram(['/bin/sh', '-c', `docker() { printf '%s\\n' "$@"; }\n${out}`]);
    const lines = shown.stdout.split('\n');
    expect(lines).toContain('"env.https_proxy=http://p.example:1"');
    // buildx reads the value as CSV: the quotes keep the commas of NO_PROXY together.
    expect(lines.find((line) => line.startsWith('"env.NO_PROXY='))).toMatch(/,169\.254\.169\.254,.*"$/);
  });

  it('elastic-ci-stack: the agent file is an EnvironmentFile, and the boot script is a script', async () => {
    const { out } = await type(['env', '--config', file, '--for', 'elastic-ci-stack', '--proxy', 'http://p.example:1']);
    const [agent = '', boot = ''] = out.split('\n\n');
    const bare = agent.split('\n').filter((line) => !line.startsWith('#'));
    expect(bare).toContain('HTTPS_PROXY="http://p.example:1"');
    expect(bare.every((line) => /^\w+="[^"$`]*"$/.test(line))).toBe(true);
    const script = boot.split('\n').flatMap((line) => (line.startsWith('#    ') ? [line.slice(5)] : []));
    expect(script[0]).toBe('#!/bin/bash');
    expect((await runProgram(['bash', '-n'], { input: script.join('\n') })).code).toBe(0);
  });

  it.each(['kubernetes', 'agent-stack-k8s'])('%s gives YAML that parses', async (tool) => {
    const { out } = await type(['env', '--config', file, '--for', tool, '--proxy', 'http://P%2FJ:@p.example:1']);
    const text = JSON.stringify(parseYaml(out));
    expect(text).toContain('{"name":"HTTPS_PROXY","value":"http://P%2FJ:@p.example:1"}');
    expect(text).toMatch(/"no_proxy","value":"[^"]*,\.svc,\.cluster\.local"/);
    if (tool === 'agent-stack-k8s')
      expect(parseYaml(out).config['pod-spec-patch'].containers.map(({ name }: { name: string }) => name)).toEqual([
        'agent',
        'checkout',
        'container-0',
      ]);
  });

  it('ssh has no credentials in the command line', async () => {
    const { out } = await type(['env', '--config', file, '--for', 'ssh', '--proxy', 'http://user:secret@p.example:1']);
    expect(out).toContain('ProxyCommand sallyport connect --proxy http://p.example:1 %h %p');
    expect(out).not.toContain('secret');
  });

  it('docker gives JSON that parses', async () => {
    const { out } = await type(['env', '--config', file, '--for', 'docker']);
    const blocks = out
      .split('\n')
      .filter((line) => !line.startsWith('#'))
      .join('\n')
      .split(/\n(?=\{)/);
    expect(blocks.map((block) => JSON.parse(block))).toMatchObject([
      { proxies: { 'http-proxy': 'http://127.0.0.1:3128' } },
      { proxies: { default: { httpProxy: 'http://127.0.0.1:3128' } } },
    ]);
  });

  it.each([
    "http://p.example:1/'; rm -rf /",
    'http://p.example:1$(id)',
    'ftp://p.example',
    'p.example:3128',
    'http://p.example:99999',
    'http://a b',
    `http://p${ESC}.example`,
  ])('the proxy %j is refused', async (url) => {
    const { code, out, err } = await type(['env', '--config', file, '--proxy', url]);
    expect([code, out]).toEqual([2, '']);
    expect(err).not.toContain(ESC);
  });
});

describe('report', () => {
  const history = writeHistory({ allow: [{ group: 'buildkite-agent' }, { group: 'npm' }] }, [
    {
      host: catalogHost('pkg-npm'),
      rule: 'pkg-npm',
      group: 'npm',
      times: 2,
      down: 1_000,
      identity: claimed('web', 'j1'),
    },
    { host: 'evil.example', verdict: 'deny', times: 3, identity: claimed('web', 'j1') },
  ]);
  const report = (...args: string[]) =>
    type(['report', '--config', history.configFile, '--since', '2026-11-20', ...args]);

  it('catches up with the log first, and gives the same counts in every format', async () => {
    const { code, out, err } = await report('--format', 'json');
    expect([code, err]).toEqual([0, '']);
    const found = JSON.parse(out) as Report;
    expect(found.totals).toMatchObject({ tunnels: 2, denied: 3 });
    expect(found.optional.find(({ group }) => group === 'npm')).toMatchObject({ state: 'used', enabled: true });
    expect(found.denied).toMatchObject([
      { host: 'evil.example', port: 443, count: 3, pipelines: ['web'], jobs: ['j1'] },
    ]);
    expect((await report('--json')).out).toBe(out);
    expect((await report()).out).toContain('DENIED (1)');
    expect((await report('--format', 'csv')).out).toMatch(/^denied,,,evil\.example,443,.*,3,/m);
    expect((await report('--format', 'markdown')).out).toMatch(/^\| evil\.example:443 \| 3 \|/m);
  });

  it('a pipeline that did nothing', async () => {
    expect(JSON.parse((await report('--json', '--pipeline', 'none')).out)).toMatchObject({ totals: { requests: 0 } });
  });

  it('shows progress on a terminal, and on standard error alone', async () => {
    const { out, err } = await type(['report', '--config', history.configFile], { tty: true, columns: 90 });
    expect(err).toContain('counting');
    expect(err.endsWith(`\r${ESC}[K`)).toBe(true);
    expect(out).not.toContain('counting');
    expect((await report()).err).toBe('');
  });

  it('without an audit log it is an empty report, not an error', async () => {
    const { file } = policyFile({ allow: ['ok.example'] });
    const { code, json } = await typeJson<Report>(['report', '--config', file]);
    expect(code).toBe(0);
    expect(json.window).toMatchObject({ from: null, to: null });
  });

  it('a store that is no store is refused with the command that mends it, which mends it', async () => {
    const broken = writeHistory({ allow: ['ok.example'] }, [{ host: 'ok.example', rule: 'x:1' }]);
    writeFileSync(broken.storeFile, 'this is no database, and has never been one, as anybody can see'.repeat(20));
    const args = ['--config', broken.configFile];
    const { code, err } = await type(['report', ...args]);
    expect(code).toBe(1);
    expect(err).toContain('store-damaged');
    expect(err).toContain('sallyport usage rebuild');
    const rebuilt = await type(['usage', 'rebuild', ...args]);
    expect(rebuilt).toMatchObject({ code: 0 });
    expect(rebuilt.out).toContain('the old store is now');
    expect((await typeJson<Report>(['report', ...args, '--since', '2026-11-20'])).json.totals.tunnels).toBe(1);
  });
});

describe('usage', () => {
  it('export and import: one report over proxies that share no network', async () => {
    // A log is known by its first line: those of two proxies differ.
    const written = [1, 2].map((times) =>
      writeHistory({ allow: ['ok.example'] }, [{ host: `ok-${times}.example`, rule: 'x:1', times }]),
    );
    const files = written.map(({ configFile }, n) => ({ configFile, file: join(tempDir('cli'), `${n}.jsonl`) }));
    for (const { configFile, file } of files) {
      const { out } = await type(['usage', 'export', file, '--config', configFile]);
      expect(out).toMatch(/has 1 rows of 1 logs/);
    }
    const { file: all } = policyFile({ allow: ['ok.example'] });
    const { code, json } = await typeJson(['usage', 'import', ...files.map(({ file }) => file), '--config', all]);
    expect(code).toBe(0);
    expect(json).toMatchObject({
      files: [
        { taken: 1, rows: 1 },
        { taken: 1, rows: 1 },
      ],
    });
    const args = ['report', '--config', all, '--since', '2026-11-20'];
    expect((await typeJson<Report>(args)).json.totals.tunnels).toBe(3);
    expect((await type(['usage', 'import', '--config', all])).code).toBe(2);
  });
});

describe('audit', () => {
  it('verify: complete, then the line that was changed; repair: the tail set aside', async () => {
    const { configFile, auditFile } = writeHistory({ allow: ['ok.example'] }, [
      { host: 'ok.example', rule: 'x:1', times: 3 },
    ]);
    const whole = await type(['audit', 'verify', '--config', configFile]);
    expect(whole.code).toBe(0);
    expect(whole.out).toMatch(/^complete: .*: 6 lines, 1 to 6/);
    expect((await typeJson(['audit', 'verify', '--log', auditFile])).json).toMatchObject({
      complete: true,
      lines: 6,
      open: 0,
    });
    appendFileSync(auditFile, `{"torn":"${ESC}[2J`);
    const torn = await type(['audit', 'verify', '--log', auditFile]);
    expect(torn.code).toBe(1);
    expect(torn.out).toContain(`${auditFile}:7: `);
    expect(torn.out).not.toContain(ESC);
    const repaired = await type(['audit', 'repair', '--config', configFile]);
    expect(repaired).toMatchObject({ code: 0, err: '' });
    expect(repaired.out).toContain('are now in');
    // The log goes on, and says for ever that something was set aside.
    const after = await type(['audit', 'verify', '--log', auditFile]);
    expect(after.code).toBe(1);
    expect(after.out).toMatch(/1 problem\n.*:7: gap: \d+ damaged bytes were set aside/);
    const lines = readFileSync(auditFile, 'utf8').split('\n');
    writeFileSync(auditFile, [lines[0], lines[1]?.replace('ok.example', 'no.example'), ...lines.slice(2)].join('\n'));
    expect((await type(['audit', 'verify', '--log', auditFile])).out).toContain('not complete');
  });

  it('a log that is not there is not called complete', async () => {
    const { file, audit } = policyFile({ allow: ['ok.example'] });
    const { code, err } = await type(['audit', 'verify', '--config', file]);
    expect(code).toBe(1);
    expect(err).toContain(`there is no audit log ${audit}`);
    expect(existsSync(audit)).toBe(false);
  });

  it('--config and --log together are refused', async () => {
    expect((await type(['audit', 'verify', '--config', 'a', '--log', 'b'])).code).toBe(2);
  });
});
