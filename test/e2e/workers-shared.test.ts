// What all workers of the built proxy must know together, whichever a connection lands on: the lease of a job, the first address of a
// token, attempts of passwords; and what they have of a limit.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { type Origin, startHttpOrigin } from '../support/origin.ts';
import { auditLine, PROCESSES_MS, sallyport } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { tempDir } from '../support/temp.ts';
import { AUDIENCE, tokenIssuer } from '../support/tokens.ts';
import { endAll, gone, upgrade } from '../support/upgrades.ts';
import { Workers } from '../support/workers.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

const JOB = '0188a5c8-0000-4000-8000-00000000bbbb';
const SECRET = 'hunter2-and-ten-more';
/** Of limits.client_connections_max, on each of two workers. */
const PART = 20;
const HOST = 'web.allowed.test';
const issuer = tokenIssuer('k1');
const dir = tempDir('workers-shared');
let world: World;
let origin: Origin;
let workers: Workers;
let token = '';

beforeAll(async () => {
  writeFileSync(join(dir, 'jwks.json'), issuer.jwks);
  const usersFile = join(dir, 'users');
  await sallyport(['user', 'add', 'ada', '--file', usersFile, '--attributes', 'pipeline=web'], {
    input: `${SECRET}\n`,
  });
  token = await issuer.token();
  origin = await startHttpOrigin((_, response) => response.end('ok'));
  const rule = { ports: [origin.port], protocol: 'http', addresses: LOOPBACK };
  world = await startWorld(
    {
      workers: 2,
      oidc: { audience: AUDIENCE, organizations: ['acme'], jwks: { file: join(dir, 'jwks.json') } },
      users: { file: usersFile },
      limits: { password_attempts_per_min: 3, client_connections_max: 40, head_timeout_ms: 60_000 },
      allow: [{ ...rule, host: HOST, for: { pipeline: 'web' } }],
    },
    { [HOST]: ['127.0.0.1'] },
  );
  workers = new Workers(world);
});

afterAll(async () => {
  endAll(world);
  await world.close();
  await origin.close();
});

interface Asked {
  readonly from?: string;
  readonly user?: string;
}

/** Status and reason of one request to the origin. */
async function get({ from = '127.0.0.1', user }: Asked = {}): Promise<string> {
  const client = await RawClient.connect(world.proxy.proxy, { localAddress: from });
  const credentials =
    user === undefined ? '' : `Proxy-Authorization: Basic ${Buffer.from(user).toString('base64')}\r\n`;
  client.send(`GET http://${HOST}:${origin.port}/ HTTP/1.1\r\nHost: ${HOST}:${origin.port}\r\n${credentials}\r\n`);
  const head = await client.readHead();
  client.close();
  return `${head.status} ${head.reason}`;
}

async function lease(method: string): Promise<number> {
  const client = await RawClient.connect(world.proxy.proxy);
  client.send(
    `${method} http://sallyport.invalid/v1/jobs/${JOB}/lease HTTP/1.1\r\nHost: sallyport.invalid\r\nAuthorization: Bearer ${token}\r\nContent-Length: 0\r\n\r\n`,
  );
  const head = await client.readHead();
  client.close();
  return head.status;
}

async function onEach(asked: Asked = {}): Promise<string[]> {
  return [await workers.alone(1, () => get(asked)), await workers.alone(2, () => get(asked))];
}

it('a lease that is answered for holds on every worker, and so does its end', async () => {
  expect(await onEach()).toEqual(['407 credentials-required', '407 credentials-required']);
  expect(await lease('POST')).toBe(201);
  expect(await onEach()).toEqual(['200 OK', '200 OK']);
  expect(await lease('POST')).toBe(200);
  expect(await lease('DELETE')).toBe(204);
  expect(await onEach()).toEqual(['407 credentials-required', '407 credentials-required']);
});

it('a lease outlives a worker, the proxy, and an upgrade', async () => {
  expect(await lease('POST')).toBe(201);
  const [, pid = 0] = await workers.pids();
  process.kill(pid, 'SIGKILL');
  await auditLine(world.auditFile, (line) => line.event === 'worker' && line.detail['result'] === 'started');
  expect(await onEach()).toEqual(['200 OK', '200 OK']);
  await world.proxy.stop();
  await world.restart();
  expect(await onEach()).toEqual(['200 OK', '200 OK']);
  // All that follows is asked of the new workers.
  const done = await upgrade(world);
  expect(done, done.stdout + done.stderr).toMatchObject({ code: 0 });
  await gone(world.proxy.pid);
  expect(await onEach()).toEqual(['200 OK', '200 OK']);
  expect(await lease('DELETE')).toBe(204);
});

it('a token is bound to the first address that used it, on whichever worker', async () => {
  const user = `buildkite:${await issuer.token({ claims: { build_number: 8 } })}`;
  expect(await workers.alone(1, () => get({ user }))).toBe('200 OK');
  expect(await workers.alone(2, () => get({ user, from: '127.0.0.2' }))).toBe('407 token-source');
  expect(await workers.alone(2, () => get({ user }))).toBe('200 OK');
});

it('passwords are counted together, and a right one is no attempt', async () => {
  const from = '127.0.0.3';
  const wrong = (worker: number, password: string) =>
    workers.alone(worker, () => get({ from, user: `ada:${password}` }));
  expect(await wrong(1, SECRET)).toBe('200 OK');
  expect(await wrong(2, SECRET)).toBe('200 OK');
  expect(await wrong(1, 'a')).toBe('407 credentials-invalid');
  expect(await wrong(2, 'b')).toBe('407 credentials-invalid');
  expect(await wrong(1, 'c')).toBe('407 credentials-invalid');
  expect(await wrong(2, 'd')).toBe('407 attempts-exceeded');
  expect(await wrong(1, 'e')).toBe('407 attempts-exceeded');
});

it('a client has its part of a limit on each worker, and no more over all', async () => {
  const from = '127.0.0.4';
  const held: RawClient[] = [];
  for (const worker of [1, 2]) {
    const head = await workers.alone(worker, async () => {
      for (let at = 0; at <= PART; at++) held.push(await RawClient.connect(world.proxy.proxy, { localAddress: from }));
      return held.at(-1)?.readHead();
    });
    expect(head).toMatchObject({ status: 503, reason: 'client-full' });
  }
  const { body } = await workers.admin.get('/metrics');
  for (const worker of [1, 2])
    expect(body).toContain(`sallyport_limit_hits_total{worker="${worker}",limit="client_connections_max"} 1`);
  for (const client of held) client.close();
});
