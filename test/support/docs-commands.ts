// The commands that README.md and docs/ show, as a reader would type them, and the place where a test types them: a namespace of the test's own in
// which the names of the documents are known and answer, and folders in it. Needs root; `canMakeReader` says whether there is enough.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, cpSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { lockHolder } from '../../src/audit/lock.ts';
import { type Finished, launch, MAIN } from './proxy-process.ts';
import { tempDir, writeFile } from './temp.ts';
import { certificateFor, testCa } from './tls.ts';

const ROOT = join(import.meta.dirname, '..', '..');

export interface Shown {
  readonly page: string;
  readonly line: number;
  /** As it stands there, lines that go on joined. */
  readonly text: string;
  /** What the comment lines right below say that it prints. */
  readonly prints: readonly string[];
}

/** Every command of a page's shell blocks; of README.md also what its lists say to type. */
export function shownCommands(): readonly Shown[] {
  return pages().flatMap((page) => commandsOf(page));
}

function pages(): readonly string[] {
  const names = readdirSync(join(ROOT, 'docs')).filter((name) => name.endsWith('.md'));
  return ['README.md', ...names.map((name) => `docs/${name}`)];
}

/** Blocks with a command that say neither that they are for a shell nor that they are text: they would be passed over. */
export function unmarkedCommands(): readonly string[] {
  return pages().flatMap((page) => {
    const blocks = readFileSync(join(ROOT, page), 'utf8').matchAll(/^ *```(\w*)\n(.*?)^ *```$/gms);
    return [...blocks].flatMap(([, kind, text = '']) =>
      !/^(?:sh|bash|console|text)$/.test(kind ?? '') && /^(?:npx )?sallyport /m.test(text) ? [`${page}: ${text}`] : [],
    );
  });
}

function commandsOf(page: string): Shown[] {
  const found: { page: string; line: number; text: string; prints: string[] }[] = [];
  let [shell, fenced, open, after] = [false, false, false, false];
  readFileSync(join(ROOT, page), 'utf8')
    .split('\n')
    .forEach((raw, index) => {
      const text = raw.trim();
      const last = found.at(-1);
      if (text.startsWith('```')) {
        shell = !fenced && /^```(?:sh|bash|console)$/.test(text);
        fenced = !fenced;
        after = false;
      } else if (!shell) {
        const typed = page === 'README.md' && !fenced ? text.matchAll(/`((?:npx sallyport|export) [^`]+)`/g) : [];
        for (const [, command = ''] of typed) found.push({ page, line: index + 1, text: command, prints: [] });
      } else if (open && last) {
        last.text = `${last.text.slice(0, -1).trimEnd()} ${text}`;
      } else if (text.startsWith('#')) {
        if (after) last?.prints.push(text.replace(/^# ?/, ''));
      } else if (text !== '') {
        found.push({ page, line: index + 1, text, prints: [] });
      }
      if (shell && !text.startsWith('#') && !text.startsWith('```')) after = text !== '';
      open = shell && text.endsWith('\\');
    });
  return found;
}

/** The YAML blocks of a page, in order. */
export function yamlOf(page: string): readonly string[] {
  const text = readFileSync(join(ROOT, page), 'utf8');
  return [...text.matchAll(/^```yaml\n(.*?)^```$/gms)].map((match) => match[1] ?? '');
}

// Public addresses, which exist in the namespace alone; the second is the one of a proxy that others reach.
const [ORIGIN, INTERNAL] = ['1.2.3.4', '10.0.0.5'];
const ORIGINS = ['agent.buildkite.com', 'agent-edge.buildkite.com', 'buildkiteartifacts.com', 'api.buildkite.com'];
const GIT = ['git.corp.example', 'ssh.github.com'];
/** What Buildkite's API says of its own addresses (https://buildkite.com/docs/apis/rest-api/meta). */
const META = JSON.stringify({ webhook_ips: ['1.2.3.0/24'] });
const PROXY = 'proxy.corp.example';
const UP = ['ip link set lo up', ...[ORIGIN, INTERNAL].map((address) => `ip addr add ${address}/32 dev lo`)].join(
  ' && ',
);

export function canMakeReader(): boolean {
  return process.getuid?.() === 0 && spawnSync('unshare', ['--net', '--mount', 'sh', '-c', UP]).status === 0;
}

const holders = new Set<ChildProcess>();
process.once('exit', () => {
  for (const holder of holders) holder.kill('SIGKILL');
});

/** Somebody who reads: a folder with what a checkout has, a network in which the names of the documents are known, and a shell. */
export class Reader {
  readonly dir = tempDir('reader');
  /** What serves in there. */
  readonly proxies: ReturnType<typeof launch>[] = [];
  readonly #exported: Record<string, string | undefined> = {};
  readonly #inside: readonly string[];
  readonly #holder: ChildProcess;

  private constructor(holder: ChildProcess) {
    this.#holder = holder;
    this.#inside = ['nsenter', '--target', String(holder.pid), '--net', '--mount', '--'];
    for (const folder of ['config', 'deploy']) cpSync(join(ROOT, folder), join(this.dir, folder), { recursive: true });
    symlinkSync(join(ROOT, 'docs'), join(this.dir, 'docs'));
    const bin = (name: string, text: string): void => chmodSync(writeFile(join(this.dir, 'bin', name), text), 0o755);
    bin('sallyport', `#!/bin/sh\nexec ${process.execPath} ${MAIN} "$@"\n`);
    bin('npx', '#!/bin/sh\nexec "$@"\n');
  }

  static async arrive(): Promise<Reader> {
    const { key, cert } = certificateFor(ORIGINS);
    const hosts = writeFile(
      join(tempDir('hosts'), 'hosts'),
      `127.0.0.1 localhost\n${INTERNAL} ${PROXY}\n${ORIGIN} ${[...ORIGINS, ...GIT].join(' ')}\n`,
    );
    const serve = `const { key, cert } = JSON.parse(process.argv[1]);
      require('node:net').createServer((socket) => socket.on('error', () => {}).end('SSH-2.0-git\\r\\n')).listen(22, '${ORIGIN}');
      require('node:https').createServer({ key, cert }, (_, answer) => answer.end('${META}')).listen(443, '${ORIGIN}', () => console.log('up'))`;
    const up = `${UP} && mount --bind ${hosts} /etc/hosts && exec "$@"`;
    const holder = spawn(
      'unshare',
      ['--net', '--mount', 'sh', '-c', up, 'sh', process.execPath, '-e', serve, JSON.stringify({ key, cert })],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    holders.add(holder);
    await Promise.race([
      once(holder.stdout, 'data'),
      once(holder, 'exit').then(() => Promise.reject(new Error('there is no namespace'))),
    ]);
    return new Reader(holder);
  }

  /** Types a line; what it exports holds for those that follow. Folders of the system that documents name are folders of the reader's. */
  type(line: string): ReturnType<typeof launch> {
    const here = line.replaceAll(/(?<=[ =])\/(?=(?:etc|srv|mnt|var)\/)/g, `${this.dir}/`);
    const [, name, value] = /^export (\w+)=(\S+)/.exec(here) ?? [];
    if (name !== undefined) this.#exported[name] = value;
    const { ca } = testCa();
    const trusted = writeFile(join(this.dir, 'ca.pem'), ca);
    const serves = /^(?:npx )?sallyport serve/.test(here) ? 'exec ' : '';
    return launch([...this.#inside, 'sh', '-c', `cd ${this.dir} && ${serves}${here}`], {
      env: {
        ...this.#exported,
        PATH: `${join(this.dir, 'bin')}:${process.env['PATH']}`,
        HOME: join(this.dir, 'home'),
        CURL_CA_BUNDLE: trusted,
        NODE_EXTRA_CA_CERTS: trusted,
        ...Object.fromEntries(
          ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'ALL_PROXY'].flatMap((name) => [
            [name, undefined],
            [name.toLowerCase(), undefined],
          ]),
        ),
      },
    });
  }

  run(line: string): Promise<Finished> {
    return this.type(line).exited;
  }

  /** Ends the process that an upgrade has put in the place of the reader's own: it is nobody's child. */
  endSuccessor(): boolean {
    const holder = lockHolder(join(this.dir, 'data/audit.jsonl'));
    if (holder === null || this.proxies.some(({ child }) => child.pid === holder.pid)) return false;
    return process.kill(holder.pid, 'SIGTERM');
  }

  async leave(): Promise<void> {
    this.endSuccessor();
    const exited = once(this.#holder, 'exit');
    if (this.#holder.kill('SIGKILL')) await exited;
  }
}
