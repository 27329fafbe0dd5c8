// `sallyport tail` beside a proxy that runs: JSON lines in a pipe, filtered, over a restart of the proxy; and what it says where
// nobody is there or the token is another one.
import { writeFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { run as typed } from '../../src/cli/run.ts';
import { pipes } from '../cli/console.ts';
import { freePort } from '../support/free-port.ts';
import { launch, MAIN, PROCESSES_MS, sallyport } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { startWorld, type World } from '../support/world.ts';

let world: World | null = null;
afterEach(async () => {
  await world?.close();
  world = null;
});

async function ask(host: string, user: string): Promise<void> {
  const client = await RawClient.connect((world as World).proxy.proxy, {});
  const who = Buffer.from(`${user}:`).toString('base64');
  client.send(`CONNECT ${host}:443 HTTP/1.1\r\nHost: ${host}\r\nProxy-Authorization: Basic ${who}\r\n\r\n`);
  await client.readHead();
  client.close();
}

describe('sallyport tail', () => {
  it('follows what is wanted, over a restart', { timeout: PROCESSES_MS }, async () => {
    world = await startWorld({ admin: `127.0.0.1:${await freePort()}` });
    await ask('first.example', 'web%2F1');
    const command = [process.execPath, MAIN, 'tail', '--denied', '--pipeline', 'we*', '--last', '5'];
    const tail = launch([...command, '--config', world.configFile], { cwd: world.dir });
    await tail.printed(/first\.example/);
    await ask('other.example', 'deploy%2F1');
    await ask('second.example', 'web%2F1');
    await tail.printed(/second\.example/);
    await world.proxy.stop();
    await world.restart();
    await tail.printed(/the proxy has restarted/);
    await ask('third.example', 'web%2F1');
    await tail.printed(/third\.example/);
    tail.child.kill('SIGTERM');
    const { stdout } = await tail.exited;
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines.map(({ event, host, reason }) => [event, host, reason])).toEqual([
      ['decided', 'first.example', 'host-not-allowed'],
      ['decided', 'second.example', 'host-not-allowed'],
      ['decided', 'third.example', 'host-not-allowed'],
    ]);
  });

  it('goes on with the new process of an upgrade', { timeout: PROCESSES_MS }, async () => {
    world = await startWorld({ admin: `127.0.0.1:${await freePort()}` });
    const tail = launch([process.execPath, MAIN, 'tail', '--last', '5', '--config', world.configFile], {
      cwd: world.dir,
    });
    await ask('first.example', 'web');
    await tail.printed(/first\.example/);
    const done = await sallyport(['upgrade', '--json', '--config', world.configFile], { cwd: world.dir });
    const { pid } = JSON.parse(done.stdout) as { pid: number };
    try {
      await tail.printed(/the proxy has restarted/);
      await ask('second.example', 'web');
      await tail.printed(/second\.example/);
    } finally {
      process.kill(pid, 'SIGKILL');
      tail.child.kill('SIGTERM');
    }
  });

  it('on a terminal it is a line each, and what clients invent is inert', { timeout: PROCESSES_MS }, async () => {
    world = await startWorld({
      admin: `127.0.0.1:${await freePort()}`,
      allow: [{ group: 'amazon-s3', with: { region: 'eu-west-1' } }],
    });
    await ask('evil.example', `${encodeURIComponent('web\u202emoc')}%2F1`);
    await ask('b.s3.us-west-2.amazonaws.com', 'web%2F1');
    const out: string[] = [];
    const screen = { isTTY: true, columns: 100 };
    const code = await typed(['tail', '--last', '2', '--no-color', '--config', world.configFile], {
      stdout: { ...screen, write: (text) => void out.push(text), taken: async () => out.length < 2 },
      stderr: { ...screen, write: () => {} },
      env: {},
      now: Date.now,
      user: 'operator',
      pipes,
      stdin: { isTTY: true },
      secret: async () => null,
    });
    expect(code).toBe(0);
    expect(out[0]).toMatch(
      /^\d\d:\d\d:\d\d {2}deny {8}evil\.example:443 {2}web\\u\{202e\}moc\/1 {2}host-not-allowed\n$/,
    );
    expect(out[1]).toContain('add: - { group: amazon-s3');
  });

  it('says what is wrong, and ends', { timeout: PROCESSES_MS }, async () => {
    world = await startWorld({ admin: `127.0.0.1:${await freePort()}` });
    const tail = (...args: string[]) =>
      sallyport(['tail', '--config', (world as World).configFile, ...args], { cwd: (world as World).dir });
    expect(await tail('--last', 'x')).toMatchObject({ code: 1, stderr: expect.stringContaining('admin-request') });
    writeFileSync(`${world.auditFile}.admin-token`, 'b'.repeat(43));
    expect(await tail()).toMatchObject({ code: 1, stderr: expect.stringContaining('admin-unauthorized') });
    await world.proxy.stop();
    expect(await tail()).toMatchObject({ code: 1, stderr: expect.stringContaining('admin-unreachable') });
    world.write({ admin: 'off' });
    expect(await tail()).toMatchObject({ code: 1, stderr: expect.stringContaining('`admin` is off') });
  });
});
