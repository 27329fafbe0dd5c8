// The built proxy on a disk that is really full (needs root to mount it): nothing passes unrecorded, and it goes on when there is room.
import { join } from 'node:path';
import { afterEach, expect, it, vi } from 'vitest';
import { verifyAudit } from '../../src/audit/verify.ts';
import { echo, startOrigin } from '../support/origin.ts';
import { PROCESSES_MS, readAudit, startProxy } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { tempDir, writePolicy } from '../support/temp.ts';
import { canMount, SmallDisk } from '../support/tmpfs.ts';
import { LOOPBACK } from '../support/world.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

const open: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

it.skipIf(!canMount())('refuses while the disk is full, loses nothing, and goes on when there is room', async () => {
  const disk = new SmallDisk('1m');
  open.push(() => disk.unmount());
  const origin = await startOrigin(echo);
  open.push(() => origin.close());
  const dir = tempDir('full');
  const file = join(disk.directory, 'audit.jsonl');
  const config = writePolicy(join(dir, 'sallyport.yaml'), {
    version: 1,
    listen: '127.0.0.1:0',
    admin: '127.0.0.1:0',
    allow: [{ host: '127.0.0.1', ports: [origin.port], protocol: 'any', addresses: LOOPBACK }],
    audit: { file },
    usage: { store: join(dir, 'usage.db') },
  });
  const proxy = await startProxy(['--config', config], { cwd: dir });
  open.push(() => proxy.kill9());
  const ask = async (): Promise<number> => {
    const client = await RawClient.connect(proxy.proxy);
    client.send(`CONNECT 127.0.0.1:${origin.port} HTTP/1.1\r\nHost: x\r\nUser-Agent: ${'u'.repeat(900)}\r\n\r\n`);
    const { status } = await client.readHead();
    client.close();
    return status;
  };
  disk.fill(40_000);
  let passed = 0;
  for (let status = await ask(); status === 200; status = await ask()) expect(++passed).toBeLessThan(500);
  expect(passed).toBeGreaterThan(3);
  disk.fill();
  expect(await ask()).toBe(503);
  expect(origin.connections()).toBe(passed);
  expect(readAudit(file).filter((line) => line.event === 'decided')).toHaveLength(passed);
  const { admin } = proxy;
  expect((await fetch(`http://127.0.0.1:${admin?.port}/readyz`)).status).toBe(503);
  disk.empty();
  expect(await ask()).toBe(200);
  expect(await proxy.stop()).toMatchObject({ code: 0 });
  expect(await verifyAudit(file)).toMatchObject({ complete: true, open: 0 });
  expect(readAudit(file).filter((line) => line.event === 'ended')).toHaveLength(passed + 1);
});
