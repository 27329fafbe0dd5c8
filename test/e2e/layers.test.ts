// The built proxy with a policy in layers: a pipeline's file is taken when it changes, one that breaks keeps what was in force and says so,
// and a start with a broken one has the base alone.
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, expect, it, vi } from 'vitest';
import type { NoteLine } from '../../src/policy/record.ts';
import { echo, type Origin, startOrigin } from '../support/origin.ts';
import { auditLines, PROCESSES_MS, sallyport } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { writePolicy } from '../support/temp.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

const [A, B, SHARED] = ['a.corp.test', 'b.corp.test', 'shared.test'];
let world: World;
let origin: Origin;
const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0)) await thing.close();
});

const rule = (host: string) => ({ host, ports: [origin.port], protocol: 'any', addresses: LOOPBACK });

async function asked(host: string): Promise<string> {
  const client = await RawClient.connect(world.proxy.proxy);
  client.send(`CONNECT ${host}:${origin.port} HTTP/1.1\r\nHost: ${host}:${origin.port}\r\n\r\n`);
  const { status, reason } = await client.readHead();
  client.close();
  return `${status} ${reason}`;
}

async function notes(count: number): Promise<NoteLine['detail'][]> {
  const found = await auditLines(
    world.auditFile,
    (lines) => lines.filter((line) => line.event === 'policy').length >= count,
  );
  return found.flatMap((line) => (line.event === 'policy' ? [line.detail] : []));
}

it('a layer is taken, breaks, is mended, and is left out of a cold start while it is broken', async () => {
  origin = await startOrigin(echo);
  open.push(origin);
  world = await startWorld(
    {
      allow: [rule(SHARED)],
      clients: { from: LOOPBACK, groups: [{ from: ['127.0.0.1/32'], set: { pipeline: 'web' } }] },
      layers: { ceiling: 'ceiling.yaml', pipelines: [{ file: 'pipelines/*.yaml', for: { pipeline: '{name}' } }] },
      limits: { watch_interval_ms: 100 },
    },
    { [A]: ['127.0.0.1'], [B]: ['127.0.0.1'], [SHARED]: ['127.0.0.1'] },
  );
  open.push(world);
  // Neither file is there yet: the ceiling is broken, and says so.
  expect(await asked(SHARED)).toBe('200 Connection established');
  const folder = dirname(world.configFile);
  writePolicy(join(folder, 'ceiling.yaml'), { version: 1, allow: [rule('*.corp.test')] });
  expect((await notes(1))[0]).toMatchObject({ result: 'loaded' });
  const web = join(folder, 'pipelines', 'web.yaml');
  writePolicy(join(folder, 'pipelines', 'api.yaml'), { version: 1, allow: [rule(B)] });
  writePolicy(web, { version: 1, allow: [rule(A)] });
  await notes(2);
  expect([await asked(A), await asked(B)]).toEqual(['200 Connection established', '403 host-not-allowed']);

  writePolicy(web, { version: 1, allow: [rule(B), rule('evil.test')] });
  const broken = await notes(3);
  expect(broken.at(-1)).toMatchObject({ result: 'loaded', layers_broken: 1, layers: `${web} last-good` });
  await world.proxy.printed(/outside the ceiling/);
  expect([await asked(A), await asked(B)]).toEqual(['200 Connection established', '403 host-not-allowed']);
  const checked = await sallyport(['check', '--config', world.configFile], { cwd: world.dir });
  expect([checked.code, checked.stderr]).toEqual([1, expect.stringContaining('config-ceiling')]);

  await world.proxy.stop();
  const stopped = await auditLines(world.auditFile, (lines) => lines.some(({ event }) => event === 'stop'));
  expect(stopped.find(({ event }) => event === 'stop')).toMatchObject({ detail: { layers_broken: 2 } });
  await world.restart();
  expect([await asked(A), await asked(B), await asked(SHARED)]).toEqual([
    '403 host-not-allowed',
    '403 host-not-allowed',
    '200 Connection established',
  ]);
  rmSync(web);
  await notes(4);
  expect(await asked(A)).toBe('403 host-not-allowed');
});
