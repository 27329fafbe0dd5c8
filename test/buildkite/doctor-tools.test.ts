// What `doctor` says of the variables and of the settings of tools, on hosts that the test makes up.
import { describe, expect, it } from 'vitest';
import type { Check } from '../../src/buildkite/doctor-check.ts';
import { toolChecks } from '../../src/buildkite/doctor-tools.ts';
import { noProxyVariable, proxyVariables } from '../../src/buildkite/doctor-variables.ts';
import type { Machine } from '../../src/buildkite/machine.ts';
import { type ProxyUrl, parseProxyUrl } from '../../src/buildkite/proxy-url.ts';

const URL = 'http://proxy.corp.example:3128';
const proxy = parseProxyUrl(URL) as ProxyUrl;
const both = (name: string, value: string) => ({ [name]: value, [name.toLowerCase()]: value });
const short = (checks: readonly Check[]) =>
  checks.map(({ subject, state, message }) => `${state} ${subject}: ${message}`);

describe('the proxy variables', () => {
  const judged = (env: Record<string, string>) => short(proxyVariables(env, proxy));

  it('are right where both cases name the proxy', () => {
    expect(judged({ ...both('HTTPS_PROXY', URL), ...both('HTTP_PROXY', `${URL}/`) })).toEqual([
      `ok HTTPS_PROXY: both cases name ${URL}`,
      `ok HTTP_PROXY: both cases name ${URL}`,
    ]);
  });

  it('may have credentials, which are never shown', () => {
    const [line] = judged(both('HTTPS_PROXY', 'http://user:hunter2@proxy.corp.example:3128'));
    expect(line).toBe(`ok HTTPS_PROXY: both cases name ${URL}`);
  });

  it.each<[string, Record<string, string>, string]>([
    ['none', {}, 'fail HTTPS_PROXY: neither HTTPS_PROXY nor https_proxy is set'],
    ['one case', { HTTPS_PROXY: URL }, 'warn HTTPS_PROXY: https_proxy is not set: some tools read only that case'],
    [
      'two proxies',
      { HTTPS_PROXY: URL, https_proxy: 'http://b:3128' },
      'fail HTTPS_PROXY: https_proxy names http://b:3128, not http://proxy.corp.example:3128',
    ],
    [
      'the same in two spellings',
      { HTTPS_PROXY: URL, https_proxy: `${URL}/` },
      'fail HTTPS_PROXY: HTTPS_PROXY and https_proxy differ: tools take one or the other',
    ],
    ['no URL', both('HTTPS_PROXY', 'http://user:hunter2@@:x'), 'fail HTTPS_PROXY: HTTPS_PROXY is no proxy URL'],
    [
      'another proxy',
      both('HTTPS_PROXY', 'http://other:3128'),
      'fail HTTPS_PROXY: HTTPS_PROXY names http://other:3128, not http://proxy.corp.example:3128',
    ],
    [
      'no scheme',
      both('HTTPS_PROXY', 'proxy.corp.example:3128'),
      'warn HTTPS_PROXY: HTTPS_PROXY has no scheme: some tools refuse it',
    ],
  ])('%s', (_, env, line) => expect(judged(env)[0]).toBe(line));

  it('without a port are warned of where the proxy is on that port', () => {
    const env = both('HTTPS_PROXY', 'http://proxy.corp.example');
    expect(short(proxyVariables(env, parseProxyUrl('http://proxy.corp.example:80')))[0]).toContain(
      'has no port: curl takes 1080, others 80',
    );
  });

  it('http_proxy in capitals alone is what curl does not read', () => {
    expect(judged({ HTTP_PROXY: URL })[1]).toBe('warn HTTP_PROXY: http_proxy is not set: curl reads only http_proxy');
  });
});

describe('NO_PROXY', () => {
  const never = [{ host: '169.254.169.254', port: 80 }];
  const targets = [{ host: 'agent.test', port: 443 }];
  const judged = (env: Record<string, string>) => short(noProxyVariable(env, never, targets, 'proxy.corp.example'))[0];
  const whole = 'localhost,127.0.0.1,::1,proxy.corp.example,169.254.169.254';

  it('is right with the literals in it', () => {
    expect(judged(both('NO_PROXY', `${whole},.corp.example`))).toBe(
      'ok NO_PROXY: 6 names go around the proxy, instance metadata among them',
    );
  });

  it.each<[string, Record<string, string>, string]>([
    [
      'nothing',
      {},
      'warn NO_PROXY: not in it by name: localhost, 127.0.0.1, ::1, proxy.corp.example, 169.254.169.254;',
    ],
    ['one case', { NO_PROXY: whole }, 'warn NO_PROXY: only one case is set'],
    ['two lists', { NO_PROXY: whole, no_proxy: 'x' }, 'fail NO_PROXY: NO_PROXY and no_proxy differ'],
    ['a required host', both('NO_PROXY', `${whole},.test`), 'fail NO_PROXY: agent.test would go around the proxy'],
    ['everything', both('NO_PROXY', '*'), 'fail NO_PROXY: agent.test would go around the proxy'],
    [
      'a range instead of the literal',
      both('NO_PROXY', 'localhost,127.0.0.1,::1,proxy.corp.example,169.254.0.0/16'),
      'warn NO_PROXY: not in it by name: 169.254.169.254;',
    ],
    [
      'a range besides',
      both('NO_PROXY', `${whole},10.0.0.0/8`),
      'warn NO_PROXY: many tools do not read ranges: 10.0.0.0/8',
    ],
  ])('%s', (_, env, line) => expect(judged(env)).toContain(line));
});

interface Host {
  readonly env?: Record<string, string>;
  readonly files?: Record<string, string>;
  /** What a program prints, by its command line; a program without an entry is not there. */
  readonly programs?: Record<string, string | null>;
}

const INSTALLED = { 'git --version': 'git 2', 'ssh -V': '', 'docker --version': 'Docker 27', 'java -version': '' };

function host({ env = {}, files = {}, programs = INSTALLED }: Host): Machine {
  return {
    env,
    home: '/home-of/agent',
    cwd: '/job',
    read: (path) => files[path] ?? null,
    list: (path) =>
      Object.keys(files).flatMap((file) => (file.startsWith(`${path}/`) ? [file.slice(path.length + 1)] : [])),
    run: async (program, args) => programs[[program, ...args].join(' ')] ?? null,
  };
}

const tools = async (given: Host, subject: string) => {
  const checks = await toolChecks(host(given), proxy);
  return short(checks.filter((check) => check.subject === subject));
};
const GIT = 'git config --null --get-regexp ^http\\.(.*\\.)?proxy$';
const DOCKER = 'docker builds and containers';
const INFO = 'docker info --format {{.HTTPSProxy}}';

describe('tools', () => {
  it('that are not here are skipped', async () => {
    const checks = await toolChecks(host({ programs: {} }), proxy);
    expect(checks.map(({ subject, state }) => `${subject} ${state}`)).toEqual([
      'git skip',
      'ssh skip',
      'npm ok',
      'pip ok',
      `${DOCKER} skip`,
      'dockerd skip',
      'java skip',
    ]);
  });

  it.each<[string, string, Host, string]>([
    ['git uses the variables', 'git', {}, 'ok git: https remotes use the variables'],
    [
      'git has the proxy',
      'git',
      { programs: { ...INSTALLED, [GIT]: `http.proxy\n${URL}\0` } },
      'ok git: http.proxy names the proxy',
    ],
    [
      'git has another',
      'git',
      { programs: { ...INSTALLED, [GIT]: 'http.proxy\nhttp://u:hunter2@old:1\0' } },
      'fail git: http.proxy names http://old:1',
    ],
    [
      'git has none for a host',
      'git',
      { programs: { ...INSTALLED, [GIT]: 'http.https://a.example.proxy\n\0' } },
      'fail git: http.https://a.example.proxy switches the proxy off',
    ],
    ['ssh has no ProxyCommand', 'ssh', {}, 'warn ssh: no ProxyCommand'],
    [
      'ssh has one',
      'ssh',
      { files: { '/home-of/agent/.ssh/config': 'Host *\n  ProxyCommand sallyport connect %h %p\n' } },
      'ok ssh: a ProxyCommand is set',
    ],
    [
      'ssh has one by git',
      'ssh',
      { env: { GIT_SSH_COMMAND: "ssh -o ProxyCommand='x'" } },
      'ok ssh: a ProxyCommand is set',
    ],
    [
      'npm of the user',
      'npm',
      { files: { '/home-of/agent/.npmrc': `https-proxy = "${URL}"\n` } },
      'ok npm: https-proxy in /home-of/agent/.npmrc names the proxy',
    ],
    [
      'npm of the project',
      'npm',
      { files: { '/job/.npmrc': 'proxy=http://old:1\n' } },
      'fail npm: proxy in /job/.npmrc names http://old:1',
    ],
    [
      'npm by a variable',
      'npm',
      { env: { NPM_CONFIG_HTTPS_PROXY: 'null' } },
      'fail npm: NPM_CONFIG_HTTPS_PROXY names http://null:80',
    ],
    [
      'pip',
      'pip',
      { files: { '/etc/pip.conf': '[global]\nproxy: http://old:1\n' } },
      'fail pip: proxy in /etc/pip.conf names http://old:1',
    ],
    ['pip by a variable', 'pip', { env: { PIP_PROXY: URL } }, 'ok pip: PIP_PROXY names the proxy'],
    ['no Docker configuration', DOCKER, {}, `warn ${DOCKER}: /home-of/agent/.docker/config.json is not there`],
    [
      'one without proxies',
      DOCKER,
      { files: { '/home-of/agent/.docker/config.json': '{"auths":{}}' } },
      'has no proxies',
    ],
    ['one that is damaged', DOCKER, { files: { '/home-of/agent/.docker/config.json': '{' } }, 'has no proxies'],
    [
      'one with them',
      DOCKER,
      {
        env: { DOCKER_CONFIG: '/d' },
        files: { '/d/config.json': JSON.stringify({ proxies: { default: { httpsProxy: URL } } }) },
      },
      `ok ${DOCKER}: httpsProxy in /d/config.json names the proxy`,
    ],
    [
      'the daemon as it runs',
      'dockerd',
      { programs: { ...INSTALLED, [INFO]: `${URL}\n` } },
      'ok dockerd: HTTPSProxy of the running daemon names the proxy',
    ],
    [
      'the daemon without',
      'dockerd',
      { programs: { ...INSTALLED, [INFO]: '\n' } },
      'fail dockerd: the running daemon has no proxy',
    ],
    [
      'the file of the daemon',
      'dockerd',
      { files: { '/etc/docker/daemon.json': '{"proxies":{"https-proxy":"http://old:1"}}' } },
      'fail dockerd: https-proxy in /etc/docker/daemon.json names http://old:1',
    ],
    [
      'its drop-in, % undoubled',
      'dockerd',
      {
        files: {
          '/etc/systemd/system/docker.service.d/p.conf':
            '[Service]\nEnvironment="HTTPS_PROXY=http://a%%2Fb:@proxy.corp.example:3128"\n',
        },
      },
      'ok dockerd: HTTPS_PROXY in /etc/systemd/system/docker.service.d/p.conf names the proxy',
    ],
    ['a daemon of which nothing is known', 'dockerd', {}, 'warn dockerd: the daemon did not answer'],
    ['Java without options', 'java', {}, 'warn java: Java ignores the variables'],
    [
      'Java',
      'java',
      { env: { JAVA_TOOL_OPTIONS: '-Dhttps.proxyHost=proxy.corp.example -Dhttps.proxyPort=3128' } },
      'ok java: JAVA_TOOL_OPTIONS names the proxy',
    ],
    [
      'Maven elsewhere',
      'java',
      { env: { MAVEN_OPTS: '-Dhttps.proxyHost=old -Dhttps.proxyPort=1' } },
      'fail java: MAVEN_OPTS names http://old:1',
    ],
    [
      'Gradle',
      'java',
      {
        files: {
          '/home-of/agent/.gradle/gradle.properties':
            'systemProp.https.proxyHost=proxy.corp.example\nsystemProp.https.proxyPort=3128\n',
        },
      },
      'ok java: ~/.gradle/gradle.properties names the proxy',
    ],
  ])('%s', async (_, subject, given, line) => {
    const [first = ''] = await tools(given, subject);
    expect(first).toContain(line);
    expect(first).not.toContain('hunter2');
  });

  it('each finding that is to mend says how', async () => {
    for (const check of await toolChecks(host({}), proxy)) {
      if (check.state === 'warn' || check.state === 'fail') expect(check.fix?.length).toBeGreaterThan(10);
    }
  });
});
