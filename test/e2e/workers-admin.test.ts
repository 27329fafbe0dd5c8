// The one admin listener of a proxy with workers: health of all, metrics by worker, what is open anywhere, events of all in one stream
// that can be taken up again, and a cut that finds the worker.
import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { reportAnswer, statusAnswer, tunnel as tunnelShape, tunnelsAnswer } from '../../src/admin/schemas.ts';
import { ended } from '../support/lines.ts';
import { echo, type Origin, startOrigin } from '../support/origin.ts';
import { auditLine, PROCESSES_MS, sallyport } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { Workers } from '../support/workers.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

const HOST = 'echo.allowed.test';
let world: World;
let origin: Origin;
let workers: Workers;
let rule: object;

beforeAll(async () => {
  origin = await startOrigin(echo);
  rule = { host: HOST, ports: [origin.port], protocol: 'any', addresses: LOOPBACK };
  world = await startWorld({ workers: 2, watch: false, allow: [rule] }, { [HOST]: ['127.0.0.1'] });
  workers = new Workers(world);
});

afterAll(async () => {
  await world.close();
  await origin.close();
});

async function tunnel(): Promise<RawClient> {
  const client = await RawClient.connect(world.proxy.proxy);
  client.send(`CONNECT ${HOST}:${origin.port} HTTP/1.1\r\nHost: ${HOST}:${origin.port}\r\n\r\n`);
  expect((await client.readHead()).status).toBe(200);
  return client;
}

it('shows what is open on all, and cuts it wherever it is', async () => {
  const clients = [await workers.alone(1, tunnel), await workers.alone(2, tunnel)];
  const { admin } = workers;
  const status = await admin.json(statusAnswer, '/v1/status');
  expect(status).toMatchObject({ node: 'test', not_ready: null, open: { tunnels: 2, connections: 2 } });
  expect(status.workers?.map(({ worker, state }) => `${worker} ${state}`)).toEqual(['1 ready', '2 ready']);
  const { tunnels, total } = await admin.json(tunnelsAnswer, '/v1/tunnels');
  expect(total).toBe(2);
  expect((await admin.json(tunnelsAnswer, '/v1/tunnels?limit=1')).tunnels).toHaveLength(1);
  for (const { id } of tunnels) {
    expect(await admin.json(tunnelShape, `/v1/tunnels/${id}`, 'DELETE')).toMatchObject({ id });
    expect((await admin.get(`/v1/tunnels/${id}`, {}, 'DELETE')).status).toBe(404);
  }
  for (const client of clients) await client.readAll().catch(() => null);
  for (const worker of [1, 2]) {
    expect(await auditLine(workers.log(worker), ended(HOST))).toMatchObject({ outcome: 'killed' });
    const cut = await auditLine(workers.log(worker), (line) => line.event === 'cut');
    expect(cut).toMatchObject({ detail: { by: 'admin 127.0.0.1' } });
  }
});

it('metrics are those of each worker, with its number', async () => {
  const { body, headers } = await workers.admin.get('/metrics');
  expect(headers['content-type']).toContain('text/plain');
  for (const worker of [1, 2]) {
    expect(body).toContain(`sallyport_worker_up{worker="${worker}"} 1`);
    expect(body).toContain(`sallyport_limit{worker="${worker}",limit="connections_max"} 4000`);
    expect(body).toContain(`sallyport_requests_total{worker="${worker}",verdict="allow",reason="allowed",group=""} 1`);
  }
  const types = body.split('\n').filter((line) => line.startsWith('# TYPE sallyport_ready '));
  expect(types).toHaveLength(1);
});

it('events of all come in one stream, and who comes back misses none', async () => {
  const { admin } = workers;
  const reader = await admin.follow('/v1/events');
  expect(reader.events[0]).toMatchObject({ event: 'hello', data: { node: 'test', restarted: false } });
  const here = async (worker: number): Promise<void> => (await workers.alone(worker, tunnel)).close();
  await here(1);
  await reader.until(({ event }) => event === 'ended');
  const after = reader.events.at(-1)?.id ?? '';
  reader.close();
  await reader.ended;
  await here(2);
  await here(1);
  const again = await admin.follow('/v1/events', { 'Last-Event-ID': after });
  let seen = 0;
  await again.until(
    ({ event }) => event === 'ended' && ++seen > 0 && again.events.filter((one) => one.event === 'ended').length >= 2,
  );
  expect(again.events[0]).toMatchObject({ event: 'hello', data: { restarted: false } });
  expect(again.events.filter(({ event }) => event === 'decided')).toHaveLength(2);
  again.close();
});

it('policy, explain and report are asked of one for all; errors keep their code', async () => {
  const { admin } = workers;
  const explained = JSON.parse((await admin.get(`/v1/explain?target=${HOST}:${origin.port}`)).body) as {
    verdict: string;
  };
  expect(explained.verdict).toBe('allow');
  expect((await admin.get('/v1/policy')).status).toBe(200);
  expect(await admin.get('/v1/explain?target=')).toMatchObject({ status: 400 });
  expect((await admin.get('/v1/explain?target=//')).body).toContain('admin-request');
  expect((await admin.get('/v1/openapi.json')).status).toBe(200);
  const report = await admin.json(reportAnswer, '/v1/report?from=1h');
  expect(report.totals.requests).toBeGreaterThan(0);
  const tail = await sallyport(['fleet', '--config', world.configFile, '--json'], { cwd: world.dir });
  expect(tail.stdout).toContain('test.w1');
  expect(tail.stdout).toContain('test.w2');
});

it('is not ready while one is missing, and says which', async () => {
  const { admin } = workers;
  expect((await admin.ask('/readyz')).status).toBe(200);
  // It cannot come back with this file.
  world.write({ watch: false, allow: 'nonsense' });
  const [pid = 0] = await workers.pids();
  // The primary goes on with the token of its start; a worker that comes back is asked by it as before.
  writeFileSync(`${world.auditFile}.admin-token`, `${'x'.repeat(40)}\n`);
  process.kill(pid, 'SIGKILL');
  await auditLine(world.auditFile, (line) => line.event === 'worker' && line.detail['result'] === 'died');
  expect(await admin.ask('/readyz')).toMatchObject({ status: 503, body: 'not ready: worker 1 is being started\n' });
  expect((await admin.get('/metrics')).body).toContain('sallyport_worker_up{worker="1"} 0');
  (await tunnel()).close();
  // Nor does it start with other limits than its sibling has.
  world.write({ watch: false, allow: [rule], limits: { connections_max: 9_000 } });
  await auditLine(world.auditFile, (line) => line.event === 'worker' && line.detail['result'] === 'started');
  expect((await admin.ask('/readyz')).status).toBe(200);
  const status = await admin.json(statusAnswer, '/v1/status');
  expect(status.workers?.map(({ state }) => state)).toEqual(['ready', 'ready']);
  for (const worker of [1, 2])
    expect((await admin.get('/metrics')).body).toContain(
      `sallyport_limit{worker="${worker}",limit="connections_max"} 4000`,
    );
});
