// The settings of tools that override the variables or ignore them: found where each tool looks, and compared with the proxy. It reads
// and never writes.
import { join } from 'node:path';
import { bad, type Check, ok, skip } from './doctor-check.ts';
import type { Machine } from './machine.ts';
import { type ProxyUrl, parseProxyUrl } from './proxy-url.ts';

type Tool = (machine: Machine, proxy: ProxyUrl) => Promise<Check[]>;

/** All tools, looked at side by side; what is not here is skipped. */
export async function toolChecks(machine: Machine, proxy: ProxyUrl): Promise<Check[]> {
  const found = await Promise.all(
    [git, ssh, npm, pip, dockerClient, dockerDaemon, java].map((tool) => tool(machine, proxy)),
  );
  return found.flat();
}

/** A setting that names a proxy: where it stands, and its text. */
interface Setting {
  readonly where: string;
  readonly text: string;
}

/** Judges settings that override the variables: each must name the proxy. None is what is wanted. */
function judged(subject: string, settings: readonly Setting[], proxy: ProxyUrl, none: string): Check[] {
  const at = { area: 'tool', subject } as const;
  if (settings.length === 0) return [ok(at, none)];
  return settings.map(({ where, text }) => {
    // An empty value switches the proxy off. The value may hold a password and is not shown.
    const url = text === '' ? null : parseProxyUrl(text);
    if (url?.place === proxy.place) return ok(at, `${where} names the proxy`);
    const says = text === '' ? 'switches the proxy off' : url === null ? 'is no proxy URL' : `names ${url.place}`;
    return bad(
      'fail',
      at,
      `${where} ${says}`,
      `Remove it, or set it to ${proxy.place}: \`sallyport env --for ${subject.split(' ')[0]}\`.`,
    );
  });
}

const git: Tool = async (machine, proxy) => {
  if ((await machine.run('git', ['--version'])) === null) return [skip({ area: 'tool', subject: 'git' }, 'not here')];
  const listed = (await machine.run('git', ['config', '--null', '--get-regexp', '^http\\.(.*\\.)?proxy$'])) ?? '';
  const settings = listed.split('\0').flatMap((entry) => {
    const [name, ...value] = entry.split('\n');
    return name ? [{ where: name, text: value.join('\n') }] : [];
  });
  return judged('git', settings, proxy, 'https remotes use the variables');
};

const ssh: Tool = async (machine) => {
  const at = { area: 'tool', subject: 'ssh' } as const;
  const config = machine.read(join(machine.home, '.ssh', 'config')) ?? '';
  const command = machine.env['GIT_SSH_COMMAND'] ?? '';
  if (/^\s*ProxyCommand\s+(?!none)/im.test(config) || /ProxyCommand=/i.test(command))
    return [ok(at, 'a ProxyCommand is set')];
  if ((await machine.run('ssh', ['-V'])) === null) return [skip(at, 'not here')];
  return [
    bad(
      'warn',
      at,
      'no ProxyCommand: git@ and ssh:// remotes go around the proxy, or nowhere',
      '`sallyport env --for ssh` prints the lines for ~/.ssh/config; or use https remotes.',
    ),
  ];
};

const npm: Tool = async (machine, proxy) => {
  const files = [join(machine.home, '.npmrc'), join(machine.cwd, '.npmrc'), '/etc/npmrc'];
  const settings = files.flatMap((file) =>
    assignments(machine.read(file), /^\s*(https?-proxy|proxy)\s*=\s*(.*?)\s*$/i, file),
  );
  for (const [name, text] of Object.entries(machine.env)) {
    if (/^npm_config_(https?_)?proxy$/i.test(name) && text !== undefined) settings.push({ where: name, text });
  }
  return judged('npm', settings, proxy, 'no setting of its own: it uses the variables');
};

const pip: Tool = async (machine, proxy) => {
  const own = machine.env['PIP_CONFIG_FILE'];
  const files = [
    join(machine.home, '.config', 'pip', 'pip.conf'),
    join(machine.home, '.pip', 'pip.conf'),
    '/etc/pip.conf',
    ...(own ? [own] : []),
  ];
  const settings = files.flatMap((file) => assignments(machine.read(file), /^\s*(proxy)\s*[=:]\s*(.*?)\s*$/i, file));
  const variable = machine.env['PIP_PROXY'];
  if (variable !== undefined) settings.push({ where: 'PIP_PROXY', text: variable });
  return judged('pip', settings, proxy, 'no setting of its own: it uses the variables');
};

/** Lines of a file that set a key, in groups 1 and 2 of the expression. */
function assignments(text: string | null, line: RegExp, file: string): Setting[] {
  return (text ?? '').split('\n').flatMap((each) => {
    const found = line.exec(each);
    return found ? [{ where: `${found[1]} in ${file}`, text: unquoted(found[2] ?? '') }] : [];
  });
}

function unquoted(text: string): string {
  return /^(["']).*\1$/.test(text) ? text.slice(1, -1) : text;
}

const dockerClient: Tool = async (machine, proxy) => {
  const at = { area: 'tool', subject: 'docker builds and containers' } as const;
  if ((await machine.run('docker', ['--version'])) === null) return [skip(at, 'not here')];
  const file = join(machine.env['DOCKER_CONFIG'] || join(machine.home, '.docker'), 'config.json');
  const fix = '`sallyport env --for docker` prints what goes into it.';
  const text = machine.read(file);
  if (text === null) return [bad('warn', at, `${file} is not there: containers do not know the proxy`, fix)];
  const proxies = field(parsed(text), 'proxies');
  const found = field(proxies, 'default') ?? Object.values(isRecord(proxies) ? proxies : {})[0];
  const url = field(found, 'httpsProxy');
  if (typeof url !== 'string')
    return [bad('warn', at, `${file} has no proxies: containers do not know the proxy`, fix)];
  return judged(at.subject, [{ where: `httpsProxy in ${file}`, text: url }], proxy, '');
};

const dockerDaemon: Tool = async (machine, proxy) => {
  const at = { area: 'tool', subject: 'dockerd' } as const;
  const told = await machine.run('docker', ['info', '--format', '{{.HTTPSProxy}}']);
  const settings: Setting[] = [];
  if (told !== null) settings.push({ where: 'HTTPSProxy of the running daemon', text: told.trim() });
  else settings.push(...daemonFiles(machine));
  if (settings.length > 0) {
    const [first] = settings;
    if (first?.text === '') {
      return [
        bad(
          'fail',
          at,
          'the running daemon has no proxy: images are pulled around it, or not at all',
          '`sallyport env --for dockerd` prints its drop-in.',
        ),
      ];
    }
    return judged('dockerd', settings, proxy, '');
  }
  if ((await machine.run('docker', ['--version'])) === null) return [skip(at, 'not here')];
  return [
    bad(
      'warn',
      at,
      'the daemon did not answer and no setting of it was found',
      '`docker info` as a user who may ask it; `sallyport env --for dockerd` prints its drop-in.',
    ),
  ];
};

const DROP_INS = '/etc/systemd/system/docker.service.d';
const DAEMON_FILE = '/etc/docker/daemon.json';

function daemonFiles(machine: Machine): Setting[] {
  const url = field(field(parsed(machine.read(DAEMON_FILE) ?? ''), 'proxies'), 'https-proxy');
  if (typeof url === 'string') return [{ where: `https-proxy in ${DAEMON_FILE}`, text: url }];
  return machine.list(DROP_INS).flatMap((name) => {
    const file = join(DROP_INS, name);
    const found = /^Environment=.*?"?\bHTTPS_PROXY=([^"\s]*)/im.exec(machine.read(file) ?? '');
    return found ? [{ where: `HTTPS_PROXY in ${file}`, text: (found[1] ?? '').replaceAll('%%', '%') }] : [];
  });
}

const java: Tool = async (machine, proxy) => {
  const at = { area: 'tool', subject: 'java' } as const;
  const options = ['JAVA_TOOL_OPTIONS', 'MAVEN_OPTS', 'GRADLE_OPTS', '_JAVA_OPTIONS'].flatMap((name) => {
    const text = machine.env[name] ?? '';
    const host = /-Dhttps\.proxyHost=(\S*)/.exec(text)?.[1];
    const port = /-Dhttps\.proxyPort=(\d+)/.exec(text)?.[1];
    return host === undefined ? [] : [{ where: name, text: `http://${host}:${port ?? '443'}` }];
  });
  const gradle = machine.read(join(machine.home, '.gradle', 'gradle.properties')) ?? '';
  const gradleHost = /^systemProp\.https\.proxyHost=(\S+)/m.exec(gradle)?.[1];
  if (gradleHost !== undefined) {
    const port = /^systemProp\.https\.proxyPort=(\d+)/m.exec(gradle)?.[1] ?? '443';
    options.push({ where: '~/.gradle/gradle.properties', text: `http://${gradleHost}:${port}` });
  }
  // Java's properties have no scheme: the connection to the proxy is always plain.
  if (options.length > 0)
    return judged('java', options, { ...proxy, place: `http://${proxy.place.replace(/^https?:\/\//, '')}` }, '');
  if ((await machine.run('java', ['-version'])) === null) return [skip(at, 'not here')];
  return [
    bad(
      'warn',
      at,
      'Java ignores the variables, and JAVA_TOOL_OPTIONS names no proxy',
      '`sallyport env --for java` prints the line.',
    ),
  ];
};

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function field(value: unknown, name: string): unknown {
  return isRecord(value) ? value[name] : undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
