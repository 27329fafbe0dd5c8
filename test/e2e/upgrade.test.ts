// An upgrade under load, from outside: no client is refused, no tunnel breaks, every request is recorded once and counted once.
// The processes that upgrades start are no children of the test; their pids come from the audit log, and they end with each test.
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { branchPaths } from '../../src/audit/branch.ts';
import { lockHolder } from '../../src/audit/lock.ts';
import type { Line } from '../../src/policy/record.ts';
import { echo, type Origin, startOrigin } from '../support/origin.ts';
import { auditLine, type Finished, PROCESSES_MS, sallyport } from '../support/proxy-process.ts';
import type { RawClient } from '../support/raw-client.ts';
import { type PolicyFile, tempDir } from '../support/temp.ts';
import { askedFor, openTunnel, ping } from '../support/tunnel.ts';
import { endAll, everything, gone, idsOf, lives, upgrade as upgradeOf } from '../support/upgrades.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

const DIE = new URL('../support/die-in-upgrade.mjs', import.meta.url).href;
const HOST = 'echo.allowed.test';
let world: World;
let origin: Origin;

afterEach(async () => {
  endAll(world);
  await world.close();
  await origin.close();
});

async function start(policy: PolicyFile = {}, env: Record<string, string> = {}): Promise<void> {
  origin = await startOrigin(echo);
  const allow = [{ host: HOST, ports: [origin.port], protocol: 'any', addresses: LOOPBACK }];
  world = await startWorld({ allow, ...policy }, { [HOST]: ['127.0.0.1'] }, env);
}

const command = (...args: string[]): Promise<Finished> =>
  sallyport([...args, '--config', world.configFile], { cwd: world.dir });

const upgrade = (): ReturnType<typeof upgradeOf> => upgradeOf(world);
const answer = (host: string): Promise<string> => askedFor(world.proxy.proxy, host, 443);
const tunnel = (): Promise<RawClient> => openTunnel(world.proxy.proxy, HOST, origin.port);

async function finish(client: RawClient): Promise<void> {
  client.end();
  await client.readAll();
}

const recorded = (): Line[] => everything(world);
const ids = (lines: Line[], event: 'decided' | 'ended'): string[] => idsOf(lines, event, HOST);

describe('two upgrades under load', () => {
  it('refuse no client, break no tunnel, and lose no record', { timeout: 240_000 }, async () => {
    await start();
    const old = world.proxy.pid;
    const held = await Promise.all(Array.from({ length: 300 }, tunnel));
    let opened = held.length;
    let stop = false;
    const failures: unknown[] = [];
    const clients = Array.from({ length: 8 }, async () => {
      while (!stop) {
        try {
          await finish(await tunnel());
          opened++;
        } catch (error) {
          failures.push(error);
        }
      }
    });

    const first = await upgrade();
    expect(first, first.stdout + first.stderr).toMatchObject({ code: 0 });
    const between = await Promise.all(Array.from({ length: 20 }, tunnel));
    opened += between.length;
    const second = await upgrade();
    expect(second, second.stdout + second.stderr).toMatchObject({ code: 0 });
    // Three processes: two that drain, and the one that serves.
    expect([old, first.pid, second.pid].map(lives)).toEqual([true, true, true]);
    expect(lockHolder(world.auditFile)?.pid).toBe(second.pid);
    const servedBefore = opened;
    while (opened < servedBefore + 50 && failures.length === 0) await delay(10);
    stop = true;
    await Promise.all(clients);
    expect(failures).toEqual([]);

    for (const client of [...held, ...between]) await ping(client);
    for (const client of [...held, ...between]) await finish(client);
    await Promise.all([gone(old), gone(first.pid)]);
    process.kill(second.pid, 'SIGTERM');
    await gone(second.pid);

    const lines = recorded();
    const decided = ids(lines, 'decided');
    expect(decided).toHaveLength(opened);
    expect(new Set(decided).size).toBe(opened);
    expect(ids(lines, 'ended')).toEqual(decided);
    expect(new Set(lines.flatMap((line) => (line.event === 'ended' ? [line.outcome] : [])))).toEqual(
      new Set(['closed']),
    );
    expect(lines.filter(({ event }) => event === 'stop')).toHaveLength(3);
    expect(new Set(lines.map(({ policy }) => policy))).toEqual(new Set([world.proxy.policy]));
    const verified = await command('audit', 'verify');
    expect(verified, verified.stdout + verified.stderr).toMatchObject({ code: 0 });
    const report = await world.report<{ totals: { tunnels: number } }>();
    expect(report.totals.tunnels).toBe(opened);
  });
});

// Each starts several processes.
describe('an upgrade', { timeout: PROCESSES_MS }, () => {
  it('that the new process cannot make leaves the old one serving, and says why', async () => {
    await start();
    const client = await tunnel();
    writeFileSync(world.configFile, 'version: 1\nallow: ["*.com"]\n');
    // The command itself would refuse the file: the signal alone shows what the proxy does.
    world.proxy.signal('SIGUSR1');
    const failed = await auditLine(
      world.auditFile,
      (line) => line.event === 'upgrade' && line.detail['result'] === 'failed',
    );
    expect(failed).toMatchObject({
      detail: { code: 'upgrade-failed', why: expect.stringMatching(/^config-.*sallyport\.yaml:2/) },
    });
    await ping(client);
    await finish(await tunnel());
    expect(lockHolder(world.auditFile)?.pid).toBe(world.proxy.pid);
    expect(branchPaths(world.auditFile)).toEqual([]);
    // And it can be tried again.
    world.write({});
    expect(await upgrade()).toMatchObject({ code: 0 });
    await ping(client);
    await finish(await tunnel());
    client.close();
  });

  it.each(['fork', 'socket', 'ready'])(
    'whose new process dies at the %s leaves the log whole and the old one its writer',
    async (moment) => {
      const die = join(tempDir('die'), 'moment');
      await start({}, { NODE_OPTIONS: `--import ${DIE}`, SALLYPORT_TEST_DIE: die });
      writeFileSync(die, moment);
      const before = await tunnel();
      const failed = await upgrade();
      expect(failed, failed.stdout + failed.stderr).toMatchObject({
        code: 1,
        stdout: expect.stringContaining('it ended with SIGKILL before it was ready'),
      });
      await ping(before);
      const after = await tunnel();
      expect(lockHolder(world.auditFile)?.pid).toBe(world.proxy.pid);
      const observed = await command('mode', 'observe', '--for-minutes', '5', '--reason', 'INC-42');
      expect(observed, observed.stdout + observed.stderr).toMatchObject({ code: 0 });

      rmSync(die);
      const second = await upgrade();
      expect(second, second.stdout + second.stderr).toMatchObject({ code: 0 });
      const last = await tunnel();
      for (const client of [before, after, last]) {
        await ping(client);
        await finish(client);
      }
      await gone(world.proxy.pid);
      process.kill(second.pid, 'SIGTERM');
      await gone(second.pid);
      const decided = ids(recorded(), 'decided');
      expect(decided).toHaveLength(3);
      expect(ids(recorded(), 'ended')).toEqual(decided);
      const verified = await command('audit', 'verify');
      expect(verified, verified.stdout + verified.stderr).toMatchObject({ code: 0 });
      expect((await world.report<{ totals: { tunnels: number } }>()).totals.tunnels).toBe(3);
    },
  );

  it.each(['fork', 'socket', 'ready'])(
    'in whose midst the old process is told to stop, at the %s, ends both',
    async (moment) => {
      const die = join(tempDir('die'), 'moment');
      await start({}, { NODE_OPTIONS: `--import ${DIE}`, SALLYPORT_TEST_DIE: die });
      writeFileSync(die, `stop ${moment}`);
      const held = await tunnel();
      world.proxy.signal('SIGUSR1');
      const begun = await auditLine(world.auditFile, ({ event, ...line }) => event === 'upgrade' && 'detail' in line);
      // What is open may finish; then neither of the two is left.
      await ping(held);
      await finish(held);
      await gone(world.proxy.pid);
      await gone(begun.event === 'upgrade' ? Number(begun.detail['pid']) : 0);
      expect(world.proxy.child.exitCode).toBe(0);
      expect(lockHolder(world.auditFile)).toBeNull();
      const decided = ids(recorded(), 'decided');
      expect(decided).toHaveLength(1);
      expect(ids(recorded(), 'ended')).toEqual(decided);
      const verified = await command('audit', 'verify');
      expect(verified, verified.stdout + verified.stderr).toMatchObject({ code: 0 });
    },
  );

  it('is refused while one is under way', async () => {
    await start();
    world.proxy.signal('SIGUSR1');
    await auditLine(world.auditFile, (line) => line.event === 'upgrade' && line.detail['result'] === 'begun');
    world.proxy.signal('SIGUSR1');
    await auditLine(world.auditFile, (line) => line.event === 'start' && line.detail['pid'] !== world.proxy.pid);
    expect(recorded()).toContainEqual(
      expect.objectContaining({
        event: 'upgrade',
        detail: expect.objectContaining({ result: 'refused', code: 'upgrade-running' }),
      }),
    );
    // Nothing is open: the old one ends by itself.
    await gone(world.proxy.pid);
  });

  it('keeps the override of the mode, and its end', async () => {
    await start();
    const set = await command('mode', 'observe', '--for-minutes', '5', '--reason', 'INC-42');
    expect(set, set.stdout + set.stderr).toMatchObject({ code: 0 });
    const done = await upgrade();
    expect(done, done.stdout + done.stderr).toMatchObject({ code: 0 });
    expect(recorded()).toContainEqual(
      expect.objectContaining({ event: 'start', detail: expect.objectContaining({ pid: done.pid, mode: 'observe' }) }),
    );
    // Observed and let through, so that the name is looked up; nobody has it.
    expect(await answer('other.test')).toBe('502 dns-failed');
    expect(await command('mode', 'clear')).toMatchObject({ code: 0 });
    expect(await answer('other.test')).toBe('403 host-not-allowed');
  });

  it('leaves an old process that two SIGTERMs end at once', async () => {
    await start({ limits: { drain_timeout_ms: 3_600_000 } });
    const held = await tunnel();
    expect(await upgrade()).toMatchObject({ code: 0 });
    world.proxy.signal('SIGTERM');
    await ping(held);
    world.proxy.signal('SIGTERM');
    // Its output stays open: the new process has it too.
    await gone(world.proxy.pid);
    expect(world.proxy.child.exitCode).toBe(0);
    await held.readAll();
    expect(held.state).toBe('reset');
    expect(recorded()).toContainEqual(expect.objectContaining({ event: 'ended', host: HOST, outcome: 'drained' }));
    await finish(await tunnel());
  });

  it('that takes longer than upgrade_timeout_ms is ended', async () => {
    await start({ limits: { upgrade_timeout_ms: 1_000 } });
    world.proxy.signal('SIGUSR1');
    const begun = await auditLine(
      world.auditFile,
      (line) => line.event === 'upgrade' && line.detail['result'] === 'begun',
    );
    const pid = begun.event === 'upgrade' ? Number(begun.detail['pid']) : 0;
    // It has hardly begun to start, and goes no further.
    process.kill(pid, 'SIGSTOP');
    const failed = await auditLine(
      world.auditFile,
      (line) => line.event === 'upgrade' && line.detail['result'] === 'failed',
    );
    expect(failed).toMatchObject({ detail: { why: 'it was not ready within 1000 ms' } });
    expect(lives(pid)).toBe(false);
    await finish(await tunnel());
  });

  it('opens no debugger, which is what Node.js does at that signal', async () => {
    await start();
    world.proxy.signal('SIGUSR1');
    await auditLine(world.auditFile, (line) => line.event === 'start' && line.detail['pid'] !== world.proxy.pid);
    expect(world.proxy.stderr()).toContain('an upgrade begins');
    expect(world.proxy.stderr()).not.toMatch(/debugger/i);
  });

  it('finds no proxy where none runs', async () => {
    await start();
    await world.proxy.kill9();
    const done = await command('upgrade');
    expect(done.code).toBe(1);
    expect(done.stderr).toContain('proxy-not-found');
  });
});
