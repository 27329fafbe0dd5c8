// Clients that speak TLS through the built proxy in their own ways: Python's HTTP/1.0 CONNECT and openssl s_client, with the right
// server name and with another one.
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { decided, ended } from '../support/lines.ts';
import { type Origin, startHttpOrigin, startOrigin } from '../support/origin.ts';
import { auditLine, PROCESSES_MS, readAudit } from '../support/proxy-process.ts';
import { writeFile } from '../support/temp.ts';
import { certificateFor, testCa } from '../support/tls.ts';
import { LOOPBACK, startWorld, type World } from '../support/world.ts';

vi.setConfig({ testTimeout: PROCESSES_MS });

let world: World;
let origin: Origin;
let silent: Origin;
let silentGot = 0;

beforeAll(async () => {
  origin = await startHttpOrigin((request, response) => response.end(`hello ${request.headers.host}\n`), {
    tls: certificateFor(['files.allowed.test', 'other.test']),
  });
  silent = await startOrigin((socket) => {
    socket.on('data', (chunk: Buffer) => {
      silentGot += chunk.length;
    });
    socket.on('end', () => socket.end());
  });
  world = await startWorld(
    {
      allow: [
        { host: 'files.allowed.test', ports: [origin.port], addresses: LOOPBACK },
        { host: 'guarded.allowed.test', ports: [silent.port], addresses: LOOPBACK },
      ],
    },
    { 'files.allowed.test': ['127.0.0.1'], 'guarded.allowed.test': ['127.0.0.1'] },
  );
});

afterAll(async () => {
  await world.close();
  await origin.close();
  await silent.close();
});

describe('python', () => {
  const python = (script: string) => world.client(['python3', writeFile(join(world.dir, 'client.py'), script)]);

  it('reaches an allowed host with urllib', async () => {
    const done = await python(`
import ssl, urllib.request
context = ssl.create_default_context(cafile=${JSON.stringify(testCa().caFile)})
opener = urllib.request.build_opener(
    urllib.request.ProxyHandler({"https": ${JSON.stringify(world.proxy.url())}}), urllib.request.HTTPSHandler(context=context))
print(opener.open("https://files.allowed.test:${origin.port}/x").read().decode(), end="")
`);
    expect(done).toMatchObject({ code: 0, stdout: `hello files.allowed.test:${origin.port}\n` });
  });

  it('reaches an allowed host with the tunnel of http.client', async () => {
    const done = await python(`
import http.client, ssl
context = ssl.create_default_context(cafile=${JSON.stringify(testCa().caFile)})
connection = http.client.HTTPSConnection("127.0.0.1", ${world.proxy.proxy.port}, context=context)
connection.set_tunnel("files.allowed.test", ${origin.port})
connection.request("GET", "/x")
print(connection.getresponse().read().decode(), end="")
`);
    expect(done).toMatchObject({ code: 0, stdout: `hello files.allowed.test:${origin.port}\n` });
  });

  it('reaches an allowed host with the HTTP/1.0 CONNECT without Host that older Pythons send', async () => {
    const done = await python(`
import socket, ssl
raw = socket.create_connection(("127.0.0.1", ${world.proxy.proxy.port}))
raw.sendall(b"CONNECT files.allowed.test:${origin.port} HTTP/1.0\\r\\n\\r\\n")
head = b""
while not head.endswith(b"\\r\\n\\r\\n"):
    head += raw.recv(1)
print(head.decode().splitlines()[0])
tls = ssl.create_default_context(cafile=${JSON.stringify(testCa().caFile)}).wrap_socket(raw, server_hostname="files.allowed.test")
tls.sendall(b"GET / HTTP/1.0\\r\\nHost: old\\r\\n\\r\\n")
print(b"".join(iter(lambda: tls.recv(4096), b"")).decode().splitlines()[-1])
`);
    expect(done).toMatchObject({ code: 0 });
    expect(done.stdout).toMatch(/^HTTP\/1\.[01] 200 .*\nhello old\n$/);
  });

  it('reads the cause of a refusal from the exception', async () => {
    const done = await python(`
import urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({"https": ${JSON.stringify(world.proxy.url())}}))
try:
    opener.open("https://pastebin.test/")
except OSError as error:
    print(error)
`);
    expect(done.stdout).toContain('403 host-not-allowed');
  });
});

describe('openssl s_client', () => {
  const client = (host: string, port: number, serverName: readonly string[]) =>
    world.client(
      [
        'openssl',
        's_client',
        '-proxy',
        `127.0.0.1:${world.proxy.proxy.port}`,
        '-connect',
        `${host}:${port}`,
        ...serverName,
        '-CAfile',
        testCa().caFile,
        '-verify_return_error',
        '-quiet',
        '-ign_eof',
      ],
      { input: 'GET / HTTP/1.0\r\nHost: s_client\r\n\r\n' },
    );

  it('completes a handshake where the server name is the host', async () => {
    const done = await client('files.allowed.test', origin.port, ['-servername', 'files.allowed.test']);
    expect(done.stdout).toContain('hello s_client');
  });

  it.each([
    ['another name', ['-servername', 'other.test'], 'sni-mismatch'],
    ['no name', ['-noservername'], 'sni-missing'],
  ])('is cut before one byte reaches the origin when it sends %s', async (_, serverName, reason) => {
    silentGot = 0;
    const before = readAudit(world.auditFile).length;
    const done = await client('guarded.allowed.test', silent.port, serverName);
    expect(done.code).not.toBe(0);
    const line = await auditLine(
      world.auditFile,
      (found) => found.seq > before && ended('guarded.allowed.test')(found),
    );
    expect(line).toMatchObject({ verdict: 'deny', reason, outcome: reason, bytes_up: 0, bytes_down: 0 });
    expect(silentGot).toBe(0);
    expect(readAudit(world.auditFile).findLast(decided('guarded.allowed.test'))).toMatchObject({ verdict: 'allow' });
  });

  it('is cut when it does not speak TLS at all', async () => {
    const done = await world.client([
      'curl',
      '-sS',
      '--proxytunnel',
      '--proxy',
      world.proxy.url(),
      `http://guarded.allowed.test:${silent.port}/`,
    ]);
    expect(done.code).not.toBe(0);
    const line = await auditLine(world.auditFile, (found) => found.event === 'ended' && found.reason === 'not-tls');
    expect(line).toMatchObject({ host: 'guarded.allowed.test', verdict: 'deny', bytes_up: 0 });
    expect(silentGot).toBe(0);
  });
});
