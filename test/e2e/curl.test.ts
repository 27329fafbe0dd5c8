// curl through the built proxy, as a build script would use it: TLS tunnels, plain HTTP, uploads, and what a refusal looks like.
import { createHash, randomBytes } from 'node:crypto';
import type http from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { decided, ended } from '../support/lines.ts';
import { type Origin, startHttpOrigin } from '../support/origin.ts';
import { auditLine, PROCESSES_MS, readAudit } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { writeFile } from '../support/temp.ts';
import { certificateFor, testCa } from '../support/tls.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

interface Seen {
  readonly url: string;
  readonly host: string;
  readonly names: readonly string[];
}

const BODY = randomBytes(1 << 20);
const DIGEST = createHash('sha256').update(BODY).digest('hex');

let world: World;
let secure: Origin;
let plain: Origin;
let body: string;
const seen: Seen[] = [];

/** Says back what it was asked for; an upload is answered by its digest. */
const answer: http.RequestListener = (request, response) => {
  seen.push({ url: request.url ?? '', host: request.headers.host ?? '', names: Object.keys(request.headers) });
  const hash = createHash('sha256');
  request.on('data', (chunk: Buffer) => hash.update(chunk));
  request.on('end', () =>
    response.end(request.method === 'GET' ? `you asked for ${request.url}\n` : hash.digest('hex')),
  );
};

beforeAll(async () => {
  secure = await startHttpOrigin(answer, { tls: certificateFor(['api.allowed.test']) });
  plain = await startHttpOrigin(answer);
  world = await startWorld(
    {
      allow: [
        { host: 'api.allowed.test', ports: [secure.port], addresses: LOOPBACK },
        { host: 'mirror.allowed.test', ports: [plain.port], protocol: 'http', addresses: LOOPBACK },
      ],
      deny: ['gist.allowed.test'],
    },
    { 'api.allowed.test': ['127.0.0.1'], 'mirror.allowed.test': ['127.0.0.1'], 'denied.test': ['127.0.0.1'] },
  );
  body = writeFile(join(world.dir, 'body.bin'), '');
  const { writeFileSync } = await import('node:fs');
  writeFileSync(body, BODY);
});

afterAll(async () => {
  await world.close();
  await secure.close();
  await plain.close();
});

const curl = (...args: readonly string[]) =>
  world.client(['curl', '-sS', '--proxy', world.proxy.url(), '--cacert', testCa().caFile, ...args]);

describe('curl', () => {
  it('reaches an allowed host over TLS', async () => {
    const done = await curl(`https://api.allowed.test:${secure.port}/v1/thing`);
    expect(done).toMatchObject({ code: 0, stdout: 'you asked for /v1/thing\n', stderr: '' });
    const line = await auditLine(world.auditFile, ended('api.allowed.test'));
    expect(line).toMatchObject({
      verdict: 'allow',
      reason: 'allowed',
      outcome: 'closed',
      port: secure.port,
      method: 'CONNECT',
    });
    expect(line).toHaveProperty('address', `127.0.0.1:${secure.port}`);
  });

  it('is refused on another host, with the cause in the status line', async () => {
    const done = await curl('-v', 'https://denied.test/');
    expect(done.code).toBe(56);
    expect(done.stderr).toContain('< HTTP/1.1 403 host-not-allowed');
    expect(done.stderr).toMatch(/< proxy-status: sallyport.*; error=http_request_denied/i);
    expect(readAudit(world.auditFile).find(decided('denied.test'))).toMatchObject({
      verdict: 'deny',
      reason: 'host-not-allowed',
      outcome: 'host-not-allowed',
    });
    expect(world.dns.log.filter(({ name }) => name === 'denied.test')).toEqual([]);
  });

  it('is refused on another port of an allowed host', async () => {
    const done = await curl('-v', 'https://api.allowed.test:8443/');
    expect(done.stderr).toContain('< HTTP/1.1 403 port-not-allowed');
  });

  it('is refused on a host that a deny rule names', async () => {
    const done = await curl('-v', 'https://gist.allowed.test/');
    expect(done.stderr).toContain('< HTTP/1.1 403 host-denied');
  });

  it('gets the refusal of a plain request as text, or as JSON where it asks for JSON', async () => {
    const text = await curl('http://denied.test/');
    expect(text.stdout).toContain('host-not-allowed');
    expect(text.stdout).toContain('sallyport explain http://denied.test:80/`');
    const json = await curl('-H', 'Accept: application/json', '-D', '-', 'http://denied.test/');
    const [head = '', reply = ''] = json.stdout.split('\r\n\r\n');
    expect(head).toContain('HTTP/1.1 403 host-not-allowed');
    expect(head.toLowerCase()).toContain('content-type: application/json');
    expect(JSON.parse(reply)).toMatchObject({ code: 'host-not-allowed' });
  });

  it('gets a plain page: the origin sees origin-form, its own Host, and nothing of the proxy', async () => {
    seen.length = 0;
    const done = await curl(
      '-H',
      'Proxy-Connection: keep-alive',
      '--proxy-user',
      'web%2Fjob-1:',
      `http://mirror.allowed.test:${plain.port}/pool/a%2Fb?x=1`,
    );
    expect(done).toMatchObject({ code: 0, stdout: 'you asked for /pool/a%2Fb?x=1\n' });
    expect(seen).toMatchObject([{ url: '/pool/a%2Fb?x=1', host: `mirror.allowed.test:${plain.port}` }]);
    expect(seen[0]?.names).not.toContain('proxy-authorization');
    expect(seen[0]?.names).not.toContain('proxy-connection');
  });

  it('keeps one connection for two plain requests', async () => {
    const url = `http://mirror.allowed.test:${plain.port}`;
    const done = await curl('-v', `${url}/one`, `${url}/two`);
    expect(done.stdout).toBe('you asked for /one\nyou asked for /two\n');
    expect(done.stderr).toMatch(/Re-using existing connection/i);
  });

  it('uploads with Expect: 100-continue', async () => {
    const done = await curl(
      '-v',
      '-T',
      body,
      '-H',
      'Expect: 100-continue',
      '--expect100-timeout',
      '20',
      `http://mirror.allowed.test:${plain.port}/up`,
    );
    expect(done.stdout).toBe(DIGEST);
    expect(done.stderr).toContain('HTTP/1.1 100 Continue');
  });

  it('uploads a mebibyte in chunks', async () => {
    const done = await curl(
      '-H',
      'Transfer-Encoding: chunked',
      '-H',
      'Expect:',
      '--data-binary',
      `@${body}`,
      `http://mirror.allowed.test:${plain.port}/up`,
    );
    expect(done.stdout).toBe(DIGEST);
  });

  it('uploads a mebibyte through a tunnel', async () => {
    const done = await curl('--data-binary', `@${body}`, `https://api.allowed.test:${secure.port}/up`);
    expect(done.stdout).toBe(DIGEST);
  });

  it('is told when the origin is down', async () => {
    const gone = await startHttpOrigin(answer);
    await gone.close();
    world.write({
      allow: [
        { host: 'api.allowed.test', ports: [secure.port, gone.port], addresses: LOOPBACK },
        { host: 'mirror.allowed.test', ports: [plain.port], protocol: 'http', addresses: LOOPBACK },
      ],
    });
    const before = readAudit(world.auditFile).length;
    world.proxy.signal('SIGHUP');
    await auditLine(world.auditFile, (line) => line.event === 'policy' && line.seq > before);
    const done = await curl('-v', `https://api.allowed.test:${gone.port}/`);
    expect(done.stderr).toContain('< HTTP/1.1 502 connect-refused');
  });
});

describe('a refusal of CONNECT, byte for byte', () => {
  const refusal = async (headers: string) => {
    const client = await RawClient.connect(world.proxy.proxy);
    client.send(`CONNECT denied.test:443 HTTP/1.1\r\nHost: denied.test:443\r\n${headers}\r\n`);
    const head = await client.readHead();
    const rest = (await client.readAll()).toString();
    client.close();
    return { ...head, body: rest };
  };

  it('has a length, closes, and names code, nearest rule, hint and request id in JSON', async () => {
    const reply = await refusal('Accept: application/json\r\n');
    expect(reply).toMatchObject({ status: 403, reason: 'host-not-allowed' });
    expect(reply.headers['content-length']).toBe(String(Buffer.byteLength(reply.body)));
    expect(reply.headers['connection']).toBe('close');
    const parsed = JSON.parse(reply.body) as Record<string, string>;
    const line = readAudit(world.auditFile).findLast(decided('denied.test'));
    expect(parsed).toMatchObject({ code: 'host-not-allowed', request_id: line?.id });
    expect(parsed['hint']).toContain('sallyport explain denied.test:443');
  });

  it('says the same as text', async () => {
    const reply = await refusal('');
    expect(reply.headers['content-type']).toContain('text/plain');
    expect(reply.body).toContain('host-not-allowed');
    expect(reply.body).toContain('sallyport explain denied.test:443');
  });
});
