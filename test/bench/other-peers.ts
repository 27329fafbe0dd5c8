// Further proxies of the comparison, where they are installed: Traffic Server and tinyproxy of Debian, proxy-chain and proxy of npm (test/programs).
// Set up as those in peers.ts: one processor, one wildcard, a log line a request, no cache; names from a hosts file, or in Node's by a
// lookup that answers at once, which is in their favour.
import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { tempDir, writeFile } from '../support/temp.ts';
import { accepting, freePort, NAMES, type Peer, spawnOn } from './peers.ts';

const TRAFFIC_SERVER = '/usr/bin/traffic_server';
const TINYPROXY = '/usr/bin/tinyproxy';
const PROGRAMS = join(import.meta.dirname, '..', 'programs', 'node_modules');

/** What is not here, with the word for it; null for what is. */
export const lacking: Readonly<Record<'ats' | 'tinyproxy' | 'proxy-chain' | 'proxy', () => string | null>> = {
  ats: () => (existsSync(TRAFFIC_SERVER) ? null : 'Traffic Server is not installed (apt-get install trafficserver)'),
  // It has no hosts file of its own: it gets one in a mount namespace.
  tinyproxy: () =>
    !existsSync(TINYPROXY)
      ? 'tinyproxy is not installed (apt-get install tinyproxy-bin)'
      : spawnSync('unshare', ['-m', 'true']).status === 0
        ? null
        : 'tinyproxy needs a mount namespace for its names (root)',
  'proxy-chain': () => inPrograms('proxy-chain'),
  proxy: () => inPrograms('proxy'),
};

function inPrograms(name: string): string | null {
  return existsSync(join(PROGRAMS, name)) ? null : `${name} is not installed (npm ci --prefix test/programs)`;
}

const hosts = (): string => NAMES.map((name) => `127.0.0.1 ${name}\n`).join('');

async function started(name: Peer['name'], port: number, command: readonly string[], log: string): Promise<Peer> {
  const out = openSync(log, 'w');
  const child = spawnOn(0, command, ['ignore', out, out]);
  closeSync(out);
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  await accepting(port, child);
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    await ended;
  };
  return { name, direct: false, address: `127.0.0.1:${port}`, pid: child.pid as number, stop };
}

/** One net thread; a hosts file; 403 by a rule of header_rewrite, since it has no list of hosts for forward proxying. */
export async function startTrafficServer(): Promise<Peer> {
  const dir = tempDir('ats');
  const port = await freePort();
  const at = (name: string): string => join(dir, name);
  for (const name of ['etc', 'log', 'run', 'cache']) mkdirSync(at(name));
  const roots = {
    ...{ prefix: '/usr', exec_prefix: '/usr', bindir: '/usr/bin', sbindir: '/usr/sbin', includedir: '/usr/include' },
    ...{ libdir: '/usr/lib/trafficserver', libexecdir: '/usr/lib/trafficserver/modules' },
    ...{ datadir: '/usr/share/trafficserver', sysconfdir: at('etc'), localstatedir: at('run'), runtimedir: at('run') },
    ...{ logdir: at('log'), cachedir: at('cache') },
  };
  const records = {
    'http.server_ports STRING': `${port}:ip-in=127.0.0.1`,
    'admin.user_id STRING': '#-1',
    'exec_thread.autoconfig INT': 0,
    'exec_thread.limit INT': 1,
    'exec_thread.affinity INT': 0,
    'accept_threads INT': 0,
    'http.cache.http INT': 0,
    'reverse_proxy.enabled INT': 0,
    'url_remap.remap_required INT': 0,
    'http.connect_ports STRING': '*',
    'hostdb.host_file.path STRING': writeFile(at('hosts'), hosts()),
    'log.logging_enabled INT': 3,
    'net.connections_throttle INT': 30_000,
  };
  const lines = (all: object, line: (key: string, value: unknown) => string): string =>
    Object.entries(all)
      .map(([key, value]) => `${line(key, value)}\n`)
      .join('');
  const root = writeFile(
    at('runroot.yaml'),
    lines(roots, (key, value) => `${key}: ${value}`),
  );
  writeFile(
    at('etc/records.config'),
    lines(records, (key, value) => `CONFIG proxy.config.${key} ${value}`),
  );
  const allow = ['cond %{READ_REQUEST_HDR_HOOK} [AND]', 'cond %{CLIENT-URL:HOST} /\\.allowed\\.test$/ [NOT]'];
  const rules = writeFile(at('etc/allow.config'), `${allow.join('\n')}\nset-status 403\n`);
  writeFile(at('etc/plugin.config'), `header_rewrite.so ${rules}\n`);
  writeFile(
    at('etc/ip_allow.yaml'),
    'ip_allow:\n  - { apply: in, ip_addrs: 127.0.0.0/8, action: allow, methods: ALL }\n',
  );
  const format = `'%<cqtq> %<ttms> %<chi> %<crc>/%<pssc> %<psql> %<cqhm> %<pquc> %<phr>/%<shn>'`;
  writeFile(
    at('etc/logging.yaml'),
    `logging:\n  formats:\n  - name: line\n    format: ${format}\n  logs:\n  - { filename: access, format: line, mode: ascii }\n`,
  );
  for (const name of ['remap', 'cache', 'hosting', 'parent', 'splitdns', 'ssl_multicert', 'storage', 'volume'])
    writeFile(at(`etc/${name}.config`), '');
  const peer = await started('ats', port, [TRAFFIC_SERVER, `--run-root=${root}`], at('out.txt'));
  // It accepts before it has read its hosts file. Its own port is a loop (400) as soon as it knows the name.
  for (let tries = 0; (await statusOf(port, `${NAMES[0]}:${port}`)) !== 400; tries++) {
    if (tries > LOOKS_MAX) throw new Error('Traffic Server does not know its names');
    await wait(LOOK_MS);
  }
  return peer;
}

const LOOK_MS = 100;
const LOOKS_MAX = 100;

/** Of the answer to a CONNECT; 0 where there is none. */
async function statusOf(port: number, target: string): Promise<number> {
  const socket = net.connect(port, '127.0.0.1');
  socket.on('error', () => {});
  socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`);
  const text = await new Promise<string>((resolve) => {
    socket.once('data', (chunk: Buffer) => resolve(chunk.toString('latin1')));
    socket.once('close', () => resolve(''));
  });
  socket.destroy();
  return Number(text.split(' ')[1] ?? 0);
}

export async function startTinyproxy(): Promise<Peer> {
  const dir = tempDir('tinyproxy');
  const port = await freePort();
  const at = (name: string): string => join(dir, name);
  const filter = writeFile(at('filter'), '\\.allowed\\.test$\n');
  const lines = [
    `Port ${port}`,
    'Listen 127.0.0.1',
    'Timeout 600',
    `LogFile "${at('access.log')}"`,
    'LogLevel Connect',
    'MaxClients 20000',
    `Filter "${filter}"`,
    'FilterExtended On',
    'FilterDefaultDeny Yes',
  ];
  const conf = writeFile(at('tinyproxy.conf'), `${lines.join('\n')}\n`);
  const names = writeFile(at('hosts'), hosts());
  const script = `mount --bind "${names}" /etc/hosts && exec ${TINYPROXY} -d -c "${conf}"`;
  return started('tinyproxy', port, ['unshare', '-m', 'sh', '-c', script], at('out.txt'));
}

/** What both of npm's get: the allowlist, a log line at the end, a lookup that answers at once. */
const COMMON = `
import dns from 'node:dns';
import { createRequire } from 'node:module';
dns.lookup = (name, options, done = options) =>
  done(null, options?.all ? [{ address: '127.0.0.1', family: 4 }] : '127.0.0.1', 4);
const require = createRequire(process.env.PROGRAMS + '/');
const port = Number(process.env.PORT);
const allowed = (host) => host.endsWith('.allowed.test');
const line = (what) => process.stdout.write(JSON.stringify({ time: new Date(), ...what }) + '\\n');
`;
const SCRIPTS = {
  'proxy-chain': `
const { Server, RequestError } = require('proxy-chain');
const server = new Server({ port, host: '127.0.0.1', prepareRequestFunction: ({ hostname }) => {
  if (!allowed(hostname)) { line({ hostname, denied: true }); throw new RequestError('no', 403); }
  line({ hostname });
  return {};
} });
await server.listen();
`,
  proxy: `
const http = require('node:http');
const { createProxy } = require('proxy');
const server = createProxy(http.createServer());
server.authenticate = (req) => {
  const host = req.method === 'CONNECT' ? req.url.split(':')[0] : new URL(req.url).hostname;
  line({ host });
  return allowed(host);
};
server.listen(port, '127.0.0.1');
`,
};

/** Of npm. The second has no rule for hosts: its hook for credentials refuses, with 407. */
export async function startNodeProxy(name: 'proxy-chain' | 'proxy'): Promise<Peer> {
  const dir = tempDir(name);
  const port = await freePort();
  const script = writeFile(join(dir, 'proxy.mjs'), `${COMMON}${SCRIPTS[name]}`);
  const env = [`PORT=${port}`, `PROGRAMS=${PROGRAMS}`];
  return started(name, port, ['env', ...env, process.execPath, script], join(dir, 'access.log'));
}
