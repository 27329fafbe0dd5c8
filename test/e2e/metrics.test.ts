// The metrics page of a running proxy: what real clients did stands in it, every limit stands in it and counts when it is hit,
// Prometheus' own tool finds nothing wrong with it, and no client can add a series.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chooseEngine } from '../../src/cli/engine.ts';
import { LIMIT_NAMES } from '../../src/limits.ts';
import type { EndedLine } from '../../src/policy/record.ts';
import { AdminClient } from '../support/admin.ts';
import { parseMetrics, type Series, sampleOf } from '../support/metrics.ts';
import { echo, type Origin, startOrigin } from '../support/origin.ts';
import { auditLine, auditLines, PROCESSES_MS } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { tempDir } from '../support/temp.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

const ENGINE = (process.env['SALLYPORT_ENGINE'] ?? 'auto') as 'auto' | 'js' | 'native';

const HOST = 'a.allowed.test';
const CHECKED = 'b.allowed.test';
const PROMTOOL = ['/usr/bin/promtool', '/usr/local/bin/promtool'].find((path) => existsSync(path));
let world: World;
let origin: Origin;

beforeAll(async () => {
  origin = await startOrigin(echo);
  const rule = (host: string, protocol: string) => ({ host, ports: [origin.port], protocol, addresses: LOOPBACK });
  world = await startWorld(
    {
      allow: [rule(HOST, 'any'), rule(CHECKED, 'tls'), { group: 'github' }],
      limits: { tunnels_max: 2, head_timeout_ms: 300 },
      audit: { ship: { dir: tempDir('second') } },
    },
    { [HOST]: ['127.0.0.1'], [CHECKED]: ['127.0.0.1'] },
  );
}, PROCESSES_MS);
afterAll(async () => {
  await world.close();
  await origin.close();
});

async function page(): Promise<string> {
  const { status, headers, body } = await new AdminClient(world.proxy.admin, world.auditFile).get('/metrics');
  expect(status).toBe(200);
  expect(headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8');
  return body;
}
const scrape = async (): Promise<Series[]> => parseMetrics(await page());

async function connect(host: string, first = ''): Promise<{ client: RawClient; status: number }> {
  const client = await RawClient.connect(world.proxy.proxy, {});
  client.send(`CONNECT ${host} HTTP/1.1\r\nHost: ${host}\r\n\r\n${first}`);
  const { status } = await client.readHead();
  return { client, status };
}

describe('the metrics page', () => {
  it('has every limit before anything happened, with its value and a count', async () => {
    const series = await scrape();
    const named = (name: string) => series.filter((one) => one.name === name).map(({ labels }) => labels['limit']);
    expect(named('sallyport_limit').sort()).toEqual([...LIMIT_NAMES].sort());
    expect(named('sallyport_limit_hits_total').sort()).toEqual([...LIMIT_NAMES].sort());
    expect(sampleOf(series, 'sallyport_limit', { limit: 'tunnels_max' })).toBe(2);
    for (const { name, value } of series) if (name === 'sallyport_limit_hits_total') expect(value).toBe(0);
  });

  it('counts limits that clients hit: open tunnels, and the time for a head', async () => {
    const before = await scrape();
    const tunnels = [await connect(`${HOST}:${origin.port}`), await connect(`${HOST}:${origin.port}`)];
    expect(tunnels.map(({ status }) => status)).toEqual([200, 200]);
    const full = await connect(`${HOST}:${origin.port}`);
    expect(full.status).toBe(503);
    const slow = await RawClient.connect(world.proxy.proxy, {});
    slow.send('CONNECT a.all');
    expect(await slow.readHead()).toMatchObject({ status: 408 });

    const series = await scrape();
    const hits = (limit: string) => sampleOf(series, 'sallyport_limit_hits_total', { limit });
    expect([hits('tunnels_max'), hits('head_timeout_ms')]).toEqual([1, 1]);
    expect(sampleOf(series, 'sallyport_tunnels_open')).toBe(2);
    expect(sampleOf(series, 'sallyport_requests_open')).toBe(2);
    const refused = { verdict: 'deny', reason: 'tunnels-full' };
    expect(sampleOf(series, 'sallyport_requests_total', refused)).toBe(1);
    const [up] = ['up', 'down'].map((direction) => sampleOf(before, 'sallyport_bytes_total', { direction, group: '' }));
    expect(up).toBe(0);

    // What an open tunnel has carried counts at once.
    tunnels[0]?.client.send('12345');
    await tunnels[0]?.client.read(5);
    const now = await scrape();
    expect(sampleOf(now, 'sallyport_bytes_total', { direction: 'up', group: '' })).toBe(5);
    expect(sampleOf(now, 'sallyport_bytes_total', { direction: 'down', group: '' })).toBe(5);
    for (const { client } of [...tunnels, full]) client.close();
    slow.close();
    await auditLines(world.auditFile, (lines) => lines.filter(({ event }) => event === 'ended').length >= 2);
  });

  it('tells what was decided from how it ended, and times it', async () => {
    const denied = await connect('nowhere.test:443');
    expect(denied.status).toBe(403);
    const wrong = await connect(`${CHECKED}:${origin.port}`, 'SSH-2.0-x\r\n');
    expect(wrong.status).toBe(200);
    const cut = await auditLine(
      world.auditFile,
      (line): line is EndedLine => line.event === 'ended' && line.verdict === 'deny',
    );
    const series = await scrape();
    const requests = (verdict: string, reason: string) =>
      sampleOf(series, 'sallyport_requests_total', { verdict, reason, group: '' });
    expect(requests('deny', 'host-not-allowed')).toBe(1);
    expect(requests('allow', 'allowed')).toBe(3);
    expect(sampleOf(series, 'sallyport_tunnels_refused_total', { reason: cut.reason })).toBe(1);
    expect(sampleOf(series, 'sallyport_requests_ended_total', { outcome: 'host-not-allowed' })).toBe(1);
    for (const name of ['setup', 'dial']) expect(sampleOf(series, `sallyport_${name}_seconds_count`)).toBe(3);
    expect(sampleOf(series, 'sallyport_dns_seconds_count')).toBe(2);
    expect(sampleOf(series, 'sallyport_ready')).toBe(1);
    expect(sampleOf(series, 'sallyport_audit_writable')).toBe(1);
    expect(sampleOf(series, 'sallyport_audit_lines_total')).toBeGreaterThan(5);
    expect(sampleOf(series, 'sallyport_policy_info', { digest: world.proxy.policy, mode: 'enforce' })).toBe(1);
    expect(sampleOf(series, 'sallyport_build_info', { engine: chooseEngine(ENGINE).kind })).toBe(1);
  });

  it('counts reloads by their result', async () => {
    world.write({ allow: [HOST] });
    world.proxy.signal('SIGHUP');
    const result = (name: string) =>
      auditLine(world.auditFile, (line) => line.event === 'policy' && line.detail['result'] === name);
    await result('loaded');
    world.write({ allow: ['*'] });
    world.proxy.signal('SIGHUP');
    await result('refused');
    const series = await scrape();
    expect(sampleOf(series, 'sallyport_policy_reloads_total', { result: 'loaded' })).toBe(1);
    expect(sampleOf(series, 'sallyport_policy_reloads_total', { result: 'refused' })).toBe(1);
  });

  it('gets no series from what clients invent', async () => {
    await (await connect('first.invented.test:443')).client.close();
    // Of ours; Node's own have more once there was a kind of garbage collection that was not before.
    const ours = (series: readonly Series[]) => series.filter(({ name }) => name.startsWith('sallyport_')).length;
    const before = ours(await scrape());
    for (let n = 0; n < 20; n++) await (await connect(`h${n}.invented.test:${n + 1}`)).client.close();
    const text = await page();
    expect(ours(parseMetrics(text))).toBe(before);
    expect(text).not.toContain('invented');
  });

  it('is explained, series by series, in docs/admin.md', async () => {
    const docs = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'admin.md'), 'utf8');
    const documented = [...docs.matchAll(/^\| `(sallyport_\w+)`/gm)].map(([, name]) => name);
    const served = [...(await page()).matchAll(/^# TYPE (sallyport_\w+)/gm)].map(([, name]) => name);
    expect(documented.sort()).toEqual(served.sort());
  });

  it.skipIf(PROMTOOL === undefined)("passes Prometheus' own check", async () => {
    expect(() => execFileSync(PROMTOOL ?? '', ['check', 'metrics'], { input: '', stdio: 'pipe' })).not.toThrow();
    expect(execFileSync(PROMTOOL ?? '', ['check', 'metrics'], { input: await page(), stdio: 'pipe' }).toString()).toBe(
      '',
    );
  });
});
