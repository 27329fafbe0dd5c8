// The built command as a child process, seen as an operator sees it: a ready line, signals, an exit code, an audit file.
// It runs on the Node that runs the tests (Node 24 from the dev dependency), never on the machine's own.
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, watch } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Line } from '../../src/policy/record.ts';

/** The command under test: this checkout's build, or another one, such as an unpacked package, by SALLYPORT_MAIN. */
export const MAIN = process.env['SALLYPORT_MAIN'] ?? join(import.meta.dirname, '..', '..', 'dist', 'main.js');

/** Time of a test that starts several processes: on a busy machine each takes seconds. */
export const PROCESSES_MS = 120_000;

const READY = /^sallyport ready: proxy (\S+) admin (\S+) mode (\S+) policy (\S+)$/m;

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface Finished extends Exit {
  readonly stdout: string;
  readonly stderr: string;
}

/** A command that may still be running, with what it has printed so far. */
interface Running {
  readonly child: ChildProcess;
  readonly exited: Promise<Finished>;
  stdout(): string;
  stderr(): string;
  /** The first match in what it prints on either stream, as soon as it is there; rejects when it ends without. */
  printed(pattern: RegExp): Promise<RegExpExecArray>;
}

export interface RunOptions {
  readonly cwd?: string;
  /** Laid over this process's own; undefined takes a variable away. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Another Node, or another program before Node (for example `['taskset', '-c', '0']`). */
  readonly command?: readonly string[];
}

/** Starts any program and collects what it prints. */
export function launch(command: readonly string[], options: RunOptions & { readonly input?: string } = {}): Running {
  const [program, ...args] = command as [string, ...string[]];
  const child = spawn(program, args, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const printed = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    printed.stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    printed.stderr += text;
  });
  child.stdin.on('error', () => {});
  child.stdin.end(options.input ?? '');
  const exited = new Promise<Finished>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal, ...printed }));
  });
  exited.catch(() => {});
  const match = (pattern: RegExp): Promise<RegExpExecArray> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        const found = pattern.exec(printed.stdout) ?? pattern.exec(printed.stderr);
        if (found) resolve(found);
      };
      child.stdout.on('data', look);
      child.stderr.on('data', look);
      look();
      exited.then(
        (end) =>
          reject(
            new Error(`ended with ${end.code ?? end.signal} before it printed ${pattern}\n${end.stdout}${end.stderr}`),
          ),
        reject,
      );
    });
  return { child, exited, stdout: () => printed.stdout, stderr: () => printed.stderr, printed: match };
}

/** Runs a program to its end. */
export function run(
  command: readonly string[],
  options: RunOptions & { readonly input?: string } = {},
): Promise<Finished> {
  return launch(command, options).exited;
}

/** Runs one sallyport command to its end. */
export function sallyport(
  args: readonly string[],
  options: RunOptions & { readonly input?: string } = {},
): Promise<Finished> {
  return run([...(options.command ?? [process.execPath]), MAIN, ...args], options);
}

/** The audit log as it stands; a last line that is not whole yet is left out. */
export function readAudit(file: string): Line[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line);
}

/** The first line of the audit log that `wanted` accepts, as soon as it is there: woken by the file system, not by a clock. */
export async function auditLine<T extends Line>(file: string, wanted: (line: Line) => line is T): Promise<T>;
export async function auditLine(file: string, wanted: (line: Line) => boolean): Promise<Line>;
export async function auditLine(file: string, wanted: (line: Line) => boolean): Promise<Line> {
  return (await auditLines(file, (lines) => lines.some(wanted))).find(wanted) as Line;
}

/** The whole audit log as soon as `enough` accepts it. */
export function auditLines(file: string, enough: (lines: Line[]) => boolean): Promise<Line[]> {
  return new Promise((resolve, reject) => {
    const watcher = watch(dirname(file), (_, name) => {
      if (name === null || name === basename(file)) look();
    });
    const look = (): void => {
      try {
        const lines = readAudit(file);
        if (!enough(lines)) return;
        watcher.close();
        resolve(lines);
      } catch (error) {
        watcher.close();
        reject(error);
      }
    };
    look();
  });
}

export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

/** The first address of the ready line's list. */
function endpoint(text: string): Endpoint {
  const match = /^\[?([^\],]+?)\]?:(\d+)(?:,|$)/.exec(text);
  if (!match) throw new Error(`not an address: ${text}`);
  return { host: match[1] as string, port: Number(match[2]) };
}

export interface ProxyProcess extends Running {
  readonly pid: number;
  readonly proxy: Endpoint;
  readonly admin: Endpoint | null;
  readonly mode: string;
  readonly policy: string;
  /** `http://host:port`, with credentials when a user is given. */
  url(user?: string): string;
  signal(name: NodeJS.Signals): void;
  /** SIGTERM, then its exit. */
  stop(): Promise<Finished>;
  /** SIGKILL, then its exit. */
  kill9(): Promise<Finished>;
}

const started = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of started) child.kill('SIGKILL');
});

/** Starts `serve` and waits for its ready line; throws with what it printed when it ends instead. */
export async function startProxy(args: readonly string[], options: RunOptions = {}): Promise<ProxyProcess> {
  const running = launch([...(options.command ?? [process.execPath]), MAIN, 'serve', ...args], options);
  const { child, exited } = running;
  started.add(child);
  exited.then(
    () => started.delete(child),
    () => started.delete(child),
  );
  const [, proxyAt = '', adminAt = '', mode = '', policy = ''] = await running.printed(READY);
  const proxy = endpoint(proxyAt);
  const send = (name: NodeJS.Signals): void => void child.kill(name);
  const end = (name: NodeJS.Signals): Promise<Finished> => {
    send(name);
    return exited;
  };
  return {
    ...running,
    pid: child.pid as number,
    proxy,
    admin: adminAt === 'off' || adminAt.startsWith('unix:') ? null : endpoint(adminAt),
    mode,
    policy,
    url: (user) => `http://${user === undefined ? '' : `${user}:@`}${proxy.host}:${proxy.port}`,
    signal: send,
    stop: () => end('SIGTERM'),
    kill9: () => end('SIGKILL'),
  };
}
