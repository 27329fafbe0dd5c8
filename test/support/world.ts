// A world for one end-to-end test file: a name server, a policy file, the built proxy in a folder of its own, and clients
// whose environment holds nothing of this machine's (no proxy variables, no git or npm configuration).
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type DnsServer, startTestDns } from './dns.ts';
import { type Finished, type ProxyProcess, run, sallyport, startProxy } from './proxy-process.ts';
import { type PolicyFile, tempDir, writePolicy } from './temp.ts';

/** Everything a test origin may live on. */
export const LOOPBACK = ['127.0.0.0/8'];

export interface World {
  readonly dir: string;
  readonly configFile: string;
  readonly auditFile: string;
  readonly dns: DnsServer;
  /** The proxy that runs now; another one after `restart`. */
  readonly proxy: ProxyProcess;
  /** `file:line` of the first line of the policy file that has this text: what records call a rule of one's own. */
  placeOf(text: string): string;
  /** Rewrites the policy file; the proxy reads it at SIGHUP or restart. */
  write(changes: PolicyFile): void;
  /** Starts the proxy again after it was stopped or killed. */
  restart(): Promise<void>;
  /** Runs a client to its end, in the world's folder and environment. */
  client(
    command: readonly string[],
    options?: { readonly env?: Readonly<Record<string, string>>; readonly input?: string },
  ): Promise<Finished>;
  /** `sallyport report --format json`, parsed. */
  report<T>(...args: readonly string[]): Promise<T>;
  close(): Promise<void>;
}

/** Names to their addresses; the proxy resolves these and no others. */
type Names = Readonly<Record<string, readonly string[]>>;

// What this machine may have set for the clients: proxies, certificates, registries, their own settings.
const INHERITED = /proxy|^(?:GIT|SSL|NODE|NPM|CURL|REQUESTS|PIP)_/i;

/** The environment of a client: nothing of this machine's that changes where it goes and whom it trusts. */
function clientEnvironment(home: string): Record<string, string | undefined> {
  const inherited = Object.keys(process.env).filter((name) => INHERITED.test(name));
  return {
    ...Object.fromEntries(inherited.map((name) => [name, undefined])),
    HOME: home,
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
    LC_ALL: 'C',
  };
}

/** Starts a world; `policy` is laid over a policy that has only the test's addresses and files in it, `env` over the proxy's environment. */
export async function startWorld(
  policy: PolicyFile,
  names: Names = {},
  env: Readonly<Record<string, string>> = {},
): Promise<World> {
  const dir = tempDir('e2e');
  const home = join(dir, 'home');
  mkdirSync(home);
  const dns = await startTestDns();
  for (const [name, addresses] of Object.entries(names)) dns.set(name, addresses);
  const configFile = join(dir, 'config', 'sallyport.yaml');
  const auditFile = join(dir, 'data', 'audit.jsonl');
  const base = {
    version: 1,
    listen: '127.0.0.1:0',
    admin: '127.0.0.1:0',
    clients: { from: LOOPBACK },
    dns: { servers: [dns.address] },
    audit: { file: auditFile },
    usage: { store: join(dir, 'data', 'usage.db') },
    node: 'test',
  };
  const write = (changes: PolicyFile): void => void writePolicy(configFile, { ...base, ...policy, ...changes });
  const start = (): Promise<ProxyProcess> => startProxy(['--config', configFile], { cwd: dir, env });
  const client: World['client'] = (command, options = {}) =>
    run(command, {
      cwd: dir,
      env: { ...clientEnvironment(home), ...options.env },
      ...(options.input === undefined ? {} : { input: options.input }),
    });
  write({});
  let proxy = await start();
  return {
    dir,
    configFile,
    auditFile,
    dns,
    get proxy() {
      return proxy;
    },
    placeOf: (text) =>
      `${configFile}:${
        readFileSync(configFile, 'utf8')
          .split('\n')
          .findIndex((line) => line.includes(text)) + 1
      }`,
    write,
    restart: async () => {
      proxy = await start();
    },
    client,
    report: async <T>(...args: readonly string[]) => {
      const done = await sallyport(['report', '--config', configFile, '--format', 'json', ...args], { cwd: dir });
      if (done.code !== 0) throw new Error(`report ended with ${done.code}\n${done.stdout}${done.stderr}`);
      return JSON.parse(done.stdout) as T;
    },
    close: async () => {
      await proxy.kill9();
      await dns.close();
    },
  };
}
