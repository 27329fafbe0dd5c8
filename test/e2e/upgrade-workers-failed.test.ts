// Upgrades of a proxy with workers that go wrong, at each stage and on either side: nothing of the new process is left, the old workers go
// on in their own logs, and a worker that dies or hangs holds nobody up.
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, it, vi } from 'vitest';
import { lockHolder } from '../../src/audit/lock.ts';
import type { Line, NoteLine } from '../../src/policy/record.ts';
import { echo, type Origin, startOrigin } from '../support/origin.ts';
import { auditLine, type Finished, sallyport } from '../support/proxy-process.ts';
import type { RawClient } from '../support/raw-client.ts';
import { type PolicyFile, tempDir } from '../support/temp.ts';
import { askedFor, openTunnel, ping } from '../support/tunnel.ts';
import { endAll, everything, gone, idsOf, lives, upgrade } from '../support/upgrades.ts';
import { Workers } from '../support/workers.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: 240_000 });

const preload = (name: string): string => `--import ${new URL(`../support/${name}.mjs`, import.meta.url).href}`;
const HOST = 'echo.allowed.test';
let world: World;
let workers: Workers;
let origin: Origin;
/** The process of an upgrade dies at the moment that this file says. */
let die: string;
/** The new worker whose number is in it does not get ready. */
let hold: string;

afterEach(async () => {
  endAll(world);
  await world.close();
  await origin.close();
});

async function start(policy: PolicyFile = {}): Promise<void> {
  die = join(tempDir('die'), 'moment');
  hold = join(tempDir('hold'), 'worker');
  origin = await startOrigin(echo);
  const allow = [{ host: HOST, ports: [origin.port], protocol: 'any', addresses: LOOPBACK }];
  const env = {
    NODE_OPTIONS: `${preload('die-in-upgrade')} ${preload('hold-in-upgrade')}`,
    ...{ SALLYPORT_TEST_DIE: die, SALLYPORT_TEST_HOLD: hold },
  };
  world = await startWorld({ workers: 2, allow, ...policy }, { [HOST]: ['127.0.0.1'] }, env);
  workers = new Workers(world);
}

const tunnel = (): Promise<RawClient> => openTunnel(world.proxy.proxy, HOST, origin.port);
const tunnels = async (): Promise<RawClient[]> => [await workers.alone(1, tunnel), await workers.alone(2, tunnel)];
const command = (...args: string[]): Promise<Finished> =>
  sallyport([...args, '--config', world.configFile], { cwd: world.dir });

async function finish(clients: readonly RawClient[]): Promise<void> {
  for (const client of clients) {
    await ping(client);
    client.end();
    await client.readAll();
  }
}

/** The upgrades that have failed so far. */
const failures = (): NoteLine[] =>
  everything(world).filter((line): line is NoteLine => line.event === 'upgrade' && line.detail['result'] === 'failed');

async function failed(times: number): Promise<string> {
  while (failures().length < times) await delay(20);
  return String(failures().at(-1)?.detail['why']);
}

/** An upgrade as far as the new workers, both of whom write their logs; the second one does not say that it is ready. */
async function halfUpgrade(): Promise<{ primary: number; crew: number[] }> {
  const known = new Set(pids('start'));
  const before = new Set(pids('upgrade'));
  writeFileSync(hold, '2');
  world.proxy.signal('SIGUSR1');
  const begins = (line: Line): line is NoteLine =>
    line.event === 'start' && !known.has(Number(line.detail['pid'])) && line.detail['workers'] === undefined;
  const crew: number[] = [];
  for (const worker of [1, 2]) crew.push(Number((await auditLine(workers.log(worker), begins)).detail['pid']));
  const [primary = 0] = pids('upgrade').filter((pid) => !before.has(pid));
  return { primary, crew };
}

const pids = (event: 'start' | 'upgrade'): number[] =>
  everything(world).flatMap((line) => (line.event === event ? [Number(line.detail['pid'] ?? 0)] : []));

/** An old worker has died; who is being upgraded records that in a branch. */
async function died(): Promise<void> {
  const noted = (line: Line): boolean => line.event === 'worker' && line.detail['result'] === 'died';
  while (!everything(world).some(noted)) await delay(20);
}

/** The metrics of each worker are on the page of the primary. */
async function shown(): Promise<void> {
  const { body } = await workers.admin.get('/metrics');
  for (const worker of [1, 2]) expect(body).toContain(`sallyport_build_info{worker="${worker}"`);
}

/** Each writes its own log: the primary, the first worker, the second one. */
async function written(...by: readonly number[]): Promise<void> {
  const files = [world.auditFile, workers.log(1), workers.log(2)];
  while (files.some((file, index) => lockHolder(file)?.pid !== by[index])) await delay(20);
}

/** Every request was decided once and ended once, and all logs are whole. */
async function verified(decided: number, interrupted: number): Promise<void> {
  const lines = everything(world);
  expect(idsOf(lines, 'decided', HOST)).toHaveLength(decided);
  expect(idsOf(lines, 'ended', HOST)).toEqual(idsOf(lines, 'decided', HOST));
  expect(lines.filter((line) => line.event === 'ended' && line.outcome === 'interrupted')).toHaveLength(interrupted);
  const found = await command('audit', 'verify');
  expect(found, found.stdout + found.stderr).toMatchObject({ code: 0 });
  expect(found.stdout).toContain('complete: 3 logs, 0 with gaps, 0 missing');
}

it('a new process that dies at any stage leaves nothing behind, and the old workers go on', async () => {
  await start();
  const old = world.proxy.pid;
  const crew = await workers.pids();
  const first = await tunnels();

  // Before it has any workers.
  writeFileSync(die, 'fork');
  const early = await upgrade(world);
  expect(early, early.stdout + early.stderr).toMatchObject({ code: 1 });
  expect(early.stdout).toContain('it ended with SIGKILL before it was ready');
  rmSync(die);
  await written(old, ...crew);
  const second = await tunnels();

  // One of its workers dies when the other one is ready.
  const partly = await halfUpgrade();
  expect(await upgrade(world)).toMatchObject({ code: 1, stdout: expect.stringContaining('upgrade-running') });
  // Meanwhile the old ones have their pages, and after it.
  await shown();
  process.kill(partly.crew[1] ?? 0, 'SIGKILL');
  expect(await failed(2)).toMatch(/^worker-failed: worker 2 ended with SIGKILL/);
  expect([partly.primary, ...partly.crew].map(lives)).toEqual([false, false, false]);
  await written(old, ...crew);
  await shown();
  const third = await tunnels();

  // It dies itself, one of its workers hangs, and so cannot hear of it; an old worker dies too, and comes back afterwards.
  const hung = await halfUpgrade();
  process.kill(hung.crew[1] ?? 0, 'SIGSTOP');
  process.kill(crew[0] ?? 0, 'SIGKILL');
  await died();
  process.kill(hung.primary, 'SIGKILL');
  expect(await failed(3)).toBe('it ended with SIGKILL before it was ready');
  expect(hung.crew.map(lives)).toEqual([false, false]);
  await auditLine(world.auditFile, (line) => line.event === 'worker' && line.detail['result'] === 'started');
  rmSync(hold);
  const now = await workers.pids();
  await written(old, ...now);
  const fourth = await tunnels();
  for (const [lost] of [first, second, third]) await lost?.readAll();
  await finish([...[first, second, third].map(([, kept]) => kept as RawClient), ...fourth]);

  const done = await upgrade(world);
  expect(done, done.stdout + done.stderr).toMatchObject({ code: 0 });
  await gone(old, ...now);
  await finish(await tunnels());
  const last = await workers.pids();
  process.kill(done.pid, 'SIGTERM');
  await gone(done.pid, ...last);
  await verified(10, 3);
});

it('the old process is told to stop in its midst: both end', async () => {
  await start();
  const crew = await workers.pids();
  const held = await tunnels();
  const half = await halfUpgrade();
  world.proxy.signal('SIGTERM');
  await gone(half.primary, ...half.crew);
  await finish(held);
  await gone(world.proxy.pid, ...crew);
  expect(world.proxy.child.exitCode).toBe(0);
  await written();
  await verified(2, 0);
});

it('old workers that die or hang hold nobody up, and what they had open is recorded', async () => {
  await start({ limits: { drain_timeout_ms: 0 } });
  const crew = await workers.pids();
  const set = await command('mode', 'observe', '--for-minutes', '5', '--reason', 'INC-42');
  expect(set, set.stdout + set.stderr).toMatchObject({ code: 0 });
  const held = await tunnels();
  await halfUpgrade();
  process.kill(crew[0] ?? 0, 'SIGKILL');
  process.kill(crew[1] ?? 0, 'SIGSTOP');
  await died();
  rmSync(hold);
  const started = await auditLine(world.auditFile, (line) => line.event === 'start' && line.detail['workers'] === 2);
  const pid = Number((started as NoteLine).detail['pid']);
  expect(pid).not.toBe(world.proxy.pid);
  // Its time is over, and it does not end by itself.
  await gone(world.proxy.pid, ...crew);
  for (const client of held) await client.readAll();
  const ends = (): Line[] => everything(world).filter((line) => line.event === 'ended');
  while (ends().length < 2) await delay(50);
  // The mode that was set is in force in the new ones, and they can be told another.
  for (const worker of [1, 2])
    expect(await workers.alone(worker, () => askedFor(world.proxy.proxy, 'other.test', 443))).toBe('502 dns-failed');
  expect(await command('mode', 'clear')).toMatchObject({ code: 0 });
  expect(await askedFor(world.proxy.proxy, 'other.test', 443)).toBe('403 host-not-allowed');
  const now = await workers.pids();
  process.kill(pid, 'SIGTERM');
  await gone(pid, ...now);
  await verified(2, 2);
  // It died once, and was not started anew.
  expect(everything(world).filter((line) => line.event === 'worker')).toHaveLength(1);
});

it('an old worker that hangs when the logs are given over ends the upgrade with its time', async () => {
  await start({ limits: { upgrade_timeout_ms: 10_000 } });
  const old = world.proxy.pid;
  const crew = await workers.pids();
  const held = await tunnels();
  process.kill(crew[0] ?? 0, 'SIGSTOP');
  const done = await upgrade(world);
  expect(done).toMatchObject({ code: 1, stdout: expect.stringContaining('it was not ready within 10000 ms') });
  process.kill(crew[0] ?? 0, 'SIGCONT');
  await written(old, ...crew);
  await finish([...held, ...(await tunnels())]);
  await world.proxy.stop();
  await verified(4, 0);
});
