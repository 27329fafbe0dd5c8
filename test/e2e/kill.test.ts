// kill -9 of the built proxy under load, again and again, with rotations in between: every answered request is in the log once,
// the log is complete, and the report has the same sum.
import { existsSync, renameSync } from 'node:fs';
import { expect, it } from 'vitest';
import { listSegments } from '../../src/audit/read.ts';
import { verifyAudit } from '../../src/audit/verify.ts';
import { DEFAULT_LIMITS } from '../../src/limits.ts';
import { projectOnce } from '../../src/usage/project-once.ts';
import { openStore } from '../../src/usage/store.ts';
import { echo, startOrigin } from '../support/origin.ts';
import { readAudit } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { LOOPBACK, startWorld } from '../support/world.ts';

const HOST = 'echo.allowed.test';
const SEED = 26;
const ROUNDS = 4;
const CLIENTS = 4;

it('loses no answered request and doubles none', async () => {
  const origin = await startOrigin(echo);
  const world = await startWorld(
    { allow: [{ host: HOST, ports: [origin.port], protocol: 'any', addresses: LOOPBACK }] },
    { [HOST]: ['127.0.0.1'] },
  );
  let answered = 0;
  const statuses = new Set<number>();
  try {
    for (let round = 0, random = SEED; round < ROUNDS; round++) {
      random = (random * 1_103_515_245 + 12_345) % 2_147_483_648;
      const enough = answered + 20 + (random % 60);
      const client = async (): Promise<void> => {
        // Ends with the proxy: its connection breaks.
        while (answered < enough) {
          const { status } = await ask(world.proxy.proxy, origin.port);
          statuses.add(status);
          answered++;
        }
      };
      const load = Promise.allSettled(Array.from({ length: CLIENTS }, client));
      statuses.add((await ask(world.proxy.proxy, origin.port)).status);
      answered++;
      if (round % 2 === 0) {
        renameSync(world.auditFile, `${world.auditFile}.${ROUNDS - round}`);
        world.proxy.signal('SIGUSR2');
      }
      if (round % 2 === 1) await load;
      await world.proxy.kill9();
      await load;
      await world.restart();
    }
    expect([...statuses]).toEqual([200]);
    await world.proxy.stop();
    expect(await verifyAudit(world.auditFile)).toMatchObject({ problems: [], open: 0 });
    const lines = listSegments(world.auditFile).segments.flatMap((segment) => readAudit(segment.path));
    const ids = (event: string) => lines.flatMap((line) => (line.event === event && 'id' in line ? [line.id] : []));
    const decided = ids('decided');
    expect(new Set(decided).size).toBe(decided.length);
    expect(decided.length).toBeGreaterThanOrEqual(answered);
    // A client that was cut off by the kill may have been recorded without its answer.
    expect(decided.length).toBeLessThanOrEqual(answered + ROUNDS * (CLIENTS + 1));
    expect(ids('ended').sort()).toEqual([...decided].sort());
    const store = `${world.dir}/data/usage.db`;
    expect(existsSync(store)).toBe(true);
    const onProblem = (problem: { message: string }) => expect.fail(problem.message);
    await projectOnce({ auditFile: world.auditFile, store, limits: DEFAULT_LIMITS, onProblem });
    const reader = openStore(store, 'read');
    const rows = await reader.db.selectFrom('usage').select('requests').execute();
    await reader.close();
    expect(rows.reduce((sum, row) => sum + row.requests, 0)).toBe(decided.length);
  } finally {
    await world.close();
    await origin.close();
  }
}, 120_000);

/** One CONNECT, its answer, and the end of the tunnel. */
async function ask(proxy: { host: string; port: number }, port: number): Promise<{ status: number }> {
  const client = await RawClient.connect(proxy);
  try {
    client.send(`CONNECT ${HOST}:${port} HTTP/1.1\r\nHost: ${HOST}:${port}\r\n\r\n`);
    return await client.readHead();
  } finally {
    client.close();
  }
}
