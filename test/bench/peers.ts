// The proxies of the comparison, set up alike: one CPU, an allowlist of one wildcard, a log line for each request, no cache. And
// HAProxy as what it costs at least: two sockets and splice(2), with no CONNECT, no allowlist and no names.
// Started fresh, pinned to CPU 0, and stopped by their own process ids.
import { type ChildProcess, type StdioOptions, spawn, spawnSync } from 'node:child_process';
import { chmodSync, closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { sallyport, startProxy } from '../support/proxy-process.ts';
import { tempDir, writeFile, writePolicy } from '../support/temp.ts';
import { AUDIENCE, tokenIssuer } from '../support/tokens.ts';

/** Names behind the wildcard that both proxies allow; all of them live on loopback. */
export const NAMES = Array.from({ length: 8 }, (_, index) => `origin${index + 1}.allowed.test`);
export const ALLOWED = '*.allowed.test';
const CLIENT_NETWORK = '127.0.0.0/8';

export interface Peer {
  readonly name:
    | 'sallyport'
    | 'with Basic'
    | 'with OIDC'
    | 'squid'
    | 'haproxy'
    | 'ats'
    | 'tinyproxy'
    | 'proxy-chain'
    | 'proxy';
  readonly address: string;
  /** It relays to the origin whatever comes: no CONNECT is sent. */
  readonly direct: boolean;
  readonly pid: number;
  /** What its clients send as Basic credentials, in base64; of several each source address has its own. */
  readonly auth?: readonly string[];
  stop(): Promise<void>;
}

/** A port that was free a moment ago: for programs that cannot tell which port the kernel gave them. */
export async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Waits until something accepts on a port of loopback; gives up when the process that should do so has ended. */
export async function accepting(port: number, child: ChildProcess): Promise<void> {
  while (child.exitCode === null) {
    const socket = net.connect(port, '127.0.0.1');
    const open = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
    });
    socket.destroy();
    if (open) return;
  }
  throw new Error(`a process ended with ${child.exitCode} before it accepted on port ${port}`);
}

const pinned = (cpu: number): string[] => (existsSync('/usr/bin/taskset') ? ['taskset', '-c', String(cpu)] : []);

const children = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});

/** Starts a program on one processor; it dies with this process. */
export function spawnOn(cpu: number, command: readonly string[], stdio: StdioOptions): ChildProcess {
  const [program = '', ...args] = [...pinned(cpu), ...command];
  const child = spawn(program, args, { stdio });
  children.add(child);
  child.once('close', () => children.delete(child));
  return child;
}

export interface SallyportOptions {
  /** Address of the test DNS server. */
  readonly dns: string;
  /** Port of the origin. */
  readonly port: number;
  /** Extra flags of Node, for profiles. */
  readonly nodeFlags?: readonly string[];
  readonly engine: string;
  /** Who asks proves it, and the rule is for him alone. */
  readonly identity?: 'with Basic' | 'with OIDC';
}

/** As the image, the unit and `npm start` run it. */
const NODE_FLAGS = ['--max-semi-space-size=2'];

/** Our own proxy, as built, with its audit log and usage store on. */
export async function startSallyport(options: SallyportOptions): Promise<Peer> {
  const dir = tempDir('bench');
  const proof = options.identity ? await proofOf(options.identity, dir) : null;
  const config = writePolicy(join(dir, 'config', 'sallyport.yaml'), {
    version: 1,
    engine: options.engine,
    listen: '127.0.0.1:0',
    admin: '127.0.0.1:0',
    mode: 'enforce',
    clients: { from: [CLIENT_NETWORK] },
    // The load is no TLS, so nothing of it may be checked: the tunnels are opaque on both sides of the comparison.
    allow: [{ host: ALLOWED, ports: [options.port], protocol: 'any', addresses: [CLIENT_NETWORK], ...proof?.rule }],
    ...proof?.settings,
    dns: { servers: [options.dns] },
    audit: { file: join(dir, 'data', 'audit.jsonl') },
    usage: { store: join(dir, 'data', 'usage.db') },
  });
  const proxy = await startProxy(['--config', config], {
    cwd: dir,
    command: [...pinned(0), process.execPath, ...NODE_FLAGS, ...(options.nodeFlags ?? [])],
  });
  return {
    name: options.identity ?? 'sallyport',
    direct: false,
    ...(proof && { auth: proof.auth }),
    address: `${proxy.proxy.host}:${proxy.proxy.port}`,
    pid: proxy.pid,
    stop: async () => {
      const end = await proxy.stop();
      if (end.code !== 0) throw new Error(`sallyport ended with ${end.code ?? end.signal}\n${end.stderr}`);
    },
  };
}

/** A token is bound to the first address that uses it: each source address of the generator has one. */
const SOURCES = 32;

async function proofOf(
  kind: 'with Basic' | 'with OIDC',
  dir: string,
): Promise<{ readonly settings: object; readonly rule: object; readonly auth: readonly string[] }> {
  const base64 = (text: string): string => Buffer.from(text).toString('base64');
  if (kind === 'with Basic') {
    const users = join(dir, 'users');
    const made = await sallyport(['user', 'add', 'bench', '--file', users], { input: 'a-long-password\n' });
    if (made.code !== 0) throw new Error(made.stderr);
    const rule = { for: { user: 'bench' } };
    return { settings: { users: { file: users } }, rule, auth: [base64('bench:a-long-password')] };
  }
  const issuer = tokenIssuer();
  const file = writeFile(join(dir, 'jwks.json'), issuer.jwks);
  const job = (index: number): string => `0188a5c8-0000-4000-8000-${String(index).padStart(12, '0')}`;
  const tokens = await Promise.all(
    Array.from({ length: SOURCES }, (_, index) => issuer.token({ claims: { job_id: job(index), jti: job(index) } })),
  );
  return {
    settings: { oidc: { audience: AUDIENCE, organizations: ['acme'], jwks: { file } } },
    rule: { for: { pipeline: 'web' } },
    auth: tokens.map((token) => base64(`buildkite:${token}`)),
  };
}

const SQUID = '/usr/sbin/squid';
export const squidIsHere = (): boolean => existsSync(SQUID);

/** Debian's Squid: one worker, no cache, access log through its daemon, names from a hosts file. */
export async function startSquid(): Promise<Peer> {
  const dir = tempDir('squid');
  const port = await freePort();
  const logs = join(dir, 'logs');
  mkdirSync(logs);
  // Squid drops root for its run user, who must write its logs and its pid file here.
  chmodSync(dir, 0o755);
  chmodSync(logs, 0o777);
  writeFile(join(dir, 'hosts'), NAMES.map((name) => `127.0.0.1 ${name}\n`).join(''));
  const lines = [
    `http_port 127.0.0.1:${port}`,
    'workers 1',
    'cache deny all',
    `access_log daemon:${logs}/access.log squid`,
    `cache_log ${logs}/cache.log`,
    `pid_filename ${logs}/squid.pid`,
    `coredump_dir ${logs}`,
    `hosts_file ${dir}/hosts`,
    'visible_hostname bench',
    'pinger_enable off',
    'shutdown_lifetime 0 seconds',
    'acl allowed dstdomain .allowed.test',
    'http_access allow allowed',
    'http_access deny all',
  ];
  const conf = writeFile(join(dir, 'squid.conf'), `${lines.join('\n')}\n`);
  const child = spawnOn(0, [SQUID, '-N', '-f', conf], 'ignore');
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  try {
    await accepting(port, child);
  } catch (error) {
    const log = join(logs, 'cache.log');
    throw new Error(`squid did not start\n${existsSync(log) ? readFileSync(log, 'utf8') : ''}`, { cause: error });
  }
  return {
    name: 'squid',
    direct: false,
    address: `127.0.0.1:${port}`,
    pid: child.pid as number,
    stop: async () => {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

const HAPROXY = '/usr/sbin/haproxy';
export const haproxyIsHere = (): boolean => existsSync(HAPROXY);

/** HAProxy as a TCP relay to the origin: one thread, splice both ways, a log line for each connection. */
export async function startHaproxy(origin: number): Promise<Peer> {
  const dir = tempDir('haproxy');
  const port = await freePort();
  const lines = [
    'global',
    '  nbthread 1',
    '  maxconn 6000',
    '  log stdout format raw daemon',
    'defaults',
    '  mode tcp',
    '  log global',
    '  option tcplog',
    '  option splice-request',
    '  option splice-response',
    '  timeout connect 10s',
    '  timeout client 1h',
    '  timeout server 1h',
    'listen bench',
    `  bind 127.0.0.1:${port} backlog 4096`,
    `  server origin 127.0.0.1:${origin}`,
  ];
  const conf = writeFile(join(dir, 'haproxy.cfg'), `${lines.join('\n')}\n`);
  const log = openSync(join(dir, 'access.log'), 'w');
  const child = spawnOn(0, [HAPROXY, '-db', '-f', conf], ['ignore', log, 'ignore']);
  closeSync(log);
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  await accepting(port, child);
  return {
    name: 'haproxy',
    direct: true,
    address: `127.0.0.1:${port}`,
    pid: child.pid as number,
    stop: async () => {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

/** Builds the load generator when its source is newer; gives the program's path. */
export function buildLoadgen(): string {
  const out = join(import.meta.dirname, 'out');
  mkdirSync(out, { recursive: true });
  const program = join(out, 'loadgen');
  const gcc = spawnSync('gcc', ['-O2', '-Wall', '-o', program, join(import.meta.dirname, 'loadgen.c')], {
    encoding: 'utf8',
  });
  if (gcc.status !== 0)
    throw new Error(`gcc could not build the load generator: ${gcc.stderr}${gcc.error?.message ?? ''}`);
  return program;
}

/** The origin of all loads: one process on CPU 1 that answers echo, source, discard and HTTP. */
export async function startLoadOrigin(
  loadgen: string,
): Promise<{ readonly port: number; readonly pid: number; stop(): void }> {
  const port = await freePort();
  const child = spawnOn(1, [loadgen, 'origin', '--port', String(port)], 'ignore');
  const stop = (): void => void child.kill('SIGKILL');
  await accepting(port, child);
  return { port, pid: child.pid as number, stop };
}

/** One run of the generator on CPU 1; its one line of JSON. */
export function generate(loadgen: string, args: readonly string[]): Promise<Record<string, unknown>> {
  const child = spawnOn(1, [loadgen, ...args], ['ignore', 'pipe', 'inherit']);
  let text = '';
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => {
      if (text === '') reject(new Error(`loadgen ${args[0]} ended with ${code} and said nothing`));
      else resolve({ ...(JSON.parse(text) as Record<string, unknown>), exit: code });
    });
  });
}

const TICKS_PER_SECOND = 100; // USER_HZ on Linux

/** User and system seconds of a process and its children, the reaped ones too. */
export function cpuSeconds(pid: number): number {
  const parents = new Map<number, number>();
  const ticks = new Map<number, number>();
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, 'utf8');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      parents.set(Number(entry), Number(fields[1]));
      ticks.set(
        Number(entry),
        fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0),
      );
    } catch {
      // It ended between the listing and the look.
    }
  }
  const below = (own: number): boolean => {
    for (let at: number | undefined = own; at !== undefined && at > 1; at = parents.get(at))
      if (at === pid) return true;
    return false;
  };
  let sum = 0;
  for (const [own, count] of ticks) if (below(own)) sum += count;
  return sum / TICKS_PER_SECOND;
}
