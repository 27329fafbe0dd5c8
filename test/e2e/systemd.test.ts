// The service manager's side: sockets that it has opened (sd_listen_fds(3)) and what it is told (sd_notify(3)). The messages go
// through systemd's own systemd-notify where the machine has it, else through a stand-in that sends the same datagram.
import { chmodSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { launch, PROCESSES_MS, type ProxyProcess, run, sallyport, startProxy } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { tempDir, writeFile, writePolicy } from '../support/temp.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

const open: ProxyProcess[] = [];
const helpers: ReturnType<typeof launch>[] = [];

afterEach(async () => {
  for (const proxy of open.splice(0)) await proxy.kill9();
  for (const helper of helpers.splice(0)) {
    helper.child.kill('SIGKILL');
    await helper.exited;
  }
});

/** A folder with a policy; `listen` and `admin` as given. */
function policy(changes: Readonly<Record<string, unknown>> = {}): { dir: string; config: string; log: string } {
  const dir = tempDir('systemd');
  const config = join(dir, 'sallyport.yaml');
  const log = join(dir, 'data', 'audit.jsonl');
  writePolicy(config, {
    version: 1,
    listen: '127.0.0.1:0',
    admin: '127.0.0.1:0',
    clients: { from: ['127.0.0.0/8'] },
    allow: ['api.test'],
    audit: { file: log },
    usage: { store: join(dir, 'usage.db') },
    ...changes,
  });
  return { dir, config, log };
}

async function start(
  at: { dir: string; config: string },
  options: { env?: Record<string, string | undefined>; command?: string[] } = {},
): Promise<ProxyProcess> {
  const proxy = await startProxy(['--config', at.config], { cwd: at.dir, ...options });
  open.push(proxy);
  return proxy;
}

const RECEIVER = `
import socket, sys
server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
server.bind(sys.argv[1])
print('bound', flush=True)
while True:
    message = server.recv(65536).decode()
    # systemd-notify waits until its barrier is closed, which recv without ancillary data does.
    if message != 'BARRIER=1':
        print('got ' + message.replace('\\n', ' | '), flush=True)
`;

const STAND_IN = `#!/usr/bin/env python3
import os, socket, sys
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto('\\n'.join(sys.argv[1:]).encode(), os.environ['NOTIFY_SOCKET'])
`;

/** A folder for PATH with a `systemd-notify` of that text in it. */
function standIn(dir: string, text: string): string {
  const file = join(dir, 'bin', 'systemd-notify');
  writeFile(file, text);
  chmodSync(file, 0o755);
  return join(dir, 'bin');
}

/** A receiver of notifications, and the environment that makes the proxy send them. */
async function receiver(dir: string): Promise<{ said: ReturnType<typeof launch>; env: Record<string, string> }> {
  const path = join(dir, 'notify.sock');
  const said = launch(['python3', '-c', RECEIVER, path]);
  helpers.push(said);
  await said.printed(/bound/);
  const real = (await run(['sh', '-c', 'command -v systemd-notify'])).code === 0;
  const PATH = process.env['PATH'] ?? '';
  return { said, env: { NOTIFY_SOCKET: path, PATH: real ? PATH : `${standIn(dir, STAND_IN)}:${PATH}` } };
}

describe('notification', () => {
  it('says when the proxy is ready, reloads, and stops', async () => {
    const at = policy();
    const { said, env } = await receiver(at.dir);
    const proxy = await start(at, { env });
    await said.printed(
      new RegExp(
        `got READY=1 \\| MAINPID=${proxy.pid} \\| STATUS=sallyport ready: proxy 127.0.0.1:${proxy.proxy.port}`,
      ),
    );
    proxy.signal('SIGHUP');
    await said.printed(
      /got RELOADING=1 \| MONOTONIC_USEC=\d{6,} \| STATUS=reloading the policy\n(?:.*\n)*?got READY=1 .*mode enforce/,
    );
    expect(await proxy.stop()).toMatchObject({ code: 0 });
    await said.printed(/got STOPPING=1 \| STATUS=draining/);
  });

  it('is not waited for: a systemd-notify that hangs holds nothing up', async () => {
    const at = policy();
    const hangs = standIn(at.dir, '#!/bin/sh\nexec sleep 600\n');
    const proxy = await start(at, {
      env: { NOTIFY_SOCKET: join(at.dir, 'nobody.sock'), PATH: `${hangs}:${process.env['PATH']}` },
    });
    for (let i = 0; i < 40; i++) proxy.signal('SIGHUP');
    expect(await asked(proxy)).toBe('403 host-not-allowed');
    expect(await proxy.stop()).toMatchObject({ code: 0 });
  });

  it('does not fail the proxy where there is no such program, and says so once', async () => {
    const at = policy();
    const proxy = await start(at, { env: { NOTIFY_SOCKET: join(at.dir, 'nobody.sock'), PATH: at.dir } });
    await proxy.printed(/systemd-notify does not work/);
    proxy.signal('SIGHUP');
    expect(await proxy.stop()).toMatchObject({ code: 0 });
    expect(proxy.stderr().match(/systemd-notify does not work/g)).toHaveLength(1);
  });
});

async function asked(proxy: ProxyProcess): Promise<string> {
  const client = await RawClient.connect(proxy.proxy);
  client.send('CONNECT other.test:443 HTTP/1.1\r\nHost: other.test:443\r\n\r\n');
  const { status, reason } = await client.readHead();
  client.close();
  return `${status} ${reason}`;
}

// What systemd does before it runs a service: sockets from descriptor 3 on, and three variables. argv: file for the ports,
// the names of the sockets, the pid to name (0: the right one), then the command.
const LAUNCHER = `
import fcntl, os, socket, sys
ports, names, pid, command = sys.argv[1], sys.argv[2].split(':'), int(sys.argv[3]), sys.argv[4:]
sockets = []
for name in names:
    if name.startswith('unix'):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.bind(ports + '.' + name)
    else:
        s = socket.socket()
        s.bind(('127.0.0.1', 0))
    s.listen(64)
    sockets.append(s)
with open(ports, 'w') as f:
    f.write(' '.join(str(s.getsockname()[1]) for s in sockets))
high = [fcntl.fcntl(s.fileno(), fcntl.F_DUPFD, 100) for s in sockets]
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i, inheritable=True)
os.environ.update(LISTEN_PID=str(pid or os.getpid()), LISTEN_FDS=str(len(names)))
if names != ['-'] * len(names):
    os.environ['LISTEN_FDNAMES'] = ':'.join(names)
os.execv(command[0], command)
`;

describe('an upgrade under systemd', () => {
  it('is refused without notification: systemd would end the new process with the old one', async () => {
    const at = policy();
    const proxy = await start(at, {
      env: { NOTIFY_SOCKET: undefined },
      command: ['sh', '-c', 'export SYSTEMD_EXEC_PID=$$; exec "$0" "$@"', process.execPath],
    });
    const done = await sallyport(['upgrade', '--config', at.config], { cwd: at.dir });
    expect(done.code).toBe(1);
    expect(done.stderr).toContain('upgrade-unsupported');
    expect(await asked(proxy)).toBe('403 host-not-allowed');
  });

  it('makes the new process the main one', async () => {
    const at = policy();
    const { said, env } = await receiver(at.dir);
    const proxy = await start(at, { env });
    const done = await sallyport(['upgrade', '--json', '--config', at.config], { cwd: at.dir });
    const { pid } = JSON.parse(done.stdout) as { pid: number };
    try {
      await said.printed(new RegExp(`got READY=1 \\| MAINPID=${pid} `));
      expect(said.stdout()).not.toContain('STOPPING=1');
    } finally {
      process.kill(pid, 'SIGTERM');
    }
    expect(await proxy.exited).toMatchObject({ code: 0 });
  });
});

describe('socket activation', () => {
  const launcher = (at: { dir: string }, names: string, pid = 0) => ({
    command: ['python3', '-c', LAUNCHER, join(at.dir, 'ports'), names, String(pid), process.execPath],
  });
  const ports = (at: { dir: string }): number[] => readFileSync(join(at.dir, 'ports'), 'utf8').split(' ').map(Number);

  it('takes the sockets by name, whatever their order', async () => {
    const at = policy();
    const proxy = await start(at, launcher(at, 'admin:proxy'));
    const [admin, own] = ports(at);
    expect(proxy.admin?.port).toBe(admin);
    expect(proxy.proxy.port).toBe(own);
    expect(await asked(proxy)).toBe('403 host-not-allowed');
  });

  it('takes them in order where they have no names', async () => {
    const at = policy();
    const proxy = await start(at, launcher(at, '-:-'));
    expect([proxy.proxy.port, proxy.admin?.port]).toEqual(ports(at));
  });

  it('binds what it was not passed', async () => {
    const at = policy();
    const proxy = await start(at, launcher(at, 'proxy'));
    expect(proxy.proxy.port).toBe(ports(at)[0]);
    expect(proxy.admin?.port).toBeGreaterThan(0);
    expect(proxy.admin?.port).not.toBe(proxy.proxy.port);
  });

  it('never lets a request reach an inherited endpoint', async () => {
    const at = policy({ allow: [{ host: '127.0.0.1', ports: [1], protocol: 'any' }] });
    const proxy = await start(at, launcher(at, 'proxy:admin'));
    for (const port of ports(at)) {
      const client = await RawClient.connect(proxy.proxy);
      client.send(`CONNECT 127.0.0.1:${port} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`);
      expect(await client.readHead()).toMatchObject({ status: 403 });
      client.close();
    }
  });

  it('passes them on to workers, which reach neither', async () => {
    const at = policy({ workers: 2, allow: [{ host: '127.0.0.1', ports: [1], protocol: 'any' }] });
    const proxy = await start(at, launcher(at, 'admin:proxy'));
    expect([proxy.admin?.port, proxy.proxy.port]).toEqual(ports(at));
    for (const port of ports(at)) {
      const client = await RawClient.connect(proxy.proxy);
      client.send(`CONNECT 127.0.0.1:${port} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`);
      expect(await client.readHead()).toMatchObject({ status: 403 });
      client.close();
    }
  });

  it('leaves sockets alone that were passed to another process', async () => {
    const at = policy();
    const proxy = await start(at, launcher(at, 'proxy:admin', 1));
    expect(ports(at)).not.toContain(proxy.proxy.port);
  });

  it.each([
    ['more sockets than places', 'proxy:proxy:admin', {}, /no place for descriptor 4 \(proxy\)/],
    ['a socket for an admin listener that is off', 'admin', { admin: 'off' }, /no place for descriptor 3 \(admin\)/],
    ['a socket that is not TCP', 'unix', {}, /cannot listen on 127.0.0.1:0/],
  ])('refuses %s', async (_, names, changes, message) => {
    const at = policy(changes);
    await expect(start(at, launcher(at, names))).rejects.toThrow(message);
  });
});
