// The admin listener of a running proxy: every route with its real answer held to the shape that the OpenAPI document gives.
// Who gets in and who does not: test/threats/admin.test.ts.
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as shapes from '../../src/admin/schemas.ts';
import type { NoteLine } from '../../src/policy/record.ts';
import { AdminClient } from '../support/admin.ts';
import { echo, type Origin, startOrigin } from '../support/origin.ts';
import { auditLine, PROCESSES_MS, readAudit } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

const HOST = 'a.allowed.test';
let world: World;
let origin: Origin;
let admin: AdminClient;

beforeAll(async () => {
  origin = await startOrigin(echo);
  world = await startWorld(
    {
      allow: [{ host: HOST, ports: [origin.port], protocol: 'any', addresses: LOOPBACK }, { group: 'amazon-s3' }],
      limits: { admin_streams_max: 2 },
    },
    { [HOST]: ['127.0.0.1'] },
  );
  admin = new AdminClient(world.proxy.admin, world.auditFile);
}, PROCESSES_MS);
afterAll(async () => {
  await world.close();
  await origin.close();
});

async function connect(host: string, user = ''): Promise<RawClient> {
  const client = await RawClient.connect(world.proxy.proxy, {});
  const who = user === '' ? '' : `Proxy-Authorization: Basic ${Buffer.from(`${user}:`).toString('base64')}\r\n`;
  client.send(`CONNECT ${host} HTTP/1.1\r\nHost: ${host}\r\n${who}\r\n`);
  await client.readHead();
  return client;
}

describe('the pages', () => {
  it('/v1/status', async () => {
    const status = await admin.json(shapes.statusAnswer, '/v1/status');
    expect(status).toMatchObject({ node: 'test', not_ready: null, mode: 'enforce' });
    expect(status.policy.digest).toBe(world.proxy.policy);
  });

  it('/v1/policy, in pieces, as `sallyport policy` has it', async () => {
    const all = await admin.json(shapes.policyAnswer, '/v1/policy');
    expect(all.rules[0]).toMatchObject({ pattern: HOST, ports: [origin.port], origin: expect.stringContaining(':') });
    expect(all.rules).toHaveLength(all.total);
    const piece = await admin.json(shapes.policyAnswer, '/v1/policy?offset=1&limit=1');
    expect(piece.rules).toEqual([all.rules[1]]);
    expect((await admin.json(shapes.policyAnswer, `/v1/policy?offset=${all.total}`)).rules).toEqual([]);
  });

  it('/v1/explain', async () => {
    const ask = (target: string, as = '') =>
      admin.json(shapes.explainAnswer, `/v1/explain?target=${encodeURIComponent(target)}&as=${as}`);
    expect(await ask(`${HOST}:${origin.port}`, 'pipeline=web,queue=q')).toMatchObject({
      verdict: 'allow',
      status: null,
    });
    expect(await ask(HOST)).toMatchObject({ verdict: 'deny', reason: 'port-not-allowed', status: 403 });
    expect(await ask('bucket.s3.eu-west-1.amazonaws.com')).toMatchObject({ verdict: 'deny' });
    expect(await ask('http://plain.test/x')).toMatchObject({ kind: 'forward', method: 'GET', verdict: 'deny' });
  });

  it('/v1/tunnels lists what is open and cuts it, and the cut stands in the audit log', async () => {
    const web = await connect(`${HOST}:${origin.port}`, 'web%2F1');
    const other = await connect(`${HOST}:${origin.port}`, 'deploy%2F2');
    web.send('123');
    await web.read(3);
    const list = await admin.json(shapes.tunnelsAnswer, '/v1/tunnels?pipeline=we*&host=*.test');
    expect(list).toMatchObject({ total: 1, tunnels: [{ host: HOST, open: true, bytes_up: 3, bytes_down: 3 }] });
    expect((await admin.json(shapes.tunnelsAnswer, '/v1/tunnels?limit=1')).total).toBe(2);
    const id = list.tunnels[0]?.id ?? '';
    expect(await admin.json(shapes.tunnel, `/v1/tunnels/${id}`, 'DELETE')).toMatchObject({ id });
    expect(await web.readAll()).toHaveLength(0);
    expect((await admin.get(`/v1/tunnels/${id}`, {}, 'DELETE')).status).toBe(404);
    const end = await auditLine(world.auditFile, (line) => line.event === 'ended' && line.id === id);
    expect(end).toMatchObject({ outcome: 'killed' });
    const lines = readAudit(world.auditFile);
    expect(lines.find((line): line is NoteLine => line.event === 'cut')?.detail).toEqual({
      request: id,
      by: 'admin 127.0.0.1',
    });
    other.close();
  });

  it('/v1/report and /v1/suggest, made from the store by another thread', async () => {
    (await connect('wanted.example:443', 'web%2F1')).close();
    const seq = readAudit(world.auditFile).at(-1)?.seq ?? 0;
    const counted = () =>
      admin
        .json(shapes.reportAnswer, '/v1/report?from=1h')
        .then(({ denied }) => denied.find(({ host }) => host === 'wanted.example'));
    await expect.poll(counted, { timeout: 20_000 }).toMatchObject({ count: 1, reason: 'host-not-allowed' });
    expect(seq).toBeGreaterThan(0);
    const report = await admin.json(shapes.reportAnswer, '/v1/report?from=1h&pipeline=none');
    expect(report.denied).toEqual([]);
    const suggestion = await admin.json(shapes.suggestAnswer, '/v1/suggest?from=1h&min_builds=1');
    expect(suggestion.diff).toContain('wanted.example');
    expect(readFileSync(world.configFile, 'utf8')).not.toContain('wanted.example');
  });

  it('/v1/openapi.json names every page, and each has its parameters', async () => {
    const { body } = await admin.get('/v1/openapi.json');
    const document = JSON.parse(body);
    expect(Object.keys(document.paths).sort()).toEqual([
      '/metrics',
      '/v1/events',
      '/v1/explain',
      '/v1/openapi.json',
      '/v1/policy',
      '/v1/report',
      '/v1/status',
      '/v1/suggest',
      '/v1/tunnels',
      '/v1/tunnels/{id}',
    ]);
    const names = document.paths['/v1/explain'].get.parameters.map(({ name }: { name: string }) => name);
    expect(names).toEqual(['target', 'method', 'as']);
    expect(document.paths['/v1/status'].get.responses['200'].content['application/json'].schema.required).toContain(
      'limits',
    );
    expect(readFileSync('docs/openapi.json', 'utf8')).toBe(`${JSON.stringify(document, null, 2)}\n`);
  });
});

describe('/v1/events', () => {
  it('tells of records as they are made, of those that are wanted alone', async () => {
    const denied = await admin.follow('/v1/events?denied=true&pipeline=w*');
    const all = await admin.follow('/v1/events?host=*.example');
    expect(denied.events[0]).toMatchObject({ event: 'hello', data: { node: 'test', restarted: false } });
    await expect(admin.follow('/v1/events')).rejects.toThrow('503');
    (await connect('one.example:443', 'deploy%2F1')).close();
    (await connect('two.example:443', 'web%2F1')).close();
    const two = await denied.until(({ event }) => event === 'decided');
    expect(two.data).toMatchObject({
      host: 'two.example',
      verdict: 'deny',
      identity: { claimed: { pipeline: 'web' } },
    });
    await all.until(({ data }) => data.host === 'two.example');
    expect(all.events.map(({ data }) => data.host)).toEqual([undefined, 'one.example', 'two.example']);
    denied.close();
    all.close();
    await Promise.all([denied.ended, all.ended]);
  });

  it('goes on where a reader left off, and says where it cannot', async () => {
    const first = await admin.follow('/v1/events?last=1&host=*.example');
    const last = await first.until(({ id }) => id !== null);
    expect(last.data.host).toBe('two.example');
    first.close();
    await first.ended;
    (await connect('three.example:443')).close();
    const again = await admin.follow('/v1/events?host=*.example', { 'Last-Event-ID': last.id ?? '' });
    expect((await again.until(({ id }) => id !== null)).data.host).toBe('three.example');
    again.close();
    await again.ended;
    const [, number] = (last.id ?? '').split('-');
    const lost = await admin.follow(`/v1/events?after=00000000-${number}`);
    expect(lost.events[0]?.data).toMatchObject({ restarted: true });
    lost.close();
    await lost.ended;
  });

  it('ends with the process', async () => {
    const reader = await admin.follow('/v1/events');
    await world.proxy.stop();
    await reader.ended;
    await world.restart();
  });
});
