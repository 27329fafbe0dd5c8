// A real PostgreSQL server in a scratch folder, on a Unix socket, run by an unprivileged user; started, killed and restarted by
// the tests. `postgresBin` is null where Debian's postgresql is not installed; .ci/run installs it.
// Each has files of its own, a copy of what initdb has made once for the run: initdb takes ten times as long.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import pg from 'pg';
import { onTestFinished } from 'vitest';
import { type PostgresPlace, parsePostgresUrl } from '../../src/config/store-place.ts';
import { runFolder } from './run-folder.ts';
import { tempDir } from './temp.ts';
import type { Certificate } from './tls.ts';

const VERSIONS = '/usr/lib/postgresql';
const STARTS_MAX = 50;

/** Folder of initdb and postgres, of the newest version. */
export const postgresBin: string | null = (() => {
  if (!fs.existsSync(VERSIONS)) return null;
  const versions = fs.readdirSync(VERSIONS).sort((a, b) => Number(b) - Number(a));
  return (
    versions.map((name) => path.join(VERSIONS, name, 'bin')).find((bin) => fs.existsSync(path.join(bin, 'initdb'))) ??
    null
  );
})();

/** The server refuses to run as root. */
const NOBODY = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};

function makeCluster(data: string): void {
  const shared = path.join(runFolder(), 'postgres');
  const copy = (from: string, to: string) => execFileSync('cp', ['-a', from, to]);
  if (fs.existsSync(shared)) {
    copy(shared, data);
    return;
  }
  const init = ['-D', data, '-U', 'sallyport', '-A', 'trust', '-E', 'UTF8', '--no-locale', '--no-sync'];
  execFileSync(path.join(postgresBin ?? '', 'initdb'), init, { ...NOBODY, cwd: '/', stdio: 'ignore' });
  const part = `${shared}.${process.pid}`;
  copy(data, part);
  try {
    fs.renameSync(part, shared);
  } catch (error) {
    // Another process was first.
    if ((error as NodeJS.ErrnoException).code !== 'ENOTEMPTY') throw error;
    fs.rmSync(part, { recursive: true });
  }
}

/** Where it runs, if not in this network: what is put before its command, and who may come. */
interface Elsewhere {
  readonly inside: readonly string[];
  readonly from: string;
}

export class Postgres {
  readonly directory: string;
  readonly #data: string;
  readonly #inside: readonly string[];
  #settings: readonly string[];
  #server: ChildProcess | null = null;

  private constructor(settings: readonly string[], elsewhere: Elsewhere | null) {
    this.#settings = settings;
    this.#inside = elsewhere?.inside ?? [];
    this.directory = tempDir('pg');
    this.#data = path.join(this.directory, 'data');
    if (NOBODY.uid !== undefined) fs.chownSync(this.directory, NOBODY.uid, NOBODY.gid);
    makeCluster(this.#data);
    if (elsewhere !== null)
      fs.appendFileSync(path.join(this.#data, 'pg_hba.conf'), `host all all ${elsewhere.from} trust\n`);
  }

  /** `settings` as name=value. It ends with the test. */
  static async start(settings: readonly string[] = [], elsewhere: Elsewhere | null = null): Promise<Postgres> {
    const server = new Postgres(settings, elsewhere);
    onTestFinished(() => server.kill());
    await server.restart();
    return server;
  }

  /** Where a database on it is: `postgres` is empty at first. */
  place(database = 'postgres'): PostgresPlace {
    const parsed = parsePostgresUrl(this.url(database));
    if ('problem' in parsed) throw new Error(parsed.problem);
    return parsed.place;
  }

  url(database = 'postgres'): string {
    return `postgres:///${database}?host=${this.directory}&user=sallyport`;
  }

  /** From the next start on: TLS on a loopback port, and a password for everybody there. Gives that port. */
  async overTls({ key, cert }: Certificate, password: string): Promise<number> {
    await this.#execute(`ALTER USER sallyport PASSWORD '${password}'`);
    const files = [
      ['server.key', key],
      ['server.crt', cert],
      ['pg_hba.conf', 'local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n'],
    ] as const;
    for (const [name, text] of files) {
      const file = path.join(this.#data, name);
      fs.writeFileSync(file, text, { mode: 0o600 });
      if (NOBODY.uid !== undefined) fs.chownSync(file, NOBODY.uid, NOBODY.gid);
    }
    const listener = net.createServer().listen(0, '127.0.0.1');
    await once(listener, 'listening');
    const { port } = listener.address() as net.AddressInfo;
    listener.close();
    this.#settings = [...this.#settings, 'listen_addresses=127.0.0.1', `port=${port}`, 'ssl=on'];
    return port;
  }

  async #execute(statement: string): Promise<void> {
    const client = new pg.Client({ host: this.directory, user: 'sallyport', database: 'postgres' });
    await client.connect();
    await client.query(statement);
    await client.end();
  }

  /** Starts it where it does not run. After a kill the kernel may still hold what the old one had: then again. */
  async restart(): Promise<void> {
    for (let attempt = 0; attempt < STARTS_MAX; attempt++) if (await this.#started()) return;
    throw new Error('PostgreSQL does not start');
  }

  /** kill -9: what was committed is there after the restart, nothing else. */
  async kill(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    if (server === null || server.exitCode !== null) return;
    const exited = new Promise((resolve) => server.once('close', resolve));
    server.kill('SIGKILL');
    await exited;
  }

  /** SIGSTOP and SIGCONT for the server and all its backends: it accepts and never answers. */
  freeze(signal: 'SIGSTOP' | 'SIGCONT'): void {
    const pid = this.#server?.pid;
    if (pid === undefined) throw new Error('it does not run');
    const children = fs.readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(/\s+/).filter(Boolean);
    for (const one of [pid, ...children.map(Number)]) process.kill(one, signal);
  }

  #started(): Promise<boolean> {
    const settings = ['listen_addresses=', `unix_socket_directories=${this.directory}`, 'fsync=off', ...this.#settings];
    const args = ['-D', this.#data, ...settings.flatMap((setting) => ['-c', setting])];
    const [program = '', ...before] = [...this.#inside, path.join(postgresBin ?? '', 'postgres')];
    const server = spawn(program, [...before, ...args], {
      // What goes into a namespace is root until it is there.
      ...(this.#inside.length === 0 ? NOBODY : {}),
      cwd: '/',
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    return new Promise((resolve, reject) => {
      let said = '';
      server.stderr?.on('data', (chunk: Buffer) => {
        said += chunk.toString();
        if (!said.includes('ready to accept connections')) return;
        this.#server = server;
        resolve(true);
      });
      server.once('error', reject);
      server.once('exit', () => resolve(false));
    });
  }
}
