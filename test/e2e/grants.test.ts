// Grants over the built proxy: given by a command, taken by every proxy that shares the store, recorded, revoked, and kept while the store is gone.
import { mkdirSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, expect, it, vi } from 'vitest';
import type { NoteLine } from '../../src/policy/record.ts';
import { openStore } from '../../src/usage/store.ts';
import { echo, type Origin, startOrigin } from '../support/origin.ts';
import { auditLines, PROCESSES_MS, readAudit, sallyport, startProxy } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { writePolicy } from '../support/temp.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

const [A, OTHER] = ['a.corp.test', 'evil.test'];
let world: World;
let origin: Origin;
const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

async function start(): Promise<void> {
  origin = await startOrigin(echo);
  open.push(origin);
  world = await startWorld(
    {
      allow: ['github.test'],
      clients: { from: LOOPBACK, groups: [{ from: ['127.0.0.1/32'], set: { pipeline: 'web' } }] },
      limits: { grants_poll_ms: 100, watch_interval_ms: 100 },
      on_reload: 'cut',
    },
    { [A]: ['127.0.0.1'], [OTHER]: ['127.0.0.1'] },
  );
  open.push(world);
  const lines = [{ host: '*.corp.test', ports: [origin.port], protocol: 'any', addresses: LOOPBACK }];
  writePolicy(join(dirname(world.configFile), 'ceiling.yaml'), { version: 1, allow: lines });
  world.write({ layers: { ceiling: 'ceiling.yaml' } });
  await auditLines(world.auditFile, (all) => all.some(({ event }) => event === 'policy'));
}

async function tunnel(port = origin.port): Promise<{ client: RawClient; answer: string }> {
  const client = await RawClient.connect(world.proxy.proxy);
  client.send(`CONNECT ${A}:${port} HTTP/1.1\r\nHost: ${A}:${port}\r\n\r\n`);
  const { status, reason } = await client.readHead();
  return { client, answer: `${status} ${reason}` };
}

async function asked(): Promise<string> {
  const { client, answer } = await tunnel();
  client.close();
  return answer;
}

const command = (...args: string[]) => sallyport([...args, '--config', world.configFile, '--json'], { cwd: world.dir });

const give = (host: string, ...more: string[]) =>
  command(
    'grant',
    host,
    '--for',
    'pipeline=web',
    '--reason',
    'release',
    '--owner',
    'web-team',
    '--protocol',
    'any',
    '--address',
    '127.0.0.0/8',
    ...more,
  );

const grantNotes = (file: string): NoteLine['detail'][] =>
  readAudit(file).flatMap((line) => (line.event === 'grant' ? [line.detail] : []));

it('a grant is in force when the command returns, stands in the log, and a revoked one cuts what it let through', async () => {
  await start();
  expect(await asked()).toBe('403 host-not-allowed');
  const given = await give(`${A}:${origin.port}`, '--expires', '24h');
  expect([given.code, JSON.parse(given.stdout)]).toEqual([0, expect.objectContaining({ in_force: true, host: A })]);
  const { id } = JSON.parse(given.stdout) as { id: string };
  expect(grantNotes(world.auditFile)).toEqual([
    expect.objectContaining({
      result: 'in-force',
      id,
      host: `${A}:${origin.port}`,
      for: '{"pipeline":["web"]}',
      owner: 'web-team',
    }),
  ]);
  const { client, answer } = await tunnel();
  expect(answer).toBe('200 Connection established');
  const decided = readAudit(world.auditFile)
    .filter(({ event }) => event === 'decided')
    .at(-1);
  expect(decided).toMatchObject({ rule: `grant ${id}`, group: null, verdict: 'allow' });

  const shown = JSON.parse((await command('policy', '--as', 'pipeline=web')).stdout) as {
    rules: { origin: string; layer: string }[];
  };
  expect(shown.rules.at(-1)).toMatchObject({ origin: `grant ${id}`, layer: 'grants' });
  expect((await command('policy', '--as', 'pipeline=api')).stdout).not.toContain(id);

  const revoked = await command('revoke', id);
  expect([revoked.code, JSON.parse(revoked.stdout)]).toEqual([0, expect.objectContaining({ in_force: true })]);
  await client.readAll();
  expect(client.state).not.toBe('open');
  expect(await asked()).toBe('403 host-not-allowed');
  expect(grantNotes(world.auditFile).map((detail) => detail['result'])).toEqual(['in-force', 'revoked']);
  const again = await command('revoke', id);
  expect([again.code, again.stdout]).toEqual([1, expect.stringMatching(/grant-unknown[\s\S]*was revoked/)]);
});

it('nothing outside the ceiling, too long, or for nobody is granted; a row that says so is refused by the proxy itself', async () => {
  await start();
  const refusals: [readonly [string, ...string[]], RegExp][] = [
    [
      [OTHER, '--expires', '24h'],
      /grant-refused[\s\S]*outside the ceiling: the nearest line of the ceiling is \*\.corp\.test at .*ceiling\.yaml:\d/,
    ],
    [[`${A}:${origin.port + 1}`, '--expires', '24h'], /grant-refused[\s\S]*it has port/],
    [[`${A}:${origin.port}`, '--expires', '169h'], /grant-refused[\s\S]*grant_duration_max_h allows, 168 hours/],
    [[`${A}:${origin.port}`, '--expires', '2020-01-01'], /"usage"/],
  ];
  for (const [args, words] of refusals) {
    const refused = await give(...args);
    expect(refused.stdout).toMatch(words);
    expect(refused.code).not.toBe(0);
  }
  const store = await openStore(join(world.dir, 'data', 'usage.db'), 'write');
  const row = {
    port: origin.port,
    protocol: 'any',
    addresses: '["127.0.0.0/8"]',
    reason: 'x',
    owner: 'x',
    granted_by: 'x',
    created: Date.now(),
  };
  const day = Date.now() + 3_600_000;
  await store.db
    .insertInto('granted')
    .values([
      {
        ...row,
        id: 'outside',
        host: '*.test',
        selector: '{"pipeline":["web"]}',
        expires: day,
        revoked: 0,
        revoked_by: '',
      },
      { ...row, id: 'for-all', host: A, selector: '{}', expires: day, revoked: 0, revoked_by: '' },
      {
        ...row,
        id: 'for-ever',
        host: A,
        selector: '{"pipeline":["web"]}',
        expires: day * 2,
        revoked: 0,
        revoked_by: '',
      },
      { ...row, id: 'no-json', host: A, selector: '{', expires: day, revoked: 0, revoked_by: '' },
    ])
    .execute();
  await store.close();
  await auditLines(world.auditFile, (all) => all.filter(({ event }) => event === 'grant').length >= 3);
  expect(
    grantNotes(world.auditFile)
      .map(({ id, result }) => `${id} ${result}`)
      .sort(),
  ).toEqual(['for-all refused', 'for-ever refused', 'outside refused']);
  expect(await asked()).toBe('403 host-not-allowed');
});

it('two proxies that share a store take the same grants, and say which policy they have; a store that dies leaves them', async () => {
  await start();
  const store = join(world.dir, 'data', 'usage.db');
  const secondAudit = join(world.dir, 'data', 'second.jsonl');
  world.write({ layers: { ceiling: 'ceiling.yaml' }, node: 'second', audit: { file: secondAudit } });
  const second = await startProxy(['--config', world.configFile], { cwd: world.dir });
  open.push({ close: async () => void (await second.kill9()) });
  world.write({ layers: { ceiling: 'ceiling.yaml' } });
  const given = JSON.parse((await give(`${A}:${origin.port}`, '--expires', '1h')).stdout) as { id: string };
  await auditLines(secondAudit, (all) => all.some(({ event }) => event === 'grant'));
  expect(grantNotes(secondAudit)).toEqual([expect.objectContaining({ id: given.id, result: 'in-force' })]);

  const nodes = async () =>
    JSON.parse((await command('fleet')).stdout) as {
      same: boolean;
      nodes: { name: string; policy: string; grants: number }[];
    };
  await vi.waitUntil(async () => (await nodes()).nodes.every(({ grants }) => grants === 1), {
    timeout: 20_000,
    interval: 100,
  });
  const { same, nodes: both } = await nodes();
  expect([same, both.map(({ name }) => name)]).toEqual([true, ['second', 'test']]);
  expect(both[0]?.policy).toBe(second.policy);

  const listed = JSON.parse((await command('grants', 'list')).stdout) as { grants: unknown[] };
  expect(listed.grants).toEqual([expect.objectContaining({ id: given.id, state: 'in-force', last_used: null })]);

  renameSync(store, `${store}.away`);
  mkdirSync(store);
  await world.proxy.printed(/store-unreadable/);
  expect(await asked()).toBe('200 Connection established');
});
