// The built proxy with two workers, on both engines: every tunnel is in one log, all logs are verified and reported together; what happens
// to the others when one dies, reloads or drains; and what an operator is told.
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { workerLog } from '../../src/audit/family.ts';
import { ended } from '../support/lines.ts';
import { echo, type Origin, startOrigin } from '../support/origin.ts';
import { auditLine, PROCESSES_MS, readAudit, run, sallyport } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { tempDir, writePolicy } from '../support/temp.ts';
import { askedFor, openTunnel, ping } from '../support/tunnel.ts';
import { Workers } from '../support/workers.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

const HOST = 'echo.allowed.test';
const LATE = 'late.allowed.test';
let world: World;
let origin: Origin;
let workers: Workers;
const open: { close(): Promise<void> }[] = [];

afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

const rule = (host: string) => ({ host, ports: [origin.port], protocol: 'any', addresses: LOOPBACK });

async function start(policy: Readonly<Record<string, unknown>> = {}): Promise<void> {
  origin = await startOrigin(echo);
  open.push(origin);
  world = await startWorld(
    { workers: 2, allow: [rule(HOST)], ...policy },
    { [HOST]: ['127.0.0.1'], [LATE]: ['127.0.0.1'] },
  );
  open.push(world);
  workers = new Workers(world);
}

const tunnel = (host = HOST): Promise<RawClient> => openTunnel(world.proxy.proxy, host, origin.port);
const asked = (host: string): Promise<string> => askedFor(world.proxy.proxy, host, origin.port);

async function verified(): Promise<void> {
  const found = await sallyport(['audit', 'verify', '--config', world.configFile], { cwd: world.dir });
  expect(found, found.stdout).toMatchObject({ code: 0 });
  expect(found.stdout).toMatch(/^complete: 3 logs, 0 with gaps, 0 missing$/m);
}

describe.each(['js', 'native'])('two workers on the %s engine', (engine) => {
  it('share one listener; each records, and all of it is verified, asked for and reported together', async () => {
    await start({ engine });
    for (const worker of [1, 2]) {
      const client = await workers.alone(worker, () => tunnel());
      client.close();
      await auditLine(workers.log(worker), ended(HOST));
    }
    const many = await Promise.all(Array.from({ length: 40 }, () => tunnel()));
    for (const client of many) client.close();
    await world.proxy.stop();
    const lines = workers.lines();
    const ids = (event: string) => lines.flatMap((line) => (line.event === event && 'id' in line ? [line.id] : []));
    expect(new Set(ids('decided')).size).toBe(42);
    expect(ids('ended').sort()).toEqual(ids('decided').sort());
    expect(new Set(lines.map(({ node }) => node))).toEqual(new Set(['test.w1', 'test.w2']));
    expect(readAudit(world.auditFile).map(({ event, node }) => `${event} ${node}`)).toEqual([
      'start test',
      'stop test',
    ]);
    await verified();
    const report = await world.report<{ totals: { requests: number } }>();
    expect(report.totals.requests).toBe(42);
    const query = await sallyport(['audit', 'query', '--config', world.configFile, '--host', HOST, '--json'], {
      cwd: world.dir,
    });
    expect(query.stdout.trim().split('\n').at(-1)).toContain('"complete":true');
    expect(query.stdout.match(/"event":"decided"/g)).toHaveLength(42);
  });

  it('kill -9 of one refuses nobody and loses no record; it comes back and ends what it left open', async () => {
    await start({ engine });
    const held = await workers.alone(1, () => tunnel());
    const kept = await workers.alone(2, () => tunnel());
    const [pid = 0] = await workers.pids();
    let answered = 0;
    let isOver = false;
    const client = async (): Promise<void> => {
      while (!isOver) {
        // A connection that the dying worker has accepted breaks with it; one that is refused is a failure.
        const socket = await RawClient.connect(world.proxy.proxy);
        socket.send(`CONNECT ${HOST}:${origin.port} HTTP/1.1\r\nHost: ${HOST}:${origin.port}\r\n\r\n`);
        const head = await socket.readHead().catch(() => null);
        if (head) expect(head.status).toBe(200);
        if (head) answered++;
        socket.close();
      }
    };
    const load = Array.from({ length: 4 }, client);
    process.kill(pid, 'SIGKILL');
    const back = await auditLine(world.auditFile, (line) => 'detail' in line && line.detail['result'] === 'started');
    isOver = true;
    await Promise.all(load);
    expect(back).toMatchObject({ event: 'worker', detail: { worker: 1 } });
    await ping(kept);
    kept.close();
    held.close();
    expect(readAudit(workers.log(1)).some((line) => line.event === 'ended' && line.outcome === 'interrupted')).toBe(
      true,
    );
    const again = await workers.alone(1, () => tunnel());
    again.close();
    await world.proxy.stop();
    const decisions = workers.lines().filter((line) => line.event === 'decided');
    expect(decisions.length).toBeGreaterThanOrEqual(answered + 3);
    await verified();
  });
});

it('all take a new policy, or all keep the old one, and the primary says so', async () => {
  await start({ watch: false });
  world.write({ watch: false, allow: [rule(HOST), rule(LATE)] });
  world.proxy.signal('SIGHUP');
  const loaded = await auditLine(world.auditFile, (line) => line.event === 'policy');
  expect(loaded).toMatchObject({ detail: { result: 'loaded' } });
  for (const worker of [1, 2]) expect(await workers.alone(worker, () => asked(LATE))).toMatch(/^200/);
  expect((await workers.status()).map(({ policy }) => policy)).toEqual([loaded.policy, loaded.policy]);
  world.write({ watch: false, allow: 'nonsense' });
  world.proxy.signal('SIGHUP');
  await auditLine(world.auditFile, (line) => line.event === 'policy' && line.detail['result'] === 'refused');
  for (const worker of [1, 2]) expect(await workers.alone(worker, () => asked(LATE))).toMatch(/^200/);
});

it('a drain waits for the tunnels of all; who comes then is refused; the second SIGTERM ends it', async () => {
  await start({ limits: { drain_timeout_ms: 600_000 } });
  const first = await workers.alone(1, () => tunnel());
  const second = await workers.alone(2, () => tunnel());
  world.proxy.signal('SIGTERM');
  await world.proxy.printed(/"node":"test.w1".*"msg":"draining"/);
  await world.proxy.printed(/"node":"test.w2".*"msg":"draining"/);
  await ping(first);
  await ping(second);
  await expect(RawClient.connect(world.proxy.proxy)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  first.close();
  await auditLine(workers.log(1), (line) => line.event === 'stop');
  await ping(second);
  world.proxy.signal('SIGTERM');
  expect(await world.proxy.exited).toMatchObject({ code: 0 });
  expect(readAudit(workers.log(2)).find(ended(HOST))).toMatchObject({ outcome: 'drained' });
  await verified();
});

it('a signal that a service manager sends to every process counts once', async () => {
  await start({ limits: { drain_timeout_ms: 600_000 } });
  const client = await workers.alone(1, () => tunnel());
  for (const pid of await workers.pids()) for (const name of ['SIGTERM', 'SIGHUP'] as const) process.kill(pid, name);
  world.proxy.signal('SIGTERM');
  await world.proxy.printed(/"node":"test.w1".*"msg":"draining"/);
  await ping(client);
  client.close();
  expect(await world.proxy.exited).toMatchObject({ code: 0 });
  expect(readAudit(workers.log(1)).find(ended(HOST))).toMatchObject({ outcome: 'closed' });
});

it('without their primary the workers end, and what was open is recorded', async () => {
  await start();
  const client = await workers.alone(2, () => tunnel());
  await world.proxy.kill9();
  await auditLine(workers.log(1), (line) => line.event === 'stop');
  await auditLine(workers.log(2), (line) => line.event === 'stop');
  expect(readAudit(workers.log(2)).find(ended(HOST))).toMatchObject({ outcome: 'drained' });
  client.close();
  await world.restart();
  const again = await tunnel();
  again.close();
});

it('a worker that finds no primary ends: it never becomes a proxy of its own', async () => {
  origin = await startOrigin(echo);
  open.push(origin);
  const dir = tempDir('orphan');
  const auditFile = join(dir, 'audit.jsonl');
  const config = writePolicy(join(dir, 'sallyport.yaml'), {
    ...{ version: 1, listen: '127.0.0.1:0', admin: '127.0.0.1:0', workers: 2, allow: [rule(HOST)] },
    ...{ audit: { file: auditFile }, usage: { store: join(dir, 'usage.db') } },
  });
  // Beyond what the kernel gives out: nobody's parent.
  const done = await sallyport(['serve', '--config', config], { cwd: dir, env: { SALLYPORT_WORKER_OF: '4194305' } });
  expect(done).toMatchObject({ code: 1, stdout: '' });
  expect(done.stderr).toContain('worker-failed');
  expect(readAudit(auditFile)).toEqual([]);
});

it('a primary without a free descriptor serves on with the others, and starts the worker when it has one', async () => {
  await start();
  const limit = async (range: string): Promise<void> => {
    const done = await run(['prlimit', `--nofile=${range}`, '--pid', String(world.proxy.pid)]);
    expect(done.code, done.stderr).toBe(0);
  };
  const [pid = 0] = await workers.pids();
  await limit('3:');
  process.kill(pid, 'SIGKILL');
  const unstarted = await auditLine(
    world.auditFile,
    (line) => line.event === 'worker' && String(line.detail['how']).startsWith('was not started'),
  );
  expect(unstarted).toMatchObject({ detail: { worker: 1, result: 'died' } });
  expect(await asked(HOST)).toMatch(/^200/);
  await limit('1024:');
  await auditLine(world.auditFile, (line) => line.event === 'worker' && line.detail['result'] === 'started');
  expect((await workers.status()).map(({ state }) => state)).toEqual(['ready', 'ready']);
});

it('fewer workers than before: what the last one left open is ended and counted by the next start', async () => {
  await start();
  const client = await workers.alone(2, () => tunnel());
  const [, pid = 0] = await workers.pids();
  // It must not end in order when its primary goes.
  process.kill(pid, 'SIGSTOP');
  world.proxy.signal('SIGKILL');
  process.kill(pid, 'SIGKILL');
  await world.proxy.exited;
  client.close();
  world.write({ workers: 1 });
  await world.restart();
  const interrupted = await auditLine(workers.log(2), ended(HOST));
  expect(interrupted).toMatchObject({ outcome: 'interrupted', node: 'test.w2' });
  expect(await asked(HOST)).toMatch(/^200/);
  await world.proxy.stop();
  const report = await world.report<{ totals: { requests: number } }>();
  expect(report.totals.requests).toBe(2);
});

it('a worker whose log is gone is named: the rest is not called complete', async () => {
  await start();
  await world.proxy.stop();
  rmSync(workers.log(2));
  const found = await sallyport(['audit', 'verify', '--config', world.configFile], { cwd: world.dir });
  expect(found.code).toBe(1);
  expect(found.stdout).toContain('missing: test.w2');
});

it('a worker that cannot start ends the start with its reason', async () => {
  origin = await startOrigin(echo);
  open.push(origin);
  const dir = tempDir('workers');
  const auditFile = join(dir, 'audit.jsonl');
  mkdirSync(workerLog(auditFile, 2));
  const policy = { workers: 2, allow: [rule(HOST)], audit: { file: auditFile } };
  await expect(startWorld(policy, { [HOST]: ['127.0.0.1'] })).rejects.toThrow(
    /audit-unwritable[\s\S]*worker 2 ended[\s\S]*worker-failed/,
  );
  expect(readAudit(auditFile)).toEqual([]);
});
