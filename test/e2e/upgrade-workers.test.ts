// Upgrades of a proxy with workers, from outside: of as many and of other numbers of them, under load of real clients, and what becomes
// of the logs, the counts and the processes. upgrade-workers-failed.test.ts has what goes wrong.
import { afterEach, expect, it, vi } from 'vitest';
import { lockHolder } from '../../src/audit/lock.ts';
import type { Line } from '../../src/policy/record.ts';
import { ended } from '../support/lines.ts';
import { echo, type Origin, startHttpOrigin, startOrigin } from '../support/origin.ts';
import { launch, sallyport } from '../support/proxy-process.ts';
import type { RawClient } from '../support/raw-client.ts';
import type { PolicyFile } from '../support/temp.ts';
import { certificateFor, testCa } from '../support/tls.ts';
import { openTunnel, ping } from '../support/tunnel.ts';
import { delivered, endAll, everything, gone, idsOf, lives, upgrade } from '../support/upgrades.ts';
import { Workers } from '../support/workers.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: 240_000 });

const HOST = 'echo.allowed.test';
const WEB = 'web.allowed.test';
let world: World;
let workers: Workers;
let echoes: Origin;
let web: Origin;
/** Lets the requests for /held be answered. */
let release: () => void;
const open: { close(): Promise<void> }[] = [];

afterEach(async () => {
  endAll(world);
  for (const thing of open.splice(0).reverse()) await thing.close();
});

async function start(policy: PolicyFile): Promise<void> {
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  echoes = await startOrigin(echo);
  web = await startHttpOrigin(
    async (request, response) => {
      response.write('begun ');
      if (request.url === '/held') await held;
      response.end('over\n');
    },
    { tls: certificateFor([WEB]) },
  );
  open.push(echoes, web);
  const allow = [
    { host: HOST, ports: [echoes.port], protocol: 'any', addresses: LOOPBACK },
    { host: WEB, ports: [web.port], addresses: LOOPBACK },
  ];
  world = await startWorld({ allow, ...policy }, { [HOST]: ['127.0.0.1'], [WEB]: ['127.0.0.1'] });
  open.push(world);
  workers = new Workers(world);
}

const tunnel = (): Promise<RawClient> => openTunnel(world.proxy.proxy, HOST, echoes.port);
const url = (path: string): string => `https://${WEB}:${web.port}${path}`;
const curl = (...more: string[]): string[] => [
  ...['curl', '--silent', '--show-error', '--fail', '--proxy', world.proxy.url(), '--cacert', testCa().caFile],
  ...more,
];

async function finish(client: RawClient): Promise<void> {
  client.end();
  await client.readAll();
}

/** Each request was decided once and ended once, all logs are whole, and the report counts what they have. */
async function verified(opened: number, logs: number): Promise<Line[]> {
  const lines = everything(world);
  const decided = [...idsOf(lines, 'decided', HOST), ...idsOf(lines, 'decided', WEB)];
  expect(new Set(decided).size).toBe(opened);
  expect([...idsOf(lines, 'ended', HOST), ...idsOf(lines, 'ended', WEB)]).toEqual(decided);
  const found = await sallyport(['audit', 'verify', '--config', world.configFile], { cwd: world.dir });
  expect(found, found.stdout + found.stderr).toMatchObject({ code: 0 });
  expect(found.stdout).toContain(`complete: ${logs} logs, 0 with gaps, 0 missing`);
  const report = await world.report<{ totals: { requests: number } }>();
  expect(report.totals.requests).toBe(opened);
  return lines;
}

it('refuses no client, breaks no tunnel and loses no record', async () => {
  await start({ workers: 2 });
  const old = world.proxy.pid;
  const oldWorkers = await workers.pids();
  const held = [await workers.alone(1, tunnel), await workers.alone(2, tunnel)];
  held.push(...(await Promise.all(Array.from({ length: 60 }, tunnel))));
  // Two programs of others that wait for the rest of an answer until all is over.
  const download = launch(curl('--no-buffer', url('/held')));
  const request = `GET /held HTTP/1.1\r\nHost: ${WEB}\r\nConnection: close\r\n\r\n`;
  const secure = launch(
    [
      ...['openssl', 's_client', '-proxy', `127.0.0.1:${world.proxy.proxy.port}`, '-connect', `${WEB}:${web.port}`],
      ...['-servername', WEB, '-CAfile', testCa().caFile, '-verify_return_error', '-quiet', '-ign_eof'],
    ],
    { input: request },
  );
  await Promise.all([download.printed(/begun/), secure.printed(/begun/)]);
  let opened = held.length + 2;
  let stop = false;
  const failures: unknown[] = [];
  const loads = Array.from({ length: 6 }, async () => {
    while (!stop) {
      try {
        await finish(await tunnel());
        opened++;
      } catch (error) {
        failures.push(error);
      }
    }
  });
  const downloads = (async () => {
    // Each URL has a connection of its own.
    const ten = Array.from({ length: 10 }, () => url('/'));
    while (!stop) {
      const done = await world.client(curl('--header', 'Connection: close', ...ten));
      opened += ten.length;
      if (done.code !== 0) failures.push(done);
    }
  })();
  // Whoever balances between proxies never sees one that is not ready.
  let asked = 0;
  const probes = (async () => {
    for (; !stop; asked++) {
      const { status, body } = await workers.admin.get('/readyz');
      if (status !== 200) failures.push(`${status} ${body}`);
    }
  })();

  const done = await upgrade(world);
  expect(done, done.stdout + done.stderr + world.proxy.stderr()).toMatchObject({ code: 0 });
  const before = opened;
  while (opened < before + 40 && failures.length === 0) await new Promise(setImmediate);
  stop = true;
  await Promise.all([...loads, downloads, probes]);
  expect(failures).toEqual([]);
  expect(asked).toBeGreaterThan(0);

  // The old ones drain, and the new ones have their logs.
  expect([old, ...oldWorkers].map(lives)).toEqual([true, true, true]);
  const now = await workers.status();
  expect(now.map(({ state, not_ready }) => ({ state, not_ready }))).toEqual(
    Array.from({ length: 2 }, () => ({ state: 'ready', not_ready: null })),
  );
  const holders = [world.auditFile, workers.log(1), workers.log(2)].map((file) => lockHolder(file)?.pid);
  expect(holders).toEqual([done.pid, ...now.map(({ pid }) => pid)]);
  // Metrics are those of the new ones, each by itself.
  const { body } = await workers.admin.get('/metrics');
  for (const worker of [1, 2]) expect(body).toContain(`sallyport_build_info{worker="${worker}"`);

  for (const client of held) await ping(client);
  release();
  expect(await download.exited).toMatchObject({ code: 0, stdout: 'begun over\n' });
  const answered = await secure.exited;
  expect(answered, answered.stderr).toMatchObject({ code: 0, stdout: expect.stringContaining('over') });
  for (const client of held) await finish(client);
  await gone(old, ...oldWorkers);
  expect(world.proxy.child.exitCode).toBe(0);
  const more = await tunnel();
  await finish(more);
  process.kill(done.pid, 'SIGTERM');
  await gone(done.pid, ...now.map(({ pid }) => pid));
  const lines = await verified(opened + 1, 3);
  // What curl and openssl have read enough of they may reset; nothing was cut.
  const outcomes = lines.flatMap((line) => (line.event === 'ended' ? [`${line.host} ${line.outcome}`] : []));
  for (const outcome of outcomes) expect([`${HOST} closed`, `${WEB} closed`, `${WEB} client-reset`]).toContain(outcome);
  expect(lines.filter(({ event }) => event === 'stop')).toHaveLength(6);
});

it('from two to one and on to three: each takes what it has a place for, and the rest drains', async () => {
  await start({ workers: 2, engine: 'js', limits: { drain_timeout_ms: 600_000 } });
  const old = world.proxy.pid;
  const oldWorkers = await workers.pids();
  const first = await workers.alone(1, tunnel);
  const second = await workers.alone(2, tunnel);

  world.write({ workers: 1 });
  const one = await upgrade(world);
  expect(one, one.stdout + one.stderr).toMatchObject({ code: 0 });
  const alone = await tunnel();
  expect((await workers.status()).length).toBe(0);
  expect([1, 2].map((worker) => lockHolder(workers.log(worker)))).toEqual([null, null]);

  world.write({ workers: 3 });
  const three = await upgrade(world);
  expect(three, three.stdout + three.stderr).toMatchObject({ code: 0 });
  const crew = await workers.pids();
  expect(crew).toHaveLength(3);
  const many = [];
  for (const worker of [1, 2, 3]) many.push(await workers.alone(worker, tunnel));
  for (const client of [first, second, alone, ...many]) await ping(client);

  // One of the first ones dies in its drain: who has its log now records the end of what it had open.
  process.kill(oldWorkers[1] ?? 0, 'SIGKILL');
  await second.readAll();
  for (const client of [alone, ...many]) await finish(client);
  // Two SIGTERMs end an old primary at once, with what its workers have open.
  for (const _ of [1, 2]) await delivered(old, 'SIGTERM');
  await first.readAll();
  expect(first.state).toBe('reset');
  await gone(old, ...oldWorkers, one.pid);
  const interrupted = (line: Line): boolean => ended(HOST)(line) && line.outcome === 'interrupted';
  while (!everything(world).some(interrupted)) await new Promise((resolve) => setTimeout(resolve, 100));
  process.kill(three.pid, 'SIGTERM');
  await gone(three.pid, ...crew);
  const lines = await verified(6, 4);
  expect(lines.filter(interrupted).map(({ node }) => node)).toEqual(['test.w2']);
  expect(lines.filter((line) => line.event === 'ended' && line.outcome === 'drained')).toMatchObject([
    { node: 'test.w1' },
  ]);
});
