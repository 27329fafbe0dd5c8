// The admin listener as a Unix socket: reached by its file, over an upgrade and after a crash, and gone with the process.
import { lstatSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, it } from 'vitest';
import { PROCESSES_MS, run, sallyport } from '../support/proxy-process.ts';
import { tempDir } from '../support/temp.ts';
import { startWorld, type World } from '../support/world.ts';

let world: World | null = null;
afterEach(async () => {
  await world?.close();
  world = null;
});

const exists = (file: string): boolean => lstatSync(file, { throwIfNoEntry: false }) !== undefined;

/** Polls a process that is no child of this one. */
async function gone(pid: number): Promise<void> {
  for (;;) {
    try {
      process.kill(pid, 0);
    } catch {
      return;
    }
    await delay(20);
  }
}

it('answers on its file, over an upgrade and after a crash, and goes with the process', {
  timeout: PROCESSES_MS,
}, async () => {
  const file = join(tempDir('socket'), 'admin.sock');
  world = await startWorld({ admin: `unix:${file}` });
  const { configFile, dir, auditFile } = world;
  const token = readFileSync(`${auditFile}.admin-token`, 'utf8').trim();
  const curl = async (...args: string[]): Promise<string> => {
    const base = ['curl', '-s', '--unix-socket', file, '-o', '/dev/null', '-w', '%{http_code}'];
    return (await run([...base, ...args, 'http://localhost/v1/status'])).stdout;
  };
  const health = () => sallyport(['health', '--config', configFile], { cwd: dir });
  expect(world.proxy.stdout()).toContain(`admin unix:${file} `);
  expect(statSync(file).mode & 0o777).toBe(0o660);
  expect([await curl('-H', `Authorization: Bearer ${token}`), await curl()]).toEqual(['200', '401']);
  expect(await curl('-H', `Authorization: Bearer ${token}`, '-H', 'Host: evil.example')).toBe('403');
  expect(await health()).toMatchObject({ code: 0, stdout: 'ready\n' });

  await world.proxy.kill9();
  expect([exists(file), (await health()).code]).toEqual([true, 1]);
  await world.restart();
  expect((await health()).code).toBe(0);

  const old = world.proxy;
  const done = await sallyport(['upgrade', '--json', '--config', configFile], { cwd: dir });
  const { pid } = JSON.parse(done.stdout) as { pid: number };
  try {
    // Its output stays open: the new process writes there too.
    await new Promise((resolve) => (old.child.exitCode === null ? old.child.once('exit', resolve) : resolve(null)));
    expect((await health()).code).toBe(0);
  } finally {
    process.kill(pid, 'SIGKILL');
    await gone(pid);
  }
  await world.restart();
  await world.proxy.stop();
  expect(exists(file)).toBe(false);
  expect(exists(`${file}.${world.proxy.pid}`)).toBe(false);
});

it('takes nothing away that is no socket', { timeout: PROCESSES_MS }, async () => {
  const file = join(tempDir('socket'), 'precious');
  writeFileSync(file, 'precious');
  world = await startWorld({});
  world.write({ admin: `unix:${file}` });
  await world.proxy.stop();
  const ended = await sallyport(['serve', '--config', world.configFile], { cwd: world.dir });
  expect(ended).toMatchObject({ code: 1, stderr: expect.stringContaining('listen-failed') });
  expect(ended.stderr).toContain('is no socket');
  expect(readFileSync(file, 'utf8')).toBe('precious');
});
