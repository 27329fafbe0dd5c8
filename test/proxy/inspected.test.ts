// Inspected connections from the CONNECT to the end of both handshakes, over both engines: who is verified by whom, what is recorded,
// and what ends them.
import type http from 'node:http';
import tls from 'node:tls';
import { describe, expect, it, vi } from 'vitest';
import { loadCa } from '../../src/inspect/ca.ts';
import { Leaves } from '../../src/inspect/leaves.ts';
import { InspectedConnection } from '../../src/proxy/inspected/connection.ts';
import { InspectedHttp } from '../../src/proxy/inspected/http.ts';
import { redecide } from '../../src/proxy/redecide.ts';
import { startOrigin } from '../support/origin.ts';
import { hasProgram } from '../support/programs.ts';
import { run } from '../support/proxy-process.ts';
import { RawClient } from '../support/raw-client.ts';
import { certificateFor, testCa } from '../support/tls.ts';
import { HOST, hostCertificate, httpsOrigin, inspectionCa, request, stageFor } from './inspected-support.ts';
import { allowing, atEnd, connectHead, ENGINES, eventually, rawOrigin } from './support.ts';

const hello: http.RequestListener = (req, res) => void res.end(`${req.url} ${req.headers.host}`);

/** A ClientHello as OpenSSL makes it, without a connection. */
async function helloBytes(options: tls.ConnectionOptions): Promise<Buffer> {
  const origin = await rawOrigin();
  const socket = tls.connect({ port: origin.port, host: origin.host, ...options });
  socket.on('error', () => {});
  const peer = await origin.peer();
  const head = await peer.read(5);
  const body = await peer.read(head.readUInt16BE(3));
  socket.destroy();
  return Buffer.concat([head, body]);
}

describe.each(ENGINES)('on the $name engine', ({ make: engine }) => {
  it('requests go through, each with records of its own beside those of the CONNECT', async () => {
    const origin = await httpsOrigin(hello);
    const { client, target, rig } = await stageFor(origin, { engine });
    const one = await client();
    one.send(request(target, '/a'));
    expect(await one.readResponse()).toMatchObject({ status: 200, body: `/a ${target}` });
    one.send(request(target, '/b'));
    expect(await one.readResponse()).toMatchObject({ status: 200, body: `/b ${target}` });
    expect(origin.connections()).toBe(1);
    one.close();
    await rig.recorder.endedAt(3);
    const { entries } = rig.recorder;
    expect(entries.map(({ event, id, method }) => `${event} ${id} ${method}`)).toEqual([
      'decided r1 CONNECT',
      'decided r2 GET',
      'ended r2 GET',
      'decided r3 GET',
      'ended r3 GET',
      'ended r1 CONNECT',
    ]);
    const end = rig.recorder.allEnded[2]!;
    expect(end).toMatchObject({ outcome: 'closed', verdict: 'allow', address: `127.0.0.1:${origin.port}` });
    // Of the TLS connection: at least a hello, and our certificate.
    expect(end.bytes_up).toBeGreaterThan(300);
    expect(end.bytes_down).toBeGreaterThan(600);
    await eventually(() => rig.engine.load === 0 && rig.slots.open === 0, 'it counts no more');
  });

  it('a hello that comes with the CONNECT, or byte by byte, is read whole', async () => {
    const origin = await httpsOrigin(hello);
    const { rig, target, ca } = await stageFor(origin, { engine });
    const { socket } = await rig.client();
    socket.removeAllListeners();
    // Node writes the hello in the turn of tls.connect: it is held back, and sent behind the head in one packet.
    socket.cork();
    socket.write(connectHead(target));
    let answered = Buffer.alloc(0);
    const secured = tls.connect({
      socket: await afterHead(socket, () => socket.uncork()),
      servername: HOST,
      ca: ca.pem,
    });
    answered = Buffer.concat([answered]);
    atEnd(() => void secured.destroy());
    const client = RawClient.of(secured);
    client.send(request(target, '/early'));
    expect((await client.readResponse()).body).toBe(`/early ${target}`);

    const bytes = await helloBytes({ servername: HOST });
    const slow = await rig.tunnel(target, bytes.subarray(0, 1));
    for (const byte of bytes.subarray(1)) slow.send(Buffer.of(byte));
    // A ServerHello comes back.
    expect((await slow.read(3)).subarray(0, 2)).toEqual(Buffer.from('1603', 'hex'));
  });

  it('another name, no name, and what is no TLS are closed and recorded; nothing reaches the origin', async () => {
    const origin = await rawOrigin();
    const { rig, target } = await stageFor(origin, { engine });
    const cases: [Buffer | string, string][] = [
      [await helloBytes({ servername: 'evil.test' }), 'sni-mismatch'],
      [await helloBytes({ servername: '' }), 'sni-missing'],
      ['GET / HTTP/1.1\r\nHost: git.test\r\n\r\n', 'not-tls'],
    ];
    for (const [index, [bytes, reason]] of cases.entries()) {
      const client = await rig.tunnel(target, bytes);
      await client.readAll();
      expect(await rig.recorder.endedAt(index + 1)).toMatchObject({ verdict: 'deny', reason, outcome: reason });
      const peer = await origin.peer(index + 1);
      expect((await peer.readAll()).length).toBe(0);
    }
    expect(rig.recorder.entries).toHaveLength(6);
  });

  it('a client that does not trust the CA leaves client-rejected-ca', async () => {
    const origin = await httpsOrigin(hello);
    const { rig, secure } = await stageFor(origin, { engine });
    await expect(secure({ ca: testCa().ca, minVersion: 'TLSv1.3' })).rejects.toThrow();
    expect(await rig.recorder.endedAt(1)).toMatchObject({ verdict: 'deny', outcome: 'client-rejected-ca' });
    expect(rig.logText()).toContain('client-rejected-ca');
  });

  it('a CONNECT that is killed, or refused by the next policy, ends with all that is asked on it', async () => {
    const origin = await rawOrigin();
    const server = await startOrigin(() => {}, { tls: hostCertificate() });
    atEnd(() => server.close());
    const { rig, client, target } = await stageFor(server, { engine });
    for (const [nth, end] of [
      () => rig.ctx.open.get('r1')?.cut('killed'),
      () => {
        rig.swapPolicy(allowing('other.test', origin.port));
        void redecide(rig.ctx, 'cut');
      },
    ].entries()) {
      const one = await client();
      one.send(request(target));
      await eventually(() => rig.ctx.open.size === 2, 'the request is under way');
      end();
      const outcome = nth === 0 ? 'killed' : 'policy-changed';
      expect(await rig.recorder.endedAt(2 * nth + 1)).toMatchObject({ method: 'GET', outcome });
      expect(await rig.recorder.endedAt(2 * nth + 2)).toMatchObject({ method: 'CONNECT', outcome });
      expect((await one.readAll()).length).toBe(0);
      expect(rig.ctx.open.size).toBe(0);
    }
    await eventually(() => rig.engine.load === 0 && rig.slots.open === 0, 'it counts no more');
  });

  it.each<[string, keyof InspectedConnection | 'serve']>([
    ['before the hello', 'hello'],
    ['between the handshakes', 'secureClient'],
    ['behind the handshakes', 'serve'],
  ])('a fault of our own %s ends both connections, with the record', async (_, where) => {
    const origin = await httpsOrigin(hello);
    const { rig, target, ca } = await stageFor(origin, { engine });
    const type = where === 'serve' ? InspectedHttp.prototype : InspectedConnection.prototype;
    const fault = vi.spyOn(type as unknown as { serve(): void }, where as 'serve').mockImplementation(() => {
      throw new TypeError('a bug');
    });
    atEnd(() => fault.mockRestore());
    const client = await rig.tunnel(target);
    client.socket.removeAllListeners();
    const secured = tls.connect({ socket: client.socket, servername: HOST, ca: ca.pem });
    secured.on('error', () => {}).resume();
    await new Promise<void>((resolve) => secured.once('end', resolve).once('close', resolve));
    expect(await rig.recorder.endedAt(1)).toMatchObject({ method: 'CONNECT', outcome: 'internal-error' });
    expect(rig.recorder.entries).toHaveLength(2);
    expect(rig.logText()).toContain('a bug');
    expect(origin.connections()).toBe(1);
    await eventually(() => origin.open() === 0, 'the origin is let go');
    await eventually(() => rig.engine.load === 0 && rig.slots.open === 0, 'it counts no more');
  });

  it('a handshake that does not end on either side is cut in its time, which is counted', async () => {
    const limits = { tls_handshake_timeout_ms: 300 };
    const silent = await rawOrigin();
    const first = await stageFor(silent, { engine, limits });
    const told = await first.client();
    told.send(request(first.target));
    expect(await told.readResponse()).toMatchObject({ status: 502, reason: 'upstream-tls' });
    expect(first.rig.meter.hits.get('tls_handshake_timeout_ms')).toBe(1);

    const origin = await httpsOrigin(hello);
    const { rig, target } = await stageFor(origin, { engine, limits });
    // It says its hello, and nothing to our certificate.
    await rig.tunnel(target, await helloBytes({ servername: HOST }));
    expect(await rig.recorder.endedAt(1)).toMatchObject({ method: 'CONNECT', outcome: 'client-tls' });
    expect(rig.meter.hits.get('tls_handshake_timeout_ms')).toBe(1);
    await eventually(() => origin.open() === 0, 'the origin is let go');
  });

  it('a client that leaves during the handshakes leaves no socket at the origin', async () => {
    const origin = await rawOrigin();
    const { rig, target } = await stageFor(origin, { engine });
    const client = await rig.tunnel(target, await helloBytes({ servername: HOST }));
    const peer = await origin.peer();
    await peer.read(100);
    client.socket.resetAndDestroy();
    expect(await rig.recorder.endedAt(1)).toMatchObject({ method: 'CONNECT' });
    await peer.readAll().catch(() => null);
    await eventually(() => rig.slots.open === 0 && rig.engine.load === 0, 'it counts no more');
  });
});

/** Runs `more` and gives the socket back once the 200 is read. */
async function afterHead(socket: import('node:net').Socket, more: () => void): Promise<import('node:net').Socket> {
  more();
  const reader = RawClient.of(socket);
  await reader.readHead();
  socket.removeAllListeners();
  return socket;
}

describe('the origin', () => {
  const expired = async () => startOrigin(() => {}, { tls: hostCertificate() });

  it.each<[string, string, Parameters<typeof stageFor>[1], () => Promise<{ port: number; close(): Promise<void> }>]>([
    ['of nobody whom Node trusts', 'upstream-certificate', { trusted: '/dev/null' }, expired],
    [
      'for another name',
      'upstream-certificate',
      {},
      () => startOrigin(() => {}, { tls: certificateFor(['other.test']) }),
    ],
    [
      'for clients, not for servers',
      'upstream-certificate',
      {},
      () => startOrigin(() => {}, { tls: certificateFor([HOST], { usage: 'clientAuth' }) }),
    ],
    ['that speaks no TLS', 'upstream-tls', {}, () => startOrigin((socket) => void socket.end('220 hello\r\n'))],
    ['that closes at once', 'upstream-tls', {}, () => startOrigin((socket) => socket.destroy())],
  ])('%s is never believed: %s, in a whole answer', async (_, code, options, start) => {
    const origin = await start();
    atEnd(() => origin.close());
    const { rig, client, target } = await stageFor(origin, options);
    const one = await client();
    one.send(request(target, '/x', 'Accept: application/json\r\n'));
    const answer = await one.readResponse();
    expect(answer).toMatchObject({ status: 502, reason: code, headers: { 'sallyport-code': code } });
    expect(JSON.parse(answer.body)).toMatchObject({ code, host: HOST, request_id: 'r2' });
    one.close();
    expect(await rig.recorder.decidedAt(2)).toMatchObject({ method: 'GET', verdict: 'allow', outcome: code });
    expect(await rig.recorder.endedAt(1)).toMatchObject({ method: 'CONNECT', outcome: 'closed' });
  });

  it('is asked for TLS 1.2 at least', async () => {
    const old = tls.createServer({
      ...hostCertificate(),
      maxVersion: 'TLSv1.1',
      minVersion: 'TLSv1.1',
      ciphers: 'DEFAULT@SECLEVEL=0',
    });
    await new Promise<void>((resolve) => old.listen(0, '127.0.0.1', resolve));
    atEnd(() => void old.close());
    old.on('tlsClientError', () => {});
    const { client, target } = await stageFor(old.address() as { port: number });
    const one = await client();
    one.send(request(target));
    expect((await one.readResponse()).reason).toBe('upstream-tls');
  });

  it('chooses the protocol among those that the client offers', async () => {
    const seen: (string[] | undefined)[] = [];
    const server = tls.createServer({
      ...hostCertificate(),
      ALPNCallback: ({ protocols }) => {
        seen.push(protocols);
        return protocols.includes('http/1.1') ? 'http/1.1' : undefined;
      },
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    atEnd(() => void server.close());
    server.on('tlsClientError', () => {});
    server.on('secureConnection', (socket) => socket.on('error', () => {}));
    const { secure, rig } = await stageFor(server.address() as { port: number });
    const both = await secure({ ALPNProtocols: ['acme/1', 'h2', 'http/1.1'] });
    expect(both.alpnProtocol).toBe('http/1.1');
    const none = await secure();
    expect(none.alpnProtocol).toBe(false);
    await expect(secure({ ALPNProtocols: ['acme/1'] })).rejects.toThrow();
    expect(await rig.recorder.endedAt(1)).toMatchObject({ verdict: 'deny', outcome: 'client-tls' });
    expect(seen).toEqual([['h2', 'http/1.1']]);
  });
});

it('a host that the CA does not cover is refused, neither inspected nor tunnelled', async () => {
  const origin = await httpsOrigin(hello);
  const { rig, target } = await stageFor(origin);
  rig.ctx.inspector.use(null);
  const client = await rig.send(connectHead(target));
  expect(await client.readResponse()).toMatchObject({ status: 503, reason: 'inspection-unavailable' });
  expect(await rig.recorder.endedAt(1)).toMatchObject({ outcome: 'inspection-unavailable', bytes_up: 0 });
  expect(origin.connections()).toBe(0);
  const other = inspectionCa({ domains: ['other.test'], addresses: [] });
  rig.ctx.inspector.use(new Leaves(loadCa(other, Date.now()), rig.ctx.limits, rig.meter));
  expect((await (await rig.send(connectHead(target))).readResponse()).reason).toBe('inspection-unavailable');
});

it('a file of upstream_ca that cannot be read refuses the host', async () => {
  const origin = await httpsOrigin(hello);
  const { rig, target } = await stageFor(origin, { trusted: '/nonexistent/ca.pem' });
  expect((await (await rig.send(connectHead(target))).readResponse()).body).toContain('upstream_ca');
});

it.skipIf(!hasProgram('curl'))('curl says why it does not go on, and its alert is in the log', async () => {
  const origin = await httpsOrigin(hello);
  const { rig, target, ca } = await stageFor(origin);
  const curl = (...more: string[]) =>
    run(['curl', '-sS', '--noproxy', '', '-x', `http://127.0.0.1:${rig.at.port}`, ...more, `https://${target}/c`]);
  const refused = await curl('--cacert', testCa().caFile);
  expect(refused).toMatchObject({ code: 60 });
  expect(await rig.recorder.endedAt(1)).toMatchObject({ outcome: 'client-rejected-ca' });
  expect(rig.logText()).toContain('ALERT_UNKNOWN_CA');
  expect(await curl('--http1.1', '--cacert', ca.cert)).toMatchObject({ code: 0, stdout: `/c ${target}` });
});
