// An agent's stream as agents from 3.122 have it: one HTTP/2 stream of gRPC messages that stays open while work is dispatched over it, kept
// alive by pings. Through the built proxy, over reloads and a policy that no longer has the host, not one message is lost. That pings keep
// it from being idle is in test/proxy/streaming.test.ts, with virtual time.
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import tls from 'node:tls';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { openTunnel } from '../../src/buildkite/client-tunnel.ts';
import { type ProxyUrl, parseProxyUrl } from '../../src/buildkite/proxy-url.ts';
import { parseAuthority } from '../../src/policy/authority.ts';
import type { Line } from '../../src/policy/record.ts';
import { ended } from '../support/lines.ts';
import { auditLine, auditLines, PROCESSES_MS, readAudit } from '../support/proxy-process.ts';
import { certificateFor, testCa } from '../support/tls.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

const HOST = 'dispatch.allowed.test';
const PING_MS = 200;
const MESSAGE_MS = 50;

let world: World;
let server: http2.Http2SecureServer;
let port = 0;

/** A message of gRPC: not compressed, its length, and here a number (gRPC over HTTP/2, length-prefixed message). */
function message(number: number): Buffer {
  const body = Buffer.from(String(number));
  const head = Buffer.alloc(5);
  head.writeUInt32BE(body.length, 1);
  return Buffer.concat([head, body]);
}

/** Reads messages out of the pieces that they come in. */
class Messages {
  readonly numbers: number[] = [];
  #rest = Buffer.alloc(0);
  #waiting: (() => void) | null = null;

  take(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    while (this.#rest.length >= 5 && this.#rest.length >= 5 + this.#rest.readUInt32BE(1)) {
      const end = 5 + this.#rest.readUInt32BE(1);
      this.numbers.push(Number(this.#rest.subarray(5, end)));
      this.#rest = this.#rest.subarray(end);
    }
    this.#waiting?.();
  }

  async more(count: number): Promise<void> {
    const wanted = this.numbers.length + count;
    while (this.numbers.length < wanted)
      await new Promise<void>((resolve) => {
        this.#waiting = resolve;
      });
  }
}

/** What the origin has got from the client; it sends numbered messages for as long as a stream wants any. */
const upward = new Messages();

beforeAll(async () => {
  server = http2.createSecureServer({ ...certificateFor([HOST]) });
  server.on('stream', (stream) => {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('error', () => {});
    stream.on('data', (chunk: Buffer) => upward.take(chunk));
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    let number = 0;
    const timer = setInterval(() => stream.write(message(number++)), MESSAGE_MS);
    stream.on('end', () => stream.end());
    stream.on('close', () => clearInterval(timer));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  port = (server.address() as AddressInfo).port;
  world = await startWorld(policy([HOST]), { [HOST]: ['127.0.0.1'], 'more.allowed.test': ['127.0.0.1'] });
});
afterAll(async () => {
  await world.close();
  server.close();
});

function policy(hosts: readonly string[], onReload = 'cut') {
  return {
    allow: hosts.map((host) => ({ host, ports: [port], addresses: LOOPBACK })),
    on_reload: onReload,
    watch: false,
  };
}

/** A session in a tunnel of its own. */
async function session(): Promise<http2.ClientHttp2Session> {
  const target = parseAuthority(`${HOST}:${port}`);
  if (!target.ok) throw new Error(target.problem);
  const proxy = parseProxyUrl(world.proxy.url()) as ProxyUrl;
  const opened = await openTunnel({
    proxy,
    target: target.authority,
    credentials: null,
    proxyCa: null,
    certificate: null,
    timeoutMs: 10_000,
  });
  if (!opened.ok) throw new Error(opened.message);
  const secure = tls.connect({ socket: opened.socket, servername: HOST, ca: testCa().ca, ALPNProtocols: ['h2'] });
  return http2.connect(`https://${HOST}`, { createConnection: () => secure });
}

const pings = (client: http2.ClientHttp2Session) => {
  let answered = 0;
  let waiting: (() => void) | null = null;
  const timer = setInterval(() => {
    client.ping((error) => {
      if (error === null) answered++;
      waiting?.();
    });
  }, PING_MS);
  return {
    stop: () => clearInterval(timer),
    more: async (count: number): Promise<void> => {
      const wanted = answered + count;
      while (answered < wanted && !client.destroyed)
        await new Promise<void>((resolve) => {
          waiting = resolve;
        });
    },
  };
};

const loaded = (lines: readonly Line[]): number => lines.filter(({ event }) => event === 'policy').length;

/** Writes the policy, has it loaded, and waits until it is in force. */
async function reload(next: ReturnType<typeof policy>): Promise<void> {
  const before = loaded(readAudit(world.auditFile));
  world.write(next);
  world.proxy.signal('SIGHUP');
  await auditLines(world.auditFile, (lines) => loaded(lines) > before);
}

it('a dispatch stream goes on over reloads, another policy, and one without its host', async () => {
  const client = await session();
  const beats = pings(client);
  const stream = client.request({
    ':method': 'POST',
    ':path': '/dispatch',
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  const failures: unknown[] = [];
  for (const emitter of [client, stream]) emitter.on('error', (error: unknown) => failures.push(error));
  client.on('goaway', () => failures.push('goaway'));
  const downward = new Messages();
  stream.on('data', (chunk: Buffer) => downward.take(chunk));
  const trailers = new Promise<http2.IncomingHttpHeaders>((resolve) => stream.once('trailers', resolve));
  let sent = 0;
  const both = async (): Promise<void> => {
    const arrived = upward.more(1);
    stream.write(message(sent++));
    await Promise.all([arrived, downward.more(5)]);
  };
  await both();
  await reload(policy([HOST]));
  await both();
  await reload(policy(['more.allowed.test', HOST]));
  await both();
  // The host is gone, and what is open may go on.
  await reload(policy(['more.allowed.test'], 'keep'));
  await both();
  await reload(policy([HOST]));
  await both();
  beats.stop();
  stream.end();
  expect((await trailers)['grpc-status']).toBe('0');
  expect(failures).toEqual([]);
  expect(downward.numbers).toEqual(downward.numbers.map((_, index) => index));
  expect(downward.numbers.length).toBeGreaterThanOrEqual(25);
  expect(upward.numbers).toEqual([0, 1, 2, 3, 4]);
  client.close();
  expect(await auditLine(world.auditFile, ended(HOST))).toMatchObject({ outcome: 'closed' });
  expect(readAudit(world.auditFile).filter(ended(HOST))).toHaveLength(1);
});

it('is cut where on_reload says so and the host is gone: the one way to end it by policy', async () => {
  const client = await session();
  const beats = pings(client);
  client.on('error', () => {});
  await beats.more(1);
  const closed = new Promise((resolve) => client.once('close', resolve));
  await reload(policy(['more.allowed.test']));
  await closed;
  beats.stop();
  expect(
    (await auditLines(world.auditFile, (all) => all.filter(ended(HOST)).length >= 2)).filter(ended(HOST)).at(-1),
  ).toMatchObject({
    outcome: 'policy-changed',
  });
});
