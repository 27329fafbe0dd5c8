// `sallyport connect` as people meet it: as the ProxyCommand of a real ssh to a real sshd, and under git over ssh.
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ended } from '../support/lines.ts';
import { hasProgram } from '../support/programs.ts';
import { auditLine, MAIN, PROCESSES_MS } from '../support/proxy-process.ts';
import { type SshServer, startSshd } from '../support/sshd.ts';
import { tempDir, writeFile } from '../support/temp.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

let world: World;
let sshd: SshServer;
let ssh: readonly string[];

describe.skipIf(!hasProgram('sshd', 'ssh'))('connect, under a real ssh', () => {
  beforeAll(async () => {
    const dir = tempDir('ssh');
    sshd = await startSshd(dir);
    world = await startWorld(
      {
        allow: [
          { host: 'git.allowed.test', ports: [sshd.port], protocol: 'ssh', addresses: LOOPBACK },
          { host: 'tls.allowed.test', ports: [sshd.port], addresses: LOOPBACK },
        ],
      },
      { 'git.allowed.test': ['127.0.0.1'], 'tls.allowed.test': ['127.0.0.1'] },
    );
    ssh = sshd.client(`${process.execPath} ${MAIN} connect --proxy ${world.proxy.url()} %h %p`);
  });

  afterAll(async () => {
    await world.close();
    await sshd.close();
  });

  it('carries an ssh session; what is sent ends before what comes back', async () => {
    // cat answers only when its input has ended, and ssh ends its own after the answer.
    const done = await world.client([...ssh, 'git.allowed.test', 'cat; echo done'], { input: 'x'.repeat(300_000) });
    expect([done.code, done.stdout], done.stderr).toEqual([0, `${'x'.repeat(300_000)}done\n`]);
    expect(await auditLine(world.auditFile, ended('git.allowed.test'))).toMatchObject({ verdict: 'allow' });
  });

  it('carries git over ssh: a clone and a push', async () => {
    const env = {
      GIT_SSH_COMMAND: ssh.map((word) => `'${word}'`).join(' '),
      GIT_AUTHOR_NAME: 'a',
      GIT_AUTHOR_EMAIL: 'a@b.test',
    };
    const git = (...args: readonly string[]) =>
      world.client(['git', ...args], { env: { ...env, GIT_COMMITTER_NAME: 'a', GIT_COMMITTER_EMAIL: 'a@b.test' } });
    const bare = join(world.dir, 'project.git');
    mkdirSync(bare);
    await git('init', '-q', '--bare', '-b', 'main', bare);
    const cloned = await git('clone', '-q', `ssh://git.allowed.test:${sshd.port}${bare}`, 'work');
    expect(cloned.code, cloned.stderr).toBe(0);
    const work = join(world.dir, 'work');
    writeFile(join(work, 'README'), 'through the tunnel\n');
    await git('-C', work, 'add', '.');
    await git('-C', work, 'commit', '-q', '-m', 'first');
    const pushed = await git('-C', work, 'push', '-q', 'origin', 'HEAD:main');
    expect(pushed.code, pushed.stderr).toBe(0);
    expect((await git('-C', bare, 'log', '--format=%s', 'main')).stdout).toBe('first\n');
  });

  it('shows the status line of a refusal, its hint and the request id', async () => {
    const done = await world.client([...ssh, 'git.denied.test', 'true']);
    expect(done.code).toBe(255);
    expect(done.stderr).toMatch(/refused git\.denied\.test:\d+: HTTP\/1\.1 403 host-not-allowed \(request id \S+\)/);
    expect(done.stderr).toContain('tunnel-refused');
    expect(done.stderr).toContain('hint: ');
  });

  it('is cut where the policy says TLS: ssh ends, and the record says why', async () => {
    const done = await world.client([...ssh, 'tls.allowed.test', 'true']);
    expect(done.code).toBe(255);
    expect(await auditLine(world.auditFile, ended('tls.allowed.test'))).toMatchObject({
      verdict: 'deny',
      reason: 'not-tls',
    });
  });

  it('the lines of `env --for ssh` take ssh through the proxy', async () => {
    const shown = await world.client([
      process.execPath,
      MAIN,
      'env',
      '--for',
      'ssh',
      '--config',
      world.configFile,
      '--proxy',
      world.proxy.url(),
    ]);
    expect(shown.code, shown.stderr).toBe(0);
    const config = join(world.dir, 'ssh_config');
    // The program is on no path here, and the lines are for every host.
    writeFile(config, shown.stdout.replace(/sallyport connect/g, `${process.execPath} ${MAIN} connect`));
    expect(readFileSync(config, 'utf8')).toContain('HostName ssh.github.com');
    const done = await world.client([...sshd.client(null, config), 'git.allowed.test', 'echo', 'configured']);
    expect([done.code, done.stdout], done.stderr).toEqual([0, 'configured\n']);
    const github = await world.client(['ssh', '-G', '-F', config, 'git@github.com']);
    expect(github.stdout).toMatch(/^hostname ssh\.github\.com$/m);
    expect(github.stdout).toMatch(/^port 443$/m);
  });
});
