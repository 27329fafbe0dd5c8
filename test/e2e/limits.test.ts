// Every bound met from outside, with the code that says so: in the answer where there still is one, else in the audit log.
// The limits are set low in the policy file; nothing here waits for a clock of its own.
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { ended } from '../support/lines.ts';
import { echo, type Origin, resetAfter, type SocketHandler, startOrigin } from '../support/origin.ts';
import { auditLine, readAudit, startProxy } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { tempDir, writePolicy } from '../support/temp.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

const HOST = 'a.allowed.test';
const open: { close(): Promise<void> | void }[] = [];
let world: World;
let origin: Origin;

afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

async function start(
  options: {
    readonly handler?: SocketHandler;
    readonly limits?: object;
    readonly protocol?: string;
    readonly policy?: object;
  } = {},
): Promise<void> {
  origin = await startOrigin(options.handler ?? echo);
  open.push(origin);
  const rule = { host: HOST, ports: [origin.port], protocol: options.protocol ?? 'any', addresses: LOOPBACK };
  world = await startWorld(
    { allow: [rule], limits: options.limits ?? {}, ...options.policy },
    { [HOST]: ['127.0.0.1'] },
  );
  open.push(world);
}

async function connect(localAddress?: string): Promise<RawClient> {
  const client = await RawClient.connect(world.proxy.proxy, localAddress === undefined ? {} : { localAddress });
  open.push(client);
  return client;
}

const CONNECT = () => `CONNECT ${HOST}:${origin.port} HTTP/1.1\r\nHost: ${HOST}:${origin.port}\r\n\r\n`;
const GET = () => `GET http://${HOST}:${origin.port}/ HTTP/1.1\r\nHost: ${HOST}:${origin.port}\r\n\r\n`;

/** Status and reason of what is sent on a connection of its own. */
async function answer(text: string, localAddress?: string): Promise<string> {
  const client = await connect(localAddress);
  client.send(text);
  const { status, reason } = await client.readHead();
  return `${status} ${reason}`;
}

async function tunnel(): Promise<RawClient> {
  const client = await connect();
  client.send(CONNECT());
  expect(await client.readHead()).toMatchObject({ status: 200 });
  return client;
}

describe('the request head', () => {
  it('that does not arrive is 408', async () => {
    await start({ limits: { head_timeout_ms: 100 } });
    expect(await answer('CONNECT a.all')).toBe('408 head-timeout');
    expect(await answer(CONNECT())).toMatch(/^200/);
  });

  it('that is too large is 431', async () => {
    await start({ limits: { head_bytes: 1_024 } });
    expect(await answer(`CONNECT ${HOST}:443 HTTP/1.1\r\nX: ${'x'.repeat(4_096)}\r\n\r\n`)).toBe('431 head-too-large');
    expect(await answer(CONNECT())).toMatch(/^200/);
  });
});

describe('the first message of a tunnel', () => {
  const cut = async (bytes: string | null, then: 'wait' | 'end' = 'wait') => {
    const client = await tunnel();
    if (bytes !== null) client.send(bytes);
    if (then === 'end') client.end();
    expect(await client.readAll()).toHaveLength(0);
    return auditLine(world.auditFile, ended(HOST));
  };
  // A TLS record header that promises 8 kB of ClientHello.
  const HALF_HELLO = '\x16\x03\x01\x20\x00\x01\x00\x1f\xfc\x03\x03';

  it('that does not arrive closes the tunnel', async () => {
    await start({ protocol: 'tls', limits: { hello_timeout_ms: 100 } });
    expect(await cut(null)).toMatchObject({ verdict: 'deny', reason: 'hello-timeout', bytes_up: 0 });
  });

  it('that is given up half-way closes the tunnel', async () => {
    await start({ protocol: 'tls' });
    expect(await cut(HALF_HELLO, 'end')).toMatchObject({ verdict: 'deny', reason: 'hello-incomplete', bytes_up: 0 });
  });

  it('that is larger than the limit closes the tunnel', async () => {
    await start({ protocol: 'tls', limits: { hello_bytes: 2_048 } });
    expect(await cut(HALF_HELLO + 'x'.repeat(4_096))).toMatchObject({
      verdict: 'deny',
      reason: 'hello-too-large',
      bytes_up: 0,
    });
  });

  it('must be an SSH version line where the rule says ssh', async () => {
    await start({ protocol: 'ssh', handler: (socket) => void socket.resume() });
    expect(await cut('GET / HTTP/1.1\r\n')).toMatchObject({ verdict: 'deny', reason: 'not-ssh', bytes_up: 0 });
  });
});

describe('who may come, and how many', () => {
  it('a client from elsewhere is refused', async () => {
    await start({ policy: { clients: { from: ['127.0.0.1/32'] } } });
    expect(await answer(CONNECT(), '127.0.0.2')).toBe('403 client-not-allowed');
    expect(await answer(CONNECT(), '127.0.0.1')).toMatch(/^200/);
  });

  it('one client holds client_connections_max connections, and another still gets in', async () => {
    await start({ limits: { client_connections_max: 1 } });
    await tunnel();
    expect(await answer(CONNECT())).toBe('503 client-full');
    expect(await answer(CONNECT(), '127.0.0.2')).toMatch(/^200/);
  });

  it('all clients together hold connections_max connections', async () => {
    await start({ limits: { connections_max: 10, client_connections_max: 10, tunnels_max: 10 } });
    for (let i = 0; i < 10; i++) await tunnel();
    expect(await answer(CONNECT(), '127.0.0.2')).toBe('503 connections-full');
  });

  it('all clients together hold tunnels_max tunnels', async () => {
    await start({ limits: { tunnels_max: 1 } });
    const first = await tunnel();
    expect(await answer(CONNECT())).toBe('503 tunnels-full');
    first.end();
    await first.readAll();
    await auditLine(world.auditFile, ended(HOST));
    expect(await answer(CONNECT())).toMatch(/^200/);
  });
});

describe('an origin that fails', () => {
  it.each<[string, SocketHandler, string]>([
    ['sends what is not HTTP', (socket) => void socket.end('hello\r\n\r\n'), '502 upstream-malformed'],
    ['closes without an answer', (socket) => void socket.once('data', () => socket.end()), '502 upstream-closed'],
    ['says nothing', (socket) => void socket.resume(), '504 upstream-timeout'],
  ])('%s', async (_, handler, expected) => {
    await start({ protocol: 'http', handler, limits: { upstream_response_timeout_ms: 1_000 } });
    expect(await answer(GET())).toBe(expected);
    expect(await auditLine(world.auditFile, ended(HOST))).toMatchObject({
      verdict: 'allow',
      outcome: expected.slice(4),
    });
  });

  it('that resets a tunnel is named in the record', async () => {
    await start({ handler: resetAfter(4) });
    const client = await tunnel();
    client.send('ping');
    await expect(client.read(1)).rejects.toThrow();
    expect(await auditLine(world.auditFile, ended(HOST))).toMatchObject({ outcome: 'upstream-reset', bytes_up: 4 });
  });

  it('and a client that resets is told from it', async () => {
    await start();
    const client = await tunnel();
    client.send('ping');
    await client.read(4);
    client.socket.resetAndDestroy();
    expect(await auditLine(world.auditFile, ended(HOST))).toMatchObject({
      outcome: 'client-reset',
      bytes_up: 4,
      bytes_down: 4,
    });
  });
});

describe('the proxy itself', () => {
  it('takes no new request on an old connection while it drains', async () => {
    await start();
    const held = await tunnel();
    const late = await connect();
    // Half a head: the connection stands, the request does not yet.
    late.send(CONNECT().slice(0, 20));
    held.send('ping');
    await held.read(4);
    world.proxy.signal('SIGTERM');
    await world.proxy.printed(/draining/);
    late.send(CONNECT().slice(20));
    const { status, reason } = await late.readHead();
    expect(`${status} ${reason}`).toBe('503 draining');
    held.end();
    expect(await world.proxy.exited).toMatchObject({ code: 0 });
  });

  it('lets nothing through when it cannot record it', async () => {
    const dir = tempDir('full');
    origin = await startOrigin(echo);
    open.push(origin);
    const auditFile = join(dir, 'audit.jsonl');
    const config = writePolicy(join(dir, 'sallyport.yaml'), {
      version: 1,
      listen: '127.0.0.1:0',
      admin: '127.0.0.1:0',
      allow: [{ host: '127.0.0.1', ports: [origin.port], protocol: 'any', addresses: LOOPBACK }],
      audit: { file: auditFile },
      usage: { store: join(dir, 'usage.db') },
    });
    // A full disk, made by the one means that needs no root: no file of this process may grow beyond 64 KiB.
    const proxy = await startProxy(['--config', config], {
      cwd: dir,
      command: ['bash', '-c', 'ulimit -f 64; exec "$@"', 'bash', process.execPath],
    });
    open.push({ close: async () => void (await proxy.kill9()) });
    const ask = async () => {
      const client = await RawClient.connect(proxy.proxy);
      client.send(`CONNECT 127.0.0.1:${origin.port} HTTP/1.1\r\nHost: x\r\nUser-Agent: ${'u'.repeat(900)}\r\n\r\n`);
      const { status, reason } = await client.readHead();
      client.close();
      return `${status} ${reason}`;
    };
    const answers: string[] = [];
    while (answers.length < 200 && !answers.at(-1)?.startsWith('503')) answers.push(await ask());
    expect(answers.at(-1)).toBe('503 audit-unavailable');
    const reached = origin.connections();
    expect(await ask()).toBe('503 audit-unavailable');
    expect(origin.connections()).toBe(reached);
    // What stands in the log is whole lines, one for each that was let through.
    expect(readAudit(auditFile).filter((line) => line.event === 'decided' && line.verdict === 'allow')).toHaveLength(
      reached,
    );
    expect(await proxy.stop()).toMatchObject({ code: 0 });
  });
});
