// A bucket as the second place, from outside: the built proxy ships to s3rver while that is there and while it is not, is killed in the
// middle of an upload, and the CLI reads everything back.
import { existsSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { BucketStore } from '../support/bucket-store.ts';
import { run, sallyport } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { tempDir } from '../support/temp.ts';
import { startWorld, type World } from '../support/world.ts';

const PROGRAMS = join(import.meta.dirname, '..', 'programs');
const S3RVER = join(PROGRAMS, 'node_modules', 's3rver');
const ENV = { AWS_ACCESS_KEY_ID: 'S3RVER', AWS_SECRET_ACCESS_KEY: 'S3RVER' };

/** What of its interface is used here. */
interface S3rver {
  run(): Promise<{ readonly port: number }>;
  close(): Promise<void>;
}

async function s3rver(directory: string, port = 0): Promise<{ port: number; close(): Promise<void> }> {
  const Server = createRequire(join(PROGRAMS, 'here.js'))('s3rver') as new (options: object) => S3rver;
  const buckets = [{ name: 'acme-audit' }];
  const server = new Server({ address: '127.0.0.1', port, silent: true, directory, configureBuckets: buckets });
  return { port: (await server.run()).port, close: () => server.close() };
}

async function keysIn(dir: string): Promise<{ key: string; pub: string }> {
  const key = join(dir, 'key.pem');
  await run(['openssl', 'genpkey', '-algorithm', 'ed25519', '-out', key]);
  await run(['openssl', 'pkey', '-in', key, '-pubout', '-out', `${key}.pub`]);
  return { key, pub: `${key}.pub` };
}

async function ask(world: World): Promise<void> {
  const client = await RawClient.connect(world.proxy.proxy);
  client.send('CONNECT denied.test:443 HTTP/1.1\r\nHost: denied.test:443\r\n\r\n');
  expect((await client.readHead()).status).toBe(403);
  client.close();
}

/** Closes the segment, as logrotate does. */
function rotate(world: World, number: number): void {
  renameSync(world.auditFile, `${world.auditFile}.${number}`);
  world.proxy.signal('SIGUSR2');
}

const said = async (world: World, text: string): Promise<void> => {
  while (!world.proxy.stderr().includes(text)) await delay(20);
};

const policy = (port: number, key: string) => ({
  node: 'proxy-1',
  limits: { ship_interval_ms: 1_000, ship_attempts_max: 1 },
  audit: {
    ship: {
      s3: { endpoint: `http://127.0.0.1:${port}`, region: 'us-east-1', bucket: 'acme-audit', prefix: 'egress' },
      key,
    },
  },
});

it.skipIf(!existsSync(S3RVER))(
  'segments get into a bucket of s3rver, also after an outage, and are read back',
  {
    timeout: 180_000,
  },
  async () => {
    const directory = tempDir('s3rver');
    const { key, pub } = await keysIn(tempDir('keys'));
    let store = await s3rver(directory);
    const { port } = store;
    const world = await startWorld(policy(port, key), {}, ENV);
    const verify = (args: string[], env = {}) =>
      sallyport(['audit', 'verify', '--shipped', 's3://acme-audit/egress', '--key', pub, ...args], {
        cwd: world.dir,
        env: { ...ENV, AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${port}`, ...env },
      });
    try {
      await ask(world);
      rotate(world, 1);
      await said(world, 'segments of the audit log were shipped');
      await store.close();
      await ask(world);
      rotate(world, 2);
      await said(world, 'could not be shipped');
      // The data plane does not notice.
      await ask(world);
      store = await s3rver(directory, port);
      await said(world, 'is shipped again');
      const into = join(world.dir, 'fetched');
      const found = await verify(['--node', 'proxy-1', '--into', into]);
      expect(found, found.stdout + found.stderr).toMatchObject({ code: 0 });
      expect(found.stdout).toMatch(/^complete: proxy-1: to line \d+, \d+ more in its own file, checkpoint of \S+\n/);
      expect(readdirSync(join(into, 'proxy-1')).filter((name) => name.endsWith('.gz'))).toHaveLength(2);
      const query = await sallyport(
        ['audit', 'query', '--host', 'denied.test', '--log', join(into, 'proxy-1', 'audit.jsonl')],
        { cwd: world.dir },
      );
      expect(query.stdout.match(/host-not-allowed/g)).toHaveLength(2);
      const again = await verify(['--into', into]);
      expect([again.code, again.stderr]).toMatchObject([2, expect.stringContaining('is not empty')]);
      const stranger = await verify([], { AWS_ACCESS_KEY_ID: 'NOBODY' });
      expect([stranger.code, stranger.stderr]).toMatchObject([1, expect.stringContaining('ship-credentials')]);
      const missing = await verify(['--node', 'proxy-2', '--config', world.configFile]);
      expect([missing.code, missing.stdout]).toMatchObject([1, expect.stringContaining('missing: proxy-2')]);
      // Ended in good order, the node owes nothing for the time after.
      world.proxy.signal('SIGTERM');
      await world.proxy.exited;
      const ended = await verify([]);
      expect(ended.stdout).toMatch(/^complete: proxy-1: .*, stopped then\n/);
    } finally {
      await world.close();
      await store.close();
    }
  },
);

it('a proxy that is killed in the middle of an upload ships that segment when it is back, and leaves nothing', {
  timeout: 120_000,
}, async () => {
  const store = await BucketStore.start();
  const { key, pub } = await keysIn(tempDir('keys'));
  // Nobody is there: what is shipped goes through no proxy, not even through one that Node itself would take.
  const nowhere = 'http://127.0.0.1:9';
  const proxies = { HTTP_PROXY: nowhere, http_proxy: nowhere, ALL_PROXY: nowhere, NODE_USE_ENV_PROXY: '1' };
  const env = { AWS_ACCESS_KEY_ID: 'AKIDTEST', AWS_SECRET_ACCESS_KEY: store.secret, ...proxies };
  const world = await startWorld(policy(Number(new URL(store.endpoint).port), key), {}, env);
  const folder = dirname(world.auditFile);
  const halves = (): string[] => readdirSync(folder).filter((name) => name.includes('.ship-'));
  try {
    await ask(world);
    const hung = store.hangs();
    store.fail('SEGMENT', 'hang');
    rotate(world, 1);
    await hung;
    expect(halves()).toHaveLength(1);
    await world.proxy.kill9();
    await world.restart();
    await said(world, 'segments of the audit log were shipped');
    expect(halves()).toEqual([]);
    expect([...store.objects.keys()].filter((name) => name.endsWith('.gz'))).toHaveLength(1);
    const found = await sallyport(
      ['audit', 'verify', '--shipped', 's3://acme-audit/egress', '--key', pub, '--config', world.configFile],
      { cwd: world.dir, env },
    );
    expect(found, found.stdout + found.stderr).toMatchObject({ code: 0 });
  } finally {
    await world.close();
    await store.close();
  }
});

it('a quiet proxy says that it is there, and one that is killed is missed', { timeout: 60_000 }, async () => {
  const world = await startWorld({ limits: { audit_heartbeat_ms: 3_000 } });
  try {
    const verify = () =>
      sallyport(['audit', 'verify', '--log', world.auditFile, '--from', '1h', '--json'], { cwd: world.dir });
    const events = (): string[] =>
      readFileSync(world.auditFile, 'latin1')
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line).event);
    while (!events().includes('heartbeat')) await delay(50);
    const there = await verify();
    expect(JSON.parse(there.stdout)).toMatchObject({ verdict: 'complete', nodes: [{ node: 'test' }] });
    await world.proxy.kill9();
    let gone = await verify();
    while (gone.code === 0) gone = await verify();
    expect(JSON.parse(gone.stdout)).toMatchObject({ verdict: 'gaps', nodes: [{ silence_count: 1 }] });
  } finally {
    await world.close();
  }
});
