// A real load balancer before the built proxy: HAProxy conveys its clients by PROXY protocol v2, and its health checks harm nobody.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { loadNative } from '../../src/proxy/native-binding.ts';
import { ended } from '../support/lines.ts';
import { nativeSockets } from '../support/native-sockets.ts';
import { echo, type Origin, startOrigin } from '../support/origin.ts';
import { auditLine, type Endpoint, PROCESSES_MS, readAudit } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { writeFile } from '../support/temp.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

const HAPROXY = ['/usr/sbin/haproxy', '/usr/local/sbin/haproxy'].find((path) => existsSync(path)) ?? 'haproxy';
const HOST = 'a.allowed.test';
const open: { close(): Promise<void> | void }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

async function start(serve = echo): Promise<{ world: World; origin: Origin; head: string }> {
  const origin = await startOrigin(serve);
  open.push(origin);
  const world = await startWorld(
    {
      allow: [{ host: HOST, ports: [origin.port], protocol: 'any', addresses: LOOPBACK }],
      clients: { from: ['127.0.0.7/32', '::1/128'] },
      proxy_protocol: { from: ['127.0.0.1/32'] },
    },
    { [HOST]: ['127.0.0.1'] },
  );
  open.push(world);
  return { world, origin, head: `CONNECT ${HOST}:${origin.port} HTTP/1.1\r\nHost: ${HOST}:${origin.port}\r\n\r\n` };
}

/** HAProxy on a listener that this process has bound, so that nobody takes the port between. */
async function haproxy(world: World, bind: string, server: string): Promise<Endpoint> {
  const listener = net.createServer().listen({ host: bind, port: 0 });
  await once(listener, 'listening');
  const { port } = listener.address() as net.AddressInfo;
  const { fd } = (listener as unknown as { readonly _handle: { readonly fd: number } })._handle;
  const to = world.proxy.proxy;
  const file = writeFile(
    join(world.dir, 'haproxy.cfg'),
    `global
  log stderr format raw local0
defaults
  mode tcp
  timeout connect 10s
  timeout client 60s
  timeout server 60s
listen agents
  bind fd@3
  server sallyport ${to.host}:${to.port} ${server}
`,
  );
  const child = spawn(HAPROXY, ['-db', '-f', file], { stdio: ['ignore', 'ignore', 'inherit', fd] });
  open.push({
    close: async () => {
      if (child.exitCode === null && child.kill('SIGKILL')) await once(child, 'exit');
    },
  });
  await once(child, 'spawn');
  listener.close();
  return { host: bind, port };
}

async function from(at: Endpoint, bytes: string, localAddress?: string): Promise<RawClient> {
  const client = await RawClient.connect(at, localAddress === undefined ? {} : { localAddress });
  open.push(client);
  client.send(bytes);
  return client;
}

describe('HAProxy with send-proxy-v2', () => {
  it.each([
    ['127.0.0.1', '127.0.0.7'],
    ['::1', '::1'],
  ])('on %s: a client of %s is served and recorded as itself, another one refused as itself', async (bind, address) => {
    const { world, head } = await start();
    const at = await haproxy(world, bind, 'send-proxy-v2 proxy-v2-options unique-id,crc32c');
    const client = await from(at, `${head}ping`, address);
    expect(await client.readHead()).toMatchObject({ status: 200 });
    expect((await client.read(4)).toString()).toBe('ping');
    client.end();
    await client.readAll();
    expect(await auditLine(world.auditFile, ended(HOST))).toMatchObject({
      client: address,
      bytes_up: 4,
      bytes_down: 4,
    });
    if (bind === '::1') return;
    const stranger = await from(at, head, '127.0.0.8');
    expect(await stranger.readHead()).toMatchObject({ status: 403, reason: 'client-not-allowed' });
    expect(readAudit(world.auditFile).at(-1)).toMatchObject({ client: '127.0.0.8', reason: 'client-not-allowed' });
  });

  it('checks the proxy’s health beside that, and no check is recorded', async () => {
    const { world, head } = await start();
    const at = await haproxy(world, '127.0.0.1', 'send-proxy-v2 check inter 10ms fall 1 rise 1');
    for (let i = 0; i < 20; i++) {
      const client = await from(at, `${head}ping`, '127.0.0.7');
      expect(await client.readHead()).toMatchObject({ status: 200 });
      expect((await client.read(4)).toString()).toBe('ping');
      client.close();
    }
    const requests = readAudit(world.auditFile).filter(({ event }) => event === 'decided');
    expect(requests).toHaveLength(20);
    expect(requests.every((line) => 'client' in line && line.client === '127.0.0.7')).toBe(true);
    expect(world.proxy.stderr()).not.toContain('PROXY header');
  });
});

// Node would have the client's socket; the engine has it, beside its listener and the connection to the origin.
describe.runIf(loadNative().ok && process.env['SALLYPORT_ENGINE'] !== 'js')(
  'behind HAProxy on the native engine',
  () => {
    it.each([
      ['through a tunnel', ['--proxytunnel']],
      ['over plain HTTP', []],
    ])('curl %s is served without Node’s sockets', async (_, options) => {
      const asked = Promise.withResolvers<net.Socket>();
      const { world, origin } = await start((socket) => socket.once('data', () => asked.resolve(socket)));
      const at = await haproxy(world, '127.0.0.1', 'send-proxy-v2');
      const url = `http://${HOST}:${origin.port}/`;
      // Its loop watches the listener from its next turn on, which may come after its ready line.
      await vi.waitFor(() => expect(nativeSockets(world.proxy.pid)).toBe(1), { timeout: PROCESSES_MS });
      const proxy = ['--proxy', `http://${at.host}:${at.port}`, '--interface', '127.0.0.7'];
      const done = world.client(['curl', '-sS', ...proxy, ...options, url]);
      const socket = await asked.promise;
      expect(nativeSockets(world.proxy.pid)).toBe(1 + 2);
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok');
      expect(await done).toMatchObject({ code: 0, stdout: 'ok' });
      expect(await auditLine(world.auditFile, ended(HOST))).toMatchObject({ client: '127.0.0.7', outcome: 'closed' });
    });
  },
);

describe('version 1', () => {
  it('of HAProxy is closed, recorded and named in the log', async () => {
    const { world, head } = await start();
    const client = await from(await haproxy(world, '127.0.0.1', 'send-proxy'), head, '127.0.0.7');
    expect(await client.readAll()).toHaveLength(0);
    expect(await auditLine(world.auditFile, ({ event }) => event === 'decided')).toMatchObject({
      client: '127.0.0.1',
      reason: 'proxy-header-invalid',
    });
    await world.proxy.printed(/version 1 \(text\); let the sender use version 2 \(HAProxy: send-proxy-v2\)/);
  });

  it('of curl is closed from a load balancer’s address, and no request from another', async () => {
    const { world, origin } = await start();
    const url = `http://${HOST}:${origin.port}/`;
    const curl = (address: string) =>
      world.client(['curl', '-sS', '--interface', address, '--haproxy-protocol', '-x', world.proxy.url(), url]);
    expect((await curl('127.0.0.1')).code).not.toBe(0);
    await world.proxy.printed(/version 1 \(text\)/);
    const other = await curl('127.0.0.7');
    expect(other.stdout).toContain('method-not-allowed');
    expect(origin.connections()).toBe(0);
  });
});
