// Four built proxies and one real PostgreSQL: traffic through all of them while the database is killed with -9 and comes back. No
// request waits for it, the workers catch up by themselves, and in the end the store says what the four logs say, to the last tunnel.
import { describe, expect, it, vi } from 'vitest';
import type { Report } from '../../src/report/report.ts';
import { counted, logged, wholeLog } from '../support/fleet.ts';
import { echo, startOrigin } from '../support/origin.ts';
import { Postgres, postgresBin } from '../support/postgres.ts';
import { PROCESSES_MS, sallyport } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

const HOST = 'echo.allowed.test';
const REFUSED = 'other.refused.test';
const NODES = ['n1', 'n2', 'n3', 'n4'];
/** Requests of each client in each of three parts: before the kill, while the database is gone, after it came back. */
const ROUNDS = 20;
const CLIENTS = 2;

/** A tunnel with some bytes in it, or a refusal, by a claimed job. */
async function ask({ proxy }: World, port: number, n: number): Promise<number> {
  const host = n % 5 === 4 ? REFUSED : HOST;
  const who = Buffer.from(`web%2Fjob-${n % 3}:`).toString('base64');
  const client = await RawClient.connect(proxy.proxy);
  try {
    client.send(
      `CONNECT ${host}:${port} HTTP/1.1\r\nHost: ${host}:${port}\r\nProxy-Authorization: Basic ${who}\r\n\r\n`,
    );
    const { status } = await client.readHead();
    if (status !== 200) return status;
    client.send('x'.repeat(n + 1));
    await client.read(n + 1);
    return status;
  } finally {
    client.close();
  }
}

/** All clients of all nodes at once. */
async function traffic(worlds: readonly World[], port: number): Promise<Set<number>> {
  const statuses = new Set<number>();
  const client = async (world: World): Promise<void> => {
    for (let n = 0; n < ROUNDS; n++) statuses.add(await ask(world, port, n));
  };
  await Promise.all(worlds.flatMap((world) => Array.from({ length: CLIENTS }, () => client(world))));
  return statuses;
}

describe.skipIf(postgresBin === null)('a fleet', () => {
  it('counts to the last tunnel, whatever becomes of its database', { timeout: 2 * PROCESSES_MS }, async () => {
    const server = await Postgres.start();
    const origin = await startOrigin(echo);
    const policy = {
      allow: [{ host: HOST, ports: [origin.port], protocol: 'any', addresses: LOOPBACK }],
      usage: { store: server.url() },
      limits: { usage_store_timeout_ms: 1_000 },
    };
    const names = { [HOST]: ['127.0.0.1'] };
    const worlds = await Promise.all(NODES.map((node) => startWorld({ ...policy, node }, names)));
    try {
      const first = traffic(worlds, origin.port);
      // It dies while they ask, wherever their batches are.
      await vi.waitUntil(async () => (await counted(server).catch(() => [])).length > 0, {
        timeout: PROCESSES_MS,
        interval: 20,
      });
      await server.kill();
      expect([...(await first)].sort()).toEqual([200, 403]);
      expect([...(await traffic(worlds, origin.port))].sort()).toEqual([200, 403]);
      await server.restart();
      expect([...(await traffic(worlds, origin.port))].sort()).toEqual([200, 403]);
      const requests = 3 * ROUNDS * CLIENTS * NODES.length;
      await vi.waitUntil(
        async () => {
          const logs = logged(worlds.flatMap(({ auditFile }) => wholeLog(auditFile)));
          const all = logs.reduce((sum, row) => sum + Number(row.split(' ')[3]), 0);
          return all === requests && JSON.stringify(await counted(server)) === JSON.stringify(logs);
        },
        { timeout: PROCESSES_MS, interval: 100 },
      );
      for (const { proxy } of worlds) expect(await proxy.stop()).toMatchObject({ code: 0 });
      // A report from any of them speaks of all.
      const [one] = worlds as [World];
      const report = await one.report<Report>('--by', 'job');
      expect(report.totals).toMatchObject({ requests, tunnels: 0.8 * requests, denied: 0.2 * requests, open: 0 });
      expect(report.breakdown?.rows.reduce((sum, row) => sum + row.tunnels + row.denied, 0)).toBe(requests);
      expect([report.damaged_lines, report.missing_lines]).toEqual([0, 0]);
      for (const { configFile, dir } of worlds)
        expect(await sallyport(['audit', 'verify', '--config', configFile], { cwd: dir })).toMatchObject({ code: 0 });
    } finally {
      for (const world of worlds) await world.close();
      await origin.close();
    }
  });
});
