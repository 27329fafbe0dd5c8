// The usage store seen from the built proxy: one that accepts and never answers holds up neither start nor requests nor stop,
// and its password is in nothing that is printed or written.
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { expect, it } from 'vitest';
import { echo, startOrigin } from '../support/origin.ts';
import { sallyport } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { LOOPBACK, startWorld } from '../support/world.ts';

const HOST = 'echo.allowed.test';
const SECRET = 'geheim-%C3%BC-42';
const DECODED = 'geheim-ü-42';

it('is silent: the proxy starts, serves and stops, and says no password', async () => {
  let asked = 0;
  const silent = net.createServer((socket) => {
    asked++;
    socket.on('error', () => undefined);
  });
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const { port } = silent.address() as net.AddressInfo;
  const origin = await startOrigin(echo);
  const world = await startWorld(
    {
      allow: [{ host: HOST, ports: [origin.port], protocol: 'any', addresses: LOOPBACK }],
      usage: { store: `postgres://counter:${SECRET}@127.0.0.1:${port}/usage` },
      limits: { usage_store_timeout_ms: 500 },
    },
    { [HOST]: ['127.0.0.1'] },
  );
  try {
    for (let n = 0; n < 20; n++) {
      const client = await RawClient.connect(world.proxy.proxy);
      client.send(`CONNECT ${HOST}:${origin.port} HTTP/1.1\r\nHost: ${HOST}:${origin.port}\r\n\r\n`);
      expect((await client.readHead()).status).toBe(200);
      client.close();
    }
    await world.proxy.printed(/store-unreadable.*postgres:\/\/counter@127\.0\.0\.1/);
    expect(asked).toBeGreaterThan(0);
    const said: string[] = [];
    for (const command of [
      ['check'],
      ['check', '--json'],
      ['policy'],
      ['report'],
      ['report', '--json'],
      ['suggest'],
      ['usage', 'rebuild'],
    ]) {
      const { stdout, stderr } = await sallyport([...command, '--config', world.configFile], { cwd: world.dir });
      said.push(stdout, stderr);
    }
    expect(said.join('')).toContain(`postgres://counter@127.0.0.1:${port}/usage`);
    const end = await world.proxy.stop();
    expect(end.code).toBe(0);
    said.push(end.stdout, end.stderr);
    for (const file of readdirSync(path.dirname(world.auditFile)))
      said.push(readFileSync(path.join(path.dirname(world.auditFile), file), 'utf8'));
    expect(said.join('')).not.toContain(SECRET);
    expect(said.join('')).not.toContain(DECODED);
  } finally {
    await world.close();
    await origin.close();
    silent.close();
  }
}, 120_000);
