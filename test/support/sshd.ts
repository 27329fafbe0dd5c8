// A real sshd on loopback for one test file, with keys of its own; it runs as the user of the tests and serves only that user.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import net from 'node:net';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { launch } from './proxy-process.ts';
import { writeFile } from './temp.ts';

export interface SshServer {
  readonly port: number;
  /** An ssh command line up to the host; `proxyCommand` null and a `config` file: what the file says. */
  client(proxyCommand: string | null, config?: string): readonly string[];
  close(): Promise<void>;
}

const PROGRAM = '/usr/sbin/sshd';
/** sshd as root wants this folder, even with no separation to do. */
const SEPARATION = '/run/sshd';

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export async function startSshd(dir: string): Promise<SshServer> {
  if (process.getuid?.() === 0 && !existsSync(SEPARATION)) mkdirSync(SEPARATION, { mode: 0o755 });
  for (const name of ['host', 'user']) {
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(dir, name)]);
  }
  execFileSync('cp', [join(dir, 'user.pub'), join(dir, 'authorized')]);
  const port = await freePort();
  const config = join(dir, 'sshd_config');
  writeFile(
    config,
    [
      `Port ${port}`,
      'ListenAddress 127.0.0.1',
      `HostKey ${join(dir, 'host')}`,
      `AuthorizedKeysFile ${join(dir, 'authorized')}`,
      `PidFile ${join(dir, 'sshd.pid')}`,
      'StrictModes no',
      'UsePAM no',
      'PasswordAuthentication no',
      'PermitRootLogin prohibit-password',
      '',
    ].join('\n'),
  );
  const server = launch([PROGRAM, '-D', '-e', '-f', config]);
  await server.printed(/Server listening on/);
  const options = [
    '-i',
    join(dir, 'user'),
    '-o',
    'IdentitiesOnly=yes',
    '-o',
    'BatchMode=yes',
    '-o',
    'StrictHostKeyChecking=no',
    '-o',
    'UserKnownHostsFile=/dev/null',
    '-l',
    userInfo().username,
    '-p',
    String(port),
  ];
  return {
    port,
    client: (proxyCommand, file = '/dev/null') => [
      'ssh',
      '-F',
      file,
      ...options,
      ...(proxyCommand === null ? [] : ['-o', `ProxyCommand=${proxyCommand}`]),
    ],
    close: async () => {
      server.child.kill('SIGTERM');
      await server.exited;
    },
  };
}
