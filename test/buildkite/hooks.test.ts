// The hooks of an agent's host and of the plugin, as the agent runs them, against a stand-in buildkite-agent that checks what it is asked
// and a stand-in job API.
import { existsSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { policyFile, typeJson } from '../cli/console.ts';
import { PROCESSES_MS, run } from '../support/proxy-process.ts';
import { writeFile } from '../support/temp.ts';
import { appears, HOST_HOOKS, installed, JOB, PLUGIN, type Stage, startStage } from './hook-stage.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

let stage: Stage;
beforeEach(async () => {
  stage = await startStage();
});
afterEach(async () => {
  // Ends the watcher of those tests that have one.
  if (existsSync(stage.state('watcher'))) await stage.hook(PRE_EXIT);
  await stage.close();
  expect(stage.agent('wrong')).toBeNull();
});

const ENVIRONMENT = join(PLUGIN, 'hooks', 'environment');
const PRE_EXIT = join(PLUGIN, 'hooks', 'pre-exit');
const DENIED = { job: JOB, denied: 2, would_deny: 1, missing_nodes: [], refused: [{ host: 'a', denied: 7 }] };
const quiet = { SALLYPORT_WATCH: 'off' };

describe('environment', () => {
  it('points every tool at the proxy, and posts the lease with the token of the job', async () => {
    const { code, after, stderr } = await stage.hook(ENVIRONMENT, quiet);
    expect(code, stderr).toBe(0);
    const url = `http://127.0.0.1:${stage.proxy.port}`;
    for (const name of [
      'HTTP_PROXY',
      'HTTPS_PROXY',
      'npm_config_proxy',
      'npm_config_https_proxy',
      'YARN_HTTPS_PROXY',
    ]) {
      expect([name, after[name]]).toEqual([name, url]);
    }
    for (const name of ['http_proxy', 'https_proxy']) expect([name, after[name]]).toEqual([name, url]);
    expect(after['NO_PROXY']).toBe(after['no_proxy']);
    expect(after['npm_config_noproxy']).toBe(after['no_proxy']);
    expect(after['NODE_USE_ENV_PROXY']).toBe('1');
    expect([after['GIT_CONFIG_COUNT'], after['GIT_CONFIG_KEY_0'], after['GIT_CONFIG_VALUE_0']]).toEqual([
      '1',
      'http.proxyAuthMethod',
      'basic',
    ]);
    expect(after['JAVA_TOOL_OPTIONS']).toContain(`-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=${stage.proxy.port}`);
    expect(after['JAVA_TOOL_OPTIONS']).toMatch(
      /-Dhttp\.nonProxyHosts=localhost\|127\.0\.0\.1\|\[::1\]\|169\.254\.169\.254\|/,
    );
    expect(stage.api.asked).toEqual([
      {
        method: 'POST',
        url: `http://sallyport.invalid/v1/jobs/${JOB}/lease`,
        authorization: 'Bearer head.1.tail',
        host: 'sallyport.invalid',
      },
    ]);
    expect(stage.agent('calls')).toBe(
      'oidc request-token --audience sallyport --lifetime 14400 --claim pipeline_id,cluster_id,agent_tag:queue\n',
    );
    expect(stderr).toContain(`connections of this host are job ${JOB} until 2999-01-01T00:00:00.000Z`);
  });

  it('keeps around the proxy what `sallyport env` does', async () => {
    const { file } = policyFile({ allow: ['ok.example'] });
    const { json } = await typeJson<{ no_proxy: string[] }>(['env', '--config', file, '--proxy', 'http://127.0.0.1:1']);
    const { after } = await stage.hook(ENVIRONMENT, { ...quiet, SALLYPORT_NO_PROXY: 'registry.corp.example,.svc' });
    const wanted = [...json.no_proxy, 'registry.corp.example', '.svc'];
    expect([...new Set(after['NO_PROXY']?.split(','))].sort()).toEqual(wanted.sort());
  });

  it('asks for a token that outlives the timeout of the job, with the audience of the proxy', async () => {
    await stage.hook(ENVIRONMENT, {
      ...quiet,
      BUILDKITE_TIMEOUT: '30',
      SALLYPORT_AUDIENCE: 'https://proxy.corp.example',
    });
    expect(stage.agent('calls')).toContain('--audience https://proxy.corp.example --lifetime 2100 --claim ');
  });

  it('takes the default lifetime where the one asked for is refused', async () => {
    const { code } = await stage.hook(ENVIRONMENT, { ...quiet, AGENT_FAIL: 'lifetime' });
    expect(code).toBe(0);
    expect(stage.agent('calls')?.trim().split('\n').at(-1)).toBe('oidc request-token --audience sallyport');
    expect(stage.api.asked).toHaveLength(1);
  });

  it('keeps the token out of the environment of the job, of its log and of the process list', async () => {
    const { after, stdout, stderr } = await stage.hook(ENVIRONMENT, quiet);
    expect(JSON.stringify(after) + stdout + stderr).not.toContain('head.1.tail');
    expect(readFileSync(join(PLUGIN, 'lib', 'common.bash'), 'utf8')).not.toMatch(/curl[^\n]*Bearer/);
    const mode = await run(['stat', '-c', '%a', stage.state(''), stage.state('token')]);
    expect(mode.stdout).toBe('700\n600\n');
  });

  it('adds to the options of Java and the configuration of git that are there', async () => {
    const { after } = await stage.hook(ENVIRONMENT, {
      ...quiet,
      JAVA_TOOL_OPTIONS: '-Xmx1g',
      GIT_CONFIG_COUNT: '1',
      GIT_CONFIG_KEY_0: 'user.name',
      GIT_CONFIG_VALUE_0: 'builder',
    });
    expect(after['JAVA_TOOL_OPTIONS']).toMatch(/^-Xmx1g -Dhttp\.proxyHost=/);
    expect([after['GIT_CONFIG_COUNT'], after['GIT_CONFIG_KEY_0'], after['GIT_CONFIG_KEY_1']]).toEqual([
      '2',
      'user.name',
      'http.proxyAuthMethod',
    ]);
  });

  it('goes through in a hook that is strict, and leaves its options as they were', async () => {
    const strict = join(stage.dir, 'strict');
    const end = 'case $- in *e*u*) ;; *) exit 9 ;; esac\n[ -n "$http_proxy" ]\n';
    writeFile(strict, `set -euo pipefail\n. ${ENVIRONMENT}\n${end}`);
    const { code, stderr } = await stage.hook(strict, { ...quiet, SALLYPORT_LEASE_SECONDS: '900' });
    expect([code, stderr.split('\n').length], stderr).toEqual([0, 2]);
    writeFile(strict, `set -euo pipefail\n. ${PRE_EXIT}\n`);
    expect((await stage.hook(strict)).code).toBe(0);
    expect(stage.api.asked.map(({ method }) => method)).toEqual(['POST', 'GET', 'DELETE']);
  });

  it('names the other jobs of a shared address', async () => {
    stage.api.lease.body = {
      job: JOB,
      expires_at: '2999-01-01T00:00:00Z',
      shared: true,
      candidates: [JOB, 'another-job'],
    };
    const { stderr } = await stage.hook(ENVIRONMENT, quiet);
    expect(stderr).toContain(`shared with jobs ${JOB},another-job`);
  });

  it('a second hook of the same job does nothing', async () => {
    const { stderr } = await stage.hook(ENVIRONMENT, { ...quiet, SALLYPORT_ACTIVE: JOB });
    expect([stage.api.asked.length, stage.agent('calls'), stderr]).toEqual([0, null, '']);
  });

  it('with a claim the proxy URL has pipeline and job, and no token is asked for', async () => {
    const { after } = await stage.hook(ENVIRONMENT, { SALLYPORT_IDENTITY: 'claim' });
    expect(after['HTTPS_PROXY']).toBe(`http://web%2F${JOB}:@127.0.0.1:${stage.proxy.port}`);
    expect(after['JAVA_TOOL_OPTIONS']).not.toContain('web');
    expect(stage.agent('calls')).toBeNull();
  });

  it('with a token the proxy URL has it too, for the tools that send credentials', async () => {
    const { after } = await stage.hook(ENVIRONMENT, { ...quiet, SALLYPORT_IDENTITY: 'token' });
    expect(after['https_proxy']).toBe(`http://buildkite:head.1.tail@127.0.0.1:${stage.proxy.port}`);
    expect(after['JAVA_TOOL_OPTIONS']).not.toContain('tail');
    expect(stage.api.asked).toHaveLength(1);
    stage.api.lease.status = 503;
    const without = await stage.hook(ENVIRONMENT, {
      ...quiet,
      SALLYPORT_IDENTITY: 'token',
      SALLYPORT_ACTIVE: undefined,
    });
    expect(without.code).toBe(0);
  });

  it('sends git over ssh through the proxy where that is on and the command is there', async () => {
    expect((await stage.hook(ENVIRONMENT, { ...quiet, SALLYPORT_SSH: 'true' })).stderr).toContain('not on the path');
    symlinkSync('/bin/true', join(stage.dir, 'bin', 'sallyport'));
    const { after } = await stage.hook(ENVIRONMENT, { ...quiet, SALLYPORT_SSH: 'true' });
    expect(after['GIT_SSH_COMMAND']).toBe("ssh -o ProxyCommand='sallyport connect %h %p'");
  });

  it('writes a Docker configuration only where it is told and none is there', async () => {
    symlinkSync('/bin/true', join(stage.dir, 'bin', 'docker'));
    const config = join(stage.dir, 'home', '.docker', 'config.json');
    await stage.hook(ENVIRONMENT, quiet);
    expect(existsSync(config)).toBe(false);
    await stage.hook(ENVIRONMENT, { ...quiet, SALLYPORT_DOCKER_CONFIG: 'on' });
    const written = readFileSync(config, 'utf8');
    expect(JSON.parse(written).proxies.default.httpsProxy).toBe(`http://127.0.0.1:${stage.proxy.port}`);
    writeFile(config, '{"auths":{}}');
    const { stderr } = await stage.hook(ENVIRONMENT, { ...quiet, SALLYPORT_DOCKER_CONFIG: 'on' });
    expect(readFileSync(config, 'utf8')).toBe('{"auths":{}}');
    expect(stderr).toContain('has no proxies');
  });
});

describe('a host whose owner has said how', () => {
  it('its file wins over the environment of the job and the options of a plugin', async () => {
    const home = installed(
      stage,
      `SALLYPORT_PROXY=http://127.0.0.1:${stage.proxy.port}\nSALLYPORT_AUDIENCE=of-the-host\nSALLYPORT_WATCH=off\n`,
    );
    const { after } = await stage.hook(join(HOST_HOOKS, 'environment'), {
      SALLYPORT_HOME: home,
      SALLYPORT_PROXY: 'http://elsewhere.example:1',
      BUILDKITE_PLUGIN_SALLYPORT_AUDIENCE: 'of-the-job',
    });
    expect(after['HTTPS_PROXY']).toBe(`http://127.0.0.1:${stage.proxy.port}`);
    expect(stage.agent('calls')).toContain('--audience of-the-host ');
  });

  it('the options of the plugin reach the hook', async () => {
    await stage.hook(ENVIRONMENT, {
      BUILDKITE_PLUGIN_SALLYPORT_AUDIENCE: 'of-the-plugin',
      BUILDKITE_PLUGIN_SALLYPORT_CLAIMS: 'step_key',
      BUILDKITE_PLUGIN_SALLYPORT_LEASE_SECONDS: '600',
      BUILDKITE_PLUGIN_SALLYPORT_WATCH: 'false',
    });
    expect(stage.agent('calls')).toBe('oidc request-token --audience of-the-plugin --lifetime 600 --claim step_key\n');
  });

  it('every setting of the example file is one that the hooks read, and every option of the plugin too', async () => {
    const conf = readFileSync(join(PLUGIN, 'sallyport.conf.example'), 'utf8');
    const named = [...conf.matchAll(/^#?(SALLYPORT_[A-Z_]+)=/gm)].map((match) => match[1]);
    const code = readFileSync(join(PLUGIN, 'lib', 'common.bash'), 'utf8');
    const read = /for name in ([A-Z_ ]+); do/
      .exec(code)?.[1]
      ?.split(' ')
      .map((name) => `SALLYPORT_${name}`);
    expect(named.sort()).toEqual(read?.sort());
    const options = [...readFileSync(join(PLUGIN, 'plugin.yml'), 'utf8').matchAll(/^ {4}([a-z-]+):$/gm)];
    for (const [, option = ''] of options)
      expect(named).toContain(`SALLYPORT_${option.toUpperCase().replaceAll('-', '_')}`);
    expect(options.length).toBeGreaterThan(8);
    const page = readFileSync(join(PLUGIN, 'README.md'), 'utf8');
    for (const name of named) expect(page).toContain(`\`${name}\``);
  });
});

describe('nothing of ours fails a job', () => {
  const broken: [string, Record<string, string | undefined>, string][] = [
    ['no token', { AGENT_FAIL: 'token' }, 'no OIDC token for audience sallyport: fatal:'],
    ['a token that is none', { AGENT_FAIL: 'garbage' }, 'something that is no token'],
    ['no proxy there', { SALLYPORT_PROXY: 'http://127.0.0.1:1' }, 'no lease from 127.0.0.1:1: curl: (7)'],
    ['no agent', { PATH: '/usr/bin:/bin' }, 'buildkite-agent is not on the path'],
    ['a job id that is a path', { BUILDKITE_JOB_ID: '../../etc' }, "no folder of one's own"],
  ];
  it.each(broken)('%s: it goes on, with the proxy set and the reason told', async (_, env, text) => {
    const { code, after, stderr } = await stage.hook(ENVIRONMENT, { ...quiet, ...env });
    expect(code).toBe(0);
    expect(after['HTTPS_PROXY']).toBeTruthy();
    expect(stderr).toContain(text);
    expect(stderr).toContain('goes on without a lease');
    expect(stderr).not.toContain('\x1b');
  });

  it('a refused lease is told with what the proxy said, and its control characters are not', async () => {
    stage.api.lease = { status: 403, body: 'token-audience: \x1b[31mmeant for another\n' };
    const { code, stderr } = await stage.hook(ENVIRONMENT, quiet);
    expect(code).toBe(0);
    expect(stderr).toContain('status 403: token-audience:  [31mmeant for another');
  });

  it.each(broken)('%s: it does not where a lease is required', async (_, env) => {
    const { code, stderr } = await stage.hook(ENVIRONMENT, { ...quiet, ...env, SALLYPORT_REQUIRED: 'yes' });
    expect(code).toBe(1);
    expect(stderr).toContain('SALLYPORT_REQUIRED is on');
  });

  it('a folder of that name that is not ours is not used', async () => {
    symlinkSync('/etc', stage.state('').replace(/\/$/, ''));
    const { stderr } = await stage.hook(ENVIRONMENT, quiet);
    expect(stderr).toContain("no folder of one's own");
    expect(existsSync('/etc/token')).toBe(false);
  });

  it('without a proxy nothing is done', async () => {
    const { code, after } = await stage.hook(ENVIRONMENT, { SALLYPORT_PROXY: undefined });
    expect([code, after['HTTPS_PROXY']]).toEqual([0, undefined]);
    expect((await stage.hook(ENVIRONMENT, { SALLYPORT_PROXY: undefined, SALLYPORT_REQUIRED: '1' })).code).toBe(1);
  });
});

describe('the watcher', () => {
  const live = `sallyport-${JOB}`;

  it('annotates the first refusal while the job runs; pre-exit puts the whole report in its place', async () => {
    await stage.hook(ENVIRONMENT);
    await stage.api.saw(({ url }) => url.endsWith('/report?format=json'));
    expect(stage.agent(live)).toBeNull();
    stage.api.report.body = DENIED;
    stage.api.markdown = '| host | count |\n| --- | --- |\n| evil.example | 2 |\n';
    await appears(stage.state('announced'));
    expect(stage.agent(live)).toBe(
      `The egress proxy has refused requests of [this job](#${JOB}), which is still running.\n\n${stage.api.markdown}`,
    );
    expect(stage.agent(`${live}.style`)).toBe('warning\n');
    const done = await stage.hook(PRE_EXIT, { BUILDKITE_COMMAND_EXIT_STATUS: '1' });
    expect(done.code).toBe(0);
    expect(stage.agent(live)).toBeNull();
    expect(stage.agent('sallyport')).toContain('| evil.example | 2 |');
  });

  it('posts the lease again with a new token before it ends', async () => {
    stage.api.lease.body = { job: JOB, expires_at: new Date(Date.now() + 60_000).toISOString(), shared: false };
    await stage.hook(ENVIRONMENT);
    await stage.api.saw(({ method, authorization }) => method === 'POST' && authorization !== 'Bearer head.1.tail');
    expect(
      stage
        .agent('calls')
        ?.split('\n')
        .slice(1)
        .every((line) => line === '' || line.includes('--lifetime 14400')),
    ).toBe(true);
  });

  it('ends with the job: by pre-exit, and without one when the job is gone', async () => {
    await stage.hook(ENVIRONMENT);
    const pid = readFileSync(stage.state('watcher'), 'utf8').trim();
    await stage.hook(PRE_EXIT);
    expect((await run(['tail', `--pid=${pid}`, '-f', '/dev/null'])).code).toBe(0);
    expect(existsSync(stage.state(''))).toBe(false);
    // The hook's parent is a shell that ends at once.
    const outer = join(stage.dir, 'outer');
    writeFile(outer, `bash -c '. ${ENVIRONMENT}'\n`);
    await stage.hook(outer);
    const orphan = readFileSync(stage.state('watcher'), 'utf8').trim();
    expect((await run(['tail', `--pid=${orphan}`, '-f', '/dev/null'])).code).toBe(0);
  });
});

describe('pre-exit', () => {
  const leased = async (): Promise<void> => {
    await stage.hook(ENVIRONMENT, quiet);
    stage.api.asked.length = 0;
  };

  it('annotates what was refused, waits for the other nodes, and ends the lease', async () => {
    await leased();
    stage.api.report.body = DENIED;
    stage.api.markdown = '| evil.example |\n';
    const { code, stderr } = await stage.hook(PRE_EXIT, { BUILDKITE_COMMAND_EXIT_STATUS: '1' });
    expect([code, stderr]).toEqual([0, 'sallyport: 2 refused, 1 would be refused\n']);
    expect(stage.agent('sallyport')).toBe(`#### Egress of [:docker: Build](#${JOB})\n\n| evil.example |\n\n`);
    expect(stage.agent('calls')?.trim().split('\n').at(-1)).toBe('annotate --context sallyport --style error --append');
    expect(stage.api.asked.map(({ method, url }) => `${method} ${url.split('/').at(-1)}`)).toEqual([
      'GET report?format=json&wait_ms=5000',
      'GET report?format=markdown&wait_ms=5000',
      'DELETE lease',
    ]);
    expect(existsSync(stage.state(''))).toBe(false);
  });

  it.each([
    ['error', { denied: 2 }, { BUILDKITE_COMMAND_EXIT_STATUS: '1' }],
    ['warning', { denied: 2 }, { BUILDKITE_COMMAND_EXIT_STATUS: '0' }],
    ['info', { denied: 0, would_deny: 3 }, {}],
    ['warning', { denied: 0, missing_nodes: ['node-b', 'node-c'] }, {}],
    ['success', { denied: 0 }, { SALLYPORT_ANNOTATE: 'always' }],
  ])('style %s for %j', async (style, body, env) => {
    await leased();
    stage.api.report.body = body;
    await stage.hook(PRE_EXIT, env);
    expect(stage.agent('sallyport.style')).toBe(`${style}\n`);
  });

  it('names the nodes whose records are missing', async () => {
    await leased();
    stage.api.report.body = { denied: 0, missing_nodes: ['node-b', 'node-c'] };
    const { stderr } = await stage.hook(PRE_EXIT);
    expect(stderr).toContain('no records yet from node-b,node-c');
    expect(stage.agent('sallyport.style')).toBe('warning\n');
  });

  it.each([
    [{ denied: 0 }, {}],
    [DENIED, { SALLYPORT_ANNOTATE: 'never' }],
  ])('annotates nothing for %j with %j', async (body, env) => {
    await leased();
    stage.api.report.body = body;
    await stage.hook(PRE_EXIT, env);
    expect(stage.agent('sallyport')).toBeNull();
  });

  it('writes no label that the build page would take for markup', async () => {
    await leased();
    stage.api.report.body = DENIED;
    await stage.hook(PRE_EXIT, { BUILDKITE_LABEL: '](http://evil.example)<script>`x`' });
    expect(stage.agent('sallyport')).toMatch(/^#### Egress of \[http:\/\/evil\.examplescriptx\]\(#/);
  });

  it.each<[string, () => void, Record<string, string>, string]>([
    [
      'the report fails',
      () => (stage.api.report = { status: 503, body: 'store-unavailable\n' }),
      {},
      'no report: status 503',
    ],
    [
      'the report is not JSON',
      () => (stage.api.report.body = '<html>"denied": "x'),
      { SALLYPORT_ANNOTATE: 'always' },
      '0 refused',
    ],
    [
      'the annotation fails',
      () => (stage.api.report.body = DENIED),
      { AGENT_FAIL: 'annotate' },
      'could not be annotated: fatal: unauthorized',
    ],
    ['the proxy is gone', () => {}, { SALLYPORT_PROXY: 'http://127.0.0.1:1' }, 'no report: curl: (7)'],
  ])('%s: it still exits 0 and cleans up', async (_, arrange, env, text) => {
    await leased();
    arrange();
    const { code, stderr } = await stage.hook(PRE_EXIT, env);
    expect(code).toBe(0);
    expect(stderr).toContain(text);
    expect(existsSync(stage.state(''))).toBe(false);
  });

  it('without a lease there is nothing to do', async () => {
    const { code, stderr } = await stage.hook(PRE_EXIT);
    expect([code, stderr, stage.api.asked.length]).toEqual([0, '', 0]);
  });
});

describe('pre-bootstrap', () => {
  const HOOK = join(PLUGIN, 'hooks', 'pre-bootstrap');
  const check = (lines: string, env: Record<string, string | undefined> = {}) => {
    const file = join(stage.dir, 'job.env');
    writeFile(file, lines);
    return stage.hook(HOOK, { BUILDKITE_ENV_FILE: file, HTTPS_PROXY: 'http://proxy.corp.example:3128', ...env });
  };

  it.each([
    ['nothing', 'FOO="1"\nBUILDKITE_LABEL="http_proxy=x"\n'],
    ['the same as the agent has', 'HTTPS_PROXY="http://proxy.corp.example:3128"\n'],
    ['options of Java without a proxy', 'JAVA_TOOL_OPTIONS="-Xmx1g"\n'],
  ])('is silent about %s', async (_, lines) => {
    expect(await check(lines, { SALLYPORT_OVERRIDE: 'refuse' })).toMatchObject({ code: 0, stderr: '' });
  });

  it.each([
    ['another proxy', 'HTTPS_PROXY="http://elsewhere.example:1"\n', 'HTTPS_PROXY'],
    ['in lower case, unquoted, without a line end', 'no_proxy=*', 'no_proxy'],
    ['none', 'HTTPS_PROXY=""\n', 'HTTPS_PROXY'],
    ['npm', 'NPM_CONFIG_HTTPS_PROXY="x"\nnpm_config_noproxy="y"\n', 'NPM_CONFIG_HTTPS_PROXY npm_config_noproxy'],
    ['Java', 'JAVA_TOOL_OPTIONS="-Dhttps.proxyHost="\n', 'JAVA_TOOL_OPTIONS'],
    [
      'settings of ours',
      'SALLYPORT_HOME="/tmp/x"\nBUILDKITE_PLUGIN_SALLYPORT_PROXY="x"\n',
      'BUILDKITE_PLUGIN_SALLYPORT_PROXY SALLYPORT_HOME',
    ],
  ])('warns of %s, and refuses the job where told so', async (_, lines, names) => {
    const warned = await check(lines);
    expect(warned.code).toBe(0);
    expect(warned.stderr).toContain(`the environment of the job sets ${names} itself`);
    const refused = await check(lines, { SALLYPORT_OVERRIDE: 'refuse' });
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(`the job is refused: its environment sets ${names} (`);
  });

  it('a file that cannot be read refuses only where told so', async () => {
    const none = { BUILDKITE_ENV_FILE: join(stage.dir, 'none') };
    expect((await stage.hook(HOOK, none)).code).toBe(0);
    expect((await stage.hook(HOOK, { ...none, SALLYPORT_OVERRIDE: 'refuse' })).code).toBe(1);
  });
});

it('reads a field of the outermost object alone, whatever stands before it', async () => {
  const file = join(stage.dir, 'answer.json');
  const read = async (body: string, name: string): Promise<string> => {
    writeFile(file, body);
    const script = `. ${join(PLUGIN, 'lib', 'common.bash')}; sallyport_field "$1" "$2"`;
    return (await run(['bash', '-c', script, 'x', file, name])).stdout.trim();
  };
  const body = JSON.stringify(
    {
      rows: [{ denied: 9, text: 'a "denied": 8, \\' }],
      denied: 3,
      shared: true,
      nodes: ['a', 'b,c'],
      none: [],
      last: 'x',
    },
    null,
    2,
  );
  expect(await read(body, 'denied')).toBe('3');
  expect(await read(body, 'shared')).toBe('true');
  expect(await read(body, 'nodes')).toBe('a,b,c');
  expect(await read(body, 'none')).toBe('');
  expect(await read(body, 'last')).toBe('x');
  expect(await read(body, 'text')).toBe('');
  expect(await read(JSON.stringify({ a: 'denied', denied: 0 }), 'denied')).toBe('0');
  expect(await read('not JSON', 'denied')).toBe('');
  expect(await read('', 'denied')).toBe('');
});
