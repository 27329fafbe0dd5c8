// Hours in minutes: many tunnels with churn, slow and hostile peers, reloads, rotations and outages of the store, bounded in time and on
// loopback. Then nothing may be missing: every request that a client made is decided once and ended once in the log, the log is whole, the
// report counts the same, and no descriptor is left; times are printed and never judged, memory only by a bound that no healthy run comes near.
// In `npm test` some seconds of it; for the figures:
//   npm run soak                                     two minutes
//   SOAK_MINUTES=30 SOAK_HELD=2000 SOAK_ENGINE=js npm run soak
import { readdirSync, readFileSync, renameSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, expect, it } from 'vitest';
import { readBatches } from '../../src/audit/history.ts';
import { listSegments } from '../../src/audit/read.ts';
import { type Origin, startOrigin } from '../support/origin.ts';
import { Postgres, postgresBin } from '../support/postgres.ts';
import { sallyport } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

const number = (name: string, otherwise: number): number => Number(process.env[name] || otherwise);
const MINUTES = number('SOAK_MINUTES', 0.1);
const SPAN_MS = MINUTES * 60_000;
const HELD = number('SOAK_HELD', 100);
const CHURN = number('SOAK_CHURN', 4);
const ENGINE = process.env['SOAK_ENGINE'] || 'auto';
/** For what comes before and after the time itself, on a slow machine. */
const GRACE_MS = 240_000;
const HOST = 'echo.allowed.test';
const DENIED = 'denied.test';
/** Connections of the store, and files that are opened for a moment. */
const FDS_MORE = 8;
const PATTERN = Buffer.alloc(65_536, 'soak');
/** Memory is judged where there was time for caches to fill, from the second quarter to the last. */
const MEMORY_JUDGED_MS = 60_000;
const GROWTH_MAX_KB = 200_000;
// Who makes no progress after so many failures has found something.
const FAILURES_MAX = 20;

let world: World;
let origin: Origin;
let store: Postgres;
let target = '';
let ends = 0;
const going = (): boolean => performance.now() < ends;
const made = { opened: 0, refused: 0 };
const failures: string[] = [];
const setupMs: number[] = [];

async function open(): Promise<RawClient> {
  const client = await RawClient.connect(world.proxy.proxy);
  const startMs = performance.now();
  client.send(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`);
  const { status, reason } = await client.readHead().catch((error: unknown) => {
    client.close();
    throw error;
  });
  if (status !== 200) throw new Error(`${status} ${reason}`);
  made.opened++;
  setupMs.push(performance.now() - startMs);
  return client;
}

async function exchange(client: RawClient, bytes: number): Promise<void> {
  const sent = PATTERN.subarray(0, bytes);
  client.send(sent);
  if (!(await client.read(bytes)).equals(sent)) throw new Error('a byte is not what was sent');
}

/** Runs one kind of client until the time is over; what goes wrong is told at the end. */
async function actor(name: string, act: () => Promise<void>): Promise<void> {
  while (going() && failures.length < FAILURES_MAX) {
    try {
      await act();
    } catch (error) {
      failures.push(`${name}: ${error instanceof Error ? error.message : error}`);
    }
  }
}

async function churn(): Promise<void> {
  const client = await open();
  try {
    await useOnce(client);
  } finally {
    client.close();
  }
}

async function useOnce(client: RawClient): Promise<void> {
  await exchange(client, 1 + Math.floor(Math.random() * PATTERN.length));
  if (Math.random() < 0.2) client.socket.resetAndDestroy();
  else {
    client.end();
    await client.readAll();
  }
}

async function denied(): Promise<void> {
  const client = await RawClient.connect(world.proxy.proxy);
  client.send(`CONNECT ${DENIED}:443 HTTP/1.1\r\nHost: ${DENIED}:443\r\n\r\n`);
  if ((await client.readHead()).status !== 403) throw new Error('a denied host was not refused');
  made.refused++;
  await client.readAll();
  client.close();
  await wait(20);
}

/** Half a head, garbage, silence, a head byte by byte: each is closed by the proxy in its time. */
async function hostile(): Promise<void> {
  const client = await RawClient.connect(world.proxy.proxy);
  const garbage = ['CONNECT a', '\0\xff\x16\x03', 'GET http://\r\n\r\n', '', 'x'.repeat(40_000)];
  client.send(garbage[Math.floor(Math.random() * garbage.length)] as string);
  await client.readAll();
  client.close();
}

/** Sends a lot, reads nothing for a while: the proxy holds a bounded part of it. */
async function slow(): Promise<void> {
  const client = await open();
  client.socket.pause();
  for (let sent = 0; sent < 40; sent++) client.send(PATTERN);
  await wait(1_000);
  client.socket.resume();
  await client.read(40 * PATTERN.length);
  client.end();
  await client.readAll();
}

async function hold(): Promise<void> {
  const clients: RawClient[] = [];
  try {
    while (clients.length < HELD && going()) clients.push(await open());
    while (going()) {
      for (const client of clients) await exchange(client, 16);
      await wait(1_000);
    }
    for (const client of clients) client.end();
    for (const client of clients) await client.readAll();
  } catch (error) {
    failures.push(`held: ${error instanceof Error ? error.message : error}`);
    for (const client of clients) client.close();
  }
}

let rotations = 0;
let outages = 0;
async function operate(): Promise<void> {
  let mend = async (): Promise<void> => {};
  for (let turn = 1; going(); turn++) {
    await wait(Math.min(3_000, Math.max(0, ends - performance.now())));
    if (turn % 2 === 0) {
      world.write({ allow: [rule(), `host-${turn}.example`] });
      world.proxy.signal('SIGHUP');
    }
    if (turn % 3 === 0) {
      renameSync(world.auditFile, `${world.auditFile}.${String(++rotations).padStart(6, '0')}`);
      world.proxy.signal('SIGUSR2');
    }
    await mend();
    mend = await storeFault(turn);
  }
  await mend();
}

/** Every few turns the store dies, or hangs; gives what mends it. */
async function storeFault(turn: number): Promise<() => Promise<void>> {
  if (turn % 5 === 2) {
    outages++;
    await store.kill();
    return () => store.restart();
  }
  if (turn % 5 === 4) {
    outages++;
    store.freeze('SIGSTOP');
    return async () => store.freeze('SIGCONT');
  }
  return async () => {};
}

interface Sample {
  readonly atMs: number;
  readonly rssKb: number;
  readonly fds: number;
}
const samples: Sample[] = [];
function sample(): Sample {
  const status = readFileSync(`/proc/${world.proxy.pid}/status`, 'utf8');
  const rssKb = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]);
  return { atMs: performance.now(), rssKb, fds: readdirSync(`/proc/${world.proxy.pid}/fd`).length };
}
async function watch(): Promise<void> {
  while (going()) {
    samples.push(sample());
    await wait(1_000);
  }
}

/** kB a minute by least squares over the second half, when caches and compiled code are there. */
function slope(of: readonly Sample[]): number {
  const half = of.slice(of.length >> 1);
  const mean = (value: (one: Sample) => number): number => half.reduce((sum, one) => sum + value(one), 0) / half.length;
  const [t, m] = [mean(({ atMs }) => atMs), mean(({ rssKb }) => rssKb)];
  const covariance = mean((one) => (one.atMs - t) * (one.rssKb - m));
  return (covariance / mean((one) => (one.atMs - t) ** 2)) * 60_000;
}

/** From the second quarter to the last, by their medians. */
function growthKb(of: readonly Sample[]): number {
  const quarter = of.length >> 2;
  const median = (some: readonly Sample[]): number =>
    percentile(
      some.map(({ rssKb }) => rssKb),
      0.5,
    );
  return median(of.slice(-quarter)) - median(of.slice(quarter, 2 * quarter));
}

function percentile(of: readonly number[], part: number): number {
  const sorted = of.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
}

const rule = () => ({ host: HOST, ports: [origin.port], protocol: 'any', addresses: LOOPBACK });

/** What the log says of the two hosts, in all its files. */
async function logged() {
  const counts = { decided: 0, ended: 0, refused: 0 };
  for (const { path } of listSegments(world.auditFile).segments)
    for await (const batch of readBatches(path))
      for (const { text } of batch) {
        const line = JSON.parse(text) as { event: string; host?: string };
        if (line.host === DENIED && line.event === 'decided') counts.refused++;
        if (line.host === HOST && line.event === 'decided') counts.decided++;
        if (line.host === HOST && line.event === 'ended') counts.ended++;
      }
  return counts;
}

afterAll(async () => {
  await world?.close();
  await origin?.close();
});

it.skipIf(postgresBin === null)(
  'loses nothing and leaves nothing behind',
  { timeout: SPAN_MS + GRACE_MS },
  async () => {
    store = await Postgres.start();
    origin = await startOrigin((socket) => {
      socket.on('error', () => {});
      socket.pipe(socket);
    });
    // Long enough for a client on a busy machine, short enough that hostile ones come round.
    const limits = {
      head_timeout_ms: 5_000,
      client_rate_per_s: 100_000,
      client_tunnels_max: 2 * HELD + 1_000,
      client_connections_max: 2 * HELD + 1_000,
    };
    const policy = { allow: [rule()], engine: ENGINE, usage: { store: store.url() }, limits };
    world = await startWorld(policy, { [HOST]: ['127.0.0.1'] });
    target = `${HOST}:${origin.port}`;
    // Its threads, pools and the store's connection are there after the first tunnels.
    for (let n = 0; n < 20; n++) await churn();
    await denied();
    const before = sample();
    ends = performance.now() + SPAN_MS;
    await Promise.all([
      hold(),
      operate(),
      watch(),
      ...Array.from({ length: CHURN }, () => actor('churn', churn)),
      ...Array.from({ length: 2 }, () => actor('denied', denied)),
      ...Array.from({ length: 4 }, () => actor('hostile', hostile)),
      actor('slow', slow),
    ]);
    // What hostile clients left behind ends by its own deadlines.
    const patience = performance.now() + 2 * limits.head_timeout_ms;
    while (sample().fds > before.fds + FDS_MORE && performance.now() < patience) await wait(200);
    const after = sample();
    const stopped = await world.proxy.stop();
    const counts = await logged();
    const verified = await sallyport(['audit', 'verify', '--config', world.configFile], { cwd: world.dir });
    const { totals } = await world.report<{ totals: { tunnels: number; denied: number } }>('--since', '1d');
    const ms = (part: number): string => percentile(setupMs, part).toFixed(1);
    console.log(
      [
        `${MINUTES} minutes, engine ${ENGINE}: ${made.opened} tunnels (${HELD} held), ${made.refused} refused, ${rotations} rotations, ${outages} outages of the store`,
        `setup p50 ${ms(0.5)} ms, p99 ${ms(0.99)} ms; descriptors ${before.fds} before, ${after.fds} after`,
        `memory ${(after.rssKb / 1_024).toFixed(0)} MB at the end, ${slope(samples).toFixed(0)} kB more a minute over the second half, ${growthKb(samples)} kB more in the last quarter than in the second`,
        `log ${JSON.stringify(counts)}, report ${JSON.stringify(totals)}`,
      ].join('\n'),
    );
    expect(failures).toEqual([]);
    expect(stopped.code, stopped.stderr).toBe(0);
    expect(verified.code, verified.stdout).toBe(0);
    expect(counts).toEqual({ decided: made.opened, ended: made.opened, refused: made.refused });
    expect(totals.tunnels).toBe(made.opened);
    expect(totals.denied).toBeGreaterThanOrEqual(made.refused);
    if (SPAN_MS >= MEMORY_JUDGED_MS) expect(growthKb(samples)).toBeLessThan(GROWTH_MAX_KB);
    expect(after.fds).toBeLessThanOrEqual(before.fds + FDS_MORE);
  },
);
